//! `tcp_rcv_state_process(sk, skb)`, at its entry.
//!
//! **When**: a segment arrived in a state other than established, for instance after our FIN.
//! **Context**: softirq, or the backlog run by a task that releases the socket lock.
//! **Arguments**: the segment.
//! **Since**: global on all kernels from 5.10.
//! **Kernel**: net/ipv4/tcp_input.c, `tcp_rcv_state_process()`.

emit_while_held!(tcp_rcv_state_process);
on_entry!(tcp_rcv_state_process, tcp_rcv_state_process_kprobe, segment = 1);
