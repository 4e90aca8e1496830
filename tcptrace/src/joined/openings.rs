//! Both ends of a connection on this host, one of which opened it with Fast Open: what the other made of that.

use std::{collections::VecDeque, net::SocketAddr, rc::Rc};

use crate::{
    analysis::{
        Cause,
        fastopen::{OtherEnd, Side},
    },
    event::Seq,
    finding::Certainty,
    timeline::Entry,
};

/// Most attempts that are remembered; a further one takes the place of the first that was told.
const MAX_TOLD: usize = 4096;

/// The attempts that were told, by who told them.
#[derive(Debug, Default)]
pub(super) struct Openings {
    told: VecDeque<(Known, OtherEnd, Option<Rc<str>>)>,
}

/// What both ends know a connection by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    side: Side,
    client: SocketAddr,
    server: SocketAddr,
    isn: Seq,
}

impl Openings {
    /// The end that is told last tells of the one before it. A sequence number that both know says that it is the same
    /// connection, whatever namespace an address belongs to.
    pub(super) fn join(&mut self, entry: &mut Entry) {
        let (local, remote) = (entry.socket.local, entry.socket.remote);
        let Cause::Fastopen(attempt) = &mut entry.finding.cause else { return };
        let (Some((local, remote)), Some(isn)) = (local.zip(remote), attempt.isn) else { return };
        let (client, server, other) = match attempt.side {
            Side::Client => (local, remote, Side::Server),
            Side::Server => (remote, local, Side::Client),
        };
        let known = Known { side: attempt.side, client, server, isn };
        let found = self.told.iter().rposition(|(of, ..)| *of == Known { side: other, ..known });
        if let Some((_, told, comm)) = found.and_then(|at| self.told.remove(at)) {
            attempt.other = Some(told);
            if let (Some(task), Some(comm)) = (told.task, comm) {
                entry.comms.add(task.tid, &comm);
            }
            return;
        }
        // What is not certain is not passed on.
        if entry.finding.certainty != Certainty::Seen {
            return;
        }
        if self.told.len() >= MAX_TOLD {
            self.told.pop_front();
        }
        let comm = attempt.task.and_then(|task| entry.comms.get(task.tid)).cloned();
        let told = OtherEnd {
            outcome: attempt.outcome,
            reason: attempt.reason,
            task: attempt.task,
            setting: attempt.setting,
        };
        self.told.push_back((known, told, comm));
    }
}
