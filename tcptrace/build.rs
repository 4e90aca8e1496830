//! Finds or builds the BPF object and tells the crate where it is. Installs nothing.
#![expect(clippy::print_stderr, reason = "why there is no object is said to a person")]

#[path = "build/toolchain.rs"]
mod toolchain;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

fn main() -> ExitCode {
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let repository = package.parent().unwrap_or(&package);
    watch(&package, repository);
    let Some(out) = env::var_os("OUT_DIR") else {
        eprintln!("cargo sets OUT_DIR for build scripts");
        return ExitCode::FAILURE;
    };
    let target = Path::new(&out).join("bpf");
    let features = if env::var_os("CARGO_FEATURE_BPF_LOG").is_some() { "log" } else { "" };
    let way = toolchain::decide(&package).map_err(|missing| missing.advice());
    let packed = Path::new(&out).join("tcptrace.bpf.o.zst");
    match way
        .and_then(|way| {
            toolchain::object(&way, &repository.join("tcptrace-ebpf"), &target, features)
        })
        .and_then(|object| pack(&object, &packed).map(|()| object))
    {
        Ok(object) => {
            println!("cargo:rustc-env=TCPTRACE_BPF_OBJECT_PATH={}", packed.display());
            // One that this script made is newer than the script's own run, and would make every build a new one.
            if !object.starts_with(&target) {
                println!("cargo:rerun-if-changed={}", object.display());
            }
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("\n{why}\n");
            ExitCode::FAILURE
        }
    }
}

/// Most of the object is a few instructions again and again: a fifth of it is left.
fn pack(object: &Path, packed: &Path) -> Result<(), String> {
    let wrong = |error| format!("cannot pack {}: {error}", object.display());
    let bytes = fs::read(object).map_err(wrong)?;
    let small = zstd::encode_all(bytes.as_slice(), 19).map_err(wrong)?;
    fs::write(packed, small).map_err(wrong)
}

/// What the object is made of.
fn watch(package: &Path, repository: &Path) {
    println!("cargo:rerun-if-env-changed={}", toolchain::OBJECT_VARIABLE);
    println!("cargo:rerun-if-changed={}", package.join("build").display());
    let sources = [
        "tcptrace-ebpf/src",
        "tcptrace-ebpf/Cargo.toml",
        "tcptrace-ebpf/Cargo.lock",
        "tcptrace-common/src",
    ];
    for source in sources {
        // Absent in a published crate; a file that is not there would make every build a new one.
        let path = repository.join(source);
        if path.exists() {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
}
