//! The sockets whose peer has closed: at the end of the run, who has not closed them yet.

use std::collections::{BTreeMap, BTreeSet};

use tcptrace_common::{field::Field, hook::Hook};

use crate::{
    event::{About, Event, SocketId},
    kernel::{
        holders::{self, Ends},
        process,
    },
    source::Item,
};

/// Most sockets that are looked up at the end; further ones are told without a name.
const MOST: usize = 65_536;

/// What is known of sockets that live, and which of them wait for their program.
#[derive(Debug, Default)]
pub(super) struct Unclosed {
    met: BTreeMap<SocketId, Ends>,
    waiting: BTreeSet<SocketId>,
}

impl Unclosed {
    /// Takes the next event.
    pub(super) fn notice(&mut self, event: &Event) {
        match event.hook {
            Hook::socket => {
                let netns = event.u32(Field::netns);
                if let Some((local, remote)) = event.local().zip(event.remote()) {
                    self.met.insert(event.socket, Ends { local, remote, netns });
                }
            }
            Hook::tcp_fin if self.waiting.len() < MOST => {
                self.waiting.insert(event.socket);
            }
            Hook::tcp_v4_destroy_sock | Hook::socket_reused | Hook::socket_left => {
                self.met.remove(&event.socket);
                self.waiting.remove(&event.socket);
            }
            Hook::tcp_send_fin | Hook::__tcp_close => {
                self.waiting.remove(&event.socket);
            }
            _ => {}
        }
    }

    /// Who has them open now, and the names of these processes.
    pub(super) fn holders(&self) -> Vec<Item> {
        let ends = |id: &SocketId| Some((*self.met.get(id)?, *id));
        let sockets: BTreeMap<Ends, SocketId> = self.waiting.iter().filter_map(ends).collect();
        let found = holders::of_close_wait(&sockets.keys().copied().collect());
        let mut named = BTreeSet::new();
        let mut items = Vec::new();
        for (ends, holder) in found {
            let Some(&socket) = sockets.get(&ends) else { continue };
            if named.insert(holder.pid) {
                let comm = process::comm(holder.pid, holder.pid);
                items.extend(comm.map(|comm| Item::Comm { tid: holder.pid, comm }));
            }
            items.push(Item::About(About::Holder { socket, holder }));
        }
        items
    }
}
