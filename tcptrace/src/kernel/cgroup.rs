//! Control groups of version 2: where they are mounted, which there are, and in which one a process is.

use std::{fs, io, path::PathBuf};

/// Most cgroups that are looked through; further ones are not found.
const MAX_CGROUPS: usize = 65_536;

/// Where their root is mounted; `None` where only version 1 is.
pub fn mount() -> Option<PathBuf> {
    mount_in(&fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// Paths from the root of all of them, the root first.
///
/// # Errors
/// The root cannot be read.
pub fn all(mount: &str) -> io::Result<Vec<String>> {
    let mut found = vec![String::new()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        let listed = fs::read_dir(format!("{mount}{path}"));
        next += 1;
        // Any but the root may have gone meanwhile.
        let entries = match listed {
            Ok(entries) => entries,
            Err(_) if !path.is_empty() => continue,
            Err(error) => return Err(error),
        };
        let folders = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        for folder in folders.filter_map(|entry| entry.file_name().into_string().ok()) {
            if found.len() < MAX_CGROUPS {
                found.push(format!("{path}/{folder}"));
            }
        }
    }
    Ok(found)
}

/// Path from the root of the cgroup that a process is in; `None` when it has gone.
pub fn of_process(pid: u32) -> Option<String> {
    of(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
}

fn mount_in(mountinfo: &str) -> Option<PathBuf> {
    let root = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let kind = after.split(' ').next()?;
        let mut words = before.split(' ').skip(3);
        let (root, at) = (words.next()?, words.next()?);
        (kind == "cgroup2" && root == "/").then(|| PathBuf::from(at))
    };
    mountinfo.lines().find_map(root)
}

fn of(text: &str) -> Option<String> {
    // A process that has ended, in a cgroup that was removed.
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(path.strip_suffix(" (deleted)").unwrap_or(path).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_root_of_version_2_counts() {
        let v1 = "32 24 0:28 / /sys/fs/cgroup/cpu rw,nosuid shared:9 - cgroup cgroup rw,cpu\n";
        assert_eq!(mount_in(v1), None);
        let v2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_in(v2), Some("/sys/fs/cgroup".into()));
        let part = "30 24 0:26 /a /mnt rw shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_in(&(part.to_owned() + v1)), None);
        assert_eq!(mount_in(&(part.to_owned() + v2)), Some("/sys/fs/cgroup".into()));
    }

    #[test]
    fn a_process_is_in_one_of_version_2() {
        assert_eq!(of("12:cpu:/x\n0::/a/b\n").as_deref(), Some("/a/b"));
        assert_eq!(of("0::/a (deleted)\n").as_deref(), Some("/a"));
        assert_eq!(of("12:cpu:/x\n"), None);
    }
}
