//! Stories in which TCP holds nothing, and nothing may be reported.

use crate::oracle::Call;

use super::{
    Step, Story,
    story::{close, ms, nodelay, story, write},
};

/// The stories of this family.
pub(crate) fn stories() -> Vec<Story> {
    let mut stories = writes_that_fail();
    stories.extend([
        story(
            "innocent_nodelay",
            vec![
                nodelay(true),
                Step::AckAfter(30_000),
                write(100),
                ms(1),
                write(50),
                ms(1),
                write(10),
                ms(100),
                write(10),
                ms(50),
                close(),
            ],
            vec![],
        ),
        story("innocent_server_thinks_40_ms", thinks(40), vec![]),
        story("innocent_server_thinks_200_ms", thinks(200), vec![]),
        story(
            "innocent_large_writes",
            vec![
                Step::AckAfter(20_000),
                write(5500),
                ms(60),
                write(4000),
                ms(60),
                write(999),
                ms(60),
                close(),
            ],
            vec![],
        ),
        story(
            "innocent_slow_reader",
            vec![
                Step::AckAfter(10_000),
                Step::PeerSends(300),
                ms(150),
                Step::Do(Call::Read(300)),
                write(200),
                ms(50),
                close(),
            ],
            vec![],
        ),
    ]);
    stories
}

/// There is no connection any more.
fn writes_that_fail() -> Vec<Story> {
    vec![
        // The first write is told of the reset, the second that there is no connection: nothing waits for one.
        story(
            "innocent_writes_after_a_reset",
            vec![
                write(100),
                ms(10),
                Step::Ack(100),
                ms(10),
                Step::Reset,
                ms(10),
                Step::Do(Call::WriteRefused(50)),
                Step::Do(Call::WriteRefused(50)),
                close(),
            ],
            vec![],
        ),
        // This end has closed its half.
        story(
            "innocent_writes_after_shutdown",
            vec![
                write(100),
                ms(10),
                Step::Ack(100),
                ms(10),
                Step::Do(Call::ShutdownWrite),
                ms(10),
                Step::Do(Call::WriteRefused(50)),
                ms(10),
                close(),
            ],
            vec![],
        ),
    ]
}

/// Three requests, each answered in one write after the program has thought about it.
fn thinks(for_ms: u64) -> Vec<Step> {
    let round = [Step::PeerSends(80), Step::Do(Call::Read(80)), ms(for_ms), write(120), ms(30)];
    let mut steps = vec![Step::AckAfter(5_000)];
    for _ in 0..3 {
        steps.extend(round.iter().cloned());
    }
    steps.push(close());
    steps
}
