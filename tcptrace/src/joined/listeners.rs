//! What findings say of the listeners with `TCP_DEFER_ACCEPT`: how many connections each of them deferred, and what became of
//! them.

use std::{collections::BTreeMap, net::SocketAddr};

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    analysis::{
        Cause,
        defer_accept::{Outcome, Side},
    },
    timeline::{Durations, Entry},
};

/// Most listeners that are told apart; connections to others are in no row.
const MAX_LISTENERS: usize = 256;

/// The connections to each listener.
#[derive(Debug, Default)]
pub struct Listeners {
    /// By address and network namespace.
    rows: BTreeMap<(SocketAddr, Option<u32>), Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    deferred: u64,
    data: u64,
    empty: u64,
    dropped: u64,
    held: u64,
    not_deferred: u64,
    waits: Durations,
}

/// The connections to one listener with `TCP_DEFER_ACCEPT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Listened {
    /// Where it listens; the address may be that of any interface.
    #[schemars(with = "String")]
    pub listener: SocketAddr,
    /// Number of its network namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<u32>,
    /// Connections that it held.
    pub deferred: u64,
    /// Of them, those that data made ready for `accept()`.
    pub data_came: u64,
    /// Of them, those that became ready without data.
    pub promoted_empty: u64,
    /// Of them, those that were dropped.
    pub dropped: u64,
    /// Of them, those that were held at the end, or whose end is not determined.
    pub held: u64,
    /// Connections that it did not hold.
    pub not_deferred: u64,
    /// Median of how long they were held, nanoseconds.
    pub held_p50_ns: u64,
    /// The time that 99 % of them were not held for longer than, nanoseconds.
    pub held_p99_ns: u64,
    /// The longest, nanoseconds.
    pub held_max_ns: u64,
}

impl Listeners {
    /// Counts a connection.
    pub fn add(&mut self, entry: &Entry) {
        let Cause::DeferAccept(it) = &entry.finding.cause else { return };
        let (Side::Server, Some(listener)) = (it.side, it.listener) else { return };
        let key = (listener, entry.socket.netns);
        if self.rows.len() >= MAX_LISTENERS && !self.rows.contains_key(&key) {
            return;
        }
        let row = self.rows.entry(key).or_default();
        let Some(held_ns) = it.held_ns else {
            row.not_deferred += 1;
            return;
        };
        row.deferred += 1;
        row.waits.add(held_ns);
        *match it.outcome {
            Outcome::Data => &mut row.data,
            Outcome::Fin | Outcome::Deadline | Outcome::SwitchedOff => &mut row.empty,
            Outcome::ClientReset
            | Outcome::Unanswered
            | Outcome::ListenerClosed
            | Outcome::Icmp
            | Outcome::QueueFull => &mut row.dropped,
            _ => &mut row.held,
        } += 1;
    }

    /// One row for each listener.
    pub fn rows(&self) -> Vec<Listened> {
        let one = |((listener, netns), row): (&(SocketAddr, Option<u32>), &Counts)| Listened {
            listener: *listener,
            netns: *netns,
            deferred: row.deferred,
            data_came: row.data,
            promoted_empty: row.empty,
            dropped: row.dropped,
            held: row.held,
            not_deferred: row.not_deferred,
            held_p50_ns: row.waits.quantile(500).unwrap_or(0),
            held_p99_ns: row.waits.quantile(990).unwrap_or(0),
            held_max_ns: row.waits.longest_ns(),
        };
        self.rows.iter().map(one).collect()
    }
}
