//! The BPF object on its way into the kernel: its constants, the sizes of its maps, and what is read of them.

use std::{
    collections::BTreeSet,
    fs::File,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::PathBuf,
};

use aya::{
    Btf, Ebpf, EbpfLoader, Endianness,
    maps::{Array, CgroupArray, MapData, PerCpuArray, RingBuf},
    programs::{RawTracePoint, RawTracePointRunOptions, TestRun as _},
};
use tcptrace_common::{
    exchange::BUCKETS,
    field::Field,
    filter::{Filter, MAX_PROCESSES},
    hook::Hook,
    layout::{self, Layout},
};

use super::{LostCounters, Request, Want, attach::brief, fold::fold, object};
use crate::{
    kernel::{btf::Types, privilege},
    source::refusal::AttachError,
};

/// The BPF programs, built by this crate's build script, as zstd packs them.
static OBJECT: &[u8] = include_bytes!(env!("TCPTRACE_BPF_OBJECT_PATH"));
/// Unread bytes at which the reader is woken; a quarter of a smaller buffer.
const WAKE_BYTES: u64 = 64 << 10;
/// Most user stacks that the kernel keeps apart; one whose place is taken is not told.
const MAX_STACKS: u32 = 4096;
/// Sockets, and requests where they are wanted, that are followed at once unless the run says otherwise: where the kernel takes
/// memory for each as it comes, and where it takes the memory for all of them from the start.
const MAX_SOCKETS: u32 = 131_072;
const MAX_SOCKETS_AT_START: u32 = 65_536;
/// `BPF_F_NO_PREALLOC` (`linux/bpf.h`).
const NO_PREALLOC: u32 = 1;
/// Minisocks that are told apart, where what closes is wanted; system calls that set an option, where these are; SYNs with
/// Fast Open, where that is.
const MAX_MINISOCKS: u32 = 16_384;
const MAX_CALLS: u32 = 4096;
const MAX_TRIES: u32 = 1024;
/// Fields that explain a hold and decide neither its cause nor what let it go.
const EXPLAINS: [Field; 3] = [Field::mss_cache, Field::srtt_us, Field::icsk_rto];

/// Fields that only the programs look at, where what closes is wanted.
const CLOSING: [Field; 4] =
    [Field::rtx_root, Field::rtx_right, Field::skb_mstamp_ns, Field::sk_socket];

/// Fields that only the programs look at, where what Fast Open does is wanted.
const OPENING: [Field; 12] = [
    Field::foc_len,
    Field::foc_exp,
    Field::foc_val,
    Field::req_sk,
    Field::fastopenq_qlen,
    Field::rskq_rst_head,
    Field::msg_flags,
    Field::msg_namelen,
    Field::syn_data_acked,
    Field::fastopen_rsk,
    Field::req_snt_synack,
    Field::req_rcv_isn,
];

/// Fields that only the programs look at, where what `TCP_DEFER_ACCEPT` does is wanted.
const DEFERRING: [Field; 6] = [
    Field::fastopen_rsk,
    Field::req_rcv_isn,
    Field::req_snt_isn,
    Field::req_hashed,
    Field::req_listener,
    Field::req_timer,
];

/// Fields that only the programs look at, where options are told.
const OPTIONS: [Field; 6] = [
    Field::sk_protocol,
    Field::is_mptcp,
    Field::sk_socket,
    Field::socket_file,
    Field::file_inode,
    Field::inode_ino,
];

/// Hash of the BPF object in this binary, 16 hex digits: which programs a bug report is about.
pub fn object_hash() -> String {
    let mut hasher = DefaultHasher::new();
    OBJECT.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Read-only data of the programs.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Global<T>(T);

// SAFETY: both types are made of integers only and have no padding, as their definitions assert.
unsafe impl aya::Pod for Global<Layout> {}

// SAFETY: as above.
unsafe impl aya::Pod for Global<Filter> {}

/// A variable that is 1 or 0.
const fn flag(is_set: bool) -> [u8; 4] {
    (is_set as u32).to_ne_bytes()
}

/// The value as it lies in memory.
fn bytes_of<T: aya::Pod>(value: &T) -> &[u8] {
    // SAFETY: the pointer and the size are those of one live value, which has no padding: aya hands it to the kernel as bytes.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// The fields that are read, and where this kernel has them.
pub(super) struct Wanted {
    fields: Vec<Field>,
    layout: Layout,
}

impl Wanted {
    /// Those of the hooks asked for, and the programs' own.
    pub(super) fn of(request: &Request, types: &Types) -> Self {
        let fields = wanted_fields(request);
        let layout = types.layout(&fields);
        Self { fields, layout }
    }

    fn size(&self, field: Field) -> u8 {
        self.layout.place.get(field as usize).map_or(0, |at| at.size)
    }

    /// Whether those that are plain numbers on every kernel so far are so on this one: the tracing programs read them as
    /// such.
    pub(super) fn has_plain(&self) -> bool {
        let plain = |field: &Field| {
            let at = self.layout.place.get(*field as usize);
            at.is_some_and(|at| {
                (at.size, at.shift, at.width, at.deref) == (4, 0, 0, layout::NO_DEREF)
            })
        };
        self.fields.iter().filter(|field| field.is_plain()).all(plain)
    }

    /// Those that this kernel does not have.
    pub(super) fn absent(&self) -> Vec<&'static str> {
        self.fields.iter().filter(|f| self.size(**f) == 0).map(|f| f.name()).collect()
    }
}

/// The maps and the read-only data of the programs; none of them is in the kernel yet.
pub(super) fn loaded(
    request: &Request,
    wanted: &Wanted,
    types: &Types,
) -> Result<Ebpf, AttachError> {
    // Of the state, the programs read one byte.
    let lacks = |field: &&Field| match wanted.size(**field) {
        0 => field.is_vital(),
        1 => false,
        _ => **field == Field::skc_state,
    };
    if let Some(field) = Field::ALL.iter().find(lacks) {
        return Err(AttachError::Field { field: field.name() });
    }
    let layout = Global(wanted.layout);
    let filter = Global(request.filter);
    let wake_bytes = u64::from(request.buffer_bytes / 4).min(WAKE_BYTES);
    let wants = |want: Want| request.wants.contains(&want);
    // From 6.16 on it tells of segments that the layers below did not take, too.
    let tells_err =
        types.tracepoint_arguments("tcp_retransmit_skb").is_some_and(|arguments| arguments > 2);
    let constants: [(&str, &[u8]); 11] = [
        ("LAYOUT", bytes_of(&layout)),
        ("FILTER", bytes_of(&filter)),
        ("EVERYTHING", &flag(wants(Want::Everything))),
        ("CLOSING", &flag(wants(Want::Closing))),
        ("OPENING", &flag(wants(Want::Opening))),
        ("DEFERRING", &flag(wants(Want::Deferring))),
        ("KERNEL_READS", &flag(!privilege::locked_down())),
        ("RETRANSMIT_TELLS_ERR", &flag(tells_err)),
        ("COUNTING", &flag(wants(Want::Counting))),
        ("USER_STACKS", &flag(wants(Want::Stacks))),
        ("WAKE_BYTES", &wake_bytes.to_ne_bytes()),
    ];
    let mut object = object()?;
    object::keep(&mut object, |program| is_for(&request.hooks, program));
    let grows = types.has_allocator()
        && ["SOCKETS", "REQUESTS"]
            .iter()
            .all(|map| object::set_flags(&mut object, map, NO_PREALLOC));
    fold(&mut object, &constants);
    let mut loader = EbpfLoader::new();
    for (name, bytes) in constants {
        loader.override_global(name, bytes, true);
    }
    for (name, entries) in sizes(request, grows) {
        loader.map_max_entries(name, entries);
    }
    let mut ebpf = loader.load(&object).map_err(|e| AttachError::Load(e.to_string()))?;
    put_in_cgroups(&mut ebpf, &request.cgroups)?;
    Ok(ebpf)
}

/// How many entries the maps have: those that a run does not want have one. `grows` says that the kernel takes memory for
/// sockets as they come.
fn sizes(request: &Request, grows: bool) -> [(&'static str, u32); 9] {
    let wants = |want: Want| request.wants.contains(&want);
    let usual = if grows { MAX_SOCKETS } else { MAX_SOCKETS_AT_START };
    let sockets = request.max_sockets.unwrap_or(usual);
    let or_one = |is_wanted: bool, entries: u32| if is_wanted { entries } else { 1 };
    [
        ("EVENTS", request.buffer_bytes),
        ("SOCKETS", sockets),
        ("EXCHANGES", or_one(wants(Want::Counting), BUCKETS)),
        ("MINISOCKS", or_one(request.hooks.contains(&Hook::inet_twsk_alloc), MAX_MINISOCKS)),
        ("PROCESSES", or_one(request.command.is_some(), MAX_PROCESSES)),
        ("STACKS", or_one(wants(Want::Stacks), MAX_STACKS)),
        ("REQUESTS", or_one(wants(Want::Deferring), sockets)),
        ("CALLS", or_one(request.hooks.contains(&Hook::option_before), MAX_CALLS)),
        ("TRIES", or_one(request.hooks.contains(&Hook::tcp_try_fastopen), MAX_TRIES)),
    ]
}

/// What programs can be put on, as aya wants it: the kernel's own BTF it would read whole, and look through all names for each
/// program.
pub(super) fn attachable(types: &Types) -> Result<Btf, AttachError> {
    Btf::parse(&types.attachable(), Endianness::default())
        .map_err(|e| AttachError::Load(e.to_string()))
}

/// The BPF object.
pub(super) fn object() -> Result<Vec<u8>, AttachError> {
    zstd::decode_all(OBJECT).map_err(|e| AttachError::Load(e.to_string()))
}

/// Whether a program of this name may be put on one of the hooks, or on what stands in for it.
fn is_for(hooks: &[Hook], program: &str) -> bool {
    hooks.iter().flat_map(|hook| hook.symbols()).any(|symbol| program.starts_with(symbol))
}

/// Tells the programs which cgroups the filter lets through.
fn put_in_cgroups(ebpf: &mut Ebpf, paths: &[PathBuf]) -> Result<(), AttachError> {
    let broken = || AttachError::Object("map CGROUPS");
    let mut cgroups: CgroupArray<_> =
        ebpf.map_mut("CGROUPS").and_then(|map| map.try_into().ok()).ok_or_else(broken)?;
    for (index, path) in (0..).zip(paths) {
        let cgroup = |why: String| AttachError::Cgroup { path: path.clone(), why };
        let folder = File::open(path).map_err(|error| cgroup(error.to_string()))?;
        cgroups.set(index, folder, 0).map_err(|error| cgroup(error.to_string()))?;
    }
    Ok(())
}

fn wanted_fields(request: &Request) -> Vec<Field> {
    // What the programs look at themselves, and what the record of a new socket carries.
    let own = [
        Field::write_seq,
        Field::snd_nxt,
        Field::skc_portpair,
        Field::skc_hash,
        Field::sk_write_queue_len,
        Field::skc_state,
        Field::seq,
        Field::end_seq,
        Field::inet_sport,
        Field::skc_dport,
        Field::socket_sk,
        Field::pid,
        Field::tgid,
        Field::pacing_timer,
        Field::sk_tsq_flags,
        Field::bytes_received,
        Field::bytes_acked,
        Field::tw_sport,
        Field::tw_timer,
    ];
    let mut wanted: BTreeSet<Field> =
        own.into_iter().chain(Hook::socket.fields().iter().copied()).collect();
    // What a program writes besides the record of its own hook.
    if request.wants.contains(&Want::Closing) {
        wanted.extend(Hook::departure.fields().iter().chain(Hook::fin_queued.fields()).copied());
        wanted.extend(CLOSING);
    }
    if request.wants.contains(&Want::Opening) {
        let written = [Hook::fastopen_write, Hook::fastopen_syn, Hook::fastopen_option];
        wanted.extend(written.iter().flat_map(|hook| hook.fields()).copied());
        wanted.extend(OPENING);
    }
    if request.wants.contains(&Want::Deferring) {
        let read = [Field::ack_seq, Field::tcp_flags];
        wanted.extend(DEFERRING.into_iter().chain(read));
    }
    if request.hooks.contains(&Hook::option_before) {
        wanted.extend(OPTIONS);
    }
    wanted.extend(request.hooks.iter().flat_map(|h| h.fields()).copied());
    let only_counted = request.wants.contains(&Want::SummaryOnly);
    let told = |field: &Field| !(only_counted && EXPLAINS.contains(field));
    wanted.into_iter().filter(told).collect()
}

/// Jiffies and nanoseconds of one moment, by running a program that belongs to no hook.
pub(super) fn clock_sample(ebpf: &mut Ebpf) -> Result<[u64; 2], AttachError> {
    let broken = || AttachError::Object("program jiffies");
    let program: &mut RawTracePoint =
        ebpf.program_mut("jiffies").and_then(|p| p.try_into().ok()).ok_or_else(broken)?;
    if program.fd().is_err() {
        program.load().map_err(|e| AttachError::Hook { hook: "the clock", why: brief(&e) })?;
    }
    if program.test_run(RawTracePointRunOptions::new()).is_err() {
        return Ok([0, 0]);
    }
    let clock: Array<_, [u64; 2]> =
        ebpf.map("CLOCK").and_then(|m| m.try_into().ok()).ok_or_else(broken)?;
    clock.get(&0, 0).map_err(|_unreadable| broken())
}

/// Lets the programs begin, all at the same moment.
pub(super) fn enable(ebpf: &mut Ebpf) -> Result<(), AttachError> {
    let broken = || AttachError::Object("map ENABLED");
    let mut enabled: Array<_, u32> =
        ebpf.map_mut("ENABLED").and_then(|map| map.try_into().ok()).ok_or_else(broken)?;
    enabled.set(0, 1, 0).map_err(|_unwritable| broken())
}

/// The two maps that are read while the programs run.
pub(super) fn readers(ebpf: &mut Ebpf) -> Result<(RingBuf<MapData>, LostCounters), AttachError> {
    let ring = ebpf.take_map("EVENTS").and_then(|map| RingBuf::try_from(map).ok());
    let lost = ebpf.take_map("LOST").and_then(|map| PerCpuArray::try_from(map).ok());
    Ok((
        ring.ok_or(AttachError::Object("map EVENTS"))?,
        lost.ok_or(AttachError::Object("map LOST"))?,
    ))
}
