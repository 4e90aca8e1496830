//! Stories between two ordinary sockets of one namespace; tcptrace sees both ends.

use crate::oracle::Call;

use super::{
    Expected, Step, Story,
    story::{Expect, close, held, over_loopback, quick_rounds, write},
};

/// Twenty requests, each split in two.
pub(crate) const TWENTY_ROUNDS: &str = "write_write_read_lo_20_rounds";

/// The stories of this family.
pub(crate) fn stories() -> Vec<Story> {
    // The other end's delayed-ACK timer: 40 ms, and one tick more.
    let slow = || Expected { slack_us: 4_000, ..held(10, &["nagle"], "ack", 42_000) };
    vec![
        over_loopback("write_write_read_lo", client_splits_its_request(), vec![slow()]),
        over_loopback("write_write_read_lo_server", server_splits_its_answer(), vec![slow()]),
        Story {
            // In which of the first rounds the other end still acknowledges at once is the kernel's affair.
            expect: Expect::Holds(None),
            ..over_loopback(TWENTY_ROUNDS, split_requests(20), Vec::new())
        },
    ]
}

/// Requests in two writes, each answered in one.
fn split_requests(many: usize) -> Vec<Step> {
    let round = [
        Step::Client(Call::Write(10)),
        Step::Client(Call::Write(10)),
        Step::Do(Call::Read(20)),
        write(10),
        Step::Client(Call::Read(10)),
    ];
    round.iter().cycle().take(many * round.len()).cloned().chain([close()]).collect()
}

/// Three requests and answers in one write each; then a request in two.
pub(super) fn client_splits_its_request() -> Vec<Step> {
    let mut steps = quick_rounds(3);
    steps.extend([
        Step::Client(Call::Write(10)),
        Step::Client(Call::Write(10)),
        Step::Do(Call::Read(20)),
        write(10),
        Step::Client(Call::Read(10)),
        close(),
    ]);
    steps
}

/// The same with an answer in two.
fn server_splits_its_answer() -> Vec<Step> {
    let mut steps = quick_rounds(3);
    steps.extend([
        Step::Client(Call::Write(10)),
        Step::Do(Call::Read(10)),
        write(10),
        write(10),
        Step::Client(Call::Read(20)),
        close(),
    ]);
    steps
}
