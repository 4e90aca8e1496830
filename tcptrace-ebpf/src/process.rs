//! Which processes belong to the command that is watched. These programs stand on tracepoints, not on functions of TCP,
//! emit nothing, and are attached only when there is a command.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tcptrace_common::{field::Field, hook::Hook, loss::Loss};

use crate::{emit, maps::PROCESSES, read};

/// `sched_process_fork(parent, child)`: a thread or a process has been made, and has not run yet.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    let (parent, child): (*const u8, *const u8) = (ctx.arg(0), ctx.arg(1));
    let (of, own) = (read::of_task(parent, Field::tgid), read::of_task(child, Field::tgid));
    // SAFETY: the value is not looked at.
    if of != own
        && unsafe { PROCESSES.get(&of) }.is_some()
        && PROCESSES.insert(&own, &1, 0).is_err()
    {
        // What is lost is the announcement of its sockets.
        emit::lost(Hook::socket, Loss::ProcessesFull);
    }
    0
}

/// `sched_process_free(task)`: a thread is forgotten. A process is with its first thread, which outlives the others.
/// At `sched_process_exit` it would be too early: a process that exits closes its sockets after that.
#[btf_tracepoint(function = "sched_process_free")]
pub fn sched_process_free(ctx: BtfTracePointContext) -> i32 {
    let task: *const u8 = ctx.arg(0);
    let process = read::of_task(task, Field::tgid);
    if process == read::of_task(task, Field::pid) {
        let _ = PROCESSES.remove(&process);
    }
    0
}
