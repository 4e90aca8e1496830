//! A server of Sun RPC (RFC 5531) that answers as far as NFS version 3 must get to open its connection, and the mount that asks
//! it.

use std::{
    ffi::CString,
    fs, io,
    net::{IpAddr, TcpListener},
    thread,
};

use anyhow::{Context as _, ensure};

use super::super::sys::checked;

/// How long the mount waits for an answer, tenths of a second, and how often it tries again. Of both the kernel makes
/// `TCP_KEEPIDLE` and the like; they are its own defaults, as the connection that asks for the mount has these.
pub(super) const TIMEO: u64 = 600;
const RETRANS: u64 = 2;

const MOUNT_POINT: &str = "/tmp/nfs";
/// The procedure that does nothing, which is asked first.
const NULL: u32 = 0;
/// `MNT3ERR_ACCES` (RFC 1813).
const NO_ACCESS: u32 = 13;
/// The last fragment of a record (RFC 5531, 11).
const LAST: u32 = 1 << 31;

/// Mounts from a server that refuses it, and gives the error and how long the records were that came, bytes; `waiting` is called
/// while the mount waits for its answer.
pub(super) fn refused_mount(
    host: IpAddr,
    port: u16,
    waiting: &mut dyn FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<(io::Error, Vec<u32>)> {
    let listener = TcpListener::bind((host, port))?;
    let (protocol, server) = match host {
        IpAddr::V4(host) => ("tcp", host.to_string()),
        IpAddr::V6(host) => ("tcp6", format!("[{host}]")),
    };
    let options = format!(
        "vers=3,nolock,soft,proto={protocol},mountproto={protocol},port={port},mountport={port},\
         timeo={TIMEO},retrans={RETRANS},addr={host},mountaddr={host}"
    );
    fs::create_dir_all(MOUNT_POINT)?;
    let mount = thread::spawn(move || mount(&format!("{server}:/x"), &options));
    let (mut connection, _) = listener.accept()?;
    let mut records = Vec::new();
    while let Some((xid, procedure, size)) = call(&mut connection)? {
        records.push(size);
        if procedure == NULL {
            answer(&mut connection, xid, &[])?;
        } else {
            waiting()?;
            answer(&mut connection, xid, &[NO_ACCESS])?;
        }
    }
    ensure!(records.len() == 2, "NFS has made calls of {records:?} B");
    let mounted = mount.join().map_err(|_panicked| anyhow::anyhow!("the mount panicked"))??;
    Ok((mounted.err().unwrap_or_else(|| io::Error::other("it is mounted")), records))
}

fn mount(from: &str, options: &str) -> anyhow::Result<io::Result<i64>> {
    let (from, to) = (CString::new(from)?, CString::new(MOUNT_POINT)?);
    let options = CString::new(options)?;
    // SAFETY: all strings end in zero and outlive the call.
    let result = unsafe {
        libc::mount(from.as_ptr(), to.as_ptr(), c"nfs".as_ptr(), 0, options.as_ptr().cast())
    };
    Ok(checked(i64::from(result)))
}

/// Number and procedure of the next call, and the size of its record in bytes; `None` once the other end has closed.
fn call(from: &mut impl io::Read) -> anyhow::Result<Option<(u32, u32, u32)>> {
    let mut mark = [0; 4];
    if from.read_exact(&mut mark).is_err() {
        return Ok(None);
    }
    let size = u32::from_be_bytes(mark);
    ensure!(size & LAST != 0, "a call in fragments");
    let mut record = vec![0; usize::try_from(size & !LAST)?];
    from.read_exact(&mut record).context("a call that is cut off")?;
    let word = |n: usize| {
        let bytes = record.get(4 * n..4 * n + 4).and_then(|word| word.try_into().ok());
        bytes.map(u32::from_be_bytes).context("a call that is too short")
    };
    // xid, CALL, version of RPC, program, its version, procedure
    Ok(Some((word(0)?, word(5)?, 4 + (size & !LAST))))
}

/// Answers: accepted, by nobody in particular, with success.
fn answer(to: &mut impl io::Write, xid: u32, result: &[u32]) -> anyhow::Result<()> {
    let reply = [xid, 1, 0, 0, 0, 0];
    let size = u32::try_from(4 * (reply.len() + result.len()))?;
    let words = [LAST | size].into_iter().chain(reply).chain(result.iter().copied());
    let bytes: Vec<u8> = words.flat_map(u32::to_be_bytes).collect();
    to.write_all(&bytes).context("answer NFS")
}
