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
use crate::scenario::Syn;

/// Round trip of the handshake.
const HANDSHAKE_NS: u64 = 20_000_000;
/// The peer looks this often whether the story is over.
const LOOK_NS: u64 = 50_000_000;
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
}

impl Peer {
    /// A peer behind a TUN device; it opens no connection yet.
    pub(crate) fn new(tun: Tun, server: SocketAddr) -> Arc<Self> {
        Arc::new(Self { tun, server, state: Mutex::default(), news: Condvar::new() })
    }

    /// Sends a SYN.
    pub(crate) fn connect(&self, address: SocketAddr, syn: &Syn) -> anyhow::Result<()> {
        let mut state = self.lock();
        let mut connection = Connection {
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
        };
        let timestamps = syn.timestamps.then_some((100, 0));
        let sent =
            Sent { seq: 0, syn: Some((syn.mss_bytes, syn.sack)), timestamps, ..Sent::default() };
        let packet = build(address, self.server, &sent)?;
        connection.seq = 1;
        state.connections.push(connection);
        drop(state);
        self.tun.give(&packet).context("send the SYN")
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
    fn came(&mut self, came: &Came, now: u64) {
        self.echo = came.timestamp.unwrap_or(self.echo);
        if came.syn {
            self.first = came.seq.wrapping_add(1);
            self.due.push((now + HANDSHAKE_NS, 0));
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

    /// A segment that acknowledges up to a byte of the stream; the host's FIN is answered with the peer's own.
    fn segment(
        &mut self,
        server: SocketAddr,
        up_to: u32,
        payload: &[u8],
    ) -> anyhow::Result<Vec<u8>> {
        let fin = self.fin && up_to == self.arrived;
        self.acked = self.acked.max(up_to);
        let clock_ms = u32::try_from(now_ns() / 1_000_000 % u64::from(u32::MAX))?;
        let sent = Sent {
            seq: self.seq,
            ack: Some(self.first.wrapping_add(up_to).wrapping_add(u32::from(fin))),
            fin: fin && !self.finished,
            window: self.window,
            timestamps: self.syn.timestamps.then_some((clock_ms.wrapping_add(100), self.echo)),
            payload,
            ..Sent::default()
        };
        let packet = build(self.address, server, &sent)?;
        if fin && !self.finished {
            self.finished = true;
            self.seq = self.seq.wrapping_add(1);
        }
        Ok(packet)
    }
}
