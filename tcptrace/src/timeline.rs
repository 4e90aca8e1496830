//! Who a socket is, a finding beside it, and all findings counted: the only things a renderer sees.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr, SocketAddrV4},
    num::{NonZeroU32, NonZeroU64},
    rc::Rc,
};

use smallvec::SmallVec;

use crate::{
    analysis::{Cause, Fact},
    event::{Frame, SocketId},
    finding::{Certainty, Comms, Finding},
};

/// A socket's identity. What was not read is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Socket {
    /// Name in the trace: `s1`, `s2`, ...
    pub id: SocketId,
    /// Socket cookie, when the kernel had given one.
    pub cookie: Option<u64>,
    /// Number of the network namespace.
    pub netns: Option<u32>,
    /// Local address and port.
    pub local: Option<SocketAddr>,
    /// Peer's address and port.
    pub remote: Option<SocketAddr>,
}

/// A [`Socket`] in a third of the room: there may be very many, and only findings are told with it.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Name in the trace.
    pub(crate) id: SocketId,
    netns: Option<NonZeroU32>,
    cookie: Option<NonZeroU64>,
    ends: Ends,
}

/// A socket's addresses.
#[derive(Debug, Default)]
enum Ends {
    #[default]
    Unknown,
    Both(SocketAddrV4, SocketAddrV4),
    Others(Box<(Option<SocketAddr>, Option<SocketAddr>)>),
}

impl Kept {
    /// Of which only the name is known.
    pub(crate) fn new(id: SocketId) -> Self {
        Self { id, ..Self::default() }
    }

    /// The socket.
    pub(crate) fn socket(&self) -> Socket {
        let (local, remote) = match &self.ends {
            Ends::Unknown => (None, None),
            Ends::Both(local, remote) => (Some((*local).into()), Some((*remote).into())),
            Ends::Others(both) => **both,
        };
        Socket {
            id: self.id,
            cookie: self.cookie.map(NonZeroU64::get),
            netns: self.netns.map(NonZeroU32::get),
            local,
            remote,
        }
    }
}

impl From<Socket> for Kept {
    /// No namespace has the number 0, and no socket such a cookie.
    fn from(socket: Socket) -> Self {
        let ends = match (socket.local, socket.remote) {
            (None, None) => Ends::Unknown,
            (Some(SocketAddr::V4(local)), Some(SocketAddr::V4(remote))) => {
                Ends::Both(local, remote)
            }
            others => Ends::Others(Box::new(others)),
        };
        Self {
            id: socket.id,
            netns: socket.netns.and_then(NonZeroU32::new),
            cookie: socket.cookie.and_then(NonZeroU64::new),
            ends,
        }
    }
}

/// A finding of any question.
pub type AnyFinding = Finding<Cause, Fact>;

/// A finding, the socket it is about, and the names of the tasks in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose life.
    pub socket: Socket,
    /// What was found.
    pub finding: AnyFinding,
    /// Names of the threads that the finding mentions.
    pub comms: Comms,
    /// The cgroup of the process whose doing it is, as a path from the root.
    pub cgroup: Option<Rc<str>>,
    /// The user stacks that the finding mentions, by number.
    pub stacks: BTreeMap<u32, Vec<Frame>>,
}

/// Most rows of a [`Tally`]; what would be one more counts in [`Tally::others`].
pub const MAX_ROWS: usize = 256;
/// Most durations of one row that are kept exactly; beyond, their upper eight bits (quantiles within 1 %).
pub const MAX_EXACT: usize = 65_536;
/// Most sockets that are told apart; beyond, [`Tally::sockets`] stays as it is.
pub const MAX_SOCKETS: usize = 1 << 20;

/// What a row of the summary is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey {
    /// Whose doing it was: the process.
    pub pid: u32,
    /// The process as it is printed.
    pub process: Rc<str>,
    /// Peer's address.
    pub remote: Option<IpAddr>,
    /// The question's own columns.
    pub columns: SmallVec<[Cow<'static, str>; 2]>,
}

/// How often, how much, how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Bytes of its findings.
    pub bytes: u64,
    /// Their durations.
    pub durations: Durations,
}

/// All findings of a run, counted. Bounded by [`MAX_ROWS`], [`MAX_EXACT`] and [`MAX_SOCKETS`].
#[derive(Clone, Debug, Default)]
pub struct Tally {
    rows: BTreeMap<RowKey, Row>,
    others: Row,
    sockets: BTreeSet<SocketId>,
    /// The last of them: the next finding is often about the same.
    latest: Option<SocketId>,
    below_limit: u64,
    may: u64,
    lines: u64,
    minor: u64,
    holds: u64,
}

impl Tally {
    /// Counts one finding of `bytes` that lasted `lasted_ns`; `printed` says that it reached the printing limit.
    pub fn add(
        &mut self,
        entry: &Entry,
        key: RowKey,
        (bytes, lasted_ns): (u64, u64),
        printed: bool,
    ) {
        let socket = entry.socket.id;
        if self.latest.replace(socket) != Some(socket) && self.sockets.len() < MAX_SOCKETS {
            self.sockets.insert(socket);
        }
        self.below_limit += u64::from(!printed);
        self.lines += entry.finding.evidence.len() as u64;
        self.minor += entry.finding.cause.minor();
        self.holds += entry.finding.cause.holds();
        self.may += u64::from(printed && entry.finding.certainty == Certainty::May);
        let full = self.rows.len() >= MAX_ROWS && !self.rows.contains_key(&key);
        let row = if full { &mut self.others } else { self.rows.entry(key).or_default() };
        row.bytes = row.bytes.saturating_add(bytes);
        row.durations.add(lasted_ns);
    }

    /// The rows, the longest waits in all first.
    pub fn rows(&self) -> Vec<(&RowKey, &Row)> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.durations.total_ns()));
        rows
    }
    /// What found no row.
    pub const fn others(&self) -> &Row {
        &self.others
    }
    /// Sockets with findings.
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }
    /// Findings that did not reach the printing limit.
    pub const fn below_limit(&self) -> u64 {
        self.below_limit
    }
    /// Printed findings that say "may".
    pub const fn may(&self) -> u64 {
        self.may
    }
    /// Lines of evidence of all findings.
    pub const fn lines(&self) -> u64 {
        self.lines
    }
    /// Of them, those that do not matter to most readers.
    pub const fn minor(&self) -> u64 {
        self.minor
    }
    /// Holds that the findings are about.
    pub const fn holds(&self) -> u64 {
        self.holds
    }
    /// Every row's durations, and those without a row.
    pub fn durations(&self) -> impl Iterator<Item = &Durations> {
        self.rows.values().chain([&self.others]).map(|row| &row.durations)
    }
}

/// Durations, nanoseconds: exact up to [`MAX_EXACT`] of them, then by their upper eight bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    exact: Vec<u64>,
    coarse: BTreeMap<u64, u64>,
    count: u64,
    total_ns: u64,
    longest_ns: u64,
}

impl Durations {
    /// One more.
    pub fn add(&mut self, ns: u64) {
        self.count += 1;
        self.total_ns = self.total_ns.saturating_add(ns);
        self.longest_ns = self.longest_ns.max(ns);
        if self.coarse.is_empty() && self.exact.len() < MAX_EXACT {
            self.exact.push(ns);
            return;
        }
        for ns in self.exact.drain(..).chain([ns]) {
            *self.coarse.entry(upper_bits(ns)).or_default() += 1;
        }
    }
    /// How many.
    pub const fn count(&self) -> u64 {
        self.count
    }
    /// Their sum, nanoseconds.
    pub const fn total_ns(&self) -> u64 {
        self.total_ns
    }
    /// The longest, nanoseconds.
    pub const fn longest_ns(&self) -> u64 {
        self.longest_ns
    }
    /// Each duration, or what is left of it, in order, with how often it was seen.
    pub fn sorted(&self) -> Vec<(u64, u64)> {
        let mut exact = self.exact.clone();
        exact.sort_unstable();
        exact
            .into_iter()
            .map(|ns| (ns, 1))
            .chain(self.coarse.iter().map(|(ns, count)| (*ns, *count)))
            .collect()
    }
    /// The smallest duration that `permille` of all do not exceed; `None` when there are none.
    pub fn quantile(&self, permille: u64) -> Option<u64> {
        let rank = self.count.saturating_mul(permille).div_ceil(1000).max(1);
        let mut seen = 0;
        self.sorted().into_iter().find_map(|(ns, count)| {
            seen += count;
            (seen >= rank).then_some(ns)
        })
    }
}

fn upper_bits(ns: u64) -> u64 {
    let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(8);
    ns >> shift << shift
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Task;

    #[test]
    fn a_socket_is_kept_whole_in_little_room() {
        let [four, other] = ["127.0.0.1:8080", "10.0.0.7:40000"].map(|end| end.parse().ok());
        let six = "[2001:db8::1]:443".parse().ok();
        for (local, remote) in [(four, other), (four, six), (six, six), (None, four), (None, None)]
        {
            for (cookie, netns) in [(None, None), (Some(7), Some(4_026_531_840))] {
                let socket = Socket { id: SocketId(3), cookie, netns, local, remote };
                assert_eq!(Kept::from(socket.clone()).socket(), socket);
            }
        }
        assert_eq!(size_of::<Kept>(), 32);
    }

    #[test]
    fn quantiles_are_exact_while_they_fit() {
        let mut durations = Durations::default();
        assert_eq!(durations.quantile(500), None);
        (1..=100).rev().for_each(|ms| durations.add(ms * 1_000_000));
        assert_eq!(
            [500, 990, 1000].map(|p| durations.quantile(p)),
            [50, 99, 100].map(|ms| Some(ms * 1_000_000))
        );
    }

    #[test]
    fn quantiles_are_within_one_percent_beyond() {
        let mut durations = Durations::default();
        (0..200_000).for_each(|us| durations.add(us * 1_000));
        assert_eq!((durations.count(), durations.longest_ns()), (200_000, 199_999_000));
        let p50 = durations.quantile(500).unwrap();
        assert!(p50.abs_diff(100_000_000) < 1_000_000, "{p50}");
        assert!(durations.coarse.len() < 8_192 && durations.exact.is_empty());
    }

    #[test]
    fn a_row_too_many_counts_with_the_others() {
        let mut tally = Tally::default();
        let cause = crate::analysis::nagle::Hold {
            writer: Task { pid: 1, tid: 1 },
            bytes: 8,
            written_bytes: None,
            way: None,
            tail: false,
            packets_out: None,
            parts: SmallVec::new(),
            release: crate::analysis::nagle::Release::Ack,
            writes: SmallVec::new(),
            writes_left_out: 0,
            nodelay_seen: false,
            turn: 0,
            part: 0,
            from_start: false,
            peer_ack: None,
            pattern: None,
        };
        let finding = Finding {
            socket: SocketId(1),
            from_ns: 0,
            until_ns: 5,
            cause: Cause::Nagle(cause),
            evidence: Vec::new(),
            certainty: Certainty::May,
            not_seen: Vec::new(),
        };
        let entry = Entry {
            socket: Socket::default(),
            finding,
            comms: Comms::default(),
            cgroup: None,
            stacks: BTreeMap::new(),
        };
        for pid in 0..=256 {
            let key = RowKey { pid, process: "".into(), remote: None, columns: SmallVec::new() };
            tally.add(&entry, key, (8, 5), pid > 0);
        }
        assert_eq!((tally.rows().len(), tally.others().bytes), (MAX_ROWS, 8));
        assert_eq!((tally.sockets(), tally.below_limit(), tally.may()), (1, 1, 256));
        assert_eq!(tally.durations().map(Durations::count).sum::<u64>(), 257);
    }
}
