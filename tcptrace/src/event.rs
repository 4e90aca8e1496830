//! The decoded event: a small socket name instead of a kernel address, fields by name, `None` for what was not read.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use bytes::Buf as _;
use tcptrace_common::{
    event::HEADER_BYTES,
    field::Field,
    hook::{Hook, MAX_SLOTS},
    tcp::{
        AF_INET, AF_INET6, TCP_CLOSE_WAIT, TCP_CLOSING, TCP_LAST_ACK, TCP_SYN_RECV, TCP_SYN_SENT,
        TCP_TIME_WAIT,
    },
};

/// Name of one socket's life in one trace: `s1`, `s2`, ...
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u32);

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

/// Where a hook's probe sits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The hook.
    pub hook: Hook,
    /// The kernel function: the hook's own, or one that stands in for it.
    pub function: String,
    /// `fentry`, `fexit`, `kprobe` or `kretprobe`.
    pub kind: &'static str,
}

/// What is known of the traced host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its name, as `uname -n` prints it.
    pub host: String,
    /// Kernel release, as `uname -r` prints it.
    pub release: String,
    /// Jiffies per second; `None` when it could not be measured.
    pub hz: Option<u32>,
    /// A moment on `CLOCK_MONOTONIC`, nanoseconds.
    pub mono_ns: u64,
    /// The same moment on `CLOCK_REALTIME`, nanoseconds since 1970.
    pub real_ns: u64,
    /// Programs attached; a hook at the return of a function takes two where they are kprobes.
    pub probes: usize,
    /// The probes, in the order of the question's hooks.
    pub attached: Vec<Attached>,
    /// Kernel functions that were wanted and could not be probed.
    pub not_seen: Vec<&'static str>,
    /// Fields that were wanted and that this kernel does not have.
    pub absent: Vec<&'static str>,
    /// Number of the network namespace of process 1, the host's own; `None` when it could not be read.
    pub netns: Option<u32>,
}

/// Most frames of a user stack that are told, the innermost first.
pub const MAX_FRAMES: usize = 8;

/// Where a call came from: one frame of a user stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The function; `?` where no symbol covers the address.
    pub function: String,
    /// Source file, where the program carries debug information.
    pub file: Option<String>,
    /// Line in it.
    pub line: Option<u32>,
}

/// What is known of something that events name by a number. A reader that does not know one passes over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// The cgroup that a process is in.
    Cgroup {
        /// Process.
        pid: u32,
        /// Path from the root.
        path: String,
    },
    /// The process that had a socket open at the end, which the peer had closed.
    Holder {
        /// The socket.
        socket: SocketId,
        /// Who.
        holder: Holder,
    },
    /// A user stack.
    Stack {
        /// Its number in this trace, from 1.
        number: u32,
        /// The innermost first; none when they could not be named.
        frames: Vec<Frame>,
    },
}

/// Who had a socket open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The process with the lowest number of those that had it open.
    pub pid: u32,
    /// How many processes had it open, at least 1.
    pub processes: u32,
}

impl About {
    /// What it is about: a later one of the same key takes its place.
    pub const fn key(&self) -> (u8, u32) {
        match self {
            Self::Cgroup { pid, .. } => (0, *pid),
            Self::Stack { number, .. } => (1, *number),
            Self::Holder { socket, .. } => (2, socket.0),
        }
    }
}

/// A TCP sequence number: compares in wrapping order (RFC 9293 3.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seq(pub u32);

impl Seq {
    /// Whether `self` comes before `other`.
    pub const fn before(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0) > u32::MAX / 2
    }
    /// Whether `self` comes after `other`.
    pub const fn after(self, other: Self) -> bool {
        other.before(self)
    }
    /// Bytes from `start` to `self`; 0 when `self` comes before it.
    pub const fn since(self, start: Self) -> u32 {
        if self.before(start) { 0 } else { self.0.wrapping_sub(start.0) }
    }
    /// The later of the two.
    #[must_use]
    pub const fn max(self, other: Self) -> Self {
        if self.before(other) { other } else { self }
    }
    /// The earlier of the two.
    #[must_use]
    pub const fn min(self, other: Self) -> Self {
        if self.before(other) { self } else { other }
    }
}

/// What one record of the ring buffer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Number in the trace, from 1.
    pub n: u64,
    /// Nanoseconds, `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// Whose event.
    pub socket: SocketId,
    /// Process at work; in softirq, whoever was interrupted.
    pub pid: u32,
    /// Thread at work; in softirq, whoever was interrupted.
    pub tid: u32,
    /// Low word of the kernel's jiffies.
    pub jiffies: u32,
    /// What happened.
    pub hook: Hook,
    valid: u32,
    slots: [u32; MAX_SLOTS],
}

/// Why bytes are not an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter or longer than the hook's row says.
    #[error("record of {got} bytes, expected {want}")]
    Length {
        /// Bytes found.
        got: usize,
        /// Bytes wanted.
        want: usize,
    },
    /// A hook number that is not in the table.
    #[error("unknown hook number {0}")]
    UnknownHook(u16),
}

/// An event before its socket has a name: only `source` sees the kernel address.
#[derive(Clone, Debug)]
pub struct Raw {
    /// Address of the `struct sock`.
    pub sk: u64,
    /// The event, with number and socket still 0.
    pub event: Event,
}

impl Raw {
    /// Decodes one record of the ring buffer.
    ///
    /// # Errors
    /// [`DecodeError`]: the programs and this binary do not belong together.
    pub fn decode(record: &[u8]) -> Result<Self, DecodeError> {
        let length = |want| DecodeError::Length { got: record.len(), want };
        if record.len() < HEADER_BYTES {
            return Err(length(HEADER_BYTES));
        }
        let mut raw = record;
        let (at_ns, sk, pid_tgid) = (raw.get_u64_ne(), raw.get_u64_ne(), raw.get_u64_ne());
        let (jiffies, valid) = (raw.get_u32_ne(), raw.get_u32_ne());
        let id = raw.get_u16_ne();
        raw.advance(6);
        let hook = Hook::from_wire(id).ok_or(DecodeError::UnknownHook(id))?;
        // The ring buffer rounds up to the record's alignment of 8.
        let many = slots_of(hook);
        if raw.len() / 4 != many.next_multiple_of(2) {
            return Err(length(HEADER_BYTES + 4 * many));
        }
        let mut slots = [0; MAX_SLOTS];
        for (slot, word) in slots.iter_mut().zip(raw.as_chunks().0).take(many) {
            *slot = u32::from_ne_bytes(*word);
        }
        let (pid, tid) = ((pid_tgid >> 32) as u32, (pid_tgid & 0xffff_ffff) as u32);
        let event =
            Event { n: 0, at_ns, socket: SocketId(0), pid, tid, jiffies, hook, valid, slots };
        Ok(Self { sk, event })
    }
}

impl Event {
    /// An event of a written trace: `values` gives what was read.
    pub fn new(hook: Hook, at_ns: u64) -> Self {
        Self {
            n: 0,
            at_ns,
            socket: SocketId(0),
            pid: 0,
            tid: 0,
            jiffies: 0,
            hook,
            valid: 0,
            slots: [0; MAX_SLOTS],
        }
    }

    /// An event out of a trace: `valid` has a bit for each field of the hook's row that was read, `slots` its arguments
    /// and then its fields. Slots that the row does not have are dropped.
    pub fn from_parts(hook: Hook, valid: u32, slots: &[u32]) -> Self {
        let mut event = Self::new(hook, 0);
        event.valid = valid;
        for (to, from) in event.slots.iter_mut().zip(slots.iter().take(slots_of(hook))) {
            *to = *from;
        }
        event
    }

    /// The slots of the hook's row, to be filled; `valid` as in [`Self::from_parts`].
    pub fn fill(&mut self, valid: u32) -> &mut [u32] {
        self.valid = valid;
        self.slots.get_mut(..slots_of(self.hook)).unwrap_or_default()
    }

    /// A bit for each field of the hook's row: it was read.
    pub const fn valid(&self) -> u32 {
        self.valid
    }

    /// The arguments and then the fields of the hook's row; what was not read is 0.
    pub fn slots(&self) -> &[u32] {
        self.slots.get(..slots_of(self.hook)).unwrap_or_default()
    }

    /// The probed function's argument `name`; `None` when the hook's record does not carry it.
    pub fn arg(&self, name: &str) -> Option<u32> {
        let at = self.hook.args().iter().position(|(arg, _)| *arg == name)?;
        self.slots.get(at).copied()
    }

    /// [`Self::arg`] by its [`position`], for arguments that are asked for with nearly every event.
    pub fn arg_at(&self, position: usize) -> Option<u32> {
        self.slots.get(position).copied()
    }

    /// Whether it is the last of what is no socket: a request that became none, a listener or counters that were read.
    pub fn is_turned_away(&self) -> bool {
        match self.hook {
            Hook::listener
            | Hook::netstat
            | Hook::existing
            | Hook::__inet_csk_reqsk_queue_drop
            | Hook::inet_csk_reqsk_queue_drop_and_put
            | Hook::reqsk_timer_handler => true,
            Hook::tcp_try_fastopen => self.arg("child").is_some_and(|child| child & 1 == 0),
            Hook::tcp_check_req => self.arg("end").is_some_and(|end| end & 3 == 2),
            _ => false,
        }
    }

    /// Sets an argument; `false` when the hook's record does not carry it.
    pub fn set_arg(&mut self, name: &str, value: u32) -> bool {
        let at = self.hook.args().iter().position(|(arg, _)| *arg == name);
        match at.and_then(|at| self.slots.get_mut(at)) {
            Some(slot) => {
                *slot = value;
                true
            }
            None => false,
        }
    }

    /// The field's value; `None` when the hook's record does not carry it, this kernel lacks it or the read failed.
    pub fn field(&self, field: Field) -> Option<u64> {
        let slots = self.slots_of(field)?;
        let word = |i: usize| slots.get(i).copied().map_or(0, u64::from);
        Some(word(0) | word(1) << 32)
    }

    /// [`Self::field`] for the fields that have 32 bits or fewer.
    #[inline]
    pub fn u32(&self, field: Field) -> Option<u32> {
        let (index, at) = self.place_of(field)?;
        if self.valid & (1 << index) == 0 {
            return None;
        }
        self.slots.get(at).copied()
    }

    /// [`Self::field`] for sequence numbers.
    #[inline]
    pub fn seq(&self, field: Field) -> Option<Seq> {
        self.u32(field).map(Seq)
    }

    /// Sequence numbers that the segment at hand acknowledges for the first time. As in `tcp_ack()`, a number that was
    /// never sent acknowledges nothing: a reset without ACK carries one.
    pub fn acked(&self) -> u32 {
        let sent = |ack: Seq| !self.seq(Field::snd_nxt).is_some_and(|sent| sent.before(ack));
        let ack = self.seq(Field::ack_seq).filter(|ack| sent(*ack));
        ack.zip(self.seq(Field::snd_una)).map_or(0, |(ack, una)| ack.since(una))
    }

    /// This end of the connection, in the record that announces a socket.
    pub fn local(&self) -> Option<SocketAddr> {
        self.end(Field::skc_rcv_saddr, Field::skc_v6_rcv_saddr, Field::inet_sport)
    }

    /// The other end, in the record that announces a socket.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.end(Field::skc_daddr, Field::skc_v6_daddr, Field::skc_dport)
    }

    /// An IPv4-mapped address of an IPv6 socket is written as IPv4.
    fn end(&self, v4: Field, v6: Field, port: Field) -> Option<SocketAddr> {
        let ip = match self.u32(Field::skc_family)? {
            AF_INET => IpAddr::V4(Ipv4Addr::from(self.u32(v4)?.to_ne_bytes())),
            AF_INET6 => IpAddr::V6(Ipv6Addr::from(self.wide(v6)?)).to_canonical(),
            _ => return None,
        };
        Some(SocketAddr::new(ip, u16::from_be((self.u32(port)? & 0xffff) as u16)))
    }

    /// A field of 16 bytes, as they lie in memory.
    pub fn wide(&self, field: Field) -> Option<[u8; 16]> {
        let mut out = [0; 16];
        for (to, slot) in out.chunks_exact_mut(4).zip(self.slots_of(field)?) {
            to.copy_from_slice(&slot.to_ne_bytes());
        }
        Some(out)
    }

    /// Sets a field, low word first; `false` when the hook's record does not carry it.
    pub fn set_field(&mut self, field: Field, words: &[u32]) -> bool {
        let Some((index, at)) = self.place_of(field) else { return false };
        let Some(slots) = self.slots.get_mut(at..at + field.slots()) else { return false };
        for (i, slot) in slots.iter_mut().enumerate() {
            *slot = words.get(i).copied().unwrap_or(0);
        }
        self.valid |= 1 << index;
        true
    }

    /// The name of the task at work, in the record that announces a socket and in the one that tells nothing else.
    pub fn comm(&self) -> Option<String> {
        if !matches!(self.hook, Hook::socket | Hook::task) {
            return None;
        }
        let bytes: Vec<u8> = self
            .slots
            .iter()
            .take(4)
            .flat_map(|w| w.to_ne_bytes())
            .take_while(|b| *b != 0)
            .collect();
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether a write that has come to `sk_stream_wait_connect()`, or has opened the connection by `tcp_connect()`, may sleep
    /// until that is established: only while it is being made. In every other state, and when the SYN could not be sent, it
    /// fails at once. True where neither is known.
    pub fn awaits_connection(&self) -> bool {
        let connecting = |state| matches!(state, TCP_SYN_SENT | TCP_SYN_RECV);
        self.u32(Field::skc_state).is_none_or(connecting) && self.arg("ret").unwrap_or(0) == 0
    }

    /// Bytes (and a FIN) that were written and not sent yet.
    pub fn waiting(&self) -> Option<u32> {
        Some(self.seq(Field::write_seq)?.since(self.seq(Field::snd_nxt)?))
    }

    /// Bytes that came in and were not read. The peer's FIN stands behind them until it is read as the end, as in
    /// `__tcp_close()`.
    pub fn unread(&self) -> Option<u32> {
        let unread = self.seq(Field::rcv_nxt)?.since(self.seq(Field::copied_seq)?);
        let fin = matches!(
            self.u32(Field::skc_state)?,
            TCP_CLOSE_WAIT | TCP_LAST_ACK | TCP_CLOSING | TCP_TIME_WAIT
        );
        Some(unread.saturating_sub(u32::from(fin)))
    }

    fn slots_of(&self, field: Field) -> Option<&[u32]> {
        let (index, at) = self.place_of(field)?;
        if self.valid & (1 << index) == 0 {
            return None;
        }
        self.slots.get(at..at + field.slots())
    }

    #[inline]
    fn place_of(&self, field: Field) -> Option<(usize, usize)> {
        let (index, at) = *PLACES.get(self.hook as usize)?.get(field as usize)?;
        (index != ABSENT).then_some((usize::from(index), usize::from(at)))
    }
}

/// Where the argument `name` stands in the row of `hook`; a row without it does not compile.
#[expect(
    clippy::indexing_slicing,
    reason = "evaluated at compile time: a wrong index does not compile"
)]
pub const fn position(hook: Hook, name: &str) -> usize {
    const fn equal(one: &[u8], other: &[u8]) -> bool {
        let mut i = 0;
        while i < one.len() && i < other.len() && one[i] == other[i] {
            i += 1;
        }
        i == one.len() && i == other.len()
    }
    let mut at = 0;
    while !equal(hook.args()[at].0.as_bytes(), name.as_bytes()) {
        at += 1;
    }
    at
}

/// How many slots the hook's row has: [`Hook::slots`] adds them up, which each event would pay for.
fn slots_of(hook: Hook) -> usize {
    SLOTS.get(hook as usize).copied().map_or(0, usize::from)
}

/// By hook number.
static SLOTS: [u8; Hook::MAX as usize + 1] = slots();

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "evaluated at compile time: a wrong index does not compile, and no row has more than MAX_SLOTS"
)]
const fn slots() -> [u8; Hook::MAX as usize + 1] {
    let mut slots = [0; Hook::MAX as usize + 1];
    let mut row = 0;
    while row < Hook::ALL.len() {
        slots[Hook::ALL[row] as usize] = Hook::ALL[row].slots() as u8;
        row += 1;
    }
    slots
}

/// Index of a field that a hook's row does not have.
const ABSENT: u8 = u8::MAX;

/// By hook number and field: the field's index in the row, and its first slot.
static PLACES: [[(u8, u8); Field::COUNT]; Hook::MAX as usize + 1] = places();

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::large_stack_arrays,
    reason = "evaluated at compile time: a wrong index does not compile, and no row has so many slots"
)]
const fn places() -> [[(u8, u8); Field::COUNT]; Hook::MAX as usize + 1] {
    let mut places = [[(ABSENT, 0); Field::COUNT]; Hook::MAX as usize + 1];
    let mut row = 0;
    while row < Hook::ALL.len() {
        let hook = Hook::ALL[row];
        let (mut index, mut at) = (0, hook.args().len());
        while index < hook.fields().len() {
            let field = hook.fields()[index];
            places[hook as usize][field as usize] = (index as u8, at as u8);
            (index, at) = (index + 1, at + field.slots());
        }
        row += 1;
    }
    places
}

#[cfg(test)]
mod tests {
    use tcptrace_common::hook::{Hook, MAX_SLOTS};

    use super::{SLOTS, position};
    use crate::trace::parse;

    #[test]
    fn what_is_looked_up_once_is_what_the_table_says() {
        for hook in Hook::ALL {
            assert_eq!(usize::from(SLOTS[*hook as usize]), hook.slots(), "{}", hook.name());
            assert!(hook.slots() <= MAX_SLOTS);
            for (at, (name, _)) in hook.args().iter().enumerate() {
                assert_eq!(position(*hook, name), at, "{} {name}", hook.name());
            }
        }
        let event = parse("1 s1 pid=0 tcp_push flags=3 nonagle=5 part=7 | ").unwrap();
        let of = |name| event.arg_at(position(Hook::tcp_push, name));
        assert_eq!([of("flags"), of("nonagle"), of("part")], [Some(3), Some(5), Some(7)]);
    }

    #[test]
    fn only_what_was_sent_can_be_acknowledged() {
        let acked = |ack: u32, sent: &str| {
            let line = format!("1 s1 pid=0 tcp_rcv_established | ack_seq={ack} snd_una=100{sent}");
            parse(&line).unwrap().acked()
        };
        assert_eq!([90, 100, 150, 200].map(|ack| acked(ack, " snd_nxt=200")), [0, 0, 50, 100]);
        assert_eq!([201, 2_000_000_000].map(|ack| acked(ack, " snd_nxt=200")), [0, 0]);
        assert_eq!(acked(150, ""), 50);
    }
}
