//! Stories of urgent data (`MSG_OOB`): no rule about small segments holds it, nor what is in front of it, until it is
//! acknowledged.

use crate::oracle::{Call, Way};

use super::{
    Step, Story, Syn,
    story::{SYN, close, cork, held, more, ms, story, with, write},
};

/// The stories of this family.
pub(crate) fn stories() -> Vec<Story> {
    let mut stories = takes_along();
    stories.extend(unheld());
    stories
}

/// Something waits in front of it.
fn takes_along() -> Vec<Story> {
    vec![
        story(
            "urgent_data_under_cork",
            vec![
                cork(true),
                write(40),
                ms(10),
                by(Way::Urgent, 1),
                ms(10),
                write(30),
                ms(10),
                Step::Ack(71),
                ms(10),
                write(20),
                ms(15),
                cork(false),
                ms(10),
                Step::Ack(91),
                close(),
            ],
            vec![held(40, &["cork"], "urgent_data", 10_100), held(20, &["cork"], "uncork", 15_100)],
        ),
        story(
            "urgent_data_behind_nagle",
            vec![
                write(100),
                ms(1),
                write(50),
                ms(8),
                by(Way::Urgent, 10),
                ms(20),
                Step::Ack(160),
                ms(10),
                close(),
            ],
            vec![held(50, &["nagle"], "urgent_data", 8_100)],
        ),
        // The call says that more will follow, and its bytes are not held for that.
        story(
            "urgent_data_after_msg_more",
            vec![
                more(40),
                ms(12),
                by(Way::UrgentMore, 5),
                ms(20),
                Step::Ack(45),
                ms(10),
                by(Way::UrgentMore, 5),
                ms(10),
                Step::Ack(50),
                close(),
            ],
            vec![held(40, &["msg_more"], "urgent_data", 12_100)],
        ),
    ]
}

/// Nothing does, or it leaves for another reason.
fn unheld() -> Vec<Story> {
    vec![
        story(
            "urgent_data_fills_a_segment",
            vec![
                write(100),
                ms(1),
                write(600),
                ms(8),
                by(Way::Urgent, 600),
                ms(20),
                Step::Ack(1_300),
                ms(10),
                close(),
            ],
            vec![held(600, &["nagle"], "more_data", 8_100)],
        ),
        story(
            "innocent_urgent_data",
            vec![
                cork(true),
                by(Way::Urgent, 10),
                ms(5),
                write(10),
                ms(5),
                more(10),
                ms(20),
                Step::Ack(30),
                ms(10),
                close(),
            ],
            Vec::new(),
        ),
        // Nothing pushes where nothing was given.
        story(
            "nagle_then_writes_of_nothing",
            vec![
                write(100),
                ms(1),
                write(50),
                ms(5),
                write(0),
                by(Way::Urgent, 0),
                by(Way::EndOfRecord, 0),
                ms(25),
                Step::Ack(100),
                ms(10),
                Step::Ack(150),
                close(),
            ],
            vec![held(50, &["nagle"], "ack", 30_100)],
        ),
        // Windows hold urgent data too.
        with(
            "urgent_data_and_zero_window",
            Syn { window: 0, ..SYN },
            vec![by(Way::Urgent, 50), ms(50), Step::Window(257), ms(20), Step::Ack(50), close()],
            vec![held(50, &["peer_window"], "window_update", 50_100)],
        ),
    ]
}

fn by(way: Way, bytes: usize) -> Step {
    Step::Do(Call::By(way, bytes))
}
