//! The lines of a hold's evidence.

use super::{
    story::Story,
    words::{short, state, timer_name},
};
use crate::{
    analysis::nagle::{Fact, Held, Limit, Number, Timer},
    explain::{
        Context, Line, Mark, stack, task,
        units::{bytes, duration, ticks},
    },
    finding::Evidence,
};

/// One line, or one for each frame of a user stack.
pub(super) fn lines(evidence: &Evidence<&Fact>, story: &Story<'_>) -> Vec<Line> {
    match evidence.fact {
        Fact::Stack { number } => stack(*number, evidence.at_ns, false, story.context),
        _ => vec![line(evidence, story)],
    }
}

fn line(evidence: &Evidence<&Fact>, story: &Story<'_>) -> Line {
    let context = story.context;
    let (label, detail) = match evidence.fact {
        Fact::Write { bytes: size, call_goes_on, msg_more, task: writer } => {
            let label = size
                .map_or_else(|| "write".to_owned(), |size| format!("write {}", bytes(size.into())));
            let size = match size {
                None if *call_goes_on => "; the call has more to give",
                None => "; size not seen",
                Some(_) => "",
            };
            let more = if *msg_more { "; MSG_MORE" } else { "" };
            (label, format!("{}{size}{more}", task(*writer, context.comms)))
        }
        fact @ Fact::Held { cause, .. } => (format!("held: {}", short(*cause)), held(fact)),
        fact @ Fact::TimerArmed { timer, .. } => {
            (format!("{} armed", timer_name(*timer)), armed(fact, context))
        }
        Fact::TimerFired { timer } => {
            (format!("{} fired", timer_name(*timer)), format!("icsk_pending={}", pending(*timer)))
        }
        Fact::Ack { acked_bytes, data_bytes, since_segment_ns, .. } => {
            ack(*acked_bytes, *data_bytes, *since_segment_ns)
        }
        Fact::AckPutOff { .. } => ("ACK put off".to_owned(), put_off(evidence.fact, context)),
        Fact::AckTimerFired { .. } => ("ACK sent".to_owned(), "delayed-ACK timer".to_owned()),
        Fact::OptionSet { option, value, task: setter } => {
            let (what, unseen) = match value {
                Some(true) => ("set", ""),
                Some(false) => ("cleared", ""),
                None => ("changed", "; new value not seen"),
            };
            (format!("{option} {what}"), format!("{}{unseen}", task(*setter, context.comms)))
        }
        Fact::FinQueued { task: closer } => ("FIN queued".to_owned(), task(*closer, context.comms)),
        Fact::Tsq => ("TSQ".to_owned(), "the socket may send again".to_owned()),
        Fact::PacingTimer => {
            ("pacing timer fired".to_owned(), "the socket may send again".to_owned())
        }
        Fact::TransmitFailed { bytes: size, returned } => {
            ("transmit failed".to_owned(), not_taken(*size, *returned))
        }
        Fact::WindowUpdate { window_bytes } => {
            ("window update".to_owned(), format!("window {}", bytes((*window_bytes).into())))
        }
        // It has lines of its own.
        Fact::Stack { .. } => (String::new(), String::new()),
        Fact::Left { bytes: size, seq, end_seq, fin } => {
            left(*size, (*seq, *end_seq), *fin, story.mss())
        }
        Fact::Discarded { bytes: size } => {
            (format!("{} discarded", bytes((*size).into())), "the connection ended".to_owned())
        }
    };
    let label = match evidence.fact {
        _ if !story.both_ends() => label,
        Fact::AckPutOff { .. } | Fact::AckTimerFired { .. } => format!("< {label}"),
        _ => format!("> {label}"),
    };
    Line { at_ns: evidence.at_ns, mark: Mark::None, held: false, minor: false, label, detail }
}

fn left(size: u32, (seq, end_seq): (u32, u32), fin: bool, mss: Option<u32>) -> (String, String) {
    let segments = match mss {
        Some(mss) if mss > 0 && size.is_multiple_of(mss) && size > mss => {
            format!("{} segments of {mss} B, ", size / mss)
        }
        _ => String::new(),
    };
    let fin = if fin { ", with the FIN" } else { "" };
    (format!("{} left", bytes(size.into())), format!("{segments}seq {seq}..{end_seq}{fin}"))
}

/// `pingpong, ato 40 ms, receiver server[412]`: why the other end may put its ACK off, and whose socket it is.
fn put_off(fact: &Fact, context: &Context<'_>) -> String {
    let Fact::AckPutOff { pingpong, ato_ticks, receiver } = fact else { return String::new() };
    let pingpong = pingpong.filter(|pingpong| *pingpong > 0).map(|_| "pingpong".to_owned());
    let ato = ato_ticks.map(|ato| format!("ato {}", ticks(ato, context.facts.hz)));
    let receiver = receiver.map(|who| format!("receiver {}", task(who, context.comms)));
    [pingpong, ato, receiver].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn held(fact: &Fact) -> String {
    let Fact::Held {
        cause,
        bytes: waiting,
        nonagle,
        packets_out,
        small_end_seq,
        unacked_bytes,
        mss_bytes,
        icsk_pending,
        limit,
    } = fact
    else {
        return String::new();
    };
    let timer = icsk_pending.filter(|_| *cause == Held::Undetermined);
    let mut words = vec![state(*nonagle, *packets_out, timer)];
    if let (Held::Nagle, Some(unacked)) = (cause, unacked_bytes) {
        words.push(format!("{} unacknowledged", bytes(unacked.get().into())));
    }
    if let (Held::Nagle, Some(end)) = (cause, small_end_seq) {
        words.push(format!("small segment up to seq {} among them", end.get()));
    }
    words.extend(match limit {
        Some(Limit::Cwnd { snd_cwnd }) => Some(format!("snd_cwnd={snd_cwnd}")),
        Some(Limit::PeerWindow { window_bytes }) => Some(format!("snd_wnd={window_bytes}")),
        Some(Limit::Pacing { pacing_wait_ns }) => {
            Some(format!("the rate allows it in {}", duration(pacing_wait_ns.get())))
        }
        None => None,
    });
    if *waiting == 0 {
        words.retain(|word| !word.is_empty());
        return words.join(", ");
    }
    words.push(match mss_bytes.map(Number::get) {
        Some(mss) if *waiting < mss => format!("{waiting} B of a {mss} B segment"),
        Some(mss) => format!("{} in segments of {mss} B", bytes((*waiting).into())),
        None => format!("{} wait", bytes((*waiting).into())),
    });
    words.retain(|word| !word.is_empty());
    words.join(", ")
}

fn ack(acked_bytes: u32, data_bytes: u32, since_segment_ns: Option<u64>) -> (String, String) {
    let acked = match acked_bytes {
        0 => "acknowledges nothing new".to_owned(),
        acked => format!("acknowledges {}", bytes(acked.into())),
    };
    let data = match data_bytes {
        0 => String::new(),
        data => format!(", carries {}", bytes(data.into())),
    };
    let since = since_segment_ns
        .map_or_else(String::new, |ns| format!(", {} after the segment left", duration(ns)));
    ("ACK in".to_owned(), format!("{acked}{data}{since}"))
}

/// What the layers below did not take, and what they said.
fn not_taken(size: u32, returned: Option<i32>) -> String {
    let said = returned.map_or_else(String::new, |returned| format!(": {}", failure(returned)));
    format!("{} not taken{said}", bytes(size.into()))
}

/// What the layers below said: a dropped segment, or an error by its number.
pub(in crate::explain) fn failure(returned: i32) -> String {
    match returned {
        -1 => "EPERM (a firewall)".to_owned(),
        -105 => "ENOBUFS (no memory)".to_owned(),
        1.. => "dropped by the queueing discipline".to_owned(),
        error => format!("error {}", -i64::from(error)),
    }
}

/// `224 ms = RTO (srtt 20.0 ms)`: the rule is named only when it yields the number.
pub(in crate::explain) fn armed(fact: &Fact, context: &Context<'_>) -> String {
    let Fact::TimerArmed { timer, due_ticks, rto_ticks, srtt_us, packets_out } = fact else {
        return String::new();
    };
    let hz = context.facts.hz.filter(|hz| *hz > 0);
    let due = ticks(*due_ticks, hz);
    let srtt = srtt_us.map(|us| duration(u64::from(us) * 1_000));
    let is_rto = *rto_ticks == Some(*due_ticks);
    let rule = match (timer, hz, *srtt_us, packets_out) {
        (Timer::LossProbe, Some(hz), Some(us), Some(packets)) if us > 0 => {
            loss_probe_rule(us, *packets, hz, *due_ticks)
        }
        _ => None,
    };
    match (rule, is_rto, srtt) {
        (Some(rule), ..) => format!("{due} = {rule}"),
        (None, true, _) if *timer == Timer::LossProbe => format!("{due}, capped by the RTO"),
        (None, true, Some(srtt)) => format!("{due} = RTO (srtt {srtt})"),
        (None, true, None) => format!("{due} = RTO"),
        (None, false, _) => due,
    }
}

/// `tcp_schedule_loss_probe()`: twice the smoothed round-trip time, and 200 ms more when one segment is in flight (its
/// ACK may be delayed), else 2 ms, or two ticks in kernels that rounded before they added.
fn loss_probe_rule(srtt_us: u32, packets_out: u32, hz: u32, due_ticks: u32) -> Option<String> {
    let in_ticks = |us: u64| (us * u64::from(hz)).div_ceil(1_000_000);
    let (due, twice) = (u64::from(due_ticks), 2 * u64::from(srtt_us));
    let srtt = duration(u64::from(srtt_us) * 1_000);
    let tick = format!("in ticks of {}", ticks(1, Some(hz)));
    if packets_out == 1 {
        return (in_ticks(twice + 200_000) == due)
            .then(|| format!("2 x srtt {srtt} + 200 ms, {tick}"));
    }
    if in_ticks(twice + 2_000) == due {
        Some(format!("2 x srtt {srtt} + 2 ms, {tick}"))
    } else {
        (in_ticks(twice) + 2 == due).then(|| format!("2 x srtt {srtt} + 2 ticks, {tick}"))
    }
}

pub(in crate::explain) const fn pending(timer: Timer) -> &'static str {
    match timer {
        Timer::Probe => "PROBE0",
        Timer::LossProbe => "LOSS_PROBE",
        Timer::Retransmit => "RETRANS",
    }
}
