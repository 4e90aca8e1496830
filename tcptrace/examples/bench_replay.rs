//! What replaying costs: makes a trace, reads it in one of several ways, and says what that took as one line of JSON.
//! `cargo xtask bench replay` runs it, once for each figure, so that each has a peak of memory of its own.
#![expect(clippy::print_stdout, reason = "its only output")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    env,
    fs::{self, File},
    hint::black_box,
    io::{self, BufWriter, Write as _},
    path::Path,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
};

use tcptrace::{
    analysis::Kind,
    correlate::Correlator,
    event::{Event, Facts, SocketId},
    explain::words,
    filter::Filter,
    render::{Clock, Detail, Format, Json, Run, Text},
    timeline::Entry,
    trace::{Encoder, Header, Item, Reader, item::Ending, text::Writer},
};
use tcptrace_common::{field::Field, hook::Hook};

/// Counts what the program allocates.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

type Done = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["make", file, events, sockets] => make(file, events, sockets),
        ["read", way, file] => read(way, file),
        _ => Err("make FILE EVENTS SOCKETS, or read WAY FILE".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// xorshift64*: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        ((high * u64::from(most)) >> 32) as u32
    }
}

/// One socket of the workload.
#[derive(Clone, Copy, Default)]
struct Peer {
    id: u32,
    /// Everything before it has left.
    sent: u32,
    /// Bytes of the write that is held.
    held: u32,
}

/// Writes a trace of `events` events over `sockets` sockets at a time: 70 % are of sends that nothing holds, 20 % of
/// holds, 8 % tell state, 2 % of ends. In text when the file's name ends so, else in frames.
fn make(file: &str, events: &str, sockets: &str) -> Done {
    let (events, sockets): (u64, u32) = (events.parse()?, sockets.parse()?);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(file)?);
    let text = Path::new(file).extension().is_some_and(|extension| extension == "txt");
    let facts = Facts { hz: Some(250), release: "6.1.0".to_owned(), ..Facts::default() };
    let header = Header { facts, rows: Header::rows_of_this_version(), ..Header::default() };
    let mut trace = Trace {
        text: text.then(Writer::default),
        encoder: Encoder::default(),
        line: String::new(),
    };
    trace.line = header.to_string();
    trace.close(&mut out)?;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut peers: Vec<Peer> =
        (1..=sockets).map(|id| Peer { id, sent: 1000 + id, held: 0 }).collect();
    let (mut now_ns, mut n, mut given) = (1_000_000_000, 0, sockets);
    for tid in 0..64 {
        trace.item(&Item::Comm { tid, comm: format!("worker-{tid}") });
    }
    // Every socket is met first.
    for number in 0..events {
        now_ns += u64::from(random.below(2_000));
        let fresh = u32::try_from(number).ok().filter(|number| *number < sockets);
        let at = fresh.unwrap_or_else(|| random.below(sockets));
        let Some(peer) = peers.get_mut(at as usize) else { continue };
        let hook = if fresh.is_some() { Hook::socket } else { next(peer, random.below(100)) };
        n += 1;
        let event = event(hook, peer, n, now_ns);
        if hook == Hook::tcp_v4_destroy_sock {
            given += 1;
            *peer = Peer { id: given, sent: 1000 + given, held: 0 };
        }
        trace.item(&Item::Event(event));
        if number % 4096 == 4095 {
            trace.item(&Item::Tick { now_ns });
        }
        if trace.is_full() {
            trace.close(&mut out)?;
        }
    }
    let ending = Ending {
        started_ns: 1_000_000_000,
        ended_ns: now_ns + 1,
        misses: Some(0),
        ..Ending::default()
    };
    match &trace.text {
        Some(writer) => writer.end(&mut trace.line, &ending),
        None => trace.encoder.end(&ending),
    }
    trace.close(&mut out)?;
    out.flush()?;
    Ok(())
}

/// A hold is an event of its write and one of its departure: 10 % of the events begin one.
fn next(peer: &Peer, percent: u32) -> Hook {
    match percent {
        0..=1 => Hook::tcp_v4_destroy_sock,
        2..=9 => Hook::tcp_rcv_established,
        _ if peer.held > 0 => Hook::tcp_event_new_data_sent,
        10..=22 => Hook::tcp_push,
        23..=60 => Hook::tcp_event_new_data_sent,
        _ => Hook::tcp_sendmsg_locked,
    }
}

fn event(hook: Hook, peer: &mut Peer, n: u64, at_ns: u64) -> Event {
    let mut event = Event::new(hook, at_ns);
    (event.n, event.socket) = (n, SocketId(peer.id));
    (event.pid, event.tid) = (peer.id % 64, peer.id % 64);
    event.jiffies = ((at_ns / 4_000_000) & 0xffff_ffff) as u32;
    let bytes = 50 + peer.id % 400;
    let (seq, end_seq) = match hook {
        Hook::tcp_push => {
            peer.held = bytes;
            (peer.sent, peer.sent.wrapping_add(bytes))
        }
        Hook::tcp_event_new_data_sent => {
            let gone = if peer.held > 0 { std::mem::take(&mut peer.held) } else { bytes };
            let from = peer.sent;
            peer.sent = peer.sent.wrapping_add(gone);
            (from, peer.sent)
        }
        _ => (peer.sent, peer.sent.wrapping_add(peer.held)),
    };
    for (name, value) in [("mss_now", 1448), ("size_goal", 1448), ("size", bytes), ("ret", bytes)] {
        event.set_arg(name, value);
    }
    for field in hook.fields() {
        let value = match field {
            Field::seq | Field::snd_nxt | Field::snd_sml => seq,
            Field::end_seq if hook == Hook::tcp_rcv_established => seq,
            Field::write_seq | Field::end_seq => end_seq,
            Field::snd_una => seq.wrapping_sub(60),
            Field::ack_seq => seq.wrapping_sub(30),
            Field::snd_wnd => 65_535,
            Field::snd_cwnd => 10,
            Field::srtt_us => 8 * 25_000,
            Field::mss_cache => 1448,
            Field::tail_len => peer.held,
            Field::skc_family => 2,
            Field::skc_rcv_saddr | Field::skc_daddr => 0x0100_007f,
            Field::inet_sport => 0x901f,
            Field::skc_dport => peer.id & 0xffff,
            Field::packets_out | Field::skc_state | Field::netns => 1,
            Field::icsk_pending => 5,
            Field::icsk_rto => 56,
            Field::write_timer_expires => event.jiffies.wrapping_add(12),
            _ => 0,
        };
        event.set_field(*field, &[value]);
    }
    event
}

/// A trace that is being made.
struct Trace {
    text: Option<Writer>,
    encoder: Encoder,
    line: String,
}

impl Trace {
    fn item(&mut self, item: &Item) {
        match &mut self.text {
            Some(writer) => writer.item(&mut self.line, item),
            None => self.encoder.item(item),
        }
    }

    fn is_full(&self) -> bool {
        self.line.len() > 1 << 16 || self.encoder.is_full()
    }

    /// Writes what there is.
    fn close(&mut self, out: &mut impl io::Write) -> Done {
        if self.text.is_some() {
            out.write_all(self.line.as_bytes())?;
            self.line.clear();
            return Ok(());
        }
        let mut frame = |contents: &[u8]| -> io::Result<()> {
            let mut compressor = zstd::bulk::Compressor::new(1)?;
            compressor.include_checksum(true)?;
            out.write_all(&compressor.compress(contents)?)
        };
        if !self.line.is_empty() {
            frame(self.line.as_bytes())?;
            self.line.clear();
        }
        if let Some(filled) = self.encoder.take() {
            frame(&filled.bytes)?;
        }
        Ok(())
    }
}

/// Reads the trace and says what that took.
fn read(way: &str, file: &str) -> Done {
    let kind = if way == "timeline" { Kind::Timeline } else { Kind::Nagle };
    let mut format: Option<Box<dyn Format>> = match way {
        "decode" | "nagle" | "timeline" => None,
        "text" => Some(Box::new(Text::new(100, false, Clock::Relative, Detail::Verdicts))),
        "json" => Some(Box::new(Json)),
        _ => return Err("WAY is decode, nagle, timeline, text or json".into()),
    };
    let (before, begun) = (ALLOCATIONS.load(Ordering::Relaxed), cpu_ns());
    let mut reader = Reader::new(File::open(file)?)?;
    let facts = reader.header().facts.clone();
    let filter = Filter::default();
    let run = Run {
        words: words(kind),
        facts: &facts,
        filter: &filter,
        everything: false,
        only: (&[], &[]),
    };
    let mut correlator = (way != "decode").then(|| Correlator::new(kind));
    let (mut entries, mut events, mut found, mut bytes) = (Vec::<Entry>::new(), 0_u64, 0_u64, 0);
    let mut print = |entries: &mut Vec<Entry>| {
        for entry in entries.drain(..) {
            found += 1;
            bytes +=
                format.as_mut().map_or(0, |format| black_box(format.finding(&run, &entry)).len());
        }
    };
    let end = reader.run(&mut |item| {
        match (&mut correlator, &item) {
            (None, Item::Event(event)) => {
                events += 1;
                black_box(event);
            }
            (Some(correlator), Item::Event(event)) => {
                events += 1;
                correlator.push(event);
            }
            (Some(correlator), Item::Tick { now_ns }) => {
                correlator.tick(*now_ns);
                correlator.settle(&mut entries);
                print(&mut entries);
            }
            (Some(correlator), Item::Comm { tid, comm }) => correlator.comm(*tid, comm.clone()),
            (Some(correlator), Item::About(about)) => correlator.about(about.clone()),
            _ => {}
        }
        true
    })?;
    if let Some(mut correlator) = correlator {
        correlator.finish(end.ending.ended_ns, true, &mut entries);
        print(&mut entries);
    }
    let ns = cpu_ns() - begun;
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    let peak_kib = peak_kib().unwrap_or(0);
    println!(
        "{{\"events\":{events},\"findings\":{found},\"bytes\":{bytes},\"ns\":{ns},\"allocations\":{allocations},\"peak_kib\":{peak_kib}}}"
    );
    Ok(())
}

/// Time on a CPU so far, nanoseconds: what else the machine does counts less in it than in the time of day.
fn cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to a timespec that is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// The most memory this process has had (`VmHWM`).
fn peak_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
