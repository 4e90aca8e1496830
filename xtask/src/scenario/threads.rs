//! Stories in which somebody else than the writer sets the option that counts.

use crate::oracle::Call;

use super::{
    Step, Story,
    story::{close, cork, held, ms, story, write},
};

/// The stories of this family.
pub(crate) fn stories() -> Vec<Story> {
    let mut stories = inherited();
    stories.extend(set_elsewhere());
    stories
}

/// The listening socket was corked: the child is from its birth, and no setsockopt is ever seen on it (A.2).
fn inherited() -> Vec<Story> {
    vec![
        Story {
            listener: vec![Call::Cork(true)],
            ..story(
                "cork_inherited",
                vec![write(40), ms(10), write(40), ms(40), close(), ms(10), Step::Ack(80)],
                vec![held(80, &["cork"], "fin", 50_100)],
            )
        },
        Story {
            listener: vec![Call::Cork(true)],
            ..story(
                "cork_inherited_uncork",
                vec![write(40), ms(50), cork(false), ms(10), Step::Ack(40), ms(5), close()],
                vec![held(40, &["cork"], "uncork", 50_100)],
            )
        },
    ]
}

/// Two threads of the program use one socket.
fn set_elsewhere() -> Vec<Story> {
    vec![
        story(
            "cork_by_another_thread",
            vec![
                Step::Elsewhere(Call::Cork(true)),
                ms(5),
                write(40),
                ms(30),
                Step::Elsewhere(Call::Cork(false)),
                ms(10),
                Step::Ack(40),
                ms(5),
                close(),
            ],
            vec![held(40, &["cork"], "uncork", 30_200)],
        ),
        story(
            "nagle_nodelay_by_another_thread",
            vec![
                write(100),
                ms(1),
                write(50),
                ms(10),
                Step::Elsewhere(Call::Nodelay(true)),
                ms(10),
                Step::Ack(150),
                ms(5),
                close(),
            ],
            vec![held(50, &["nagle"], "nodelay", 10_200)],
        ),
        story(
            "more_data_by_another_thread",
            vec![
                write(100),
                ms(1),
                write(600),
                ms(10),
                Step::Elsewhere(Call::Write(400)),
                ms(10),
                Step::Ack(1100),
                ms(5),
                close(),
            ],
            vec![held(600, &["nagle"], "more_data", 10_200)],
        ),
    ]
}
