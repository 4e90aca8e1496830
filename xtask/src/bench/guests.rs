//! What the suites that measure in guests share: which kernels, what goes into a guest, and the figures that come out.

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Result, ensure};
use serde::de::DeserializeOwned;

use crate::{
    binaries::{self, Program},
    command, debian, ebpf, kernels,
    report::FIGURE,
    setup, vm,
};

/// On which kernels, and where the tables go.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Where {
    /// Series of kernels
    #[arg(long, value_delimiter = ',', default_value = kernels::USUAL)]
    pub(super) kernel: Vec<String>,
    /// Writes the section of docs/performance.md
    #[arg(long)]
    pub(super) write: bool,
}

/// What a suite says above its tables.
pub(super) struct Page {
    /// The suite, as it is typed.
    pub(super) suite: &'static str,
    pub(super) heading: &'static str,
    pub(super) text: String,
}

/// What a suite has found out on one kernel.
pub(super) struct Table {
    /// The kernel that ran.
    pub(super) release: String,
    pub(super) text: String,
    /// No answer was wrong.
    pub(super) is_right: bool,
}

/// Measures on each kernel, prints the tables and writes the section; exit code 1 where an answer was wrong.
pub(super) fn suite(
    args: &Where,
    page: &Page,
    table: &dyn Fn(&Programs, &'static kernels::Series) -> Result<Table>,
) -> Result<ExitCode> {
    let series =
        args.kernel.iter().map(|name| kernels::series(name)).collect::<Result<Vec<_>>>()?;
    setup::ensure(&series)?;
    let programs = Programs::build(false)?;
    let (mut text, mut is_right) = (String::new(), true);
    for series in series {
        let table = table(&programs, series)?;
        is_right &= table.is_right;
        let table = format!("### Linux {}\n\n{}\n", table.release, table.text.trim());
        println!("{table}");
        text = text + &table + "\n";
    }
    if args.write {
        let Page { suite, heading, text: intro } = page;
        let kernels = args.kernel.join(",");
        let section = format!(
            "## {heading}\n\nWritten by `cargo xtask bench {suite} --kernel {kernels} --write` on {}, with QEMU {}.\n\n\
             {intro}\n\n{text}",
            super::today()?,
            emulator()?,
        );
        super::write_section(suite, &section)?;
    }
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The emulator's version.
pub(super) fn emulator() -> Result<String> {
    let said = command::text(Command::new("qemu-system-x86_64").arg("--version"))?;
    let first = said.lines().next().unwrap_or_default();
    Ok(first.trim_start_matches("QEMU emulator version ").to_owned())
}

/// What goes into the guests.
pub(super) struct Programs {
    xtask: PathBuf,
    tcptrace: PathBuf,
    /// The loader and its object.
    floor: Option<(PathBuf, PathBuf)>,
}

/// One guest of a suite.
pub(super) struct Boot {
    /// What follows `/xtask guest`.
    pub(super) words: Vec<String>,
    /// Virtual CPUs: with several of them guest time runs with the host's, because a guest with an instruction clock would
    /// let one of them run at a time.
    pub(super) smp: u32,
    /// Of the guest, MiB.
    pub(super) memory: u32,
    /// How long it may take, by the host's clock.
    pub(super) minutes: u64,
    /// Packages of Debian that the guest has.
    pub(super) packages: &'static [&'static str],
}

impl Boot {
    /// A guest of the usual size.
    pub(super) fn new(words: &[&str]) -> Self {
        Self {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            smp: 1,
            memory: 1024,
            minutes: 40,
            packages: &[],
        }
    }

    /// More words.
    pub(super) fn with<T: ToString + ?Sized>(mut self, flag: &str, value: &T) -> Self {
        self.words.extend([flag.to_owned(), value.to_string()]);
        self
    }
}

impl Programs {
    /// The loader of the floor takes a build of its own, and few suites want it.
    pub(super) fn build(with_floor: bool) -> Result<Self> {
        let object = ebpf::object()?;
        let floor = match if with_floor { ebpf::floor()? } else { None } {
            Some(floor) => Some((binaries::build(Program::Floor, Some(&object))?, floor)),
            None => None,
        };
        Ok(Self {
            xtask: binaries::build(Program::Xtask, None)?,
            tcptrace: binaries::build(Program::Tcptrace, Some(&object))?,
            floor,
        })
    }

    pub(super) fn has_floor(&self) -> bool {
        self.floor.is_some()
    }

    /// Boots, and gives back the kernel that ran and the `wanted` figures that the guest has printed.
    pub(super) fn figures<T: DeserializeOwned>(
        &self,
        series: &'static kernels::Series,
        boot: &Boot,
        wanted: usize,
    ) -> Result<(String, Vec<T>)> {
        let words = ["/xtask", "guest"].into_iter().map(str::to_owned);
        let mut guest =
            vm::Guest::new(series.ready()?, words.chain(boot.words.iter().cloned()).collect());
        (guest.steady, guest.icount) = (true, boot.smp == 1);
        guest.smp = boot.smp;
        guest.memory = boot.memory;
        guest.limit = Duration::from_mins(boot.minutes);
        guest.add(&self.xtask, "/xtask")?;
        guest.add(&self.tcptrace, "/tcptrace")?;
        if let Some((loader, object)) = &self.floor {
            guest.add(loader, "/floor")?;
            guest.add(object, "/floor.o")?;
        }
        if !boot.packages.is_empty() {
            guest.append(debian::tree(boot.packages)?);
        }
        let (mut figures, mut console) = (Vec::new(), Vec::new());
        let run = guest.run(&mut |line| match line.strip_prefix(FIGURE) {
            Some(figure) => {
                figures.push(serde_json::from_str(figure));
                eprintln!("xtask: kernel {}: {} of {wanted} figures", series.name, figures.len());
            }
            None => console.push(line.to_owned()),
        })?;
        let figures = figures.into_iter().collect::<Result<Vec<T>, _>>()?;
        ensure!(
            run.exit == 0 && figures.len() == wanted,
            "the guest ended with {}, after {} of {wanted} figures: {}",
            run.exit,
            figures.len(),
            console.join(" / ")
        );
        Ok((run.release, figures))
    }
}

/// Below a table: which of its rows were not right, by what they are about, and why.
pub(super) fn wrong(rows: impl Iterator<Item = (String, Vec<String>)>) -> String {
    let told =
        |(what, why): (String, Vec<String>)| format!("\nWRONG: {what}: {}.\n", why.join("; "));
    rows.filter(|(_, why)| !why.is_empty()).map(told).collect()
}

/// `ok` up to a line and `over` beyond it, as the tables of targets say it.
pub(super) fn verdict(value: f64, line: f64) -> &'static str {
    if value <= line { "ok" } else { "over" }
}

/// KiB as MiB.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(super) fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
