//! An attempt's own fields, as `--json` has them.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    analysis::{
        Cause, Fact as AnyFact,
        fastopen::{Asked, Attempt, Outcome, Pause, Reason, Side, SynOption},
    },
    explain::{Context, name_of},
    finding::Finding,
};

/// The fields of a `fastopen`, in the order of the JSON.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Fields<'a> {
    side: &'a Side,
    outcome: &'a Outcome,
    /// Why; absent where there is nothing to say, as when it worked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Reason")]
    reason: Option<Reason>,
    /// How the program asked; absent on a server, and where it was not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Asked")]
    asked: Option<Asked>,
    /// Bytes that the write gave; absent on a server, and where `connect()` sent the SYN.
    #[serde(skip_serializing_if = "Option::is_none")]
    given_bytes: Option<u32>,
    /// Bytes of data in the SYN; absent where it was not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    syn_data_bytes: Option<u32>,
    /// Of them, those that the SYN-ACK acknowledged; absent where none came.
    #[serde(skip_serializing_if = "Option::is_none")]
    acked_bytes: Option<u32>,
    /// The option of Fast Open in the SYN; absent where it was not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SynOption")]
    syn_option: Option<SynOption>,
    /// It was the experimental option (254); absent when it was not.
    #[serde(skip_serializing_if = "is_false")]
    experimental: bool,
    /// The SYN-ACK carried a cookie; absent where none came, or nobody has looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    cookie_given: Option<bool>,
    /// From the SYN to the SYN-ACK, nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    round_trip_ns: Option<u64>,
    /// The round trip that the data did not have to wait for, nanoseconds; absent where it had to.
    #[serde(skip_serializing_if = "Option::is_none")]
    saved_ns: Option<u64>,
    /// How often the SYN was sent again; absent when it was not.
    #[serde(skip_serializing_if = "is_zero")]
    resent: u32,
    /// `net.ipv4.tcp_fastopen` of the network namespace, as bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    sysctl_tcp_fastopen: Option<u32>,
    /// Connections of the listener whose handshake was not complete before this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    qlen: Option<u32>,
    /// How many of them `TCP_FASTOPEN` allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_qlen: Option<u32>,
    /// The pause of Fast Open that is spoken of.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PauseFields")]
    pause: Option<PauseFields>,
    /// What the write that asked returned: bytes, or a negative error.
    #[serde(skip_serializing_if = "Option::is_none")]
    returned: Option<i32>,
    /// Error number that ended the attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<u32>,
    /// From `connect()` to the SYN, where the first write sent it, nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    deferred_ns: Option<u64>,
    /// From the SYN to the return of `accept()`, nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted_ns: Option<u64>,
    /// What the other end of the connection saw of it, where that is on this host and was told first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "OtherFields")]
    other_end: Option<OtherFields>,
    /// The kernel's counters (`TcpExt`) that it has raised by one.
    counters: Vec<&'static str>,
    /// Lines of evidence beyond the first 32; absent when there are none.
    #[serde(skip_serializing_if = "is_zero")]
    evidence_left_out: u32,
}

/// A pause of Fast Open for all clients of a network namespace.
#[derive(Debug, Serialize, JsonSchema)]
struct PauseFields {
    /// Which in a row, from 1.
    times: u32,
    /// How long it lasts, nanoseconds.
    lasts_ns: u64,
    /// What is left of it, nanoseconds; absent where the kernel's HZ is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_ns: Option<u64>,
}

/// The other end.
#[derive(Debug, Serialize, JsonSchema)]
struct OtherFields {
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Reason")]
    reason: Option<Reason>,
    /// `net.ipv4.tcp_fastopen` of its network namespace, as bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    sysctl_tcp_fastopen: Option<u32>,
    /// The process at work there; absent where it was not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// The names of what became of it and why; nothing lets it go.
pub(in crate::explain) fn names(attempt: &Attempt) -> (Vec<String>, Vec<String>) {
    let reason = attempt.reason.map(|reason| name_of(&reason));
    ([name_of(&attempt.outcome)].into_iter().chain(reason).collect(), Vec::new())
}

/// What is left of a pause, nanoseconds.
pub(super) fn left_ns(pause: Pause, hz: Option<u32>) -> Option<u64> {
    let since_ns = crate::explain::units::ticks_ns(pause.since_ticks, hz)?;
    Some(lasts_ns(pause).saturating_sub(since_ns))
}

/// How long a pause lasts, nanoseconds.
pub(super) const fn lasts_ns(pause: Pause) -> u64 {
    pause.lasts_s().saturating_mul(1_000_000_000)
}

pub(in crate::explain) fn fields<'a>(
    _finding: &Finding<Cause, AnyFact>,
    attempt: &'a Attempt,
    context: &Context<'_>,
) -> (Fields<'a>, Vec<&'static str>) {
    let pause = attempt.pause.or_else(|| attempt.blackhole.and_then(|hole| hole.pause));
    let fields = Fields {
        side: &attempt.side,
        outcome: &attempt.outcome,
        reason: attempt.reason,
        asked: attempt.asked,
        given_bytes: attempt.given_bytes,
        syn_data_bytes: attempt.syn_data_bytes,
        acked_bytes: attempt.acked_bytes,
        syn_option: attempt.option,
        experimental: attempt.experimental,
        cookie_given: attempt.cookie_given,
        round_trip_ns: attempt.round_trip_ns,
        saved_ns: attempt.saved_ns(),
        resent: attempt.resent,
        sysctl_tcp_fastopen: attempt.setting,
        qlen: attempt.queue.map(|queue| queue.qlen),
        max_qlen: attempt.queue.map(|queue| queue.max_qlen),
        pause: pause.map(|pause| PauseFields {
            times: pause.times,
            lasts_ns: lasts_ns(pause),
            left_ns: left_ns(pause, context.facts.hz),
        }),
        returned: attempt.returned,
        errno: attempt.error.filter(|error| *error > 0),
        deferred_ns: attempt.deferred_ns,
        accepted_ns: attempt.accepted_ns,
        other_end: attempt.other.map(|other| OtherFields {
            outcome: other.outcome,
            reason: other.reason,
            sysctl_tcp_fastopen: other.setting,
            pid: other.task.map(|task| task.pid),
        }),
        counters: attempt.counters(),
        evidence_left_out: attempt.lines_left_out,
    };
    (fields, Vec::new())
}
