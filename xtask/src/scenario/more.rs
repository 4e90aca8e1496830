//! Stories in which `MSG_MORE` holds bytes.

use super::{
    Expected, Step, Story,
    story::{close, held, more, ms, nodelay, story, timed, write},
};

/// The stories of this family.
pub(crate) fn stories() -> Vec<Story> {
    vec![
        // h06
        story(
            "more_ack",
            vec![more(1100), ms(30), Step::Ack(1000), ms(10), Step::Ack(1100), ms(5), close()],
            vec![held(100, &["msg_more"], "ack", 30_000)],
        ),
        story(
            "more_probe_timer_under_nodelay",
            vec![nodelay(true), more(40), Step::Arrived(40), ms(10), Step::Ack(40), ms(5), close()],
            // 213 ms to 228 ms were seen, by how the write falls on the tick.
            vec![Expected { slack_us: 14_000, ..timed(40, &["msg_more"], "probe_timer", 220_000) }],
        ),
        story(
            "more_next_write",
            vec![more(755), ms(23), write(100), ms(10), Step::Ack(855), ms(5), close()],
            vec![held(755, &["msg_more"], "push", 23_100)],
        ),
        story(
            "more_filled",
            vec![
                more(600),
                ms(9),
                more(600),
                ms(12),
                Step::Ack(1000),
                ms(10),
                Step::Ack(1200),
                ms(5),
                close(),
            ],
            vec![
                held(600, &["msg_more"], "more_data", 9_100),
                held(200, &["msg_more"], "ack", 12_100),
            ],
        ),
        story(
            "more_close",
            vec![more(30), ms(10), close(), ms(10), Step::Ack(30)],
            vec![held(30, &["msg_more"], "fin", 10_100)],
        ),
        story(
            "nagle_then_more",
            vec![
                write(100),
                ms(1),
                write(50),
                ms(2),
                more(20),
                ms(10),
                Step::Ack(100),
                ms(9),
                Step::Ack(170),
                close(),
            ],
            vec![held(70, &["nagle", "msg_more"], "ack", 12_200)],
        ),
    ]
}
