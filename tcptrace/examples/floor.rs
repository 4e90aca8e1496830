//! Loads the floor, the two hooks that no answer can do without, so that `cargo xtask bench cost` can say how far from it
//! tcptrace is. A test asset: it runs in a guest.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what it sees is its output")]

use std::{
    fs,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::RingBuf,
    programs::{FEntry, FExit},
};
use object::{Object as _, ObjectSection as _};
use tcptrace::kernel::btf::Types;
use tcptrace_common::field::Field;

/// The fields whose offsets stand in its loads, by their numbers there.
const FIELDS: [Field; 5] =
    [Field::skc_dport, Field::skc_hash, Field::write_seq, Field::snd_nxt, Field::end_seq];
/// Offsets from here on stand for fields; no struct of the kernel's is as large.
const FIRST: usize = 0x7000;
/// Where the map is found that the loader cannot make: it has no types of its own.
const STORAGE: &str = "/sys/fs/bpf/floor-storage";
/// How often the ring buffer is emptied.
const POLL: Duration = Duration::from_millis(50);

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn stop(_signal: libc::c_int) {
    STOP.store(true, Ordering::Relaxed);
}

fn main() -> Result<()> {
    let path = std::env::args().nth(1).context("floor OBJECT")?;
    let mut object = fs::read(&path).with_context(|| format!("cannot read {path}"))?;
    write_offsets(&mut object)?;
    let with_storage = make_storage().is_ok();
    let btf = Btf::from_sys_fs()?;
    let mut ebpf = EbpfLoader::new().map_pin_path("STORAGE", Path::new(STORAGE)).load(&object)?;
    // Before 5.11 tracing programs may not use the storage of sockets.
    if !(with_storage && attach(&mut ebpf, &btf, "storage").is_ok()) {
        attach(&mut ebpf, &btf, "hash")?;
        eprintln!("the hash stands in for the storage of sockets");
    }
    let events = ebpf.take_map("EVENTS").context("no map EVENTS")?;
    let mut events = RingBuf::try_from(events)?;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let act = stop as extern "C" fn(libc::c_int);
        // SAFETY: the action touches nothing but a flag.
        unsafe { libc::signal(signal, act as libc::sighandler_t) };
    }
    eprintln!("watching port 8080: the floor");
    let (mut begun, mut ended) = (0_u64, 0_u64);
    loop {
        let stops = STOP.load(Ordering::Relaxed);
        while let Some(told) = events.next() {
            let lasted = told.get(16..24).and_then(|ns| ns.try_into().ok()).map(u64::from_le_bytes);
            *(if lasted == Some(0) { &mut begun } else { &mut ended }) += 1;
        }
        if stops {
            break;
        }
        thread::sleep(POLL);
    }
    println!("{begun} {ended}");
    fs::remove_file(STORAGE).ok();
    Ok(())
}

fn attach(ebpf: &mut Ebpf, btf: &Btf, kept: &str) -> Result<()> {
    // Both are loaded before either is attached, so that a refusal leaves nothing behind.
    let push: &mut FExit =
        ebpf.program_mut(&format!("push_{kept}")).context("no program")?.try_into()?;
    push.load("tcp_push", btf)?;
    let sent: &mut FEntry =
        ebpf.program_mut(&format!("sent_{kept}")).context("no program")?.try_into()?;
    sent.load("tcp_event_new_data_sent", btf)?;
    sent.attach()?;
    let push: &mut FExit =
        ebpf.program_mut(&format!("push_{kept}")).context("no program")?.try_into()?;
    push.attach()?;
    Ok(())
}

/// Puts this kernel's offsets into the loads.
fn write_offsets(object: &mut [u8]) -> Result<()> {
    /// A load of the BPF processor.
    const LDX: u8 = 1;
    let layout = Types::of_running_kernel()?.layout(&FIELDS);
    let places: Vec<u16> = FIELDS
        .iter()
        .filter_map(|field| layout.place.get(*field as usize))
        .filter(|place| place.size > 0)
        .map(|place| place.offset)
        .collect();
    ensure!(places.len() == FIELDS.len(), "this kernel lacks one of {FIELDS:?}");
    let ranges: Vec<(u64, u64)> = object::File::parse(&*object)?
        .sections()
        .filter(|section| section.name().is_ok_and(|name| name.starts_with('f')))
        .filter_map(|section| section.file_range())
        .collect();
    let mut written = 0;
    for (start, size) in ranges {
        let (start, size) = (usize::try_from(start)?, usize::try_from(size)?);
        let code = object.get_mut(start..start + size).context("a section beyond the end")?;
        for instruction in code.chunks_exact_mut(8) {
            let [opcode, _, low, high, ..] = instruction else { continue };
            let offset = usize::from(u16::from_le_bytes([*low, *high]));
            if *opcode & 7 == LDX && (FIRST..0x8000).contains(&offset) {
                let place = places.get((offset - FIRST) / 8).context("an unknown field")?;
                [*low, *high] = place.to_le_bytes();
                written += 1;
            }
        }
    }
    ensure!(written > 0, "no load of this object names a field");
    Ok(())
}

/// A type of the BPF type format: name, kind, size or type, and what follows.
type Described = (u32, u32, u32, &'static [u32]);

/// Makes the storage of sockets, which the kernel gives only to whoever tells the types of key and value.
fn make_storage() -> Result<()> {
    const BPF_MAP_CREATE: libc::c_long = 0;
    const BPF_OBJ_PIN: libc::c_long = 6;
    const BPF_BTF_LOAD: libc::c_long = 18;
    const SK_STORAGE: u32 = 24;
    const NO_PREALLOC: u32 = 1;
    const INT: u32 = 1 << 24;
    const ARRAY: u32 = 3 << 24;
    const SIGNED: u32 = 1 << 24;
    // int; unsigned long; an array of two of these.
    let described: [Described; 3] =
        [(1, INT, 4, &[SIGNED | 32]), (5, INT, 8, &[64]), (0, ARRAY, 0, &[2, 1, 2])];
    let strings = b"\0int\0unsigned long\0";
    let mut words = Vec::new();
    for (name, kind, size, rest) in described {
        words.extend([name, kind, size]);
        words.extend(rest);
    }
    let size = u32::try_from(words.len() * 4)?;
    let mut blob = vec![0x9f, 0xeb, 1, 0];
    for word in [24, 0, size, size, u32::try_from(strings.len())?].iter().chain(&words) {
        blob.extend(word.to_le_bytes());
    }
    blob.extend(strings);
    fs::remove_file(STORAGE).ok();
    let btf = bpf(BPF_BTF_LOAD, &[blob.as_ptr() as u64, 0, blob.len() as u64])?;
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let btf_fd = btf.as_raw_fd().cast_unsigned();
    let map = bpf(
        BPF_MAP_CREATE,
        &[
            pair(SK_STORAGE, 4),
            pair(16, 0),
            pair(NO_PREALLOC, 0),
            0,
            0,
            0,
            pair(btf_fd, 1),
            pair(3, 0),
        ],
    )?;
    let place = std::ffi::CString::new(STORAGE)?;
    bpf(BPF_OBJ_PIN, &[place.as_ptr() as u64, u64::from(map.as_raw_fd().cast_unsigned())])?;
    Ok(())
}

/// One call of `bpf(2)`; a descriptor where it gives one.
fn bpf(call: libc::c_long, words: &[u64]) -> Result<OwnedFd> {
    // SAFETY: the words are what the call expects, and what they point to outlives it.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, call, words.as_ptr(), size_of_val(words)) };
    ensure!(fd >= 0, "bpf({call}): {}", std::io::Error::last_os_error());
    // A call that gives no descriptor gives 0, which is standard input: a copy of it is closed instead.
    let fd = libc::c_int::try_from(fd)?;
    // SAFETY: a plain system call.
    let own = if fd == 0 { unsafe { libc::dup(0) } } else { fd };
    // SAFETY: the kernel has just given it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(own) })
}
