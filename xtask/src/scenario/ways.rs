//! Stories in which bytes are given to TCP otherwise than by `write` and `send`.

use crate::oracle::{Call, Way};

use super::{
    Expected, Step, Story,
    loopback::client_splits_its_request,
    story::{
        Expect, close, cork, held, ms, nodelay, over_mptcp, quick_rounds, story, timed, write,
    },
};

/// The ways to write, each with the story that shows it: the page `docs/ways.md` is made from this.
pub(crate) const WAYS: [(&str, &str); 27] = [
    ("`write`, `send`, `sendto`", "nagle_ack"),
    ("`send` with `MSG_MORE`", "more_ack"),
    ("`send` with `MSG_EOR`", "end_of_record_then_write"),
    ("`send` with `MSG_DONTWAIT`", "by_dontwait"),
    ("`send` with `MSG_ZEROCOPY`", "by_zerocopy"),
    ("`send` with `MSG_OOB`", "urgent_data_under_cork"),
    ("`writev`", "by_writev"),
    ("`sendmsg`", "by_sendmsg"),
    ("`sendmmsg`: each message is a write", "by_sendmmsg"),
    ("`sendfile`", "by_sendfile"),
    ("`sendfile` of more bytes than the file has", "by_sendfile_past_end"),
    ("`splice` from a pipe", "by_splice"),
    ("`splice` with `SPLICE_F_MORE`", "splice_more_then_splice"),
    ("io_uring, `IORING_OP_SEND`", "by_io_uring"),
    ("io_uring, by a worker (`IOSQE_ASYNC`)", "by_io_uring_worker"),
    ("io_uring, `IORING_OP_SENDMSG`", "by_io_uring_sendmsg"),
    ("io_uring, `IORING_OP_WRITE`", "by_io_uring_write"),
    ("io_uring, `IORING_OP_SEND_ZC`", "by_io_uring_zerocopy"),
    ("io_uring, `IORING_OP_SENDMSG_ZC`", "by_io_uring_sendmsg_zerocopy"),
    ("kernel TLS: each record is a write", "ktls"),
    ("a sender in the kernel: KCM", "by_kcm"),
    ("MPTCP, on a subflow", "mptcp"),
    ("MPTCP, with `TCP_CORK`", "mptcp_cork"),
    ("MPTCP, with `TCP_NODELAY`", "mptcp_nodelay"),
    ("`connect` that does not wait, then `write`", "not_established"),
    ("`sendto` with `MSG_FASTOPEN`", "fastopen"),
    ("`TCP_FASTOPEN_CONNECT`, then `write`", "not_established_deferred_connect"),
];

/// What a kernel of the matrix cannot do: the story must fail there, and need not be told.
pub(crate) const CANNOT: [(&str, &str, &str); 7] = [
    ("5.10", "by_io_uring_zerocopy", "the kernel has no `IORING_OP_SEND_ZC`"),
    ("5.10", "by_io_uring_sendmsg_zerocopy", "the kernel has no `IORING_OP_SENDMSG_ZC`"),
    ("5.10", "ktls", "built without `CONFIG_TLS`"),
    ("5.10", "by_kcm", "built without `CONFIG_AF_KCM`"),
    ("5.10", "mptcp", "built without `CONFIG_MPTCP`"),
    ("5.10", "mptcp_cork", "built without `CONFIG_MPTCP`"),
    ("5.10", "mptcp_nodelay", "built without `CONFIG_MPTCP`"),
];

/// Stories of which tcptrace, on every kernel that can tell them, does not see enough to be certain.
pub(crate) const MAY: [(&str, &str); 0] = [];

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
    stories.extend(mptcp());
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

/// Options that are set on an MPTCP socket the kernel sets on its subflows.
fn mptcp() -> Vec<Story> {
    // The client splits its request, and the server delays its acknowledgement.
    let slow = Expected { slack_us: 4_000, ..held(10, &["nagle"], "ack", 42_000) };
    let after = |steps: Vec<Step>| {
        let mut all = quick_rounds(4);
        all.extend(steps);
        all.extend([ms(60), close()]);
        all
    };
    vec![
        over_mptcp("mptcp", client_splits_its_request(), vec![slow]),
        over_mptcp(
            "mptcp_cork",
            // By then the other end's delayed ACK has come.
            after(vec![ms(60), cork(true), write(40), ms(10), write(40), ms(20), cork(false)]),
            vec![held(80, &["cork"], "uncork", 30_200)],
        ),
        over_mptcp(
            "mptcp_nodelay",
            after(vec![write(10), ms(1), write(20), ms(10), nodelay(true)]),
            vec![held(30, &["nagle"], "nodelay", 11_100)],
        ),
    ]
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
        ms(15),
        Step::Ack(if way.keeps_apart() { 2_340 } else { 2_300 }),
        ms(15),
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
    let mut expect = vec![held(50, &["nagle"], "ack", 30_000), held(50, &["nagle"], "ack", 20_000)];
    if way.keeps_apart() {
        expect.push(held(40, &["cork"], "more_data", 10_100));
        expect.push(held(40, &["cork"], "uncork", 30_200));
    } else {
        expect.push(held(80, &["cork"], "uncork", 40_200));
    }
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
