//! A deferral's own fields, as `--json` has them.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Serialize;
use tcptrace_common::tcp::TCP_RTO_MAX_S;

use crate::{
    analysis::{
        Cause, Fact as AnyFact,
        defer_accept::{Deferral, Outcome, Setting, Side, Trigger, lasts_ns},
    },
    event::Facts,
    explain::{Context, name_of, units::ticks_ns},
    finding::Finding,
};

/// The fields of a `defer`, in the order of the JSON.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Fields<'a> {
    side: &'a Side,
    outcome: &'a Outcome,
    /// Where the listener listens, of a connection to it; the address may be that of any interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    listener: Option<SocketAddr>,
    /// Seconds that were asked for, of a listener; where it was found at the start, those that `getsockopt()` tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked_s: Option<u32>,
    /// Timer periods of the listener's option: when it was set, or when the connection came.
    #[serde(skip_serializing_if = "Option::is_none")]
    periods: Option<u32>,
    /// The option's periods before it was set anew, or when the connection ended; absent where they are the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    other_periods: Option<u32>,
    /// How long so many periods are by the listener's own limits, nanoseconds; of a listener alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    periods_last_ns: Option<u64>,
    /// How often the SYN-ACK is repeated for a client that does not answer: `TCP_SYNCNT`, or `net.ipv4.tcp_synack_retries`.
    #[serde(skip_serializing_if = "Option::is_none")]
    retries: Option<u32>,
    /// From the SYN to the first bare ACK, with which the client takes itself for connected, nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    connected_ns: Option<u64>,
    /// From the first bare ACK dropped to the promotion or the drop, nanoseconds; of a client, how long its own ACK was put
    /// off.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_ns: Option<u64>,
    /// How long the program was spared a connection without data, nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    spared_ns: Option<u64>,
    /// From the SYN to the end of the deferral, nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    lasted_ns: Option<u64>,
    /// From the end of the deferral to the return of `accept()`, nanoseconds; absent where that was not seen within a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    queued_ns: Option<u64>,
    /// Bytes of data in the segment that ended the deferral.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u32>,
    /// From the end of the deferral to the first data, where it ended without, nanoseconds; absent where none came within a
    /// second.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_after_ns: Option<u64>,
    /// Timer periods that were over.
    #[serde(skip_serializing_if = "Option::is_none")]
    periods_over: Option<u32>,
    /// SYN-ACKs that the timer has sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    syn_acks_repeated: Option<u32>,
    /// SYNs that came again; absent when none did.
    #[serde(skip_serializing_if = "is_zero")]
    syns_again: u32,
    /// Bare ACKs that were dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    acks_dropped: Option<u32>,
    /// Segments that found the accept queue full; absent when none did.
    #[serde(skip_serializing_if = "is_zero")]
    accept_queue_full: u32,
    /// Resets that came and were not taken; absent when none did.
    #[serde(skip_serializing_if = "is_zero")]
    resets_ignored: u32,
    /// Connections in the accept queue when it came there, with this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    queued: Option<u32>,
    /// How many may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    backlog: Option<u32>,
    /// Another listener of its `SO_REUSEPORT` group took it over; absent when none did.
    #[serde(skip_serializing_if = "is_false")]
    migrated: bool,
    /// What sent a client's ACK that was put off.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Trigger")]
    sent_by: Option<Trigger>,
    /// The kernel's counters (`TcpExt`) that it has raised.
    counters: Vec<CounterFields>,
    /// Lines of evidence beyond the first 64; absent when there are none.
    #[serde(skip_serializing_if = "is_zero")]
    evidence_left_out: u32,
}

/// A counter of the kernel, and by how much it was raised.
#[derive(Debug, Serialize, JsonSchema)]
struct CounterFields {
    /// Its name.
    name: &'static str,
    /// By how much.
    times: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// The name of what became of it; nothing lets it go.
pub(in crate::explain) fn names(it: &Deferral) -> (Vec<String>, Vec<String>) {
    (vec![name_of(&it.outcome)], Vec::new())
}

/// First release whose requests keep to the listener's longest retransmission timeout.
const KEEPS_TO_RTO_MAX: u32 = 7;

/// Longest period of the listener's requests, nanoseconds.
pub(super) fn longest_ns(setting: &Setting, facts: &Facts) -> u64 {
    let longest_ns = TCP_RTO_MAX_S * 1_000_000_000;
    let major = facts.release.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < KEEPS_TO_RTO_MAX) {
        return longest_ns;
    }
    let own_ns = setting
        .rto_max_ms
        .map(|ms| u64::from(ms) * 1_000_000)
        .or_else(|| ticks_ns(setting.rto_max_ticks?, facts.hz));
    own_ns.filter(|own_ns| *own_ns > 0).map_or(longest_ns, |own_ns| own_ns.min(longest_ns))
}

pub(in crate::explain) fn fields<'a>(
    _finding: &Finding<Cause, AnyFact>,
    it: &'a Deferral,
    context: &Context<'_>,
) -> (Fields<'a>, Vec<&'static str>) {
    let of_server = |value: u32| (it.side == Side::Server).then_some(value);
    let is_set = it.side != Side::Client;
    let fields = Fields {
        side: &it.side,
        outcome: &it.outcome,
        listener: it.listener,
        asked_s: it.seconds,
        periods: is_set.then_some(it.setting.periods),
        other_periods: it.other_periods,
        periods_last_ns: (it.side == Side::Listener)
            .then(|| lasts_ns(it.setting.periods, longest_ns(&it.setting, context.facts))),
        retries: it.setting.retries().filter(|_| is_set),
        connected_ns: it.connected_ns,
        held_ns: it.held_ns,
        spared_ns: it.spared_ns(),
        lasted_ns: it.lasted_ns,
        queued_ns: it.queued_ns,
        bytes: it.bytes,
        data_after_ns: it.data_after_ns,
        periods_over: of_server(it.periods_over),
        syn_acks_repeated: of_server(it.syn_acks_repeated),
        syns_again: it.syns_again,
        acks_dropped: of_server(it.acks_dropped),
        accept_queue_full: it.queue_full,
        resets_ignored: it.resets_ignored,
        queued: it.accept_queue.map(|(queued, _)| queued),
        backlog: it.accept_queue.map(|(_, backlog)| backlog),
        migrated: it.migrated,
        sent_by: it.sent_by,
        counters: it
            .counters()
            .into_iter()
            .map(|(name, times)| CounterFields { name, times })
            .collect(),
        evidence_left_out: it.lines_left_out,
    };
    (fields, Vec::new())
}
