//! The tasks of this repository: `cargo xtask TASK`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a task speaks to the person who typed it"
)]

mod again;
mod apt;
mod bench;
mod binaries;
mod ci;
mod command;
mod demo;
mod debian;
mod dist;
mod ebpf;
mod fuzz;
mod guest;
mod hooks;
mod host_tests;
mod imports;
mod initramfs;
mod kernels;
mod modules;
mod mutate;
mod notices;
mod oracle;
mod pages;
mod report;
mod scenario;
mod setup;
mod table;
mod test;
mod tidy;
mod totals;
mod traces;
mod vm;

#[path = "../../tcptrace/build/toolchain.rs"]
mod toolchain;

use std::process::ExitCode;

use clap::Parser as _;

/// The tasks of this repository.
#[derive(Debug, clap::Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, clap::Subcommand)]
enum Task {
    /// Installs what building, testing and the demo need
    Setup(setup::Args),
    /// Runs the host's tests and all scenarios in guests of all kernels
    Test(test::Args),
    /// Shows the founding story in a guest
    Demo(demo::Args),
    /// Records the stories in guests, for tcptrace's golden tests
    Traces(traces::Args),
    /// Writes the pages of docs/ that are made from the tables in the code
    Pages(pages::Args),
    /// Checks the house rules that no lint knows
    Tidy,
    /// Feeds the readers of untrusted bytes with whatever breaks them
    Fuzz(fuzz::Args),
    /// Measures, and asserts nothing
    Bench(bench::Args),
    /// Everything that has to hold for a change: format, lints, tidy, pages, fuzzing, test, mutations
    Ci,
    /// Packs the static program for other hosts, with its manual pages, completions and notices
    Dist,
    /// Boots a stock kernel in an emulator and runs a command in it
    Vm(vm::Args),
    /// What runs inside a guest
    #[command(hide = true)]
    Guest(guest::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Setup(args) => setup::task(&args),
        Task::Test(args) => test::task(&args),
        Task::Demo(args) => demo::task(&args),
        Task::Traces(args) => traces::task(&args),
        Task::Pages(args) => pages::task(&args),
        Task::Tidy => tidy::task(),
        Task::Fuzz(args) => fuzz::task(&args),
        Task::Bench(args) => bench::task(&args),
        Task::Ci => ci::task(),
        Task::Dist => dist::task(),
        Task::Vm(args) => vm::task(&args),
        Task::Guest(args) => guest::run(&args).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}
