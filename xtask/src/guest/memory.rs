//! `guest memory`: what a command has in memory while very many sockets hold bytes, all at one time.

use std::{
    fs,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    filters::{CGROUPS, mount_cgroups},
    ops,
    process::{mapped_maps, memory},
    sys::{checked, now_ns, set_option, sleep_until},
    tool::{Tool, summary},
    turns::WATCHED,
};
use crate::report::{FIGURE, Remembered};

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The program under test
    #[arg(long, default_value = "/tcptrace")]
    tcptrace: PathBuf,
    /// A command with its flags; can be given more than once
    #[arg(long)]
    words: Vec<String>,
    /// Sockets that hold bytes
    #[arg(long, default_value_t = 10_000)]
    sockets: u32,
    /// Prints the mappings of each while the sockets hold
    #[arg(long)]
    mappings: bool,
}

/// Settings without which so many sockets are refused.
const SETTINGS: [(&str, &str); 5] = [
    ("fs/nr_open", "1048576"),
    ("fs/file-max", "1048576"),
    ("net/ipv4/ip_local_port_range", "1024 65535"),
    // In pages: beyond it the kernel makes buffers smaller, and holds of another kind.
    ("net/ipv4/tcp_mem", "4194304 4194304 4194304"),
    ("net/ipv4/tcp_max_orphans", "262144"),
];
/// Connections to one address of the loopback device; then the next one's turn comes.
const TO_ONE: u32 = 25_000;
/// The smallest segment size that can be asked for, bytes: ten segments leave before anything is paced.
const MSS: i32 = 88;
/// Ten segments and more, in one write.
const WRITTEN: usize = 1024;
/// The tool takes what lies in the ring buffer meanwhile.
const SETTLE_NS: u64 = 1_000_000_000;
/// What the kernel may have more after the sockets were closed than before there were any, KiB: pages that are partly in use.
const KERNEL_MORE_KIB: u64 = 1024;
/// The same of the process, after it has seen as many sockets once more: beside that, a few bytes for each that is counted.
const MORE_KIB: u64 = 1024;
const COUNTED_BYTES: u64 = 64;
/// After so many sockets that are closed the tool gets time to take what lies in the ring buffer: of an end that is lost it
/// knows only when another socket has the address.
const CLOSED_AT_ONCE: usize = 256;
const BREATH_NS: u64 = 50_000_000;
/// So many sockets are asked whether they hold what they should: one of these.
const ASKED: usize = 97;

/// Runs each and prints one line for it.
pub(crate) fn task(args: &Args) -> Result<()> {
    for (setting, value) in SETTINGS {
        let file = format!("/proc/sys/{setting}");
        fs::write(&file, value).with_context(|| format!("cannot write {file}"))?;
    }
    let many = libc::rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
    // SAFETY: the limit outlives the call.
    checked(i64::from(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const many) }))?;
    // What the first start finds is not in memory yet.
    if let Some(words) = args.words.first() {
        Account::new()?.started(args, words)?.stop()?;
    }
    for words in &args.words {
        let figure = measured(args, words, args.sockets)?;
        println!("{FIGURE}{}", serde_json::to_string(&figure)?);
    }
    Ok(())
}

/// A cgroup, by whose account the kernel's memory is: what a process in it makes the kernel take, whenever that is.
struct Account {
    folder: String,
}

impl Account {
    fn new() -> Result<Self> {
        mount_cgroups()?;
        fs::write(format!("{CGROUPS}/cgroup.subtree_control"), "+memory")
            .context("ask for accounts of memory")?;
        let folder = format!("{CGROUPS}/measured-{}", now_ns());
        fs::create_dir(&folder).with_context(|| format!("make {folder}"))?;
        Ok(Self { folder })
    }

    /// The command, which is in it from its first page on.
    fn started(&self, args: &Args, words: &str) -> Result<Tool> {
        let script = format!(
            "echo $$ > {}/cgroup.procs && exec {} {words} --json",
            self.folder,
            args.tcptrace.display()
        );
        Tool::start(Path::new("sh"), &["-c".to_owned(), script], false)
    }

    /// What the kernel has for it beside the pages of the process: since 5.18 it says so in one number.
    fn kernel_kib(&self) -> Result<u64> {
        let text = fs::read_to_string(format!("{}/memory.stat", self.folder))?;
        let line = text.lines().find_map(|line| line.strip_prefix("kernel "));
        let bytes: u64 = line.context("this kernel does not tell its own memory")?.parse()?;
        Ok(bytes >> 10)
    }
}

fn measured(args: &Args, words: &str, sockets: u32) -> Result<Remembered> {
    let mut figure = Remembered { words: words.to_owned(), sockets, ..Remembered::default() };
    let account = Account::new()?;
    let tool = account.started(args, words)?;
    sleep_until(now_ns() + SETTLE_NS);
    figure.kernel_attached_kib = account.kernel_kib()?;
    figure.attached_kib = memory(tool.pid())?.0;
    let held = Held::new(sockets)?;
    sleep_until(now_ns() + SETTLE_NS);
    held.check()?;
    figure.held_kib = memory(tool.pid())?.0;
    figure.mapped_kib = mapped_maps(tool.pid())?;
    figure.kernel_kib = account.kernel_kib()?;
    if args.mappings {
        print!("{}", fs::read_to_string(format!("/proc/{}/smaps", tool.pid()))?);
    }
    drop(held);
    sleep_until(now_ns() + SETTLE_NS);
    (figure.closed_kib, figure.peak_kib) = memory(tool.pid())?;
    figure.kernel_closed_kib = account.kernel_kib()?;
    let again = Held::new(sockets)?;
    sleep_until(now_ns() + SETTLE_NS);
    again.check()?;
    drop(again);
    sleep_until(now_ns() + SETTLE_NS);
    figure.again_kib = memory(tool.pid())?.0;
    let (text, complaints) = tool.stop()?;
    let said = summary(&text).with_context(|| format!("{complaints:?}"))?;
    (figure.told, figure.lost) = (said.holds.unwrap_or(0), said.lost());
    // One that says itself that it has not followed all is not wrong, and the table says so too.
    let wanted = 2 * u64::from(sockets);
    if figure.told != wanted && (figure.lost == 0 || figure.told > wanted) {
        figure.wrong.push(format!("{} holds were told, of {wanted}", figure.told));
    }
    figure.wrong.extend(leaks(&figure));
    Ok(figure)
}

/// What was not given back.
fn leaks(figure: &Remembered) -> Vec<String> {
    let counted_kib = (COUNTED_BYTES * u64::from(figure.sockets)) >> 10;
    let grown = [
        ("the kernel has", figure.kernel_attached_kib, figure.kernel_closed_kib, KERNEL_MORE_KIB),
        ("the process has", figure.closed_kib, figure.again_kib, MORE_KIB + counted_kib),
    ];
    let is_more = |(_, before, after, more): &&(&str, u64, u64, u64)| *after > before + more;
    let told = |(who, before, after, _): &(&str, u64, u64, u64)| {
        format!("{who} {after} KiB once the sockets are closed, after {before}")
    };
    grown.iter().filter(is_more).map(told).collect()
}

/// Connections of which one end holds bytes, for longer than anybody waits: it may send a byte in a second.
struct Held {
    /// The ends that hold, and those that never read, so that their end resets the other's.
    ends: Vec<(TcpStream, TcpStream)>,
}

impl Held {
    fn new(sockets: u32) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, WATCHED)).context("listen")?;
        set_option(listener.as_raw_fd(), libc::SOL_TCP, libc::TCP_MAXSEG, &MSS)?;
        let mut ends = Vec::new();
        for n in 0..sockets {
            let to = Ipv4Addr::new(127, 0, 0, u8::try_from(1 + n / TO_ONE)?);
            let mut holder = TcpStream::connect(SocketAddr::from((to, WATCHED)))
                .with_context(|| format!("connection {n}"))?;
            let (other, _) = listener.accept().with_context(|| format!("connection {n}"))?;
            let fd = holder.as_raw_fd();
            set_option(fd, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, &1_u32)?;
            holder.write_all(&[0; WRITTEN])?;
            ends.push((holder, other));
        }
        Ok(Self { ends })
    }

    /// They hold, by the kernel's own count.
    fn check(&self) -> Result<()> {
        for (at, (holder, _)) in self.ends.iter().enumerate().step_by(ASKED) {
            ensure!(ops::unsent(holder)? > 0, "socket {at} holds nothing");
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for (at, (holder, other)) in self.ends.drain(..).enumerate() {
            drop(other);
            drop(holder);
            if at % CLOSED_AT_ONCE == CLOSED_AT_ONCE - 1 {
                sleep_until(now_ns() + BREATH_NS);
            }
        }
    }
}
