//! Network namespaces of the running kernel, by number.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::Path,
};

/// `NS_GET_NSTYPE` of `linux/nsfs.h`.
const NS_GET_NSTYPE: libc::c_ulong = 0xb703;

/// The number of the namespace that a file such as `/run/netns/blue` stands for; nothing when it stands for none.
///
/// # Errors
/// It cannot be opened.
pub fn of_file(path: &Path) -> io::Result<Option<u32>> {
    let file = File::open(path)?;
    // SAFETY: the request takes no argument; any file refuses one that it does not know.
    let kind = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) };
    let number = u32::try_from(file.metadata()?.ino()).ok();
    Ok(number.filter(|_| kind == libc::CLONE_NEWNET))
}

/// The number of the namespace that a process is in.
///
/// # Errors
/// There is no such process, or it must not be looked at.
pub fn of_process(pid: u32) -> io::Result<u32> {
    of_task(Path::new(&format!("/proc/{pid}")))
}

/// The number of the namespace that the process or thread with this folder below `/proc` is in.
///
/// # Errors
/// As [`of_process`].
pub fn of_task(folder: &Path) -> io::Result<u32> {
    // No right to open the file is needed to read where it leads to.
    let link = fs::read_link(folder.join("ns/net"))?;
    let text = link.to_string_lossy().into_owned();
    number(&text).ok_or_else(|| io::Error::other(format!("it is in {text}")))
}

/// The number in `net:[4026531840]`, as `readlink /proc/PID/ns/net` prints it.
pub fn number(text: &str) -> Option<u32> {
    text.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_a_file_and_a_number() {
        let own = of_process(std::process::id()).unwrap();
        assert_eq!(of_file(Path::new("/proc/self/ns/net")).unwrap(), Some(own));
        assert_eq!(of_file(Path::new("/proc/self/ns/uts")).unwrap(), None);
        assert_eq!(of_file(Path::new("/proc/self/status")).unwrap(), None);
        assert!(of_file(Path::new("/none")).is_err());
        assert_eq!((number("net:[7]"), number("net:[x]"), number("7")), (Some(7), None, None));
    }
}
