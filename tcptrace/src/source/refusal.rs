//! Why nothing could be attached, in words that say what to do.

use crate::kernel::{
    btf::{self, BtfError},
    symbols,
};

/// Why nothing could be attached. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Rights are missing.
    #[error(
        "not allowed to load BPF programs: {missing} missing.\n  try: sudo tcptrace ...\n  or once: sudo setcap cap_bpf,cap_perfmon=ep \"$(command -v tcptrace)\""
    )]
    Rights {
        /// Their names.
        missing: String,
    },
    /// No type information.
    #[error("{0}.\n  tcptrace needs a kernel built with CONFIG_DEBUG_INFO_BTF; every distribution kernel from 5.10 on that has {path} will do", path = btf::PATH)]
    Btf(#[from] BtfError),
    /// The list of functions cannot be read.
    #[error("cannot read {path}: {0}", path = symbols::PATH)]
    Symbols(std::io::Error),
    /// The object does not load.
    #[error("the kernel does not take tcptrace's BPF maps: {0}{hint}", hint = memlock_hint())]
    Load(String),
    /// An indispensable function cannot be probed.
    #[error("cannot probe {hook}, without which there is no answer:\n  {why}")]
    Hook {
        /// Its name.
        hook: &'static str,
        /// What was tried, and why each failed.
        why: String,
    },
    /// A field that every program reads is not in this kernel.
    #[error(
        "this kernel's sockets have no {field}, without which there is no answer\n  try: a kernel of a distribution, 5.10 or later"
    )]
    Field {
        /// Its name.
        field: &'static str,
    },
    /// A cgroup of the filter cannot be watched.
    #[error("cannot watch the cgroup {path}: {why}\n  try: ls -d {path}")]
    Cgroup {
        /// Its folder.
        path: std::path::PathBuf,
        /// What the system said.
        why: String,
    },
    /// The object lacks what it must have.
    #[error("this build of tcptrace is broken: its BPF object has no usable {0}; build it anew")]
    Object(&'static str),
    /// The reader cannot be set up.
    #[error("cannot set up the reader of the ring buffer: {0}")]
    Reader(#[from] std::io::Error),
}

fn memlock_hint() -> &'static str {
    "\n  on kernels before 5.11 maps count as locked memory: try ulimit -l unlimited, or run as root"
}
