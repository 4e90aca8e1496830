//! Everything that is known about a socket, in order.
//!
//! # What it answers
//! What happened on each socket, and when: writes, departures, segments in, timers, options, FINs, its end, and the
//! times in which written bytes were held.
//!
//! # What the kernel does
//! Each line stands for a call of a kernel function: `tcp_push()` and `tcp_sendmsg_locked()` for a write,
//! `tcp_event_new_data_sent()` for a departure, `tcp_rcv_established()` and `tcp_rcv_state_process()` for a segment in,
//! `tcp_write_timer_handler()` for a timer, `do_tcp_setsockopt()` for an option, `tcp_fin()` and `tcp_send_fin()` for
//! the FINs, `tcp_done()` for the end. Holds are those of the question `nagle`, found by its own machine; so are the lines of
//! Fast Open, of `TCP_DEFER_ACCEPT` and of options, where a trace has their events.
//!
//! # What you see
//! ```text
//! 192.0.2.10:8080 > 192.0.2.77:40112   server[2211]
//!   14:03:07.412   +0.00 ms  > write 8 B
//!                  +0.00 ms  ┌ held by cork
//!                +226.97 ms  └ left: probe timer, 226.9 ms
//! ```
//!
//! # What to do
//! Read it beside the program's own log; ask `nagle` for the verdict on one hold.
//!
//! # References
//! RFC 9293 3; RFC 8985 7; `tcp(7)`; `net/ipv4/tcp.c`, `net/ipv4/tcp_input.c`, `net/ipv4/tcp_output.c`.

mod machine;
mod others;
mod stretch;

pub use machine::Machine;
pub use stretch::{Fact, MAX_LINES, SPAN_NS, Stretch};
