//! Guests: stock kernels in an emulator, one command each.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    binaries::{self, Program},
    debian, ebpf,
    guest::sockopt,
    initramfs::{self, BEGIN, END},
    kernels::{self, Kernel},
    modules,
};

/// `cargo xtask vm`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Series of the kernel
    #[arg(long, default_value = kernels::USUAL)]
    kernel: String,
    /// Lock the kernel down in confidentiality mode
    #[arg(long)]
    lockdown: bool,
    /// Let guest time run with the host's instead of with the instructions executed
    #[arg(long)]
    no_icount: bool,
    /// Virtual CPUs
    #[arg(long, default_value_t = 1)]
    smp: u32,
    /// Memory of the guest, MiB
    #[arg(long, default_value_t = 1024)]
    memory: u32,
    /// Seconds of the host's clock after which the guest is killed
    #[arg(long, default_value_t = 600)]
    limit: u64,
    /// Put a file into the guest; can be given more than once
    #[arg(long = "file", value_name = "HOST=GUEST")]
    files: Vec<String>,
    /// Put a package of Debian, with all it needs, below /debian in the guest; can be given more than once
    #[arg(long = "package", value_name = "NAME")]
    packages: Vec<String>,
    /// What to run; /xtask and /tcptrace are there, and busybox
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Boots a guest for a person: the console is shown, the exit code is the command's.
pub(crate) fn task(args: &Args) -> Result<ExitCode> {
    let kernel = kernels::series(&args.kernel)?.ready()?;
    let mut guest = Guest::new(kernel, args.command.clone());
    guest.lockdown = args.lockdown;
    guest.icount = !args.no_icount;
    guest.smp = args.smp;
    guest.memory = args.memory;
    guest.limit = Duration::from_secs(args.limit);
    guest.carried = &sockopt::MODULES;
    guest.add(&binaries::build(Program::Xtask, None)?, "/xtask")?;
    match ebpf::object().and_then(|object| binaries::build(Program::Tcptrace, Some(&object))) {
        Ok(file) => guest.add(&file, "/tcptrace")?,
        Err(error) => eprintln!("xtask: the guest gets no /tcptrace: {error:#}"),
    }
    for pair in &args.files {
        let (host, inside) = pair.split_once('=').context("--file wants HOST=GUEST")?;
        guest.add(Path::new(host), inside)?;
    }
    if !args.packages.is_empty() {
        let packages: Vec<&str> = args.packages.iter().map(String::as_str).collect();
        guest.append(debian::tree(&packages)?);
    }
    let run = guest.run(&mut |line| println!("{line}"))?;
    eprintln!(
        "xtask: {} ({}) ended with {} after {:.1} s",
        run.release,
        args.kernel,
        run.exit,
        run.took.as_secs_f64()
    );
    Ok(ExitCode::from(u8::try_from(run.exit).unwrap_or(1)))
}

/// A guest to be booted.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) kernel: Kernel,
    pub(crate) command: Vec<String>,
    pub(crate) lockdown: bool,
    /// Guest time is a count of guest instructions: runs repeat, and timers fire on time on a busy host.
    pub(crate) icount: bool,
    /// For figures that are compared between boots: the kernel lies at one place.
    pub(crate) steady: bool,
    pub(crate) smp: u32,
    /// Of the guest, MiB.
    pub(crate) memory: u32,
    /// Of the host's clock.
    pub(crate) limit: Duration,
    /// Modules that lie in the guest and are not loaded at its start ([`modules::load`]).
    pub(crate) carried: &'static [&'static str],
    files: Vec<(String, Vec<u8>)>,
    archives: Vec<PathBuf>,
}

/// Of the host's clock, for a guest to come as far as its command; 5 to 20 seconds are usual.
const START_LIMIT: Duration = Duration::from_mins(2);

/// How a guest's command ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) exit: i32,
    /// The kernel that ran, with the version of its package.
    pub(crate) release: String,
    pub(crate) took: Duration,
    /// Why a first try came to nothing.
    pub(crate) first_try: Option<String>,
}

/// How one boot went.
enum Boot {
    Ended {
        exit: i32,
        release: String,
    },
    /// It died by itself, or did not get as far as its command; the last lines of its console say more.
    Died(String),
    /// It was killed while its command ran, which would take as long the next time.
    TooLong(String),
}

impl Guest {
    /// A guest as the scenarios want it.
    pub(crate) fn new(kernel: Kernel, command: Vec<String>) -> Self {
        let limit = Duration::from_mins(10);
        Self {
            kernel,
            command,
            lockdown: false,
            icount: true,
            steady: false,
            smp: 1,
            memory: 1024,
            limit,
            carried: &[],
            files: Vec::new(),
            archives: Vec::new(),
        }
    }

    /// Puts a file of the host into the guest.
    pub(crate) fn add(&mut self, host: &Path, inside: &str) -> Result<()> {
        let content = fs::read(host).with_context(|| format!("cannot read {}", host.display()))?;
        self.files.push((inside.to_owned(), content));
        Ok(())
    }

    /// Unpacks a cpio archive of the host in the guest, too.
    pub(crate) fn append(&mut self, archive: PathBuf) {
        self.archives.push(archive);
    }

    /// Runs the command and hands over what it prints, line by line. A guest that dies is started once more, as some
    /// kernels now and then die very early under emulation; one whose command takes longer than its limit is not.
    pub(crate) fn run(&self, on_line: &mut dyn FnMut(&str)) -> Result<Run> {
        let initramfs = Scratch::new(&self.initramfs()?)?;
        let start = now();
        let mut first_try = None;
        loop {
            match self.boot(&initramfs.0, on_line)? {
                Boot::Ended { exit, release } => {
                    return Ok(Run { exit, release, took: start.elapsed(), first_try });
                }
                Boot::Died(why) if first_try.is_none() => {
                    eprintln!("xtask: kernel {}: {why}; trying once more", self.kernel.series);
                    first_try = Some(why);
                }
                Boot::Died(why) | Boot::TooLong(why) => {
                    bail!("kernel {} ({}): {why}", self.kernel.series, self.kernel.package)
                }
            }
        }
    }

    fn initramfs(&self) -> Result<Vec<u8>> {
        let busybox =
            fs::read("/bin/busybox").context("no /bin/busybox (cargo xtask setup installs it)")?;
        let modules = modules::in_order(&self.kernel.modules(), &modules::WANTED)?;
        let mut carried = modules::in_order(&self.kernel.modules(), self.carried)?;
        carried.retain(|own| modules.iter().all(|module| module.name != own.name));
        let mut archive = initramfs::make(&initramfs::Contents {
            busybox: &busybox,
            modules: &modules,
            carried: &carried,
            files: &self.files,
            command: &self.command,
            lockdown: self.lockdown,
        });
        for more in &self.archives {
            archive
                .extend(fs::read(more).with_context(|| format!("cannot read {}", more.display()))?);
        }
        Ok(archive)
    }

    fn boot(&self, initramfs: &Path, on_line: &mut dyn FnMut(&str)) -> Result<Boot> {
        let mut emulator = Killed(
            self.emulator(initramfs)
                .spawn()
                .context("cannot run qemu-system-x86_64 (cargo xtask setup installs it)")?,
        );
        let console = emulator.0.stdout.take().context("the emulator has no console")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || read_lines(console, &sender));
        let start = now();
        let mut seen = Console::default();
        loop {
            let limit =
                if seen.release.is_some() { self.limit } else { self.limit.min(START_LIMIT) };
            let left = (start + limit).saturating_duration_since(now());
            match lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(exit) = seen.line(&line, on_line) {
                        return Ok(Boot::Ended { exit, release: seen.release.unwrap_or_default() });
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    let why = seen.death(&format!("killed after {} s", limit.as_secs()));
                    let ran = seen.release.is_some();
                    return Ok(if ran { Boot::TooLong(why) } else { Boot::Died(why) });
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Ok(Boot::Died(seen.death("the guest died")));
                }
            }
        }
    }

    fn emulator(&self, initramfs: &Path) -> Command {
        let mut append = "console=ttyS0 quiet loglevel=1 panic=-1 mitigations=off".to_owned();
        if self.lockdown {
            append += " lsm=lockdown,bpf";
        }
        if self.steady {
            append += " nokaslr";
        }
        let mut emulator = Command::new("qemu-system-x86_64");
        // Never hardware acceleration: it is missing or unreliable on many machines, and counts no instructions. With `erms`
        // the kernel copies and clears by bytes, each of which the emulator takes, and its clock counts, for an instruction.
        emulator
            .args(["-accel", "tcg", "-cpu", "max,-erms,-fsrm", "-no-reboot", "-nic", "none"])
            .args(["-m", &self.memory.to_string()])
            .args(["-display", "none", "-monitor", "none", "-serial", "stdio"])
            .args(["-smp", &self.smp.to_string()])
            .arg("-kernel")
            .arg(self.kernel.image())
            .arg("-initrd")
            .arg(initramfs)
            .args(["-append", &append]);
        if self.steady {
            emulator.args(["-seed", "1"]);
        }
        if self.icount {
            emulator.args([
                "-icount",
                "shift=0,sleep=off",
                "-rtc",
                "base=2026-01-01T00:00:00,clock=vm",
            ]);
        }
        emulator.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        emulator
    }
}

fn read_lines(console: impl std::io::Read, sender: &mpsc::Sender<String>) {
    let mut reader = BufReader::new(console);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|size| size > 0) {
        let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
        if sender.send(text).is_err() {
            return;
        }
        line.clear();
    }
}

/// What has been read of a guest's console.
#[derive(Debug, Default)]
struct Console {
    release: Option<String>,
    last: Vec<String>,
}

impl Console {
    /// Takes a line; the exit code when it is the end mark.
    fn line(&mut self, line: &str, on_line: &mut dyn FnMut(&str)) -> Option<i32> {
        // The firmware clears the screen without ending its line, so the first mark may not be at the start of one.
        if let Some((_, release)) = line.split_once(BEGIN) {
            self.release = Some(named(release));
            return None;
        }
        // A program that dies within a line leaves its rest in front of the mark.
        if let Some((rest, code)) = line.split_once(END) {
            if !rest.is_empty() {
                on_line(rest);
            }
            return Some(code.trim().parse().unwrap_or(1));
        }
        if self.release.is_some() {
            on_line(line);
        }
        self.last.push(line.to_owned());
        if self.last.len() > 40 {
            self.last.remove(0);
        }
        None
    }

    fn death(&self, what: &str) -> String {
        let when = if self.release.is_some() {
            "while the command ran"
        } else {
            "before the command started"
        };
        format!("{what} {when}; the console's last lines:\n  {}\n", self.last.join("\n  "))
    }
}

/// `6.1.0-56-cloud-amd64 (Debian 6.1.192-2)` from what `uname -r` and `uname -v` print.
fn named(release: &str) -> String {
    let mut words = release.split_whitespace();
    let name = words.next().unwrap_or_default();
    let version = words.skip_while(|word| *word != "Debian").nth(1).unwrap_or("version not stated");
    format!("{name} (Debian {version})")
}

/// A program that does not outlive the task.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A file that goes when it is no longer wanted.
struct Scratch(PathBuf);

impl Scratch {
    fn new(content: &[u8]) -> Result<Self> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let file =
            std::env::temp_dir().join(format!("tcptrace-{}-{number}.cpio", std::process::id()));
        let scratch = Self(file);
        fs::write(&scratch.0, content)
            .with_context(|| format!("cannot write {}", scratch.0.display()))?;
        ensure!(scratch.0.exists(), "{} is gone", scratch.0.display());
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

/// The host's clock, for limits and for what a run took.
#[expect(
    clippy::disallowed_methods,
    reason = "a guest is outside the pipeline whose time comes from events"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
