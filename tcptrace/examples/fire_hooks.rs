//! Attaches every hook of the table in one form, makes the kernel pass each, and prints how often each was seen.
//! A test asset: it runs in a guest (`cargo xtask test`).
//!
//! `fire_hooks fentry|kprobe [without=HOOK,...] [unheld] [verbose]`: `without` leaves hooks out, `unheld` repeats it with the
//! hooks of `nagle` on a connection on which no byte waits, in each way of asking.
#![expect(clippy::print_stdout, reason = "what it sees is its output")]

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    thread,
    time::Duration,
};

use tcptrace::{
    analysis::Kind,
    filter::Filter,
    source::{
        Flow, Item, Source as _,
        live::{Live, Request, Want},
        plan::Form,
    },
};
use tcptrace_common::{
    hook::{At, Hook},
    tcp::{SOL_TCP, TCP_CORK},
};

/// A filter that lets through what happens here.
const LOOPBACK: &str = "port=1-65535 local=[::1],127.0.0.0/8 remote=127.0.0.1 family=4";

fn main() -> anyhow::Result<()> {
    let form = if asked("kprobe") { Form::Kprobe } else { Form::Fentry };
    let name = if form == Form::Kprobe { "kprobe" } else { "fentry" };
    let without = std::env::args().find_map(|word| Some(word.strip_prefix("without=")?.to_owned()));
    let left_out = |hook: &Hook| {
        without.as_ref().is_some_and(|names| names.split(',').any(|name| name == hook.name()))
    };
    let all = Hook::ALL.iter().copied().filter(|hook| hook.at() != At::Record && !left_out(hook));
    let all: Vec<Hook> = all.collect();
    for (hook, count) in counts(form, &all, None, true, exchange)? {
        println!("@@hook {} {name} {count}", hook.name());
    }
    if !asked("unheld") {
        return Ok(());
    }
    // The same connection, on which no byte waits: seen by every hook of these that it passes, or by none.
    let own_hooks = Kind::Nagle.hooks();
    let own = std::process::id();
    for (word, filter) in [
        ("held-only", None),
        ("everything", Some(LOOPBACK.to_owned())),
        ("everything-of-own", Some(format!("{LOOPBACK} pid={own}"))),
        ("everything-of-another", Some("pid=1".to_owned())),
    ] {
        for (hook, count) in counts(form, own_hooks, filter.as_deref(), false, nothing_held)? {
            println!("@@unheld {} {name} {word} {count}", hook.name());
        }
    }
    Ok(())
}

/// Whether the command line has this word.
fn asked(wanted: &str) -> bool {
    std::env::args().any(|word| word == wanted)
}

/// How often each of these hooks was seen while `exchange` ran: where bytes waited, and where `closing` says so what closed; or
/// everything that passes a filter.
fn counts(
    form: Form,
    hooks: &[Hook],
    everything: Option<&str>,
    closing: bool,
    exchange: fn() -> std::io::Result<()>,
) -> anyhow::Result<BTreeMap<Hook, u64>> {
    let mut hooks = hooks.to_vec();
    // What another hook sees in newer kernels may be missing, and what is read by an address under lockdown.
    let may_be_missing =
        |hook: &Hook| hook.replaced_by().is_some() || *hook == Hook::reqsk_timer_handler;
    hooks.sort_by_key(may_be_missing);
    let required = hooks.iter().filter(|hook| !may_be_missing(hook)).count();
    let wanted = [
        (Want::Counting, true),
        (Want::Everything, everything.is_some()),
        (Want::Closing, closing),
    ];
    let wants = wanted.into_iter().filter_map(|(want, is)| is.then_some(want)).collect();
    let request = Request {
        hooks: hooks.clone(),
        required,
        filter: everything.unwrap_or_default().parse::<Filter>()?.kernel()?,
        cgroups: Vec::new(),
        command: None,
        wants,
        form,
        buffer_bytes: 1 << 20,
        max_sockets: None,
        duration: Some(Duration::from_secs(if everything.is_some() { 1 } else { 5 })),
    };
    let mut live = Live::attach(&request)?;
    println!("facts {:?}", live.facts());
    let exchange = thread::spawn(exchange);
    let mut counts: BTreeMap<Hook, u64> = hooks.iter().map(|h| (*h, 0)).collect();
    let verbose = asked("verbose");
    let ending = live.run(&mut |item| {
        if let Item::Event(event) = item {
            // It stands in for the other, and says so in its record.
            let stands_in = event.hook == Hook::tcp_tsq_handler;
            let hook = if stands_in { Hook::tcp_tsq_write } else { event.hook };
            *counts.entry(hook).or_default() += 1;
            if verbose {
                println!("{event:?}");
            }
        }
        Flow::Continue
    })?;
    exchange.join().map_err(|_panic| anyhow::anyhow!("the exchange failed"))??;
    println!("ending {ending:?}");
    let attached: Vec<Hook> = live.facts().attached.iter().map(|at| at.hook).collect();
    counts.retain(|hook, _| hook.at() != At::Record && attached.contains(hook));
    Ok(counts)
}

/// `SO_MAX_PACING_RATE` (`include/uapi/asm-generic/socket.h`).
const SO_MAX_PACING_RATE: u32 = 47;

/// Makes bytes wait in every way that a hook looks at.
fn exchange() -> std::io::Result<()> {
    held_until_the_probe_timer()?;
    held_until_a_reset()?;
    held_by_pacing()?;
    given_as_pages()?;
    asleep_for_room()?;
    ack_put_off()?;
    closed_before_the_peer()?;
    before_the_connection()
}

/// A connection on which every byte leaves at once; the option has nothing to do with that.
fn nothing_held() -> std::io::Result<()> {
    let (mut client, mut server) = pair()?;
    set(&server, SOL_TCP, libc::TCP_KEEPIDLE.cast_unsigned(), &60i32)?;
    let mut bytes = [0; 8];
    server.write_all(b"12345678")?;
    client.read_exact(&mut bytes)?;
    client.write_all(b"12345678")?;
    server.read_exact(&mut bytes)?;
    moment();
    server.shutdown(Shutdown::Write)?;
    moment();
    client.shutdown(Shutdown::Write)?;
    moment();
    Ok(())
}

fn pair() -> std::io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    Ok((client, listener.accept()?.0))
}

fn moment() {
    thread::sleep(Duration::from_millis(20));
}

/// Cork, the probe timer, an ACK and the peer's FIN while bytes wait, then our own.
fn held_until_the_probe_timer() -> std::io::Result<()> {
    let (mut client, mut server) = pair()?;
    set(&server, SOL_TCP, TCP_CORK, &1i32)?;
    server.write_all(b"12345678")?;
    let mut bytes = [0; 8];
    client.read_exact(&mut bytes)?;
    server.write_all(b"12345678")?;
    client.write_all(b"x")?;
    client.shutdown(Shutdown::Write)?;
    thread::sleep(Duration::from_millis(400));
    server.shutdown(Shutdown::Write)?;
    moment();
    Ok(())
}

/// A reset that finds bytes waiting in the state CLOSE-WAIT.
fn held_until_a_reset() -> std::io::Result<()> {
    let (client, mut server) = pair()?;
    client.shutdown(Shutdown::Write)?;
    moment();
    set(&server, SOL_TCP, TCP_CORK, &1i32)?;
    server.write_all(b"12345678")?;
    set(&client, libc::SOL_SOCKET.cast_unsigned(), libc::SO_LINGER.cast_unsigned(), &[1i32, 0])?;
    drop(client);
    moment();
    Ok(())
}

/// More than the ten segments that are never paced, at a rate that the pacing timer has to keep.
fn held_by_pacing() -> std::io::Result<()> {
    let (mut client, mut server) = pair()?;
    set(&server, libc::SOL_SOCKET.cast_unsigned(), SO_MAX_PACING_RATE, &4_000_000u32)?;
    let reader = thread::spawn(move || std::io::copy(&mut client, &mut std::io::sink()));
    server.write_all(&vec![0; 1_200_000])?;
    drop(server);
    reader.join().map_err(|_panic| std::io::Error::other("the reader failed"))??;
    Ok(())
}

/// A page by sendfile, on a corked socket.
fn given_as_pages() -> std::io::Result<()> {
    let (_client, server) = pair()?;
    set(&server, SOL_TCP, TCP_CORK, &1i32)?;
    let page = std::fs::File::open(std::env::current_exe()?)?;
    // SAFETY: both descriptors are open, and the file's own position is used.
    let sent =
        unsafe { libc::sendfile(server.as_raw_fd(), page.as_raw_fd(), std::ptr::null_mut(), 100) };
    if sent < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// A write that finds no room until the reader has read.
fn asleep_for_room() -> std::io::Result<()> {
    let (mut client, mut server) = pair()?;
    set(&server, libc::SOL_SOCKET.cast_unsigned(), libc::SO_SNDBUF.cast_unsigned(), &4_608i32)?;
    let reader = thread::spawn(move || {
        moment();
        std::io::copy(&mut client, &mut std::io::sink())
    });
    server.write_all(&vec![0; 600_000])?;
    drop(server);
    reader.join().map_err(|_panic| std::io::Error::other("the reader failed"))??;
    Ok(())
}

/// A request to a socket that answers (`icsk_ack.pingpong`) and holds bytes: its ACK waits for the timer.
fn ack_put_off() -> std::io::Result<()> {
    let (mut client, mut server) = pair()?;
    let mut bytes = [0; 8];
    client.write_all(b"12345678")?;
    server.read_exact(&mut bytes)?;
    server.write_all(b"12345678")?;
    client.read_exact(&mut bytes)?;
    set(&server, SOL_TCP, TCP_CORK, &1i32)?;
    server.write_all(b"12345678")?;
    client.write_all(b"12345678")?;
    thread::sleep(Duration::from_millis(100));
    Ok(())
}

/// What a minisock stands for: one that hears the peer's FIN, and one whose time is over before.
fn closed_before_the_peer() -> std::io::Result<()> {
    let (client, server) = pair()?;
    drop(client);
    moment();
    drop(server);
    let (client, server) = pair()?;
    set(&client, SOL_TCP, libc::TCP_LINGER2.cast_unsigned(), &1i32)?;
    drop(client);
    thread::sleep(Duration::from_millis(1_300));
    drop(server);
    Ok(())
}

/// A write before the handshake is over: nobody answers the third connection to a listener with room for one.
fn before_the_connection() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // SAFETY: listen() takes two numbers.
    unsafe { libc::listen(listener.as_raw_fd(), 0) };
    let address = listener.local_addr()?;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let socket = unconnected();
        let to = libc::sockaddr_in {
            sin_family: libc::sa_family_t::try_from(libc::AF_INET).unwrap_or(0),
            sin_port: address.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
            sin_zero: [0; 8],
        };
        let length = libc::socklen_t::try_from(size_of_val(&to)).unwrap_or(0);
        let to = (&raw const to).cast();
        // SAFETY: the address is as long as said; the call does not wait.
        unsafe { libc::connect(socket.as_raw_fd(), to, length) };
        waiting.push(socket);
        if waiting.len() == 4 {
            // A write that opens the connection.
            let fd = unconnected();
            let bytes = b"12345678";
            // SAFETY: the bytes and the address are as long as said; the call does not wait.
            unsafe {
                let flags = libc::MSG_FASTOPEN;
                libc::sendto(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags, to, length);
            }
        }
    }
    for socket in &mut waiting {
        // One that is not connected takes nothing.
        let _ = socket.write(b"12345678");
    }
    Ok(())
}

/// A socket whose calls do not wait.
fn unconnected() -> TcpStream {
    // SAFETY: socket() takes three numbers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0) };
    // SAFETY: the call above has just opened it, and nobody else knows it.
    TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set<T>(socket: &TcpStream, level: u32, option: u32, value: &T) -> std::io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: the descriptor is open and the value as long as said.
    let rc = unsafe {
        let value: *const T = value;
        libc::setsockopt(
            socket.as_raw_fd(),
            level.cast_signed(),
            option.cast_signed(),
            value.cast(),
            length,
        )
    };
    if rc == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
