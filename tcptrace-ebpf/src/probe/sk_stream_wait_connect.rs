//! `sk_stream_wait_connect(sk, timeo_p)`, at its entry.
//!
//! **When**: a write came before the connection was established and is about to sleep, or to say `EAGAIN`.
//! **Context**: process, socket lock held; it lets go of the lock while it sleeps.
//! **Arguments**: how long it may sleep, which is not read.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/core/stream.c, `sk_stream_wait_connect()`.

emit_when_about_to_sleep!(sk_stream_wait_connect);
on_entry!(sk_stream_wait_connect, sk_stream_wait_connect_kprobe);
