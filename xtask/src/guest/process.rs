//! What the kernel knows of another process: its memory, its CPU time, how often it woke.

use std::{fs, mem::MaybeUninit};

use anyhow::{Context as _, Result, ensure};

/// Resident memory of a process, and the most it has had, KiB.
pub(super) fn memory(pid: u32) -> Result<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read its status")?;
    let of = |name: &str| number(&status, name).with_context(|| format!("no {name}"));
    Ok((of("VmRSS:")?, of("VmHWM:")?))
}

/// Of its resident memory, the pages of BPF maps that it has mapped, KiB: a ring buffer's data are mapped twice, and counted
/// twice.
pub(super) fn mapped_maps(pid: u32) -> Result<u64> {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).context("read its mappings")?;
    Ok(resident_of(&smaps, "anon_inode:bpf-map"))
}

/// Resident memory of the mappings of a file, KiB, of what `smaps` says of all.
fn resident_of(smaps: &str, file: &str) -> u64 {
    let (mut all, mut is_of_file) = (0, false);
    for line in smaps.lines() {
        // The line that begins a mapping has its addresses first, and its file last.
        if line.split_whitespace().next().is_some_and(|first| first.contains('-')) {
            is_of_file = line.ends_with(file);
        } else if is_of_file {
            all += number(line, "Rss:").unwrap_or(0);
        }
    }
    all
}

/// How often its threads have gone to sleep of their own accord, which is how often they woke.
pub(super) fn wakes(pid: u32) -> Result<u64> {
    let mut all = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).context("list its threads")? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        all += number(&status, "voluntary_ctxt_switches:").context("no context switches")?;
    }
    Ok(all)
}

/// What the kernel has charged to it, user space and kernel, nanoseconds: in a guest of that kind, instructions.
pub(super) fn cpu_ns(pid: u32) -> Result<u64> {
    let (mut clock, mut time) = (0, MaybeUninit::<libc::timespec>::zeroed());
    // SAFETY: the call writes the clock's number.
    let found = unsafe { libc::clock_getcpuclockid(libc::pid_t::try_from(pid)?, &raw mut clock) };
    ensure!(found == 0, "process {pid} has no clock");
    // SAFETY: the kernel fills the timespec, which is valid for writes.
    let read = unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) };
    ensure!(read == 0, "the clock of process {pid} cannot be read");
    // SAFETY: all-zero is a timespec, and the call has filled it.
    let time = unsafe { time.assume_init() };
    Ok(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned())
}

/// The first number behind a name at the start of a line.
fn number(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::resident_of;

    #[test]
    fn only_the_mappings_of_the_file_count() {
        let smaps = "00400000-00b00000 r-xp 00000000 00:02 7 /tcptrace\nRss:  5000 kB\nPss:  1 kB\n\
                     7f00-7f01 rw-s 00000000 00:0e 9 anon_inode:bpf-map\nSize: 9 kB\nRss:     4 kB\n\
                     7f01-7f02 r--s 00001000 00:0e 9 anon_inode:bpf-map\nRss:  8196 kB\n\
                     7f02-7f03 rw-p 00000000 00:00 0\nRss:    12 kB\n";
        assert_eq!(resident_of(smaps, "anon_inode:bpf-map"), 8200);
    }
}
