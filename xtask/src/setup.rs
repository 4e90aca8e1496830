//! `cargo xtask setup`: everything that building, testing and the demo need, on a machine that has Rust and apt.

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Result, bail};

use crate::{
    command, debian,
    guest::tree,
    kernels::{self, Series},
    toolchain,
};

/// `cargo xtask setup`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these kernels
    #[arg(long, value_delimiter = ',')]
    kernel: Vec<String>,
    /// Ask the archive for newer kernels even when there are some in the cache
    #[arg(long)]
    refresh: bool,
}

/// Installs what is missing.
pub(crate) fn task(args: &Args) -> Result<ExitCode> {
    let wanted = kernels::chosen(&args.kernel)?;
    tools()?;
    for series in wanted {
        let kernel = if args.refresh { series.download()? } else { series.ready()? };
        eprintln!("kernel {}: {}", kernel.series, kernel.package);
    }
    debian::tree(&tree::PACKAGES)?;
    eprintln!("xtask: nothing is missing");
    Ok(ExitCode::SUCCESS)
}

/// The tools, and these kernels: for the tasks that cannot do without.
pub(crate) fn ensure(wanted: &[&'static Series]) -> Result<()> {
    tools()?;
    for series in wanted {
        series.ready()?;
    }
    Ok(())
}

fn tools() -> Result<()> {
    let missing = toolchain::decide(&command::repository().join("tcptrace")).err();
    let linker = missing.as_ref().is_some_and(|missing| missing.linker);
    let mut packages = guest_packages();
    if missing.as_ref().is_some_and(|missing| missing.compiler) {
        packages.extend(["rustc-web", "libstd-rust-web-dev-bpf"]);
    }
    if linker {
        packages.extend([
            "llvm-22-dev",
            "libpolly-22-dev",
            "zlib1g-dev",
            "libzstd-dev",
            "libxml2-dev",
            "g++",
        ]);
    }
    if !packages.is_empty() {
        install(&packages)?;
    }
    if linker {
        // Without the prefix it compiles for a minute and fails at the link.
        let mut cargo = toolchain::command("cargo");
        cargo.env("LLVM_PREFIX", "/usr/lib/llvm-22").env_remove("CARGO_TARGET_DIR");
        cargo.args(["install", "bpf-linker", "--version", "0.13.0", "--locked", "--force"]);
        cargo.args(["--no-default-features", "--features", "llvm-22"]);
        eprintln!("+ LLVM_PREFIX=/usr/lib/llvm-22 {}", command::shown(&cargo));
        command::run(&mut cargo)?;
    }
    match toolchain::decide(&command::repository().join("tcptrace")) {
        Ok(_) => Ok(()),
        Err(missing) => bail!(missing.advice()),
    }
}

/// What the guests need of the host, as far as it is not here.
fn guest_packages() -> Vec<&'static str> {
    let mut packages = Vec::new();
    let mut want = |here: bool, package| {
        if !here {
            packages.push(package);
        }
    };
    want(on_path("qemu-system-x86_64"), "qemu-system-x86");
    want(is_static(Path::new("/bin/busybox")), "busybox-static");
    want(on_path("xz"), "xz-utils");
    want(on_path("cc"), "gcc");
    // Static programs are linked with it.
    want(Path::new("/usr/lib/x86_64-linux-gnu/libc.a").exists(), "libc6-dev");
    want(
        Path::new("/usr/share/keyrings/debian-archive-keyring.gpg").exists(),
        "debian-archive-keyring",
    );
    packages
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).exists())
    })
}

/// The package busybox has a program of the same name that wants the host's libraries.
fn is_static(program: &Path) -> bool {
    let loader = b"ld-linux";
    let asks_for_it = |bytes: &[u8]| {
        bytes.get(..4096).unwrap_or(bytes).windows(loader.len()).any(|at| at == loader)
    };
    fs::read(program).is_ok_and(|bytes| !asks_for_it(&bytes))
}

fn install(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    if !command::is_root() {
        bail!(
            "not root; run this first:\n    apt-get update\n    apt-get install --no-install-recommends {names}"
        );
    }
    if !on_path("apt-get") {
        bail!("no apt here; install what Debian calls {names}");
    }
    command::say_and_run(Command::new("apt-get").arg("update"))?;
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-y", "--no-install-recommends"])
        .args(packages);
    command::say_and_run(&mut apt)
}
