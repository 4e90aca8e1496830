//! Stories between two ordinary sockets of one namespace; tcptrace sees both ends.

use crate::oracle::Call;

use super::{
    Expected, Step, Story,
    story::{close, held, over_loopback, quick_rounds, write},
};

/// The stories of this family.
pub(crate) fn stories() -> Vec<Story> {
    // The other end's delayed-ACK timer: 40 ms, and one tick more.
    let slow = || Expected { slack_us: 4_000, ..held(10, &["nagle"], "ack", 42_000) };
    vec![
        over_loopback("write_write_read_lo", client_splits_its_request(), vec![slow()]),
        over_loopback("write_write_read_lo_server", server_splits_its_answer(), vec![slow()]),
    ]
}

/// Three requests and answers in one write each; then a request in two.
fn client_splits_its_request() -> Vec<Step> {
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
