//! How the BPF object is had: the decision, and the build. Shared by tcptrace's build script and by `cargo xtask setup`,
//! so that what one asks for is what the other installs.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Set to the path of a built object, nothing else is needed.
pub(crate) const OBJECT_VARIABLE: &str = "TCPTRACE_BPF_OBJECT";
/// Where a release has its built object, beside tcptrace's `Cargo.toml`.
const RELEASED_OBJECT: &str = "tcptrace.bpf.o";
/// Debian's compiler, from the package rustc-web.
pub(crate) const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// Its `core` for BPF, from the package libstd-rust-web-dev-bpf.
pub(crate) const DEBIAN_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none";
/// The tools of the LLVM that the linker is built with.
const LLVM_TOOLS: &str = "/usr/lib/llvm-22/bin";
/// The oldest linker that reads what the compilers write.
const LINKER_VERSION: (u32, u32) = (0, 13);
const TARGET: &str = "bpfel-unknown-none";

/// Where the object comes from.
#[derive(Debug)]
pub(crate) enum Way {
    /// It is built already.
    Ready(PathBuf),
    /// Debian's compiler and its precompiled `core`.
    Debian,
    /// A nightly compiler that builds `core` from its source; the source's folder is kept out of the object.
    Nightly {
        /// The compiler's folder.
        sysroot: PathBuf,
    },
}

/// What keeps the object from being built.
#[derive(Debug)]
pub(crate) struct Missing {
    /// Neither compiler is here.
    pub(crate) compiler: bool,
    /// The linker is not here, or too old, or does not start.
    pub(crate) linker: bool,
}

impl Missing {
    /// Both recipes, for a person.
    pub(crate) fn advice(&self) -> String {
        let mut what = Vec::new();
        if self.compiler {
            what.push("a Rust compiler for BPF");
        }
        if self.linker {
            what.push("bpf-linker 0.13 or later");
        }
        format!(
            "the BPF object cannot be built: {} missing.\n\
             On Debian 12 and later, as root:\n    cargo xtask setup\n\
             With rustup, anywhere:\n    rustup toolchain install nightly --component rust-src\n    \
             cargo install bpf-linker --version 0.13.0 --no-default-features --features llvm-22\n    \
             (which wants LLVM 22's development files, and LLVM_PREFIX set to their folder)\n\
             Or set {OBJECT_VARIABLE} to an object that is built already.",
            what.join(" and ")
        )
    }
}

/// Decides, without changing anything. `package` is tcptrace's own folder.
pub(crate) fn decide(package: &Path) -> Result<Way, Missing> {
    if let Some(object) = env::var_os(OBJECT_VARIABLE) {
        return Ok(Way::Ready(object.into()));
    }
    let released = package.join(RELEASED_OBJECT);
    if released.exists() {
        return Ok(Way::Ready(released));
    }
    let linker = linker_is_here();
    if Path::new(DEBIAN_RUSTC).exists() && Path::new(DEBIAN_CORE).is_dir() {
        return if linker {
            Ok(Way::Debian)
        } else {
            Err(Missing { compiler: false, linker: true })
        };
    }
    match nightly() {
        Some(sysroot) if linker => Ok(Way::Nightly { sysroot }),
        found => Err(Missing { compiler: found.is_none(), linker: !linker }),
    }
}

/// Whether a linker is found that starts and is new enough.
pub(crate) fn linker_is_here() -> bool {
    let Some(version) = printed(command("bpf-linker").arg("--version")) else { return false };
    let mut numbers =
        version.trim().trim_start_matches("bpf-linker ").split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= LINKER_VERSION,
        _ => false,
    }
}

/// The folder of a nightly compiler that has the source of `core`.
fn nightly() -> Option<PathBuf> {
    let mut rustup = command("rustup");
    rustup.args(["run", "nightly", "rustc", "--print", "sysroot"]).env("RUSTUP_AUTO_INSTALL", "0");
    let sysroot = PathBuf::from(printed(&mut rustup)?.trim());
    sysroot.join("lib/rustlib/src/rust/library/core").is_dir().then_some(sysroot)
}

/// Builds the object with `cargo`, in a target folder of its own, and says where it is.
pub(crate) fn object(
    way: &Way,
    ebpf: &Path,
    target: &Path,
    features: &str,
) -> Result<PathBuf, String> {
    if let Way::Ready(object) = way {
        check(object)?;
        return Ok(object.clone());
    }
    built(way, ebpf, target, ("tcptrace", features))
}

/// Builds one program of the BPF crate, by its name and features, however the object itself is had.
pub(crate) fn built(
    way: &Way,
    ebpf: &Path,
    target: &Path,
    (program, features): (&str, &str),
) -> Result<PathBuf, String> {
    let mut cargo = compiler(way);
    cargo
        .current_dir(ebpf)
        .args(["build", "--locked", "--release", "--bin", program, "--features", features])
        .args(["--target", TARGET, "--target-dir"])
        .arg(target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(way, ebpf));
    let ended = cargo
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cargo does not start: {error}"))?;
    if !ended.status.success() {
        return Err(format!(
            "the BPF crate does not build:\n{}",
            String::from_utf8_lossy(&ended.stderr)
        ));
    }
    let built = target.join(TARGET).join("release").join(program);
    let object = target.join(format!("{program}.bpf.o"));
    // By rename: another build may be reading the object.
    let fresh = target.join(format!("{program}.bpf.{}", std::process::id()));
    fs::copy(&built, &fresh)
        .map_err(|error| format!("the build left no {}: {error}", built.display()))?;
    strip(&fresh);
    let same = || Some(fs::read(&fresh).ok()? == fs::read(&object).ok()?);
    if same() == Some(true) {
        // A new date would make everything that carries the object a new build.
        let _ = fs::remove_file(&fresh);
    } else {
        fs::rename(&fresh, &object)
            .map_err(|error| format!("cannot write {}: {error}", object.display()))?;
    }
    check(&object)?;
    Ok(object)
}

/// The cargo of the way, free of what the outer build sets for itself.
fn compiler(way: &Way) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = match way {
        Way::Nightly { .. } => {
            let mut rustup = command("rustup");
            rustup.args(["run", "nightly", "cargo", "-Zbuild-std=core"]);
            rustup
        }
        Way::Ready(_) | Way::Debian => command(cargo),
    };
    for (name, _) in env::vars_os() {
        if outer(&name.to_string_lossy()) {
            command.env_remove(name);
        }
    }
    if !matches!(way, Way::Nightly { .. }) {
        // aya-ebpf uses an unstable feature.
        command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
    }
    command
}

/// Whether a variable belongs to the outer build; where crates come from stays.
fn outer(name: &str) -> bool {
    let kept = ["CARGO_HOME", "CARGO_NET", "CARGO_HTTP", "CARGO_REGISTR", "CARGO_SOURCE"];
    (name.starts_with("CARGO_") && !kept.iter().any(|start| name.starts_with(start)))
        || name.starts_with("RUSTC")
        || name.starts_with("RUSTDOC")
        || ["RUSTFLAGS", "RUSTUP_TOOLCHAIN"].contains(&name)
}

/// The compiler's flags; none of the folders of this machine gets into the object.
fn flags(way: &Way, ebpf: &Path) -> OsString {
    let mut flags = vec![OsString::from("--cfg=bpf_target_arch=\"x86_64\"")];
    // No type information of its own: nothing here needs it, and the lines in it are two thirds of the object.
    flags.push(OsString::from("-Cdebuginfo=0"));
    let mut remap = |from: &Path, to: &str| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flags.push(flag);
    };
    remap(ebpf.parent().unwrap_or(ebpf), "/tcptrace");
    if let Some(home) = cargo_home() {
        remap(&home, "/cargo");
    }
    if let Way::Nightly { sysroot } = way {
        remap(&sysroot.join("lib/rustlib/src/rust"), "/rust");
    }
    flags.join(&OsString::from("\u{1f}"))
}

/// Takes DWARF out and leaves BTF in; without the tool the object is only larger.
fn strip(object: &Path) {
    let places = [PathBuf::from(LLVM_TOOLS).join("llvm-strip"), PathBuf::from("llvm-strip")];
    for tool in places {
        let done = command(&tool)
            .arg("-g")
            .arg(object)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if done.is_ok_and(|status| status.success()) {
            return;
        }
    }
}

/// Refuses what is not an object for BPF with the licence that the kernel's helpers want.
fn check(object: &Path) -> Result<(), String> {
    let bytes =
        fs::read(object).map_err(|error| format!("cannot read {}: {error}", object.display()))?;
    // ELF header: e_machine at 18 is EM_BPF, 247.
    if !bytes.starts_with(b"\x7fELF") || bytes.get(18..20) != Some(&[247, 0]) {
        return Err(format!("{} is not a BPF object", object.display()));
    }
    let licence = b"Dual MIT/GPL";
    if !bytes.windows(licence.len()).any(|window| window == licence) {
        return Err(format!("{} does not carry the licence Dual MIT/GPL", object.display()));
    }
    Ok(())
}

/// A program by name, with cargo's own programs on the path: the linker is one of them.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders.extend(cargo_home().map(|home| home.join("bin")));
    if let Ok(path) = env::join_paths(folders) {
        command.env("PATH", path);
    }
    command
}

fn cargo_home() -> Option<PathBuf> {
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home)
}

fn printed(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
