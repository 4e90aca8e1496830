//! Stories of closes whose FIN cannot leave at once, or leaves with data: what holds it, and what lets it go.

use crate::oracle::Call;

use super::{
    Link, Step, Story, Syn,
    close::{ACTIVE_MERGED, PEERS, shutdown},
    story::{SYN, close, closes, closes_with, cork, fin_waits, ms, paced, write},
};

/// The stories of this family.
pub(crate) fn stories() -> Vec<Story> {
    let mut stories = behind_windows();
    stories.extend(behind_own_limits());
    stories.push(with_corked_data());
    stories
}

/// The FIN stands behind what the peer's window, or that of congestion, holds.
fn behind_windows() -> Vec<Story> {
    vec![
        // c13
        fin_waits(
            closes_with(
                "close_fin_behind_a_closed_window",
                Link::Tun(vec![Syn { window: 0, ..SYN }]),
                vec![
                    write(500),
                    ms(10),
                    close(),
                    ms(300),
                    Step::Window(257),
                    ms(20),
                    Step::AckFinAndClose,
                ],
                &[&[ACTIVE_MERGED]],
            ),
            "peer_window",
            "window_update",
        ),
        // c23
        closes(
            "close_fin_behind_a_full_window",
            vec![
                write(10_000),
                ms(5),
                shutdown(),
                ms(60),
                Step::AckFin,
                ms(20),
                Step::PeerCloses(0),
                ms(10),
                close(),
            ],
            &[PEERS],
        ),
    ]
}

/// The FIN stands behind what this host's own limits hold.
fn behind_own_limits() -> Vec<Story> {
    vec![
        // The rate lets the FIN go with the last of three segments.
        fin_waits(
            closes(
                "close_fin_behind_pacing",
                paced(vec![
                    write(2_300),
                    ms(1),
                    close(),
                    Step::Arrived(12_300),
                    ms(10),
                    Step::AckFinAndClose,
                ]),
                &[ACTIVE_MERGED],
            ),
            "pacing",
            "pacing_timer",
        ),
        fin_waits(
            closes(
                "close_fin_behind_the_device",
                vec![
                    Step::Do(Call::DeviceRate(125_000)),
                    write(8_000),
                    close(),
                    Step::Arrived(8_000),
                    ms(10),
                    Step::AckFinAndClose,
                ],
                &[ACTIVE_MERGED],
            ),
            "tsq",
            "tsq",
        ),
    ]
}

/// The FIN leaves with data that an option held.
fn with_corked_data() -> Story {
    // c24
    closes(
        "close_with_corked_data",
        vec![
            cork(true),
            write(1500),
            ms(10),
            shutdown(),
            ms(10),
            Step::AckFin,
            ms(10),
            Step::PeerCloses(0),
            ms(10),
            close(),
        ],
        &[PEERS],
    )
}
