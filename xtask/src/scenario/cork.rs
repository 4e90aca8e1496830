//! Stories in which `TCP_CORK` holds bytes.

use crate::oracle::Call;

use super::{
    Step, Story, Syn,
    story::{SYN, close, cork, held, ms, nodelay, story, timed, with, write},
};

/// The stories of this family.
pub(crate) fn stories() -> Vec<Story> {
    let mut stories = vec![
        story(
            "cork_uncork",
            vec![
                cork(true),
                write(40),
                ms(10),
                write(40),
                ms(50),
                cork(false),
                ms(10),
                Step::Ack(80),
                ms(5),
                close(),
            ],
            vec![held(80, &["cork"], "uncork", 60_100)],
        ),
        story(
            "cork_nodelay",
            vec![
                cork(true),
                write(40),
                write(40),
                ms(50),
                nodelay(true),
                ms(10),
                Step::Ack(80),
                ms(5),
                close(),
            ],
            vec![held(80, &["cork"], "nodelay", 50_100)],
        ),
        story(
            "cork_filled",
            vec![
                cork(true),
                write(600),
                ms(7),
                write(600),
                ms(10),
                Step::Ack(1000),
                ms(20),
                cork(false),
                ms(10),
                Step::Ack(1200),
                ms(5),
                close(),
            ],
            vec![held(600, &["cork"], "more_data", 7_100), held(200, &["cork"], "uncork", 30_100)],
        ),
        founding(),
        nodelay_and_cork(),
    ];
    stories.extend(ended());
    stories.extend(acknowledged());
    stories
}

/// The FIN takes the corked bytes along.
fn ended() -> Vec<Story> {
    vec![
        // h10
        story(
            "cork_close",
            vec![cork(true), write(100), ms(50), close(), ms(10), Step::Ack(100)],
            vec![held(100, &["cork"], "fin", 50_100)],
        ),
        // h11
        story(
            "cork_shutdown",
            vec![
                cork(true),
                write(100),
                ms(50),
                Step::Do(Call::ShutdownWrite),
                ms(10),
                Step::Ack(100),
                close(),
            ],
            vec![held(100, &["cork"], "fin", 50_100)],
        ),
    ]
}

/// `seed_cork`: the probe timer sends what cork holds with nothing in flight, the loss probe what it holds behind data.
fn founding() -> Story {
    with(
        "cork_probe_timer_then_tail",
        Syn { mss_bytes: 62, timestamps: true, ..SYN },
        vec![
            cork(true),
            write(8),
            Step::Arrived(8),
            Step::Ack(8),
            ms(5000),
            write(105),
            Step::Arrived(113),
            Step::Ack(113),
            ms(1000),
            close(),
        ],
        vec![
            timed(8, &["cork"], "probe_timer", 226_000),
            timed(5, &["cork"], "loss_probe", 44_000),
        ],
    )
}

/// h12: `TCP_NODELAY` under cork flushes once, and cork stays.
fn nodelay_and_cork() -> Story {
    story(
        "nodelay_and_cork",
        vec![
            nodelay(true),
            cork(true),
            write(100),
            ms(50),
            cork(false),
            ms(10),
            Step::Ack(100),
            cork(true),
            nodelay(false),
            write(100),
            ms(50),
            nodelay(true),
            ms(10),
            Step::Ack(200),
            write(100),
            Step::Arrived(300),
            ms(10),
            Step::Ack(300),
            ms(5),
            close(),
        ],
        vec![
            held(100, &["cork"], "uncork", 50_100),
            held(100, &["cork"], "nodelay", 50_100),
            timed(100, &["cork"], "probe_timer", 224_000),
        ],
    )
}

/// An acknowledgement does not let corked bytes go: the probe timer counts from it.
fn acknowledged() -> Vec<Story> {
    vec![
        // h15
        story(
            "cork_ack_does_not_release",
            vec![
                cork(true),
                write(2100),
                ms(5),
                Step::Ack(2000),
                Step::Arrived(2100),
                ms(10),
                Step::Ack(2100),
                close(),
            ],
            vec![timed(100, &["cork"], "probe_timer", 227_000)],
        ),
        // h05
        with(
            "cork_ack_without_sack",
            Syn { sack: false, ..SYN },
            vec![
                cork(true),
                write(1100),
                ms(30),
                Step::Ack(1000),
                Step::Arrived(1100),
                ms(10),
                Step::Ack(1100),
                ms(5),
                close(),
            ],
            vec![timed(100, &["cork"], "probe_timer", 255_000)],
        ),
    ]
}
