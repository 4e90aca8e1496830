//! Which shape a connection's end had, and why.
//!
//! # What it answers
//! Who closed first, how many segments the teardown took, and why: why the FIN carried the ACK or did not, why there was a
//! reset in its place, where the time went, and which sockets nobody has closed.
//!
//! # What the kernel does
//! `tcp_fin()` takes the peer's FIN: an established socket gets into the state CLOSE-WAIT and into interactive mode
//! (`icsk_ack.pingpong`), so that its ACK is put off (`tcp_send_delayed_ack()`). When the program closes
//! (`__tcp_close()`, or `shutdown()`) before that ACK is due, `tcp_send_fin()` sends one segment for both: the socket tells then
//! by when the ACK would have left. A socket that
//! has sent its FIN first acknowledges the peer's at once. `__tcp_close()` resets instead of closing when bytes are unread,
//! or when `SO_LINGER` gives no time. What is left of a closed socket is a minisock
//! (`tcp_timewait_state_process()`).
//!
//! # What you see
//! ```text
//! FIN and ACK were merged: app[412] closed 10.1 ms after the peer's FIN, 31.2 ms before its delayed ACK was due.
//! ```
//!
//! # What to do
//! Read all that was sent before closing, close what the peer has closed, and do not count segments: three are as good as
//! four.
//!
//! # References
//! RFC 9293 3.6 and 3.8.6.3; RFC 1122 4.2.2.13 and 4.2.3.2; RFC 2525 2.17; `tcp(7)`, `socket(7)`; `net/ipv4/tcp.c`:
//! `__tcp_close()`; `net/ipv4/tcp_input.c`: `tcp_fin()`, `tcp_rcv_state_process()`, `__tcp_ack_snd_check()`;
//! `net/ipv4/tcp_output.c`: `tcp_send_fin()`, `tcp_send_delayed_ack()`; `net/ipv4/tcp_minisocks.c`.

mod conclusion;
mod departure;
mod machine;
mod state;
mod teardown;

pub use machine::Machine;
pub use teardown::{
    Acked, Closed, Fact, FinHeld, MAX_LINES, Mark, Numbers, OtherEnd, PutOff, Reason, Shape, Side,
    Spell, Teardown,
};
