//! Stories in which Nagle's algorithm holds bytes, or Minshall's amendment lets them go.

use crate::oracle::Call;

use super::{
    Expected, Step, Story, Syn,
    story::{
        Expect, SYN, between_namespaces, close, cork, held, ms, nodelay, quick_rounds, story,
        timed, with, write,
    },
};

/// Answers in two writes, the second of them a segment and a half.
pub(crate) const HEADER_AND_BODY: &str = "header_and_body_veth";

/// The stories of this family; `h01` and so on name the exchange in the packetdrill scripts.
pub(crate) fn stories() -> Vec<Story> {
    let mut stories = vec![
        // h01
        story(
            "nagle_ack",
            vec![
                write(100),
                ms(1),
                write(50),
                ms(30),
                Step::Ack(100),
                ms(10),
                Step::Ack(150),
                ms(5),
                close(),
            ],
            vec![held(50, &["nagle"], "ack", 30_100)],
        ),
        // h16: the peer's delayed-ACK timer
        story(
            "nagle_delayed_ack",
            vec![
                write(100),
                ms(1),
                write(50),
                ms(40),
                Step::Ack(100),
                ms(10),
                Step::Ack(150),
                ms(5),
                close(),
            ],
            vec![held(50, &["nagle"], "ack", 40_100)],
        ),
        // h02
        story(
            "nagle_filled",
            vec![
                write(100),
                ms(1),
                write(600),
                ms(4),
                write(600),
                ms(30),
                Step::Ack(1100),
                ms(10),
                Step::Ack(1300),
                ms(5),
                close(),
            ],
            vec![held(600, &["nagle"], "more_data", 4_100), held(200, &["nagle"], "ack", 30_000)],
        ),
        minshall(),
        no_sack(),
    ];
    stories.extend(without_ack());
    stories.extend(between_causes());
    stories
}

/// Something else than an acknowledgement lets the bytes go.
fn without_ack() -> Vec<Story> {
    vec![
        // h03
        story(
            "nagle_loss_probe",
            vec![
                write(100),
                ms(1),
                write(50),
                Step::Arrived(150),
                ms(10),
                Step::Ack(150),
                ms(5),
                close(),
            ],
            vec![timed(50, &["nagle"], "loss_probe", 226_000)],
        ),
        // h04
        story(
            "nagle_nodelay",
            vec![
                write(100),
                ms(1),
                write(50),
                ms(10),
                nodelay(true),
                ms(10),
                Step::Ack(150),
                ms(5),
                close(),
            ],
            vec![held(50, &["nagle"], "nodelay", 10_100)],
        ),
        // h14
        story(
            "nagle_close",
            vec![write(100), ms(1), write(50), ms(5), close(), ms(10), Step::Ack(150)],
            vec![held(50, &["nagle"], "fin", 5_100)],
        ),
    ]
}

/// Bytes that wait for one reason after another, and writes that join.
fn between_causes() -> Vec<Story> {
    vec![
        story(
            "uncork_leaves_nagle",
            vec![
                write(100),
                ms(1),
                cork(true),
                write(50),
                ms(5),
                cork(false),
                ms(10),
                Step::Ack(100),
                ms(10),
                Step::Ack(150),
                ms(5),
                close(),
            ],
            vec![held(50, &["cork", "nagle"], "ack", 15_200)],
        ),
        story(
            "nagle_writev_two_writes_join",
            vec![
                Step::Do(Call::Writev(vec![60, 40])),
                ms(1),
                write(50),
                ms(2),
                Step::Do(Call::Writev(vec![10, 20, 30])),
                ms(8),
                Step::Ack(100),
                ms(5),
                Step::Ack(210),
                ms(5),
                close(),
            ],
            vec![held(110, &["nagle"], "ack", 10_200)],
        ),
        Story {
            // A whole segment is acknowledged at once: the rest waits for a round trip.
            expect: Expect::Holds(None),
            ..between_namespaces(HEADER_AND_BODY, 30_000, header_and_body(6), Vec::new())
        },
        between_namespaces("write_write_read_veth", 0, write_write_read(4), rounds()),
        // The round trip of a network, with the client's kernel acknowledging at once.
        between_namespaces(
            "nagle_netem_veth",
            30_000,
            vec![write(100), write(50), Step::Client(Call::Read(150)), ms(100), close()],
            vec![held(50, &["nagle"], "ack", 30_000)],
        ),
    ]
}

fn header_and_body(many: usize) -> Vec<Step> {
    let round = [
        Step::Client(Call::Write(10)),
        Step::Do(Call::Read(10)),
        write(100),
        write(2000),
        Step::Client(Call::Read(2100)),
    ];
    let rounds = round.iter().cycle().take(many * round.len()).cloned();
    quick_rounds(3).into_iter().chain(rounds).chain([close()]).collect()
}

/// h17: a small write goes behind full segments; the next one waits for the small one.
fn minshall() -> Story {
    story(
        "minshall",
        vec![
            write(1000),
            ms(1),
            write(50),
            ms(1),
            write(50),
            ms(10),
            Step::Ack(1000),
            ms(10),
            Step::Ack(1050),
            ms(10),
            Step::Ack(1100),
            ms(5),
            close(),
        ],
        vec![held(50, &["nagle"], "ack", 20_100)],
    )
}

/// h13: the timeout sends the first segment again; its acknowledgement lets the held bytes go.
fn no_sack() -> Story {
    with(
        "nagle_timeout_without_sack",
        Syn { sack: false, ..SYN },
        vec![
            write(100),
            ms(1),
            write(50),
            Step::Repeated,
            ms(10),
            Step::Ack(100),
            Step::Arrived(150),
            ms(10),
            Step::Ack(150),
            ms(5),
            close(),
        ],
        vec![timed(50, &["nagle"], "ack", 236_000)],
    )
}

/// A reply in two writes, on a connection kept alive, to a client that wants both before it asks again.
fn write_write_read(rounds: usize) -> Vec<Step> {
    let round = [
        Step::Client(Call::Write(10)),
        Step::Do(Call::Read(10)),
        write(10),
        write(10),
        Step::Client(Call::Read(20)),
    ];
    let mut steps = quick_rounds(3);
    for _ in 0..rounds {
        steps.extend(round.iter().cloned());
    }
    steps.push(close());
    steps
}

/// The client's delayed-ACK timer (40 ms, one tick more) sets the pace.
fn rounds() -> Vec<Expected> {
    let slow = Expected { slack_us: 4_000, ..held(10, &["nagle"], "ack", 42_000) };
    vec![slow; 4]
}
