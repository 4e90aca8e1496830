//! The programs that go into a guest: static, so that they need nothing there.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::{command, toolchain};

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// A program to be built.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    /// This program, for what runs inside the guest.
    Xtask,
    /// The program under test.
    Tcptrace,
    /// The program under test with its deliberate mistakes built in.
    Mutant,
    /// The example that makes each hook fire.
    FireHooks,
}

/// Builds it and says where it is; `object` is the BPF object for those that carry it.
pub(crate) fn build(program: Program, object: Option<&Path>) -> Result<PathBuf> {
    let (arguments, product): (&[&str], &str) = match program {
        Program::Xtask => (&["--package", "xtask"], "xtask"),
        Program::Tcptrace => (&["--package", "tcptrace", "--bin", "tcptrace"], "tcptrace"),
        Program::Mutant => {
            (&["--package", "tcptrace", "--bin", "tcptrace", "--features", "mutate"], "tcptrace")
        }
        Program::FireHooks => {
            (&["--package", "tcptrace", "--example", "fire_hooks"], "examples/fire_hooks")
        }
    };
    // Apart from the other, so that neither build undoes the other's work.
    let folder = if matches!(program, Program::Mutant) { "guest-mutant" } else { "guest" };
    let target = command::target().join(folder);
    let mut cargo = command::cargo();
    cargo
        .args(["build", "--quiet", "--locked", "--target", TRIPLE, "--target-dir"])
        .arg(&target)
        .args(arguments)
        // With a target named, these flags leave build scripts and procedural macros alone.
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_PROFILE_DEV_STRIP", "true");
    if let Some(object) = object {
        cargo.env(toolchain::OBJECT_VARIABLE, object);
    }
    command::say_and_run(&mut cargo)?;
    let file = target.join(TRIPLE).join("debug").join(product);
    ensure!(file.exists(), "the build left no {}", file.display());
    Ok(file)
}

/// Whether the repository has the example that makes each hook fire.
pub(crate) fn has_fire_hooks() -> bool {
    command::repository().join("tcptrace/examples/fire_hooks.rs").exists()
}
