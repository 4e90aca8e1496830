//! Stories in which the program writes before the connection is established.

use crate::oracle::{Call, Way};

use super::{
    Active, Answer, Step, Story,
    story::{Expect, SYN, close, cork, held, ms, opened, write},
};

/// The stories of this family.
pub(crate) fn stories() -> Vec<Story> {
    vec![
        opened(
            "not_established",
            active(false),
            vec![ms(10), write(100), ms(10), Step::Ack(100), close()],
            vec![held(100, &["not_established"], "ack", 50_200)],
        ),
        opened(
            "not_established_then_cork",
            active(false),
            vec![
                cork(true),
                ms(10),
                write(100),
                ms(20),
                cork(false),
                ms(10),
                Step::Ack(100),
                close(),
            ],
            vec![
                held(100, &["not_established"], "ack", 50_200),
                held(100, &["cork"], "uncork", 20_100),
            ],
        ),
        opened(
            "innocent_not_established",
            active(false),
            vec![
                ms(10),
                Step::Do(Call::By(Way::DontWait, 100)),
                ms(70),
                write(100),
                ms(10),
                Step::Ack(100),
                close(),
            ],
            vec![],
        ),
        Story {
            // How much the SYN carries is the kernel's.
            expect: Expect::Holds(None),
            ..opened(
                "not_established_deferred_connect",
                active(true),
                vec![ms(30), write(5_000), Step::Arrived(5_000), ms(10), Step::Ack(5_000), close()],
                vec![],
            )
        },
        opened(
            "innocent_deferred_connect",
            active(true),
            vec![ms(30), write(100), ms(10), write(1_000), ms(10), Step::Ack(1_100), close()],
            vec![],
        ),
    ]
}

/// The peer answers the SYN after 60 ms.
fn active(deferred: bool) -> Active {
    Active { syn: SYN, after_us: 60_000, deferred, answer: Answer::Agrees }
}
