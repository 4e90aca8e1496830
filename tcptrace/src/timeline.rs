//! Who a socket is, and a finding beside it: the only things a renderer sees.

use std::{collections::BTreeMap, net::SocketAddr};

use crate::{
    analysis::{Cause, Fact},
    event::SocketId,
    finding::Finding,
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

/// A finding of any question.
pub type AnyFinding = Finding<Cause, Fact>;

/// A finding, the socket it is about, and the names of the tasks in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose life.
    pub socket: Socket,
    /// What was found.
    pub finding: AnyFinding,
    /// Names of the threads that the finding mentions, by thread number.
    pub comms: BTreeMap<u32, String>,
}
