//! The BPF object, built once for all the programs that go into guests.

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use crate::{command, toolchain};

/// Builds it and says where it is.
pub(crate) fn object() -> Result<PathBuf> {
    let package = command::repository().join("tcptrace");
    let way = toolchain::decide(&package).map_err(|missing| anyhow!(missing.advice()))?;
    eprintln!("+ the BPF object ({})", words(&way));
    let ebpf = command::repository().join("tcptrace-ebpf");
    toolchain::object(&way, &ebpf, &command::target().join("bpf"), "").map_err(|why| anyhow!(why))
}

/// Builds the floor, which only `bench cost` loads; `None` where the object comes ready from elsewhere.
pub(crate) fn floor() -> Result<Option<PathBuf>> {
    let package = command::repository().join("tcptrace");
    let way = toolchain::decide(&package).map_err(|missing| anyhow!(missing.advice()))?;
    if let toolchain::Way::Ready(_) = way {
        return Ok(None);
    }
    let ebpf = command::repository().join("tcptrace-ebpf");
    let target = command::target().join("bpf");
    let object = toolchain::built(&way, &ebpf, &target, ("floor", ""));
    object.map(Some).map_err(|why| anyhow!(why))
}

fn words(way: &toolchain::Way) -> String {
    match way {
        toolchain::Way::Ready(object) => format!("taken from {}", object.display()),
        toolchain::Way::Debian => format!("by {}", toolchain::DEBIAN_RUSTC),
        toolchain::Way::Nightly { .. } => "by the nightly compiler".to_owned(),
    }
}
