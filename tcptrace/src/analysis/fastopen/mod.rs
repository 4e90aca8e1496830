//! Whether TCP Fast Open worked, and if not, why.
//!
//! # What it answers
//! How Fast Open was asked for, what the SYN carried, what the SYN-ACK made of it, and each reason for which no data went in
//! the SYN or was not taken; on both ends, and of a listener that nobody can use that way.
//!
//! # What the kernel does
//! `tcp_fastopen_cookie_check()` looks for a cookie of the server's address. With one, or where none is needed,
//! `tcp_connect()` puts the first bytes into the SYN; without one the SYN asks for it. `tcp_fastopen_cache_set()` is called
//! with what the SYN-ACK says. On the other end `tcp_try_fastopen()` decides for each SYN with data or with the option:
//! the setting of the network namespace, the listener's queue and the cookie, in this order. What it accepts is a socket at
//! once, which stays a request as well until `reqsk_fastopen_remove()`.
//!
//! # What you see
//! ```text
//! 78 B of 78 B went in the SYN and were taken: 20.3 ms saved.
//! ```
//!
//! # What to do
//! Set bit 0x2 of `net.ipv4.tcp_fastopen` where servers run: it is off by default, in each network namespace anew. Expect the
//! first connection to each address to only fetch a cookie.
//!
//! # References
//! RFC 7413; `tcp(7)`; `net/ipv4/tcp_fastopen.c`; `net/ipv4/tcp_output.c`: `tcp_send_syn_data()`; `net/ipv4/tcp_input.c`:
//! `tcp_rcv_fastopen_synack()`, `tcp_conn_request()`; `net/core/request_sock.c`: `reqsk_fastopen_remove()`.

mod attempt;
mod client;
mod machine;
mod server;

pub use attempt::{
    Asked, Attempt, Blackhole, Fact, Looked, MAX_LINES, OtherEnd, Outcome, Pause, Queue, Reason,
    Side, SynOption,
};
pub use machine::Machine;
