//! Stories in which the program writes before the connection is established.

use crate::oracle::{Call, Way};

use super::{
    Active, Answer, Opener, Step, Story,
    story::{Expect, SYN, close, cork, held, ms, opened, write},
};

/// The stories of this family.
pub(crate) fn stories() -> Vec<Story> {
    let mut stories = connecting();
    stories.extend(by_sendto());
    stories.extend(by_sendto_in_parts());
    stories
}

/// `sendto` with `MSG_FASTOPEN`. What the SYN carries has not waited.
fn by_sendto() -> Vec<Story> {
    let asks = || active(Opener::Sendto);
    let gives = || active(Opener::SendtoWithoutCookie);
    vec![
        opened(
            "fastopen",
            asks(),
            vec![by(Way::Fastopen, 100), ms(10), Step::Ack(100), close()],
            vec![held(100, &["not_established"], "ack", 60_200)],
        ),
        opened(
            "fastopen_then_msg_more",
            asks(),
            vec![
                by(Way::FastopenMore, 1_100),
                ms(15),
                write(100),
                ms(10),
                Step::Ack(1_200),
                close(),
            ],
            vec![
                held(1_100, &["not_established"], "ack", 60_200),
                held(100, &["msg_more"], "push", 15_100),
            ],
        ),
        opened(
            "innocent_fastopen",
            gives(),
            vec![by(Way::Fastopen, 100), ms(10), write(1_000), ms(10), Step::Ack(1_100), close()],
            vec![],
        ),
        opened(
            "innocent_fastopen_dontwait",
            asks(),
            vec![
                by(Way::FastopenDontWait, 100),
                ms(80),
                write(100),
                ms(10),
                Step::Ack(100),
                close(),
            ],
            vec![],
        ),
        opened(
            // They left with the SYN, and leave again.
            "innocent_fastopen_left_out",
            Active { answer: Answer::LeavesData, ..gives() },
            vec![by(Way::Fastopen, 100), ms(20), Step::Ack(100), ms(10), close()],
            vec![],
        ),
    ]
}

/// The SYN carries the first bytes.
fn by_sendto_in_parts() -> Vec<Story> {
    let gives = || active(Opener::SendtoWithoutCookie);
    vec![
        Story {
            // How much the SYN carries is the kernel's.
            expect: Expect::Holds(None),
            ..opened(
                "fastopen_larger_than_the_syn",
                gives(),
                vec![
                    by(Way::Fastopen, 5_000),
                    Step::Arrived(5_000),
                    ms(10),
                    Step::Ack(5_000),
                    close(),
                ],
                vec![],
            )
        },
        Story {
            expect: Expect::Holds(None),
            ..opened(
                "fastopen_part_of_a_write",
                gives(),
                vec![by(Way::FastopenDontWait, 5_000), ms(80), write(100), ms(10), close()],
                vec![],
            )
        },
    ]
}

fn by(way: Way, bytes: usize) -> Step {
    Step::Do(Call::By(way, bytes))
}

/// `connect` that does not wait, and its likes.
fn connecting() -> Vec<Story> {
    vec![
        opened(
            "not_established",
            active(Opener::Connect),
            vec![ms(10), write(100), ms(10), Step::Ack(100), close()],
            vec![held(100, &["not_established"], "ack", 50_200)],
        ),
        opened(
            "not_established_then_cork",
            active(Opener::Connect),
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
            active(Opener::Connect),
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
                active(Opener::FirstWrite),
                vec![ms(30), write(5_000), Step::Arrived(5_000), ms(10), Step::Ack(5_000), close()],
                vec![],
            )
        },
        opened(
            "innocent_deferred_connect",
            active(Opener::FirstWrite),
            vec![ms(30), write(100), ms(10), write(1_000), ms(10), Step::Ack(1_100), close()],
            vec![],
        ),
    ]
}

/// The peer answers the SYN after 60 ms.
fn active(by: Opener) -> Active {
    Active { syn: SYN, after_us: 60_000, by, answer: Answer::Agrees }
}
