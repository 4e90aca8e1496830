//! The peer in user space: answers when the story says so, and remembers what it got.

use std::{
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;

use super::{
    packet::{Came, Sent, build, read},
    sys::{now_ns, timespec},
    tun::Tun,
};
use crate::scenario::{Active, Answer, Syn};

/// Round trip of the handshake.
const HANDSHAKE_NS: u64 = 20_000_000;
/// The peer looks this often whether the story is over.
const LOOK_NS: u64 = 50_000_000;
/// A new connection's numbers begin so far behind those of the one before.
const FURTHER: u32 = 100_000;
/// Nothing a story waits for takes longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The peer of one story with all its connections.
#[derive(Debug)]
pub(crate) struct Peer {
    tun: Tun,
    server: SocketAddr,
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    over: bool,
    connections: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    address: SocketAddr,
    syn: Syn,
    seq: u32,
    window: u16,
    /// Sequence number of the host's first byte.
    first: u32,
    /// Bytes of the stream that came, without gaps.
    arrived: u32,
    /// Bytes that were acknowledged.
    acked: u32,
    /// The host's FIN came.
    fin: bool,
    repeated: u32,
    echo: u32,
    ack_after_ns: Option<u64>,
    /// Acknowledgements to send: when, and up to which byte.
    due: Vec<(u64, u32)>,
    finished: bool,
    /// The host's SYN is to be answered, so long after it came.
    answers_after_ns: Option<u64>,
    /// How a SYN of the host is answered.
    answer: Answer,
    /// It closes, and acknowledges a FIN, only when told to: whether it has acknowledged the host's.
    by_hand: Option<bool>,
}

impl Peer {
    /// A peer behind a TUN device; it opens no connection yet.
    pub(crate) fn new(tun: Tun, server: SocketAddr) -> Arc<Self> {
        Arc::new(Self { tun, server, state: Mutex::default(), news: Condvar::new() })
    }

    /// Sends a SYN. By hand, the peer closes, and acknowledges a FIN, only when told to.
    pub(crate) fn connect(
        &self,
        address: SocketAddr,
        syn: &Syn,
        by_hand: bool,
    ) -> anyhow::Result<()> {
        let mut state = self.lock();
        let mut connection =
            Connection { by_hand: by_hand.then_some(false), ..Connection::new(address, syn) };
        let timestamps = syn.timestamps.then_some((100, 0));
        let sent =
            Sent { seq: 0, syn: Some((syn.mss_bytes, syn.sack)), timestamps, ..Sent::default() };
        let packet = build(address, self.server, &sent)?;
        connection.seq = 1;
        state.connections.push(connection);
        drop(state);
        self.tun.give(&packet).context("send the SYN")
    }

    /// Waits for the host's SYN at an address, and answers it as told; by hand as for [`Self::connect`].
    pub(crate) fn listen(&self, address: SocketAddr, active: &Active, by_hand: bool) {
        let connection = Connection {
            answers_after_ns: Some(active.after_us * 1000),
            answer: active.answer,
            by_hand: by_hand.then_some(false),
            ..Connection::new(address, &active.syn)
        };
        self.lock().connections.push(connection);
    }

    /// Acknowledges the stream up to a byte.
    pub(crate) fn ack(&self, connection: usize, up_to: u64) -> anyhow::Result<()> {
        let up_to = u32::try_from(up_to)?;
        let packet = {
            let mut state = self.lock();
            let connection = state.connections.get_mut(connection).context("no such connection")?;
            connection.segment(self.server, up_to, &[])?
        };
        self.tun.give(&packet).context("send an acknowledgement")
    }

    /// Sends bytes, which acknowledge what came.
    pub(crate) fn send(&self, connection: usize, bytes: usize) -> anyhow::Result<()> {
        let payload = vec![b'q'; bytes];
        let packet = {
            let mut state = self.lock();
            let connection = state.connections.get_mut(connection).context("no such connection")?;
            let packet = connection.segment(self.server, connection.arrived, &payload)?;
            connection.seq = connection.seq.wrapping_add(u32::try_from(bytes)?);
            packet
        };
        self.tun.give(&packet).context("send bytes")
    }

    /// Announces a window, and keeps to it.
    pub(crate) fn window(&self, connection: usize, window: u16) -> anyhow::Result<()> {
        let packet = {
            let mut state = self.lock();
            let connection = state.connections.get_mut(connection).context("no such connection")?;
            connection.window = window;
            connection.segment(self.server, connection.acked, &[])?
        };
        self.tun.give(&packet).context("announce a window")
    }

    /// Resets the connection: that is its end.
    pub(crate) fn reset(&self, connection: usize) -> anyhow::Result<()> {
        let packet = {
            let mut state = self.lock();
            let it = state.connections.get_mut(connection).context("no such connection")?;
            it.finished = true;
            build(it.address, self.server, &Sent { seq: it.seq, rst: true, ..Sent::default() })?
        };
        self.tun.give(&packet).context("send a reset")
    }

    /// Sends so many bytes with a FIN.
    pub(crate) fn closes(&self, connection: usize, bytes: usize) -> anyhow::Result<()> {
        let payload = vec![b'q'; bytes];
        self.give(connection, |it| {
            let packet =
                build(it.address, self.server, &Sent { fin: true, payload: &payload, ..it.next() });
            it.seq = it.seq.wrapping_add(u32::try_from(bytes)?).wrapping_add(1);
            packet
        })
    }

    /// Sends the FIN again.
    pub(crate) fn closes_again(&self, connection: usize) -> anyhow::Result<()> {
        self.give(connection, |it| {
            let seq = it.seq.wrapping_sub(1);
            build(it.address, self.server, &Sent { fin: true, seq, ..it.next() })
        })
    }

    /// Asks for a new connection of the same ends; what comes to it is not answered.
    pub(crate) fn opens_again(&self, connection: usize) -> anyhow::Result<()> {
        self.give(connection, |it| {
            it.answer = Answer::Nothing;
            let syn = Some((it.syn.mss_bytes, it.syn.sack));
            let seq = it.seq.wrapping_add(FURTHER);
            build(it.address, self.server, &Sent { seq, syn, ..Sent::default() })
        })
    }

    /// Acknowledges the host's FIN, when it has come.
    pub(crate) fn ack_fin(&self, connection: usize) -> anyhow::Result<()> {
        self.await_fin(connection)?;
        self.give(connection, |it| build(it.address, self.server, &it.next()))
    }

    /// Waits for the host's FIN, and acknowledges it with what it sends next.
    pub(crate) fn await_fin(&self, connection: usize) -> anyhow::Result<()> {
        self.wait(connection, |it| it.fin).context("no FIN came")?;
        if let Some(it) = self.lock().connections.get_mut(connection) {
            it.by_hand = Some(true);
        }
        Ok(())
    }

    fn give(
        &self,
        connection: usize,
        packet: impl FnOnce(&mut Connection) -> anyhow::Result<Vec<u8>>,
    ) -> anyhow::Result<()> {
        let packet = {
            let mut state = self.lock();
            packet(state.connections.get_mut(connection).context("no such connection")?)?
        };
        self.tun.give(&packet).context("send a segment")
    }

    /// From here on acknowledges so long after each arrival; before, only on command.
    pub(crate) fn ack_after(&self, connection: usize, delay_us: u64) {
        if let Some(connection) = self.lock().connections.get_mut(connection) {
            connection.ack_after_ns = Some(delay_us * 1000);
        }
    }

    /// Waits until so many bytes of the stream came.
    pub(crate) fn arrived(&self, connection: usize, bytes: u64) -> anyhow::Result<()> {
        self.wait(connection, |it| u64::from(it.arrived) >= bytes).context("the bytes never came")
    }

    /// Waits until a segment came again.
    pub(crate) fn repeated(&self, connection: usize) -> anyhow::Result<()> {
        self.wait(connection, |it| it.repeated > 0).context("no segment was sent again")
    }

    /// Waits until the host's FIN has come and was answered, or a reset was sent or came.
    pub(crate) fn finished(&self, connection: usize) -> anyhow::Result<()> {
        if let Some(it) = self.lock().connections.get_mut(connection) {
            if it.by_hand.is_some() {
                return Ok(());
            }
            it.ack_after_ns.get_or_insert(1_000_000);
            if it.fin && it.due.is_empty() && !it.finished {
                it.due.push((now_ns() + 1_000_000, it.arrived));
            }
        }
        self.wait(connection, |it| it.finished).context("no FIN came")
    }

    /// Ends [`Self::serve`].
    pub(crate) fn stop(&self) {
        self.lock().over = true;
    }

    /// Reads what the host sends and answers by rule, until stopped.
    pub(crate) fn serve(&self) {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let due_ns = {
                let state = self.lock();
                if state.over {
                    return;
                }
                let dues =
                    state.connections.iter().flat_map(|it| it.due.iter().map(|(at_ns, _)| *at_ns));
                dues.min().unwrap_or(u64::MAX)
            };
            let now = now_ns();
            let ready = self.poll(due_ns.saturating_sub(now).min(LOOK_NS));
            if ready
                && let Ok(bytes) = self.tun.take(&mut buffer)
                && let Some(came) = read(buffer.get(..bytes).unwrap_or_default())
            {
                self.came(&came);
            }
            self.answer();
        }
    }

    fn poll(&self, timeout_ns: u64) -> bool {
        let mut poll = libc::pollfd { fd: self.tun.fd(), events: libc::POLLIN, revents: 0 };
        let timeout = timespec(timeout_ns);
        // SAFETY: one pollfd and the timeout outlive the call; the signal mask stays.
        unsafe { libc::ppoll(&raw mut poll, 1, &raw const timeout, std::ptr::null()) > 0 }
    }

    fn came(&self, came: &Came) {
        let mut state = self.lock();
        let Some(it) = state.connections.iter_mut().find(|it| it.address.port() == came.dport)
        else {
            return;
        };
        it.came(came, now_ns());
        self.news.notify_all();
    }

    /// Sends what is due.
    fn answer(&self) {
        let now = now_ns();
        let mut packets = Vec::new();
        for it in &mut self.lock().connections {
            let due: Vec<(u64, u32)> = it.due.extract_if(.., |(at_ns, _)| *at_ns <= now).collect();
            for (_, up_to) in due {
                packets.extend(it.segment(self.server, up_to, &[]));
            }
        }
        for packet in packets {
            // A host that is gone needs no answer.
            let _gone = self.tun.give(&packet);
        }
        self.news.notify_all();
    }

    fn wait(&self, connection: usize, until: impl Fn(&Connection) -> bool) -> anyhow::Result<()> {
        let (_state, timeout) = self
            .news
            .wait_timeout_while(self.lock(), PATIENCE, |state| {
                !state.connections.get(connection).is_some_and(&until)
            })
            .unwrap_or_else(PoisonError::into_inner);
        anyhow::ensure!(!timeout.timed_out(), "waited {PATIENCE:?}");
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    fn new(address: SocketAddr, syn: &Syn) -> Self {
        Self {
            address,
            syn: syn.clone(),
            seq: 0,
            window: syn.window,
            first: 0,
            arrived: 0,
            acked: 0,
            fin: false,
            repeated: 0,
            echo: 0,
            ack_after_ns: None,
            due: Vec::new(),
            finished: false,
            answers_after_ns: None,
            answer: Answer::Agrees,
            by_hand: None,
        }
    }

    fn came(&mut self, came: &Came, now: u64) {
        self.echo = came.timestamp.unwrap_or(self.echo);
        if came.syn && self.answer == Answer::Nothing {
            return;
        }
        if came.syn {
            self.first = came.seq.wrapping_add(1);
            // A SYN can carry data.
            self.arrived = if self.answer == Answer::LeavesData { 0 } else { came.bytes };
            let after_ns = self.answers_after_ns.unwrap_or(HANDSHAKE_NS);
            self.due.push((now + after_ns, self.arrived));
            return;
        }
        self.finished |= came.rst;
        if came.bytes == 0 && !came.fin {
            return;
        }
        let start = came.seq.wrapping_sub(self.first);
        let end = start.wrapping_add(came.bytes);
        if came.bytes > 0 && end <= self.arrived {
            self.repeated += 1;
        } else if start <= self.arrived {
            self.arrived = end;
        }
        self.fin |= came.fin && end == self.arrived;
        if let Some(after_ns) = self.ack_after_ns {
            self.due.push((now + after_ns, self.arrived));
        }
    }

    /// An acknowledgement of what came, and of the host's FIN where that was decided.
    fn next(&mut self) -> Sent<'static> {
        self.acked = self.arrived;
        Sent {
            seq: self.seq,
            ack: Some(
                self.first
                    .wrapping_add(self.arrived)
                    .wrapping_add(u32::from(self.by_hand == Some(true))),
            ),
            window: self.window,
            ..Sent::default()
        }
    }

    /// A segment that acknowledges up to a byte of the stream; the host's FIN is answered with the peer's own.
    fn segment(
        &mut self,
        server: SocketAddr,
        up_to: u32,
        payload: &[u8],
    ) -> anyhow::Result<Vec<u8>> {
        let fin = self.by_hand.is_none() && self.fin && up_to == self.arrived;
        let acks_fin = fin || self.by_hand == Some(true) && up_to == self.arrived;
        let answers = self.answers_after_ns.take().is_some();
        if answers && self.answer == Answer::Refuses {
            let sent = Sent { ack: Some(self.first), rst: true, ..Sent::default() };
            return build(self.address, server, &sent);
        }
        self.acked = self.acked.max(up_to);
        let clock_ms = u32::try_from(now_ns() / 1_000_000 % u64::from(u32::MAX))?;
        let sent = Sent {
            seq: self.seq,
            ack: Some(self.first.wrapping_add(up_to).wrapping_add(u32::from(acks_fin))),
            fin: fin && !self.finished,
            window: self.window,
            timestamps: self.syn.timestamps.then_some((clock_ms.wrapping_add(100), self.echo)),
            payload,
            syn: answers.then_some((self.syn.mss_bytes, self.syn.sack)),
            ..Sent::default()
        };
        let packet = build(self.address, server, &sent)?;
        self.seq = self.seq.wrapping_add(u32::from(answers));
        if fin && !self.finished {
            self.finished = true;
            self.seq = self.seq.wrapping_add(1);
        }
        Ok(packet)
    }
}
