//! `do_tcp_sendpages(sk, page, offset, size, flags)`, at its return.
//!
//! **When**: sendfile, splice or an in-kernel sender has given TCP a page.
//! **Context**: process, socket lock held at its ends; it can sleep in between.
//! **Arguments**: `size`, bytes given; `flags` (MSG_MORE, MSG_SENDPAGE_NOTLAST); result: bytes taken, or a negative error.
//! Both sizes are told with the pages that the same call has given before, which no push has ended.
//! **Since**: global on 5.10 to 6.4; from 6.5 on `tcp_sendmsg_locked()` takes pages too.
//! **Kernel**: net/ipv4/tcp.c, `do_tcp_sendpages()`.

use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;
use tcptrace_common::{
    field::Field,
    hook::{Hook, ret_of},
    tcp::MSG_SENDPAGE_NOTLAST,
};

use crate::{
    emit,
    maps::PAGES,
    read::Reader,
    socket::{self, AtWork},
};

/// Pages that a thread has given in a row, the last of them said to be followed by another.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Pages {
    sk: u64,
    /// `write_seq` before the first of them, and after the last.
    from: u32,
    to: u32,
}

#[inline(always)]
fn body<R: Reader>(reader: &R, arg: impl Fn(usize) -> u32) {
    let (size, flags, ret) = (arg(3), arg(4), arg(ret_of(5)));
    let before = before(reader, flags, ret);
    if let Some(state) = socket::wanted(Hook::do_tcp_sendpages, reader, AtWork::User) {
        let told = if (ret as i32) < 0 { ret } else { ret.wrapping_add(before) };
        let values = [size.wrapping_add(before), flags, told, 0, 0, 0, 0];
        emit::emit::<R, { Hook::do_tcp_sendpages.slots() }>(Hook::do_tcp_sendpages, reader, values);
        socket::let_go_if_idle(state, reader);
    }
}

/// Bytes of the pages before this one; remembers this one when another is to follow.
#[inline(always)]
fn before<R: Reader>(reader: &R, flags: u32, ret: u32) -> u32 {
    let last = flags & MSG_SENDPAGE_NOTLAST == 0;
    // SAFETY: the helper has no argument.
    let thread = unsafe { bpf_get_current_pid_tgid() } as u32;
    let to = reader.value(Field::write_seq) as u32;
    let start = if (ret as i32) < 0 { to } else { to.wrapping_sub(ret) };
    let known = PAGES.get_ptr_mut(&thread);
    // SAFETY: the map's value lives as long as the program runs, and belongs to this thread.
    let from = match known.map(|pages| unsafe { *pages }) {
        Some(pages) if pages.sk == reader.sk() && pages.to == start => pages.from,
        _ => start,
    };
    let pages = Pages { sk: if last { 0 } else { reader.sk() }, from, to };
    match known {
        // SAFETY: as above.
        Some(known) => unsafe { *known = pages },
        // Without it this page counts alone.
        None if !last => drop(PAGES.insert(&thread, &pages, 0)),
        None => {}
    }
    start.wrapping_sub(from)
}

on_exit!(do_tcp_sendpages, do_tcp_sendpages_kprobe, do_tcp_sendpages_kretprobe);
