//! The stories that need a tcptrace of their own, because they are about what it cannot have seen.

use crate::oracle::Call;

use super::{
    Expect, Link, Step, Story, Syn, Then,
    random::random,
    story::{SYN, close, cork, ms, write},
};

/// Corked writes of one byte in one go: far more events than the smallest buffer takes.
const BURST: usize = 2050;
/// Enough of them to fill the smallest buffer, and in a random schedule one such burst before every so many steps.
const SMALL_BURST: usize = 25;
const BURST_EVERY: usize = 15;

/// Corked bytes wait when tcptrace comes; more join them before they leave. Then a hold that it sees from its start.
pub(crate) fn attached_mid_hold() -> Story {
    // Without SACK there is no loss probe, and the timeout sends only what was sent before: the tail of the first write
    // waits for as long as the probes take to attach.
    let syn = Syn { sack: false, ..SYN };
    let steps = vec![
        cork(true),
        write(1100),
        ms(50),
        Step::Attach,
        ms(20),
        Step::Ack(1000),
        ms(20),
        write(40),
        ms(30),
        cork(false),
        ms(10),
        Step::Ack(1140),
        ms(100),
        cork(true),
        write(30),
        ms(40),
        cork(false),
        ms(10),
        Step::Ack(1170),
        ms(5),
        close(),
    ];
    let steps = steps.into_iter().map(|step| Then { connection: 0, step }).collect();
    apart("attached_mid_hold", Link::Tun(vec![syn]), steps)
}

/// A hold, then quiet; then a burst on one connection while bytes wait on two others; quiet, and a hold again.
pub(crate) fn losses_forced() -> Story {
    let mut steps = Vec::new();
    let mut on = |connection, more: Vec<Step>| {
        steps.extend(more.into_iter().map(|step| Then { connection, step }));
    };
    on(1, nagle_hold(0));
    on(1, vec![ms(300), write(100), write(50)]);
    on(0, vec![cork(true)]);
    on(0, vec![write(1); BURST / 2]);
    on(2, vec![write(100), write(50)]);
    on(0, vec![write(1); BURST - BURST / 2]);
    on(2, vec![ms(20), Step::Ack(100), ms(10), Step::Ack(150)]);
    on(1, vec![Step::Ack(250), ms(10), Step::Ack(300)]);
    on(0, vec![Step::Ack(2000), ms(10), cork(false), ms(10), Step::Ack(2050), ms(300)]);
    on(1, nagle_hold(300));
    on(2, nagle_hold(150));
    for connection in 0..3 {
        on(connection, vec![Step::Do(Call::Close)]);
    }
    apart("losses_forced", Link::Tun(vec![SYN; 3]), steps)
}

/// A random schedule with bursts on one more connection: what happens just after one is lost, in places that nobody
/// chose.
pub(crate) fn losses_random(seed: u64) -> Story {
    let random = random(seed);
    let Link::Tun(mut syns) = random.link else { return random };
    let bursting = syns.len();
    syns.push(SYN);
    let mut steps = Vec::new();
    let mut on = |step| steps.push(Then { connection: bursting, step });
    on(Step::AckAfter(5_000));
    on(cork(true));
    for (at, then) in random.steps.into_iter().enumerate() {
        if at % BURST_EVERY == 0 {
            let burst = Then { connection: bursting, step: Step::DoIfRoom(Call::Write(1)) };
            steps.extend(vec![burst; SMALL_BURST]);
        }
        steps.push(then);
    }
    steps.push(Then { connection: bursting, step: close() });
    apart("losses_random", Link::Tun(syns), steps)
}

/// A random schedule, four times over: long enough to be under way while tcptrace attaches.
pub(crate) fn under_load(seed: u64) -> Story {
    let random = random(seed);
    let closes = |then: &Then| matches!(then.step, Step::Do(Call::Close));
    let (last, once): (Vec<Then>, Vec<Then>) = random.steps.into_iter().partition(closes);
    let steps = once.iter().cycle().take(4 * once.len()).cloned().chain(last).collect();
    apart("attached_under_load", random.link, steps)
}

/// 50 B wait for the acknowledgement of 100 B, which come after `acked`.
fn nagle_hold(acked: u64) -> Vec<Step> {
    let (write, ack) = ([write(100), write(50)], [acked + 100, acked + 150].map(Step::Ack));
    let mut steps = Vec::from(write);
    for ack in ack {
        steps.extend([ms(20), ack]);
    }
    steps
}

fn apart(name: &str, link: Link, steps: Vec<Then>) -> Story {
    Story {
        name: name.to_owned(),
        link,
        listener: Vec::new(),
        steps,
        counter: None,
        expect: Expect::Holds(None),
    }
}
