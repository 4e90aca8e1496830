//! Stories of closes: who closes when, and the shape that follows. Named as the scripts they follow where there is one.

use crate::oracle::Call;

use super::{
    Active, Answer, Link, Opener, Step, Story,
    story::{SYN, close, closes, closes_with, ms, write},
};

const MERGED: (&str, &str, &str, u32) = ("passive", "merged", "ack_pending", 3);
const BY_TIMER: (&str, &str, &str, u32) = ("passive", "separate", "ack_timer", 4);
pub(super) const PEERS: (&str, &str, &str, u32) = ("active", "separate", "peer", 4);
pub(super) const ACTIVE_MERGED: (&str, &str, &str, u32) = ("active", "merged", "ack_pending", 3);

/// The stories of this family.
pub(crate) fn stories() -> Vec<Story> {
    let mut stories = passive();
    stories.extend(quickacks());
    stories.push(route_quickack());
    stories.extend(between());
    stories.extend(active());
    stories.extend(active_further());
    stories.extend(resets());
    stories.extend(resets_on_either_side());
    stories.extend(again());
    stories.extend(given_up());
    stories.extend(unestablished());
    stories.extend(open());
    stories.extend(over_loopback());
    stories
}

fn read(bytes: usize) -> Step {
    Step::Do(Call::Read(bytes))
}

pub(super) fn shutdown() -> Step {
    Step::Do(Call::ShutdownWrite)
}

fn quickack() -> Step {
    Step::Do(Call::Quickack(true))
}

/// Data comes and is read, the peer's FIN follows so many milliseconds later.
fn after_data(wait: u64, then: Vec<Step>) -> Vec<Step> {
    let mut steps = vec![Step::PeerSends(100), read(100), ms(wait), Step::PeerCloses(0)];
    steps.extend(then);
    steps
}

/// The program closes, and the peer acknowledges 10 ms later.
fn ends() -> [Step; 3] {
    [close(), ms(10), Step::AckFin]
}

fn after(wait: u64) -> Vec<Step> {
    [vec![ms(wait)], ends().into()].concat()
}

fn passive() -> Vec<Story> {
    vec![
        // c01
        closes("close_merged", after_data(10, after(10)), &[MERGED]),
        // c02
        closes("close_after_the_delayed_ack", after_data(10, after(140)), &[BY_TIMER]),
        // c03
        closes(
            "close_without_data",
            [vec![ms(10), Step::PeerCloses(0)], after(30)].concat(),
            &[("passive", "separate", "no_data_received", 4)],
        ),
        // c04
        closes(
            "close_at_once_without_data",
            [vec![ms(10), Step::PeerCloses(0), read(1)], ends().into()].concat(),
            &[MERGED],
        ),
        // c14
        closes(
            "close_after_a_reply",
            [
                vec![
                    Step::PeerSends(100),
                    read(100),
                    ms(1),
                    write(300),
                    Step::Arrived(300),
                    ms(20),
                ],
                vec![Step::PeerCloses(0), ms(2), read(100), ms(1)],
                ends().into(),
            ]
            .concat(),
            &[MERGED],
        ),
        // c15
        closes(
            "close_ack_on_data",
            after_data(20, [vec![ms(5), write(300), ms(5)], ends().into()].concat()),
            &[("passive", "ack_on_data", "data_after_fin", 3)],
        ),
        // The delayed-ACK timer, armed at the FIN, finds nothing to send.
        closes(
            "close_ack_on_data_and_a_late_close",
            after_data(20, [vec![ms(20), write(300), ms(70)], ends().into()].concat()),
            &[("passive", "ack_on_data", "data_after_fin", 3)],
        ),
        // c12
        closes(
            "close_fin_with_data",
            [
                vec![Step::PeerSends(100), read(100), ms(10), Step::PeerCloses(1000), ms(10)],
                vec![read(1000), ms(10)],
                ends().into(),
            ]
            .concat(),
            &[("passive", "separate", "window_update", 4), MERGED],
        ),
    ]
}

/// `TCP_QUICKACK` around the peer's FIN.
fn quickacks() -> Vec<Story> {
    vec![
        // c16
        closes(
            "close_quickack_after_the_fin",
            after_data(20, [vec![ms(5), quickack()], after(90)].concat()),
            &[BY_TIMER],
        ),
        // c17
        closes(
            "close_quickack_before_the_fin",
            [
                vec![Step::PeerSends(100), read(100), quickack(), ms(20), Step::PeerCloses(0)],
                after(5),
            ]
            .concat(),
            &[MERGED],
        ),
        // c21
        closes(
            "close_quickack_after_the_end",
            after_data(20, [vec![ms(2), read(100), ms(5), quickack()], after(50)].concat()),
            &[("passive", "separate", "quick_ack", 4)],
        ),
    ]
}

/// c22
fn route_quickack() -> Story {
    Story {
        listener: vec![Call::RouteQuickack],
        ..closes(
            "close_route_quickack",
            after_data(10, after(30)),
            &[("passive", "separate", "route_quickack", 4)],
        )
    }
}

/// Something else comes or goes between the two FINs.
fn between() -> Vec<Story> {
    vec![
        // c11
        closes(
            "close_fin_repeated",
            after_data(10, [vec![ms(100), Step::PeerClosesAgain], after(100)].concat()),
            &[BY_TIMER],
        ),
        // The half-close of the other end: data goes out after the ACK of its FIN.
        closes(
            "close_half_passive",
            after_data(10, [vec![ms(80), write(300), ms(20)], ends().into()].concat()),
            &[("passive", "half_close", "ack_timer", 4)],
        ),
    ]
}

fn active() -> Vec<Story> {
    vec![
        // c05
        closes(
            "close_active_merged",
            vec![ms(10), close(), ms(10), Step::AckFinAndClose],
            &[ACTIVE_MERGED],
        ),
        // c06
        closes(
            "close_active_separate",
            vec![ms(10), close(), ms(10), Step::AckFin, ms(50), Step::PeerCloses(0)],
            &[PEERS],
        ),
        // c07
        closes(
            "close_active_by_shutdown",
            vec![
                ms(10),
                shutdown(),
                ms(10),
                Step::AckFin,
                ms(50),
                Step::PeerCloses(0),
                ms(10),
                close(),
            ],
            &[PEERS],
        ),
    ]
}

/// Data comes or goes between the two FINs, or the FINs meet.
fn active_further() -> Vec<Story> {
    vec![
        closes(
            "close_half_active",
            vec![
                ms(10),
                shutdown(),
                ms(10),
                Step::AckFin,
                ms(20),
                Step::PeerSends(100),
                read(100),
                ms(20),
                Step::PeerCloses(0),
                ms(10),
                close(),
            ],
            &[("active", "half_close", "peer", 4)],
        ),
        closes(
            "close_active_ack_on_data",
            vec![
                ms(10),
                shutdown(),
                ms(10),
                Step::AckFinWith(100),
                read(100),
                ms(10),
                Step::PeerCloses(0),
                ms(10),
                close(),
            ],
            &[("active", "ack_on_data", "data_after_fin", 3)],
        ),
        // c08
        closes(
            "close_simultaneous",
            vec![ms(10), close(), ms(10), Step::PeerCloses(0), ms(10), Step::AckFin],
            &[("both", "simultaneous", "fin_wait", 4)],
        ),
    ]
}

fn resets() -> Vec<Story> {
    vec![
        // c09
        closes(
            "close_unread_data",
            vec![ms(10), Step::PeerSends(100), ms(50), close()],
            &[("active", "reset_sent", "unread_data", 1)],
        ),
        // c10
        closes(
            "close_linger_zero",
            vec![ms(10), Step::Do(Call::LingerZero), ms(10), close()],
            &[("active", "reset_sent", "linger_zero", 1)],
        ),
        // c20
        closes(
            "close_data_in_fin_wait_1",
            vec![ms(10), close(), ms(10), Step::PeerSends(100)],
            &[("active", "reset_sent", "data_after_close", 2)],
        ),
        // c19
        closes(
            "close_data_in_the_minisock",
            vec![ms(10), close(), ms(10), Step::AckFin, ms(10), Step::PeerSends(100)],
            &[("active", "reset_sent", "data_after_close", 3)],
        ),
        // c18
        closes(
            "close_reset_by_the_peer",
            vec![ms(10), Step::Reset, ms(10), close()],
            &[("passive", "reset_received", "peer", 1)],
        ),
        closes(
            "close_reset_by_the_peer_after_our_fin",
            vec![ms(10), close(), ms(10), Step::AckFin, ms(10), Step::Reset],
            &[("active", "reset_received", "peer", 3)],
        ),
        // c25
        closes(
            "close_linger2",
            vec![Step::Do(Call::Linger2(-1)), ms(10), close(), ms(10), Step::AckFin],
            &[("active", "reset_sent", "linger2", 3)],
        ),
    ]
}

/// The program has shut down, and the peer has acknowledged that.
fn after_shutdown(then: Vec<Step>) -> Vec<Step> {
    [vec![ms(10), shutdown(), ms(10), Step::AckFin, ms(10)], then].concat()
}

/// A FIN of one of the two ends has gone before the reset.
fn resets_on_either_side() -> Vec<Story> {
    vec![
        closes(
            "close_unread_data_after_the_fin",
            vec![ms(10), Step::PeerSends(100), Step::PeerCloses(0), ms(5), close()],
            &[("passive", "reset_sent", "unread_data", 2)],
        ),
        closes(
            "close_linger_zero_after_the_fin",
            after_data(10, vec![ms(5), Step::Do(Call::LingerZero), close()]),
            &[("passive", "reset_sent", "linger_zero", 2)],
        ),
        closes(
            "close_reset_after_the_peers_fin",
            after_data(10, vec![ms(100), Step::Reset, ms(10), close()]),
            &[("passive", "reset_received", "peer", 3)],
        ),
        closes(
            "close_unread_data_after_shutdown",
            after_shutdown(vec![Step::PeerSends(100), ms(10), close()]),
            &[("active", "reset_sent", "unread_data", 3)],
        ),
        closes(
            "close_linger_zero_after_shutdown",
            after_shutdown(vec![Step::Do(Call::LingerZero), close()]),
            &[("active", "reset_sent", "linger_zero", 3)],
        ),
        closes(
            "close_linger2_after_shutdown",
            after_shutdown(vec![Step::Do(Call::Linger2(-1)), close()]),
            &[("active", "reset_sent", "linger2", 3)],
        ),
        closes(
            "close_aborted",
            vec![ms(10), Step::Do(Call::Abort)],
            &[("active", "reset_sent", "aborted", 1)],
        ),
        closes(
            "close_by_disconnect_after_shutdown",
            after_shutdown(vec![Step::Do(Call::Disconnect)]),
            &[("active", "reset_sent", "disconnected", 3)],
        ),
        closes(
            "close_by_disconnect",
            vec![ms(10), Step::Do(Call::Disconnect)],
            &[("active", "reset_sent", "disconnected", 1)],
        ),
    ]
}

/// A segment of the teardown comes or goes twice, or another connection follows at once.
fn again() -> Vec<Story> {
    vec![
        closes(
            "close_own_fin_again_active",
            vec![ms(10), close(), ms(400), Step::AckFin, ms(10), Step::PeerCloses(0)],
            &[PEERS],
        ),
        closes(
            "close_own_fin_again_passive",
            after_data(10, vec![ms(5), close(), ms(400), Step::AckFin]),
            &[MERGED],
        ),
        closes(
            "close_fin_again_in_time_wait",
            vec![
                ms(10),
                close(),
                ms(10),
                Step::AckFin,
                ms(10),
                Step::PeerCloses(0),
                ms(20),
                Step::PeerClosesAgain,
            ],
            &[PEERS],
        ),
        closes(
            "close_time_wait_reused",
            vec![
                ms(10),
                close(),
                ms(10),
                Step::AckFin,
                ms(10),
                Step::PeerCloses(0),
                ms(20),
                Step::PeerOpensAgain,
            ],
            &[PEERS],
        ),
    ]
}

/// The kernel's patience ends.
fn given_up() -> Vec<Story> {
    let no_answer = |segments| [("active", "timed_out", "no_answer", segments)];
    vec![
        Story {
            counter: Some("TCPAbortOnTimeout"),
            ..closes(
                "close_orphan_unanswered",
                vec![Step::Do(Call::OrphanRetries(1)), ms(10), close(), ms(2500)],
                &no_answer(1),
            )
        },
        Story {
            counter: Some("TCPAbortOnTimeout"),
            ..closes(
                "close_data_unanswered",
                vec![Step::Do(Call::UserTimeout(500)), ms(10), write(100), ms(2500)],
                &no_answer(0),
            )
        },
        Story {
            counter: Some("TCPAbortOnMemory"),
            ..closes(
                "close_orphan_limit",
                vec![
                    ms(10),
                    Step::Do(Call::OrphansAllowed(false)),
                    close(),
                    Step::Do(Call::OrphansAllowed(true)),
                ],
                &[("active", "reset_sent", "orphan_limit", 2)],
            )
        },
        closes(
            "close_fin_timeout",
            vec![Step::Do(Call::Linger2(1)), ms(10), close(), ms(10), Step::AckFin, ms(1300)],
            &[("active", "timed_out", "fin_timeout", 2)],
        ),
        closes(
            "close_fin_timeout_after_shutdown",
            after_shutdown(vec![Step::Do(Call::Linger2(1)), close(), ms(1300)]),
            &[("active", "timed_out", "fin_timeout", 2)],
        ),
    ]
}

/// The program asks for a connection that never comes about.
fn unestablished() -> Vec<Story> {
    let link =
        |answer| Link::Active(Active { syn: SYN, after_us: 20_000, by: Opener::Connect, answer });
    let never = |side, reason, segments| [(side, "never_established", reason, segments)];
    vec![
        closes_with(
            "close_syn_refused",
            link(Answer::Refuses),
            vec![ms(50)],
            &[&never("passive", "peer", 1)],
        ),
        closes_with(
            "close_before_the_answer",
            link(Answer::Nothing),
            vec![ms(50), close()],
            &[&never("active", "aborted", 0)],
        ),
        closes_with(
            "close_syn_unanswered",
            link(Answer::Nothing),
            vec![Step::Do(Call::UserTimeout(500)), ms(4000)],
            &[&never("active", "no_answer", 0)],
        ),
    ]
}

/// Nobody ends it while tcptrace watches.
fn open() -> Vec<Story> {
    let forget = || Step::Do(Call::Forget);
    vec![
        closes(
            "close_forgotten",
            after_data(10, vec![read(1), ms(100), forget()]),
            &[("passive", "open", "not_closed", 2)],
        ),
        closes(
            "close_under_way",
            after_shutdown(vec![forget()]),
            &[("active", "open", "under_way", 2)],
        ),
    ]
}

/// Both ends are watched: the server first.
fn over_loopback() -> Vec<Story> {
    let round = |wait: u64| {
        vec![
            Step::Client(Call::Write(100)),
            read(100),
            write(100),
            Step::Client(Call::Read(100)),
            ms(5),
            Step::Client(Call::Close),
            ms(wait),
            read(1),
            close(),
            ms(20),
        ]
    };
    vec![
        closes_with("close_lo_merged", Link::Loopback, round(10), &[&[MERGED], &[ACTIVE_MERGED]]),
        closes_with(
            "close_lo_linger_zero",
            Link::Loopback,
            vec![ms(5), Step::Client(Call::LingerZero), Step::Client(Call::Close), ms(20)],
            &[
                &[("passive", "reset_received", "peer", 1)],
                &[("active", "reset_sent", "linger_zero", 1)],
            ],
        ),
        closes_with("close_lo_separate", Link::Loopback, round(80), &[&[BY_TIMER], &[PEERS]]),
    ]
}

#[cfg(test)]
mod tests {
    use super::stories;
    use crate::scenario::Expect;

    /// Where tcptrace has the names.
    const NAMES: &str = include_str!("../../../tcptrace/src/analysis/close/teardown.rs");
    /// No story begins before tcptrace comes, which a shape and a reason that are not known take. A listener is closed in the row
    /// `closers`.
    const WITHOUT_A_STORY: [&str; 3] =
        ["shape undetermined", "reason undetermined", "reason not_accepted"];

    /// The names of an enumeration, as the JSON has them.
    fn names(of: &str) -> Vec<String> {
        let (_, rest) = NAMES.split_once(&format!("pub enum {of} {{")).unwrap();
        let (variants, _) = rest.split_once("\n}").unwrap();
        let variants = variants.lines().map(str::trim).filter(|line| !line.starts_with("//"));
        variants.filter(|line| !line.is_empty()).map(snake).collect()
    }

    fn snake(variant: &str) -> String {
        let mut name = String::new();
        for letter in variant.trim_end_matches(',').chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    #[test]
    fn every_side_shape_and_reason_has_a_story() {
        let mut told = Vec::new();
        for story in stories() {
            let Expect::Closes(closes) = story.expect else { continue };
            for (side, shape, reason, _) in closes.into_iter().flat_map(|one| one.any_of) {
                told.extend([
                    format!("side {side}"),
                    format!("shape {shape}"),
                    format!("reason {reason}"),
                ]);
            }
        }
        let shapes = names("Shape").into_iter().map(|name| format!("shape {name}"));
        let reasons = names("Reason").into_iter().map(|name| format!("reason {name}"));
        let all: Vec<String> = shapes.chain(reasons).collect();
        assert!(all.len() > 25, "{all:?}");
        let untold: Vec<&String> = all
            .iter()
            .filter(|name| !told.contains(*name) && !WITHOUT_A_STORY.contains(&name.as_str()))
            .collect();
        assert!(untold.is_empty(), "{untold:?}");
        for side in ["active", "passive", "both"] {
            assert!(told.contains(&format!("side {side}")), "{side}");
        }
    }
}
