//! `tcp_event_new_data_sent(sk, skb)`, at its entry.
//!
//! **When**: new data, or a FIN, has been given to the layers below; every departure passes here.
//! **Context**: process or softirq, socket lock held. Over loopback the peer may have answered already.
//! **Arguments**: the segment; `snd_nxt` does not count it yet.
//! **Since**: static on all kernels from 5.10, never inlined.
//! **Kernel**: net/ipv4/tcp_output.c, `tcp_event_new_data_sent()`.

use tcptrace_common::{field::Field, hook::Hook};

use crate::{
    emit,
    read::Reader,
    request,
    socket::{self, AtWork},
};

#[inline(always)]
fn body<R: Reader>(reader: &R, _arg: impl Fn(usize) -> u32) {
    let wanted = socket::wanted(Hook::tcp_event_new_data_sent, reader, AtWork::Anybody);
    let Some(state) = wanted else { return };
    emit::emit::<R, { Hook::tcp_event_new_data_sent.slots() }>(
        Hook::tcp_event_new_data_sent,
        reader,
        [0; 7],
    );
    if request::deferring() && socket::withholding(reader).is_some() {
        socket::opens_by_write(state, false);
    }
    if reader.value(Field::end_seq) as u32 == reader.word(Field::write_seq) {
        socket::let_go(state);
    }
}

on_entry!(
    tcp_event_new_data_sent,
    tcp_event_new_data_sent_kprobe,
    segment = 1,
    gate = socket::may_matter
);
