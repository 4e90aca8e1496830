//! `guest held`: a program whose descendant holds bytes for a while, to be run as a COMMAND of tcptrace.

use std::{
    io::Read as _,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    process::{self, Command},
    thread,
    time::Duration,
};

use anyhow::Context as _;

use super::sys::{now_ns, set_option, sleep_until};

/// How it holds them.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Held {
    /// So many processes further down
    #[arg(long, default_value_t = 0)]
    pub(crate) below: u8,
    /// The exit code
    #[arg(long, default_value_t = 0)]
    pub(crate) code: i32,
    /// How long to stay after the bytes have left
    #[arg(long, value_parser = millis, default_value = "0")]
    pub(crate) linger: Duration,
}

fn millis(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_millis)
}

impl Held {
    /// The command line that runs it.
    pub(crate) fn words(self, program: &str) -> Vec<String> {
        let Self { below, code, linger } = self;
        let (below, code, linger) =
            (below.to_string(), code.to_string(), linger.as_millis().to_string());
        [program, "guest", "held", "--below", &below, "--code", &code, "--linger", &linger]
            .map(str::to_owned)
            .into()
    }
}

/// Runs it; ends the process.
#[expect(clippy::exit, reason = "its exit code is what is asked for")]
pub(crate) fn task(held: Held) -> anyhow::Result<()> {
    if let Some(below) = held.below.checked_sub(1) {
        let words = Held { below, ..held }.words("/proc/self/exe");
        let (program, arguments) = words.split_first().context("no words")?;
        let status = Command::new(program).args(arguments).status()?;
        process::exit(status.code().unwrap_or(-1));
    }
    // A thread of the process counts as the process does.
    let thread = thread::spawn(|| corked("127.0.0.1:0".parse()?));
    thread.join().map_err(|_panic| anyhow::anyhow!("the thread panicked"))??;
    sleep_until(now_ns() + u64::try_from(held.linger.as_nanos())?);
    process::exit(held.code)
}

/// The function that is looked for in user stacks.
pub(crate) const WRITER: &str = "write_of_this_program";

/// It enters the kernel itself, as programs in Go do: a C library without frame pointers would be the only function that
/// a walk by them finds.
#[inline(never)]
fn write_of_this_program(server: &TcpStream) -> anyhow::Result<()> {
    let bytes = b"12345678";
    let mut sent = libc::SYS_write;
    // SAFETY: write(2) with an open descriptor and bytes that outlive the call; the kernel changes no other register.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") sent,
            in("rdi") server.as_raw_fd(),
            in("rsi") bytes.as_ptr(),
            in("rdx") bytes.len(),
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    anyhow::ensure!(sent == 8, "write returned {sent}");
    Ok(())
}

/// Its caller, which must be named too.
pub(crate) const CALLER: &str = "caller_of_this_program";

#[inline(never)]
fn caller_of_this_program(server: &TcpStream) -> anyhow::Result<()> {
    // What stands behind it keeps the call from becoming a jump.
    std::hint::black_box(write_of_this_program(server))
}

/// One hold over loopback, under `TCP_CORK`, until the probe timer lets it go; the holder listens on `address`.
pub(crate) fn corked(address: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).context("listen")?;
    let mut client = TcpStream::connect(listener.local_addr()?).context("connect")?;
    let (server, _) = listener.accept()?;
    set_option(server.as_raw_fd(), libc::SOL_TCP, libc::TCP_CORK, &1_i32)?;
    caller_of_this_program(&server)?;
    client.read_exact(&mut [0; 8])?;
    Ok(())
}
