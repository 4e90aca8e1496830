//! What `TCP_DEFER_ACCEPT` did to each connection.
//!
//! # What it answers
//! Which listeners defer, how many timer periods the kernel has made of the seconds asked for, and who asked; of each
//! connection to them how long it was held, what let it go and what became of it, and that a SYN-ACK which is sent again
//! meanwhile is the deferral and no loss. On the other end, that a client's own option puts off the ACK of its handshake.
//!
//! # What the kernel does
//! A request stands for a connection until its handshake is complete. With the option `tcp_check_req()` drops the bare ACK
//! that would complete it, and remembers that it came; a segment with data or FIN makes the request a socket. Each request
//! has a timer, `reqsk_timer_handler()`, whose periods double from one second on. While an ACK has come and periods are
//! left it sends nothing; when the last one is over it sends the SYN-ACK once more, and the ACK that answers makes the request a
//! socket. It never does so by itself: a client that does not answer is dropped when the retries of SYN-ACKs are used up.
//!
//! # What you see
//! ```text
//! accept() waited 7.02 s for a client that said nothing; then app[900] got the connection without data.
//! ```
//!
//! # What to do
//! Leave the option off where the server speaks first: each such client waits for the deadline. Expect 2^n - 1 seconds,
//! not the number that was set.
//!
//! # References
//! `tcp(7)`; `net/ipv4/tcp_minisocks.c`: `tcp_check_req()`; `net/ipv4/inet_connection_sock.c`: `reqsk_timer_handler()`,
//! `syn_ack_recalc()`; `net/ipv4/tcp.c`: `secs_to_retrans()`; `net/ipv4/tcp_input.c`: `tcp_rcv_synsent_state_process()`.

mod deferral;
mod listener;
mod machine;
mod request;

pub use deferral::{Deferral, Fact, MAX_LINES, Outcome, Setting, Side, Trigger, lasts_ns};
pub use machine::Machine;
