//! Stories in which a limit holds bytes: the congestion window, the peer's window, the rate of pacing. Nagle's algorithm,
//! `TCP_CORK` and `MSG_MORE` must not be blamed for it.

use crate::oracle::{Call, Way};

use super::{
    Step, Story, Syn,
    story::{Expect, SYN, close, cork, held, more, ms, nodelay, paced, story, timed, with, write},
};

/// The stories of this family.
pub(crate) fn stories() -> Vec<Story> {
    let mut stories = zero_window();
    stories.extend(congestion_window());
    stories.push(
        // h19: the probe timer comes when the device takes segments again.
        story(
            "transmit_failed",
            vec![
                Step::Do(Call::DeviceDrops(true)),
                write(100),
                ms(20),
                Step::Do(Call::DeviceDrops(false)),
                Step::Arrived(100),
                ms(10),
                Step::Ack(100),
                close(),
            ],
            vec![timed(100, &["transmit_failed"], "probe_timer", 225_000)],
        ),
    );
    stories.extend(send_buffer());
    stories.push(
        // h09: what is written waits until the rate allows it, with nothing in flight.
        story(
            "pacing",
            paced(vec![write(300), Step::Arrived(10_300), ms(10), Step::Ack(10_300), close()]),
            vec![held(300, &["pacing"], "pacing_timer", 79_500)],
        ),
    );
    stories.extend(device());
    stories.push(
        // h18: nine of ten segments are in flight, and the acknowledgement of the first seven is due.
        story(
            "tso_defer",
            vec![
                write(7_000),
                Step::After(19_600),
                write(1_000),
                write(1_000),
                write(5_000),
                ms(3),
                Step::Ack(7_000),
                ms(10),
                Step::Ack(14_000),
                close(),
            ],
            vec![held(5_000, &["tso_defer"], "ack", 3_100)],
        ),
    );
    stories
}

/// The device has a queue.
fn device() -> Vec<Story> {
    vec![
        Story {
            counter: Some("TCPAutoCorking"),
            ..story(
                "autocork",
                vec![
                    Step::Do(Call::DeviceRate(125_000)),
                    nodelay(true),
                    write(1_000),
                    write(1_000),
                    write(10),
                    write(10),
                    write(10),
                    write(10),
                    write(10),
                    Step::Arrived(2_050),
                    ms(10),
                    Step::Ack(2_050),
                    close(),
                ],
                vec![held(50, &["autocork"], "tsq", 4_500)],
            )
        },
        Story {
            // How much the device may be given at once is the kernel's: 4000 bytes wait, or 2000.
            expect: Expect::Holds(None),
            ..story(
                "tsq",
                vec![
                    Step::Do(Call::DeviceRate(125_000)),
                    write(8_000),
                    Step::Arrived(8_000),
                    ms(10),
                    Step::Ack(8_000),
                    close(),
                ],
                vec![],
            )
        },
        // Row 24: what waits in the queueing discipline has left TCP.
        story(
            "innocent_fq_pacing",
            vec![
                Step::Do(Call::DevicePaces),
                Step::Do(Call::PacingRate(20_000)),
                write(10_000),
                ms(100),
                Step::Ack(10_000),
                write(2_000),
                Step::Arrived(12_000),
                ms(10),
                Step::Ack(12_000),
                close(),
            ],
            vec![],
        ),
    ]
}

/// What has been given has left, and takes up the buffer until it is acknowledged: some of the writes find no room. Which
/// of them, is the kernel's.
fn send_buffer() -> Vec<Story> {
    let mut steps = vec![nodelay(true), Step::Do(Call::SendBuffer(4_608)), Step::AckAfter(20_000)];
    steps.extend(vec![write(1_000); 12]);
    steps.extend([Step::Arrived(12_000), ms(50), close()]);
    vec![
        Story { expect: Expect::Holds(None), ..story("send_buffer", steps, Vec::new()) },
        // Ten segments are in flight; behind the end of a record a new buffer is needed, and as much waits as may.
        story(
            "notsent_lowat",
            vec![
                nodelay(true),
                Step::Do(Call::NotsentLowat(1_000)),
                Step::AckAfter(20_000),
                write(10_000),
                by(Way::EndOfRecord, 1_500),
                ms(3),
                write(100),
                ms(60),
                close(),
            ],
            vec![
                held(1_500, &["cwnd"], "ack", 20_000),
                held(100, &["notsent_lowat"], "ack", 17_000),
            ],
        ),
    ]
}

fn by(way: Way, bytes: usize) -> Step {
    Step::Do(Call::By(way, bytes))
}

/// Ten segments fill it.
fn congestion_window() -> Vec<Story> {
    let mut ten_small = vec![nodelay(true)];
    ten_small.extend(vec![write(100); 10]);
    ten_small.extend([
        nodelay(false),
        write(50),
        ms(30),
        Step::Ack(100),
        ms(20),
        Step::Ack(1_000),
        ms(10),
        Step::Ack(1_050),
        close(),
    ]);
    vec![
        // h08
        story(
            "congestion_window",
            vec![write(15_000), ms(30), Step::Ack(10_000), ms(30), Step::Ack(15_000), close()],
            vec![held(5_000, &["cwnd"], "ack", 30_500)],
        ),
        story(
            "congestion_window_then_cork",
            vec![
                cork(true),
                write(10_050),
                ms(30),
                Step::Ack(10_000),
                ms(20),
                cork(false),
                ms(10),
                Step::Ack(10_050),
                close(),
            ],
            vec![held(50, &["cwnd", "cork"], "uncork", 50_200)],
        ),
        story(
            "congestion_window_then_nagle",
            ten_small,
            vec![held(50, &["cwnd", "nagle"], "ack", 50_200)],
        ),
    ]
}

/// The peer's window is closed from the start.
fn zero_window() -> Vec<Story> {
    let closed = || Syn { window: 0, ..SYN };
    vec![
        // h07b: a probe at 247 ms, and its answer.
        with(
            "zero_window",
            closed(),
            vec![
                write(500),
                ms(267),
                Step::Window(0),
                ms(280),
                Step::Window(257),
                ms(20),
                Step::Ack(500),
                close(),
            ],
            vec![held(500, &["peer_window"], "window_update", 547_200)],
        ),
        with(
            "zero_window_then_cork",
            closed(),
            vec![
                cork(true),
                write(500),
                ms(50),
                Step::Window(257),
                ms(30),
                cork(false),
                ms(20),
                Step::Ack(500),
                close(),
            ],
            vec![held(500, &["peer_window", "cork"], "uncork", 80_200)],
        ),
        // The window update makes an attempt without MSG_MORE.
        with(
            "zero_window_under_msg_more",
            closed(),
            vec![more(500), ms(50), Step::Window(257), ms(20), Step::Ack(500), close()],
            vec![held(500, &["peer_window"], "window_update", 50_100)],
        ),
    ]
}
