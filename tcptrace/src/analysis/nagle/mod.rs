//! Why written bytes waited, and what let them go.
//!
//! # What it answers
//! Which written bytes did not leave at once, by what they were held, for how long, and what made them leave.
//!
//! # What the kernel does
//! `tcp_sendmsg_locked()` queues the bytes and calls `tcp_push()`, which tries to send (`tcp_write_xmit()`). A last
//! segment that is not full stays when the socket is corked, when the call said `MSG_MORE`, or when Nagle's rule applies
//! (`tcp_nagle_check()`). Every departure of new data passes `tcp_event_new_data_sent()`. Nagle and cork have no timer of
//! their own: what is held leaves by an ACK, more data, a changed option, a FIN, or by the probe timer (nothing in
//! flight) or the loss probe (something in flight).
//!
//! # What you see
//! ```text
//! 8 B waited 226.9 ms: held by TCP_CORK with nothing in flight; the probe timer sent them.
//! ```
//!
//! # What to do
//! Write a message with one call (`writev()`), set `TCP_NODELAY`, clear `TCP_CORK` when the message is complete, or end
//! it with a call without `MSG_MORE`.
//!
//! # References
//! RFC 896; RFC 1122 4.2.3.4; RFC 8985 7; `tcp(7)`; `net/ipv4/tcp.c`: `tcp_push()`;
//! `net/ipv4/tcp_output.c`: `tcp_write_xmit()`, `tcp_nagle_check()`, `tcp_minshall_check()`, `tcp_send_loss_probe()`, `tcp_send_probe0()`.

mod acks;
pub(in crate::analysis) mod attempt;
mod attribution;
pub(in crate::analysis) mod blocked;
mod hold;
mod idle;
mod machine;
mod number;
mod sparse;
pub(in crate::analysis) mod timer;

#[cfg(feature = "mutate")]
pub use hold::Mutation;
pub use hold::{
    Fact, Held, Hold, Known, Limit, MAX_WRITES, Part, Pattern, PeerAck, Release, Shape, Timer, Way,
    Write,
};
pub use idle::Machine;
pub use number::{Nanoseconds, Number, Small};
