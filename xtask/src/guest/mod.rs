//! What runs inside a guest, as root: the stories, their witnesses, and the tcptrace under test.

mod apart;
mod attach;
mod bpf;
mod bulk;
mod calls;
mod capture;
pub(crate) mod closers;
mod contended;
mod cost;
mod demo;
pub(crate) mod defer_accept;
pub(crate) mod deferrers;
pub(crate) mod fastopen;
pub(crate) mod filters;
mod flood;
mod held;
mod idle;
mod kcm;
mod live;
mod memory;
mod netlink;
mod netns;
pub(crate) mod openers;
mod ops;
mod packet;
mod pair;
mod peer;
pub(crate) mod peers;
mod process;
mod qdisc;
pub(crate) mod refusals;
pub(crate) mod rows;
mod run;
mod said;
pub(crate) mod servers;
pub(crate) mod setters;
pub(crate) mod sockopt;
pub(crate) mod spending;
pub(crate) mod stack;
mod stage;
mod sys;
mod tool;
mod traces;
pub(crate) mod trace;
pub(crate) mod tree;
mod tun;
mod turns;
pub(crate) mod verdicts;
mod ways;

/// Bytes of one write of the workloads that move much.
pub(crate) const BULK_BYTES: u32 = 64 << 10;

/// What to run, and with which tcptrace.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, clap::Subcommand)]
enum Task {
    /// Runs the stories and compares tcptrace with the oracle
    Run(run::Args),
    /// Lets several threads use one connection and compares bytes only
    Contended(contended::Args),
    /// Runs workloads without and with a tool beside them
    Cost(cost::Args),
    /// Starts and stops a tool
    Attach(attach::Args),
    /// Sends much without and with a tool beside it
    Bulk(bulk::Args),
    /// Keeps every processor busy under a tool
    Flood(flood::Args),
    /// Holds bytes on very many sockets under a tool
    Memory(memory::Args),
    /// Lets a tool follow holds
    Live(live::Args),
    /// Gives a tool nothing to do
    Idle(idle::Args),
    /// A workload whose cost is measured
    Ops(ops::Args),
    /// Plays the story of a small write under `TCP_CORK` in front of tcptrace's own text
    Demo(demo::Args),
    /// Records each story
    Traces(traces::Args),
    /// Holds bytes for a while, in a process further down
    Held(held::Held),
}

/// Runs inside the guest; prints one line for each outcome or trace, as [`crate::report`] marks them.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // Rows that play their cases at once need more than a shell's 1,024.
    sys::allow_files()?;
    match &args.task {
        Task::Run(args) => run::task(args),
        Task::Contended(args) => contended::task(args),
        Task::Cost(args) => cost::task(args),
        Task::Attach(args) => attach::task(args),
        Task::Bulk(args) => bulk::task(args),
        Task::Flood(args) => flood::task(args),
        Task::Memory(args) => memory::task(args),
        Task::Live(args) => live::task(args),
        Task::Idle(args) => idle::task(args),
        Task::Ops(args) => ops::task(*args),
        Task::Demo(args) => demo::task(args),
        Task::Traces(args) => traces::task(args),
        Task::Held(held) => held::task(*held),
    }
}
