//! `cargo xtask demo`: the founding story in a guest, told by tcptrace itself.

use std::{
    io::IsTerminal as _,
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{binaries::Program, command, kernels, setup, test::Programs, vm};

/// `cargo xtask demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Series of the kernel
    #[arg(long, default_value = kernels::USUAL)]
    kernel: String,
    /// On this machine's own kernel, as root, instead of in a guest
    #[arg(long, conflicts_with = "kernel")]
    host: bool,
}

/// Runs it; standard output carries tcptrace's output and nothing else.
pub(crate) fn task(args: &Args) -> Result<ExitCode> {
    let series = kernels::series(&args.kernel)?;
    setup::ensure(if args.host { &[] } else { std::slice::from_ref(&series) })?;
    let programs = Programs::build(Program::Tcptrace, false)?;
    eprintln!(
        "xtask: a server corks its socket and writes 8 bytes, then 105; the peer's segments carry 62"
    );
    if args.host {
        return on_host(&programs);
    }
    // The console is always a terminal, this program's output is not.
    let color = if std::io::stdout().is_terminal() { "always" } else { "never" };
    // With BPF statistics on, tcptrace can say what it cost; on a host that is the owner's choice.
    let script = format!(
        "echo 1 > /proc/sys/kernel/bpf_stats_enabled; exec /xtask guest demo --color {color}"
    );
    let command = vec!["sh".to_owned(), "-c".to_owned(), script];
    let mut guest = vm::Guest::new(series.ready()?, command);
    guest.limit = Duration::from_secs(150);
    programs.add_to(&mut guest)?;
    eprintln!("xtask: kernel {} in an emulator", guest.kernel.package);
    let run = guest.run(&mut |line| println!("{line}"))?;
    eprintln!("xtask: {}, {:.0} s", run.release, run.took.as_secs_f64());
    ensure!(run.exit == 0, "the demo ended with {}", run.exit);
    Ok(ExitCode::SUCCESS)
}

fn on_host(programs: &Programs) -> Result<ExitCode> {
    ensure!(command::is_root(), "--host attaches to this machine's kernel, which wants root");
    let mut demo = Command::new(programs.xtask());
    demo.args(["guest", "demo"]).arg("--tcptrace").arg(programs.tcptrace());
    let status = demo.status().context("cannot run the demo")?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}
