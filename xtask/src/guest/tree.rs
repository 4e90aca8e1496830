//! Debian's tree in a guest, and the programs that run in it.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::Context as _;

use super::sys::now_ns;
use crate::debian::ROOT;

/// What the rows with real programs want of Debian.
pub(crate) const PACKAGES: [&str; 7] =
    ["nginx", "redis-server", "python3", "curl", "haproxy", "httping", "strace"];
/// Debian's Python.
pub(crate) const PYTHON: &str = "/usr/bin/python3";
/// A program takes a second or two in an emulator, most of it to start.
pub(crate) const PATIENCE_NS: u64 = 60_000_000_000;

/// Servers, which end with this.
#[derive(Debug)]
pub(crate) struct Servers(Vec<Child>);

impl Servers {
    /// Puts files into the tree's `/root`, starts the servers, and waits until somebody listens at each port of loopback.
    pub(crate) fn start(
        files: &[(&str, &str)],
        commands: &[&[&str]],
        ports: &[u16],
    ) -> anyhow::Result<Self> {
        let root = Path::new(ROOT);
        anyhow::ensure!(root.is_dir(), "this guest has no {ROOT}");
        for what in ["proc", "dev"] {
            let at = root.join(what);
            // Another row may have been here.
            if fs::read_dir(&at)?.next().is_none() {
                done(Command::new("mount").args(["-o", "bind", &format!("/{what}")]).arg(&at))?;
            }
        }
        for folder in ["root/www", "var/log/nginx", "var/lib/nginx", "var/lib/haproxy", "etc"] {
            fs::create_dir_all(root.join(folder))?;
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        fs::write(root.join("etc/group"), "root:x:0:\n")?;
        for (name, text) in files {
            fs::write(root.join("root").join(name), text)?;
        }
        let mut servers = Self(Vec::new());
        for words in commands {
            servers.0.push(within(words).stdout(Stdio::null()).spawn().context("chroot")?);
        }
        for port in ports {
            answers(SocketAddr::from(([127, 0, 0, 1], *port)))?;
        }
        Ok(servers)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that has ended already is what was wanted.
            let _ended = child.kill();
            let _status = child.wait();
        }
    }
}

/// A program of the tree.
pub(crate) fn within(words: &[&str]) -> Command {
    let mut command = Command::new("chroot");
    command.arg(ROOT).args(words).stdin(Stdio::null());
    command
}

fn done(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    anyhow::ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// Waits until somebody listens there.
fn answers(address: SocketAddr) -> anyhow::Result<()> {
    let until_ns = now_ns() + PATIENCE_NS;
    loop {
        match TcpStream::connect(address) {
            Ok(_stream) => return Ok(()),
            Err(error) if now_ns() > until_ns => {
                return Err(error).with_context(|| format!("nobody listens at {address}"));
            }
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}
