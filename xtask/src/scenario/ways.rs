//! Stories in which bytes are given to TCP otherwise than by `write` and `send`.

use crate::oracle::{Call, Way};

use super::{
    Expected, Step, Story,
    loopback::client_splits_its_request,
    story::{Expect, close, cork, held, ms, nodelay, over_mptcp, story, timed, write},
};

/// The ways to write, each with the story that shows it: the page `docs/ways.md` is made from this.
pub(crate) const WAYS: [(&str, &str); 19] = [
    ("`write`, `send`, `sendto`", "nagle_ack"),
    ("`send` with `MSG_MORE`", "more_ack"),
    ("`send` with `MSG_EOR`", "end_of_record_then_write"),
    ("`send` with `MSG_DONTWAIT`", "by_dontwait"),
    ("`send` with `MSG_ZEROCOPY`", "by_zerocopy"),
    ("`writev`", "by_writev"),
    ("`sendmsg`", "by_sendmsg"),
    ("`sendmmsg`: each message is a write", "by_sendmmsg"),
    ("`sendfile`", "by_sendfile"),
    ("`sendfile` of more bytes than the file has", "by_sendfile_past_end"),
    ("`splice` from a pipe", "by_splice"),
    ("`splice` with `SPLICE_F_MORE`", "splice_more_then_splice"),
    ("io_uring, `IORING_OP_SEND`", "by_io_uring"),
    ("io_uring, by a worker (`IOSQE_ASYNC`)", "by_io_uring_worker"),
    ("kernel TLS: each record is a write", "ktls"),
    ("a sender in the kernel: KCM", "by_kcm"),
    ("MPTCP, on a subflow", "mptcp"),
    ("`connect` that does not wait, then `write`", "not_established"),
    ("`TCP_FASTOPEN_CONNECT`, then `write`", "not_established_deferred_connect"),
];

/// What a kernel of the matrix cannot do: the story must fail there, and need not be told.
pub(crate) const CANNOT: [(&str, &str, &str); 3] = [
    ("5.10", "ktls", "built without `CONFIG_TLS`"),
    ("5.10", "by_kcm", "built without `CONFIG_AF_KCM`"),
    ("5.10", "mptcp", "built without `CONFIG_MPTCP`"),
];

/// Stories of which tcptrace, on every kernel that can tell them, does not see enough to be certain.
pub(crate) const MAY: [(&str, &str); 1] =
    [("mptcp", "yes, but says *may*: the call that wrote is not seen")];

/// The stories of this family.
pub(crate) fn stories() -> Vec<Story> {
    let mut stories: Vec<Story> = Way::PLAIN.into_iter().map(like_write).collect();
    stories.extend(sendfile());
    stories.extend(splice());
    stories.extend([
        // Nothing is added to the buffer of the second write, so that it is the last one no more.
        story(
            "end_of_record_then_write",
            vec![
                write(100),
                ms(1),
                by(Way::EndOfRecord, 50),
                ms(8),
                write(60),
                ms(20),
                Step::Ack(150),
                ms(10),
                Step::Ack(210),
                close(),
            ],
            vec![held(50, &["nagle"], "more_data", 8_100), held(60, &["nagle"], "ack", 20_100)],
        ),
        story(
            "end_of_record_under_cork",
            vec![
                cork(true),
                by(Way::EndOfRecord, 40),
                ms(10),
                write(60),
                ms(10),
                Step::Ack(40),
                ms(10),
                cork(false),
                ms(10),
                Step::Ack(100),
                close(),
            ],
            vec![held(40, &["cork"], "more_data", 10_100), held(60, &["cork"], "uncork", 20_100)],
        ),
    ]);
    stories.push(ktls());
    stories.push(mptcp());
    stories
}

/// Each record is 29 bytes longer than the write.
fn ktls() -> Story {
    story(
        "ktls",
        vec![
            Step::Do(Call::Encrypt),
            write(100),
            ms(1),
            write(50),
            ms(30),
            Step::Ack(129),
            ms(10),
            Step::Ack(208),
            cork(true),
            write(40),
            ms(10),
            write(40),
            ms(30),
            cork(false),
            ms(10),
            Step::Ack(346),
            nodelay(true),
            write(30),
            ms(1),
            write(1_030),
            ms(10),
            Step::Ack(1_464),
            close(),
        ],
        vec![held(79, &["nagle"], "ack", 30_000), held(138, &["cork"], "uncork", 40_200)],
    )
}

/// The client splits its request, and the server delays its acknowledgement.
fn mptcp() -> Story {
    let slow = Expected { slack_us: 4_000, ..held(10, &["nagle"], "ack", 42_000) };
    over_mptcp("mptcp", client_splits_its_request(), vec![slow])
}

/// Behind a small segment, as the tail of more, under `TCP_CORK`, and under `TCP_NODELAY`, which holds nothing.
fn like_write(way: Way) -> Story {
    let steps = vec![
        write(100),
        ms(1),
        by(way, 50),
        ms(30),
        Step::Ack(100),
        ms(10),
        Step::Ack(150),
        write(100),
        ms(1),
        by(way, 2_050),
        ms(20),
        Step::Ack(2_250),
        ms(10),
        Step::Ack(2_300),
        cork(true),
        by(way, 40),
        ms(10),
        by(way, 40),
        ms(30),
        cork(false),
        ms(10),
        Step::Ack(2_380),
        nodelay(true),
        by(way, 30),
        ms(1),
        by(way, 30),
        ms(1),
        by(way, 1_030),
        ms(20),
        Step::Ack(3_470),
        close(),
    ];
    let expect = vec![
        held(50, &["nagle"], "ack", 30_000),
        held(50, &["nagle"], "ack", 20_000),
        held(80, &["cork"], "uncork", 40_200),
    ];
    story(&format!("by_{}", way.name()), steps, expect)
}

fn sendfile() -> Vec<Story> {
    let past_end = story(
        "by_sendfile_past_end",
        vec![by(Way::SendfilePastEnd, 40), Step::Arrived(40), ms(10), Step::Ack(40), close()],
        Vec::new(),
    );
    vec![
        story(
            "sendfile_of_two_pages",
            vec![
                write(100),
                ms(1),
                by(Way::Sendfile, 4_146),
                ms(20),
                Step::Ack(4_100),
                ms(10),
                Step::Ack(4_246),
                close(),
            ],
            vec![held(146, &["nagle"], "ack", 20_000)],
        ),
        // To the kernels before 6.1 the end of the file says nothing: the probe timer sends the bytes.
        Story { expect: Expect::Holds(None), ..past_end },
    ]
}

fn splice() -> Vec<Story> {
    vec![
        story(
            "splice_more_then_splice",
            vec![
                by(Way::SpliceMore, 40),
                ms(15),
                by(Way::Splice, 60),
                ms(10),
                Step::Ack(100),
                close(),
            ],
            vec![held(40, &["msg_more"], "push", 15_100)],
        ),
        story(
            "splice_more_probe_timer",
            vec![by(Way::SpliceMore, 40), Step::Arrived(40), ms(10), Step::Ack(40), close()],
            // As after `MSG_MORE`.
            vec![Expected { slack_us: 14_000, ..timed(40, &["msg_more"], "probe_timer", 220_000) }],
        ),
    ]
}

fn by(way: Way, bytes: usize) -> Step {
    Step::Do(Call::By(way, bytes))
}

#[cfg(test)]
mod tests {
    use super::{CANNOT, WAYS};
    use crate::kernels;

    #[test]
    fn every_way_has_a_story_and_the_closed_list_names_stories_and_kernels() {
        let told: Vec<String> = super::super::all().into_iter().map(|story| story.name).collect();
        for (way, story) in WAYS {
            assert!(told.iter().any(|name| name == story), "{way}: no story {story}");
        }
        for (kernel, story, _) in CANNOT {
            assert!(WAYS.iter().any(|row| row.1 == story), "{story} is no way");
            assert!(kernels::series(kernel).is_ok(), "{kernel}");
        }
    }
}
