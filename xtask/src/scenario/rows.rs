//! Stories in which one cause follows another for the same bytes.

use crate::oracle::Call;

use super::{
    Step, Story,
    story::{close, cork, held, more, ms, story, write},
};

/// The stories of this family.
pub(crate) fn stories() -> Vec<Story> {
    let mut stories = small_segments();
    stories.extend(limits());
    stories.extend(device());
    stories
}

/// From one rule about small segments to another.
fn small_segments() -> Vec<Story> {
    vec![
        story(
            "nagle_then_cork",
            vec![
                write(100),
                ms(1),
                write(50),
                ms(10),
                cork(true),
                ms(10),
                Step::Ack(100),
                ms(10),
                cork(false),
                ms(10),
                Step::Ack(150),
                close(),
            ],
            vec![held(50, &["nagle", "cork"], "uncork", 30_100)],
        ),
        story(
            "msg_more_then_cork",
            vec![
                write(1_000),
                ms(1),
                more(100),
                ms(10),
                cork(true),
                ms(10),
                Step::Ack(1_000),
                ms(10),
                cork(false),
                ms(10),
                Step::Ack(1_100),
                close(),
            ],
            vec![held(100, &["msg_more", "cork"], "uncork", 30_100)],
        ),
        story(
            // An acknowledgement of nothing new makes an attempt too.
            "msg_more_then_nagle",
            vec![
                write(100),
                ms(1),
                more(50),
                ms(10),
                Step::Ack(0),
                ms(20),
                Step::Ack(100),
                ms(10),
                Step::Ack(150),
                close(),
            ],
            vec![held(50, &["msg_more", "nagle"], "ack", 30_100)],
        ),
    ]
}

/// From a limit to a rule about small segments.
fn limits() -> Vec<Story> {
    vec![
        story(
            // A window that closes with nothing acknowledged is not believed by older kernels: the acknowledgement repeats it.
            "peer_window_then_nagle",
            vec![
                write(1_000),
                write(100),
                ms(1),
                Step::Window(0),
                Step::Ack(1_000),
                ms(1),
                write(50),
                ms(10),
                Step::Window(257),
                ms(20),
                Step::Ack(1_100),
                ms(10),
                Step::Ack(1_150),
                close(),
            ],
            vec![held(50, &["peer_window", "nagle"], "ack", 30_100)],
        ),
        story(
            "transmit_failed_then_cork",
            vec![
                Step::Do(Call::DeviceDrops(true)),
                write(100),
                ms(10),
                Step::Do(Call::DeviceDrops(false)),
                cork(true),
                ms(10),
                Step::Ack(0),
                ms(10),
                cork(false),
                ms(10),
                Step::Ack(100),
                close(),
            ],
            vec![held(100, &["transmit_failed", "cork"], "uncork", 30_200)],
        ),
    ]
}

/// From autocorking to a rule about small segments: the device has sent, and the attempt is made.
fn device() -> Vec<Story> {
    vec![
        story(
            // The device sends the 1000 bytes at once and the 500 a little later.
            "autocork_then_nagle",
            vec![
                Step::Do(Call::DeviceRate(125_000)),
                write(1_000),
                write(500),
                write(10),
                ms(30),
                Step::Ack(1_500),
                ms(10),
                Step::Ack(1_510),
                close(),
            ],
            vec![held(10, &["autocork", "nagle"], "ack", 30_100)],
        ),
        story(
            "autocork_then_cork",
            vec![
                Step::Do(Call::DeviceRate(125_000)),
                write(1_000),
                write(1_000),
                write(10),
                cork(true),
                ms(30),
                cork(false),
                ms(10),
                Step::Ack(2_010),
                close(),
            ],
            vec![held(10, &["autocork", "cork"], "uncork", 30_200)],
        ),
    ]
}
