//! Connections over loopback that are at work until they are told to stop.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::Context as _;

use super::super::sys::{name_thread, now_ns, set_option, sleep_until};

/// Work that is under way.
#[derive(Debug)]
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<anyhow::Result<Written>>>,
}

/// What the writers saw.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    /// Write calls.
    pub(super) calls: u64,
    /// The longest of them, nanoseconds.
    pub(super) longest_ns: u64,
}

/// What one connection does, again and again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// Holds bytes under `TCP_CORK` for so many milliseconds.
    Hold(u64),
    /// Writes single bytes under `TCP_CORK` with a pause of so many microseconds now and then.
    Flood(u64),
}

/// Writes of a flood between two pauses.
const BURST: u64 = 64;

impl Load {
    /// One connection for each.
    pub(super) fn start(works: &[Work]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let each = |&work: &Work| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                name_thread(c"server");
                work.until(&stop)
            })
        };
        Self { threads: works.iter().map(each).collect(), stop }
    }

    /// Stops them; what they wrote altogether.
    pub(super) fn stop(self) -> anyhow::Result<Written> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Written::default();
        for thread in self.threads {
            let one = thread.join().map_err(|_panic| anyhow::anyhow!("a writer panicked"))??;
            all.calls += one.calls;
            all.longest_ns = all.longest_ns.max(one.longest_ns);
        }
        Ok(all)
    }
}

impl Work {
    fn until(self, stop: &AtomicBool) -> anyhow::Result<Written> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen")?;
        let client = TcpStream::connect(listener.local_addr()?).context("connect")?;
        let (mut server, _) = listener.accept()?;
        // What arrives is read, or the window would close.
        let reader = thread::spawn(move || drained(client));
        let mut written = Written::default();
        let cork = |on: i32| set_option(server.as_raw_fd(), libc::SOL_TCP, libc::TCP_CORK, &on);
        cork(1)?;
        while !stop.load(Ordering::Relaxed) {
            match self {
                Self::Hold(held_ms) => {
                    written.write(&mut &server, &[0; 8])?;
                    sleep_until(now_ns() + held_ms * 1_000_000);
                    cork(0)?;
                    cork(1)?;
                }
                Self::Flood(pause_us) => {
                    written.write(&mut &server, &[0])?;
                    if written.calls % BURST == 0 {
                        sleep_until(now_ns() + pause_us * 1000);
                    }
                }
            }
        }
        server.flush()?;
        drop(server);
        reader.join().map_err(|_panic| anyhow::anyhow!("a reader panicked"))?;
        Ok(written)
    }
}

impl Written {
    fn write(&mut self, stream: &mut &TcpStream, bytes: &[u8]) -> anyhow::Result<()> {
        let began_ns = now_ns();
        stream.write_all(bytes).context("write")?;
        self.calls += 1;
        self.longest_ns = self.longest_ns.max(now_ns() - began_ns);
        Ok(())
    }
}

fn drained(mut client: TcpStream) {
    let mut room = [0; 16_384];
    while client.read(&mut room).is_ok_and(|bytes| bytes > 0) {}
}
