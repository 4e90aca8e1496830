//! `security_sock_graft(sk, parent)`, at its entry.
//!
//! **When**: `accept()` hands a socket over to a program. `inet_csk_accept()` has had two lists of arguments since 5.10, so
//! that its result is not always in the same place; this function is called right behind it.
//! **Context**: process, socket lock held.
//! **Arguments**: the socket that was accepted.
//! **Since**: global on all kernels from 5.10 that have security modules.
//! **Kernel**: security/security.c, `security_sock_graft()`, called by `sock_graft()`.

emit_when_met!(security_sock_graft, []);
on_entry!(security_sock_graft, security_sock_graft_kprobe);
