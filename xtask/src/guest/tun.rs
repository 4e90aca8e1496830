//! A TUN device: packets of the host go to a peer in user space, and its packets come in as from a network.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::fd::{AsRawFd as _, RawFd},
    path::Path,
};

use anyhow::Context as _;

use super::sys::checked;

/// `TUNSETIFF` of `linux/if_tun.h`: `_IOW('T', 202, int)`.
const TUNSETIFF: libc::Ioctl = 0x4004_54ca;

/// An open TUN device in the namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Tun(File);

impl Tun {
    /// Makes the device. Without `IFF_VNET_HDR` it takes no segment larger than the MSS.
    pub(crate) fn create(name: &str) -> anyhow::Result<Self> {
        if !Path::new("/dev/net/tun").exists() {
            fs::create_dir_all("/dev/net").context("make /dev/net")?;
            // SAFETY: the path ends in zero.
            let made = unsafe {
                libc::mknod(c"/dev/net/tun".as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(10, 200))
            };
            checked(i64::from(made)).context("make /dev/net/tun")?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
            .context("open /dev/net/tun")?;
        // struct ifreq: a name of 16 bytes, then flags.
        let mut request = [0_u8; 40];
        for (to, from) in request.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        let flags = libc::c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI)?;
        for (to, from) in request.iter_mut().skip(16).zip(flags.to_ne_bytes()) {
            *to = from;
        }
        // SAFETY: the request has the size of an ifreq and outlives the call.
        checked(i64::from(unsafe {
            libc::ioctl(file.as_raw_fd(), TUNSETIFF, request.as_mut_ptr())
        }))
        .context("TUNSETIFF")?;
        Ok(Self(file))
    }

    /// For polling.
    pub(crate) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Takes one packet that the host sent.
    pub(crate) fn take(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }

    /// Gives the host one packet; it is processed before this returns.
    pub(crate) fn give(&self, packet: &[u8]) -> io::Result<()> {
        (&self.0).write_all(packet)
    }
}
