//! Who set which TCP option, when, and whether it could still matter.
//!
//! # What it answers
//! Each call that sets an option of TCP, or one of sockets on which TCP's waiting depends: its value before and after, as the
//! socket has it, what was asked for, the result, the way it came by, and whether it changed anything. With `--existing`, the
//! options of sockets that were there before.
//!
//! # What the kernel does
//! `__sys_setsockopt()` and `io_uring` ask `security_socket_setsockopt()` first and then set the option; BPF comes by
//! `__bpf_setsockopt()`, modules and Multipath TCP by `tcp_sock_set_*()`. Values are rounded, limited and converted on the way:
//! what counts is what the socket has afterwards. A listener's options are copied into each socket it accepts.
//!
//! # What you see
//! ```text
//! TCP_NODELAY 0 to 1: 5 B left at once.
//! ```
//!
//! # What to do
//! Set what belongs to the handshake before `connect()` or `listen()`, and what is for all connections on the listener.
//!
//! # References
//! `tcp(7)`, `socket(7)`; `net/ipv4/tcp.c`: `do_tcp_setsockopt()`; `net/core/sock.c`: `sk_setsockopt()`.

mod change;
mod judge;
mod machine;
mod value;

pub use change::{Change, Effect, Existing, Fact, Phase, Reason, Told, Via};
pub use machine::Machine;
pub use value::{Value, value};
