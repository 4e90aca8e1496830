//! Attaches every hook of the table in one form, makes the kernel pass each, and prints how often each was seen.
//! A test asset: it runs in a guest (`cargo xtask test`).
#![expect(clippy::print_stdout, reason = "what it sees is its output")]

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    thread,
    time::Duration,
};

use tcptrace::source::{
    Flow, Item, Source as _,
    live::{Live, Request},
    plan::Form,
};
use tcptrace_common::{
    filter::Filter,
    hook::Hook,
    tcp::{SOL_TCP, TCP_CORK},
};

fn main() -> anyhow::Result<()> {
    let form = if std::env::args().nth(1).as_deref() == Some("kprobe") {
        Form::Kprobe
    } else {
        Form::Fentry
    };
    let hooks: Vec<Hook> = Hook::ALL.iter().copied().filter(|h| *h != Hook::socket).collect();
    let request = Request {
        hooks: hooks.clone(),
        required: hooks.len(),
        filter: Filter::ALL,
        form,
        buffer_bytes: 1 << 20,
        duration: Some(Duration::from_secs(3)),
    };
    let mut live = Live::attach(&request)?;
    println!("facts {:?}", live.facts());
    let exchange = thread::spawn(exchange);
    let mut counts: BTreeMap<Hook, u64> = hooks.iter().map(|h| (*h, 0)).collect();
    let verbose = std::env::args().nth(2).is_some();
    let ending = live.run(&mut |item| {
        if let Item::Event(event) = item {
            *counts.entry(event.hook).or_default() += 1;
            if verbose {
                println!("{event:?}");
            }
        }
        Flow::Continue
    })?;
    exchange.join().map_err(|_| anyhow::anyhow!("the exchange failed"))??;
    let name = if form == Form::Kprobe { "kprobe" } else { "fentry" };
    for (hook, count) in counts {
        println!("@@hook {} {name} {count}", hook.name());
    }
    println!("ending {ending:?}");
    Ok(())
}

/// Corks a socket so that bytes wait for the probe timer, sends on, closes; and once again with a peer that resets.
fn exchange() -> std::io::Result<()> {
    for linger in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        let (mut server, _) = listener.accept()?;
        set(&server, SOL_TCP, TCP_CORK, &1i32)?;
        server.write_all(b"12345678")?;
        let mut bytes = [0; 8];
        client.read_exact(&mut bytes)?;
        server.write_all(b"12345678")?;
        if linger {
            set(
                &client,
                libc::SOL_SOCKET.cast_unsigned(),
                libc::SO_LINGER.cast_unsigned(),
                &[1i32, 0],
            )?;
            drop(client);
            thread::sleep(Duration::from_millis(20));
        } else {
            client.write_all(b"x")?;
            client.shutdown(std::net::Shutdown::Write)?;
            thread::sleep(Duration::from_millis(20));
            server.shutdown(std::net::Shutdown::Write)?;
            thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
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
