//! The file system a guest starts with: a cpio archive made on the spot.

use std::fmt::Write as _;

use crate::{command, modules::Module};

/// Stands before the kernel's release on the console line that says the command starts.
pub(crate) const BEGIN: &str = "@@guest begin ";
/// Stands before the exit code on the console line that says the command is over.
pub(crate) const END: &str = "@@guest end ";

const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const FOLDER: u32 = 0o040_755;
const DEVICE: u32 = 0o020_600;
const LINK: u32 = 0o120_777;

/// A cpio archive in the form `newc`, the one the kernel unpacks.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// A folder; its parents come first.
    pub(crate) fn folder(&mut self, path: &str) {
        self.entry(path, FOLDER, (0, 0), &[]);
    }

    /// A file that is read.
    pub(crate) fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, FILE, (0, 0), content);
    }

    /// A file that is run.
    pub(crate) fn program(&mut self, path: &str, content: &[u8]) {
        self.entry(path, PROGRAM, (0, 0), content);
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, path: &str, to: &str) {
        self.entry(path, LINK, (0, 0), to.as_bytes());
    }

    /// The archive, ended as it must be.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        let path = path.trim_start_matches('/');
        self.entries += 1;
        let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let name_size = u32::try_from(path.len() + 1).unwrap_or(u32::MAX);
        let mut head = String::from("070701");
        // Inode, mode, owner, group, links, time, size, device of the file (2), device it is (2), length of name, sum.
        let numbers =
            [self.entries, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0];
        for number in numbers {
            write!(head, "{number:08x}").ok();
        }
        self.bytes.extend_from_slice(head.as_bytes());
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// What a guest is made of.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    /// A static busybox.
    pub(crate) busybox: &'a [u8],
    /// Loaded at the start.
    pub(crate) modules: &'a [Module],
    /// Only there, for whoever loads them.
    pub(crate) carried: &'a [Module],
    /// Path in the guest and content; all can be run.
    pub(crate) files: &'a [(String, Vec<u8>)],
    pub(crate) command: &'a [String],
    /// Lock the kernel down before the command runs.
    pub(crate) lockdown: bool,
}

/// Makes the archive.
pub(crate) fn make(contents: &Contents<'_>) -> Vec<u8> {
    let mut archive = Archive::default();
    for folder in
        ["bin", "dev", "etc", "lib", "lib/modules", "proc", "root", "run", "sys", "tmp", "var"]
    {
        archive.folder(folder);
    }
    // Before devtmpfs is mounted, the first process already writes to it.
    archive.entry("dev/console", DEVICE, (5, 1), &[]);
    archive.program("bin/busybox", contents.busybox);
    archive.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n");
    for module in contents.modules.iter().chain(contents.carried) {
        archive.file(&format!("lib/modules/{}.ko", module.name), &module.content);
    }
    let mut made = Vec::new();
    for (path, content) in contents.files {
        let parents: Vec<_> =
            path.trim_start_matches('/').match_indices('/').map(|(at, _)| at).collect();
        for at in parents {
            let parent = path.trim_start_matches('/').get(..at).unwrap_or_default().to_owned();
            if !made.contains(&parent) {
                archive.folder(&parent);
                made.push(parent);
            }
        }
        archive.program(path, content);
    }
    let words: Vec<_> = contents.command.iter().map(|word| command::quoted(word)).collect();
    archive.program("command", format!("#!/bin/sh\nexec {}\n", words.join(" ")).as_bytes());
    archive.program("init", init(contents.modules, contents.lockdown).as_bytes());
    archive.finish()
}

/// The first process. It says when the command begins and ends, so that a guest that dies is told from one that fails.
fn init(modules: &[Module], lockdown: bool) -> String {
    let mut script = String::from(
        "#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/ HOME=/root RUST_BACKTRACE=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmpfs /tmp
mkdir -p /dev/net
[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
ip link set lo up
",
    );
    for module in modules {
        writeln!(script, "insmod /lib/modules/{}.ko", module.name).ok();
    }
    if lockdown {
        // Not from the kernel's command line: a locked kernel takes no module without a signature.
        script += "mount -t securityfs securityfs /sys/kernel/security\n\
                   echo confidentiality > /sys/kernel/security/lockdown\n";
    }
    writeln!(script, "echo \"{BEGIN}$(uname -r) $(uname -v)\"").ok();
    writeln!(script, "/command\necho \"{END}$?\"\nsync\npoweroff -f").ok();
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_the_trailer_ends_them() {
        let mut archive = Archive::default();
        archive.file("/a", b"12345");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.starts_with(b"070701"));
        assert!(bytes.windows(10).any(|window| window == b"TRAILER!!!"));
    }
}
