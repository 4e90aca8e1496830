//! The programs that go into a guest: static, so that they need nothing there.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};

use crate::{command, toolchain};

/// The machine that all of them are for.
pub(crate) const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// A program to be built.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    /// This program, for what runs inside the guest.
    Xtask,
    /// The program under test: the very file that `cargo xtask dist` packs.
    Tcptrace,
    /// The program under test with its deliberate mistakes built in.
    Mutant,
    /// The example that makes each hook fire.
    FireHooks,
    /// The example that loads the floor.
    Floor,
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
        Program::Floor => (&["--package", "tcptrace", "--example", "floor"], "examples/floor"),
    };
    // Its flags are others. The mutant is no release, so that it and the program under test do not undo each other.
    let folder = if matches!(program, Program::Xtask) { "guest-xtask" } else { "guest" };
    let target = command::target().join(folder);
    // What the guests test is what people get: the one program that is built as a release.
    let release = matches!(program, Program::Tcptrace);
    // Its functions are looked for in user stacks.
    let named = matches!(program, Program::Xtask);
    let mut cargo = command::cargo();
    cargo
        .args(["build", "--quiet", "--locked", "--target", TRIPLE, "--target-dir"])
        .arg(&target)
        .args(arguments)
        .args(release.then_some("--release"))
        // With a target named, these flags leave build scripts and procedural macros alone.
        .env("CARGO_ENCODED_RUSTFLAGS", flags(named))
        .env("CARGO_PROFILE_DEV_DEBUG", if named { "line-tables-only" } else { "0" })
        .env("CARGO_PROFILE_DEV_STRIP", if named { "none" } else { "true" });
    if let Some(object) = object {
        cargo.env(toolchain::OBJECT_VARIABLE, object);
    }
    command::say_and_run(&mut cargo)?;
    let profile = if release { "release" } else { "debug" };
    let file = target.join(TRIPLE).join(profile).join(product);
    ensure!(file.exists(), "the build left no {}", file.display());
    Ok(file)
}

/// Static, with frame pointers where its functions are to be named, and without the folders of this machine, so that the same source gives the same bytes elsewhere.
fn flags(named: bool) -> OsString {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let places = [(Some(command::repository()), "/tcptrace"), (home, "/cargo")];
    // A static program relocates itself: packed, the table of where takes a fiftieth (`DT_RELR`, from glibc 2.36 on).
    let packed = "-Clink-arg=-Wl,-z,pack-relative-relocs";
    let mut flags: Vec<OsString> =
        ["-Ctarget-feature=+crt-static", packed].map(OsString::from).into();
    flags.extend(named.then(|| OsString::from("-Cforce-frame-pointers=yes")));
    for (from, to) in places.iter().filter_map(|(from, to)| Some((from.as_ref()?, to))) {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flags.push(flag);
    }
    flags.join(&OsString::from("\u{1f}"))
}

/// Whether the repository has the example that makes each hook fire.
pub(crate) fn has_fire_hooks() -> bool {
    command::repository().join("tcptrace/examples/fire_hooks.rs").exists()
}
