//! Stories in which the held bytes never leave.

use crate::oracle::Call;

use super::{
    Step, Story,
    story::{close, cork, held, ms, story, write},
};

/// The stories of this family.
pub(crate) fn stories() -> Vec<Story> {
    vec![
        story(
            "discarded_by_the_peers_reset",
            vec![cork(true), write(100), ms(15), write(20), ms(25), Step::Reset, ms(10), close()],
            vec![held(120, &["cork"], "discarded", 40_100)],
        ),
        story(
            "discarded_behind_an_unacknowledged_segment",
            vec![write(100), ms(1), write(50), ms(20), Step::Reset, ms(10), close()],
            vec![held(50, &["nagle"], "discarded", 20_100)],
        ),
        // c10
        story(
            "discarded_by_linger_zero",
            vec![cork(true), write(100), ms(30), Step::Do(Call::LingerZero), ms(10), close()],
            vec![held(100, &["cork"], "discarded", 40_100)],
        ),
        // c09
        story(
            "discarded_by_unread_data",
            vec![cork(true), write(100), ms(10), Step::PeerSends(80), ms(20), close()],
            vec![held(100, &["cork"], "discarded", 30_100)],
        ),
    ]
}
