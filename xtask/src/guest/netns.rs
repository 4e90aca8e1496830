//! Network namespaces, their settings, and the devices in them.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    net::IpAddr,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
};

use anyhow::Context as _;

use super::{
    netlink::Request,
    sys::{bytes_of, checked},
};

/// `VETH_INFO_PEER` of `linux/veth.h`.
const VETH_INFO_PEER: u16 = 1;
/// `TCA_KIND` and `TCA_OPTIONS` of `linux/rtnetlink.h`.
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
/// `TC_H_ROOT` of `linux/pkt_sched.h`.
const TC_H_ROOT: u32 = u32::MAX;
/// Duplicate address detection would keep the address from use for a second.
const IFA_F_NODAD: u8 = 2;

/// The network namespace this thread is in.
#[derive(Debug)]
pub(crate) struct Netns(File);

impl Netns {
    /// Puts this thread into a namespace of its own, with the loopback device up.
    pub(crate) fn create() -> anyhow::Result<Self> {
        // SAFETY: unshare() takes one number.
        checked(i64::from(unsafe { libc::unshare(libc::CLONE_NEWNET) }))
            .context("unshare the network namespace")?;
        // Settings of a device are copied from `default` when it is made.
        for setting in
            ["conf/default/accept_dad", "conf/all/accept_dad", "conf/default/router_solicitations"]
        {
            set(&format!("ipv6/{setting}"), "0")?;
        }
        up("lo")?;
        Self::current()
    }

    /// The namespace this thread is in.
    pub(crate) fn current() -> anyhow::Result<Self> {
        File::open("/proc/thread-self/ns/net").map(Self).context("open the network namespace")
    }

    /// Its number, as tcptrace prints it.
    pub(crate) fn number(&self) -> anyhow::Result<u64> {
        Ok(self.0.metadata().context("stat the network namespace")?.ino())
    }

    /// Puts this thread into it.
    pub(crate) fn enter(&self) -> anyhow::Result<()> {
        // SAFETY: setns() takes a descriptor, which is open, and a number.
        checked(i64::from(unsafe { libc::setns(self.0.as_raw_fd(), libc::CLONE_NEWNET) }))
            .context("setns")?;
        Ok(())
    }

    /// Makes a veth pair: `here` in this thread's namespace, `there` in the other.
    pub(crate) fn veth(here: &str, there: &str, other: &Self) -> anyhow::Result<()> {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let mut request = Request::new(libc::RTM_NEWLINK, flags, &link_message(0, 0));
        request.attribute(libc::IFLA_IFNAME, &terminated(here));
        request.nested(libc::IFLA_LINKINFO, |info| {
            info.attribute(libc::IFLA_INFO_KIND, b"veth\0");
            info.nested(libc::IFLA_INFO_DATA, |data| {
                data.nested(VETH_INFO_PEER, |peer| {
                    peer.raw(&link_message(0, 0));
                    peer.attribute(libc::IFLA_IFNAME, &terminated(there));
                    peer.attribute(libc::IFLA_NET_NS_FD, bytes_of(&other.0.as_raw_fd()));
                });
            });
        });
        request.send().context("make a veth pair")
    }
}

/// Writes a `net.` setting of this thread's namespace.
pub(crate) fn set(setting: &str, value: &str) -> anyhow::Result<()> {
    fs::write(format!("/proc/sys/net/{setting}"), value).with_context(|| format!("set {setting}"))
}

/// Switches a device on.
pub(crate) fn up(device: &str) -> anyhow::Result<()> {
    let up = u32::try_from(libc::IFF_UP).unwrap_or(1);
    Request::new(libc::RTM_NEWLINK, 0, &link_message(index(device)?, up))
        .send()
        .with_context(|| format!("switch {device} on"))
}

/// Gives a device an address; the kernel adds the route to its network.
pub(crate) fn address(device: &str, address: IpAddr) -> anyhow::Result<()> {
    let (family, prefix, bytes) = match address {
        IpAddr::V4(address) => (libc::AF_INET, 24, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, 64, address.octets().to_vec()),
    };
    let mut fixed = vec![u8::try_from(family).unwrap_or(0), prefix, IFA_F_NODAD, 0];
    fixed.extend(index(device)?.to_ne_bytes());
    let mut request =
        Request::new(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &fixed);
    request.attribute(libc::IFA_LOCAL, &bytes);
    request.attribute(libc::IFA_ADDRESS, &bytes);
    request.send().with_context(|| format!("give {device} the address {address}"))
}

/// Delays what a device sends, by netem.
pub(crate) fn delay(device: &str, delay_us: u64) -> anyhow::Result<()> {
    // struct tcmsg: family, index, handle, parent, info.
    let mut fixed = vec![0; 4];
    fixed.extend(index(device)?.to_ne_bytes());
    fixed.extend([0; 4]);
    fixed.extend(TC_H_ROOT.to_ne_bytes());
    fixed.extend([0; 4]);
    let mut request =
        Request::new(libc::RTM_NEWQDISC, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, &fixed);
    request.attribute(TCA_KIND, b"netem\0");
    // struct tc_netem_qopt: latency in units of 64 ns, limit in packets, loss, gap, duplicate, jitter.
    let mut options = u32::try_from(delay_us * 1000 / 64)?.to_ne_bytes().to_vec();
    options.extend(1000_u32.to_ne_bytes());
    options.extend([0; 16]);
    request.attribute(TCA_OPTIONS, &options);
    request.send().with_context(|| format!("delay {device}"))
}

/// Lets the queueing discipline of a device take nothing, or everything again.
pub(crate) fn drops(device: &str, on: bool) -> anyhow::Result<()> {
    let mut fixed = vec![0; 4];
    fixed.extend(index(device)?.to_ne_bytes());
    fixed.extend([0; 4]);
    fixed.extend(TC_H_ROOT.to_ne_bytes());
    fixed.extend([0; 4]);
    let mut request = if on {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        Request::new(libc::RTM_NEWQDISC, flags, &fixed)
    } else {
        Request::new(libc::RTM_DELQDISC, 0, &fixed)
    };
    if on {
        request.attribute(TCA_KIND, b"pfifo\0");
        // struct tc_fifo_qopt: the limit, in packets.
        request.attribute(TCA_OPTIONS, &0_u32.to_ne_bytes());
    }
    request.send().with_context(|| format!("let {device} drop"))
}

/// The index of a device.
pub(crate) fn index(device: &str) -> anyhow::Result<i32> {
    let name = CString::new(device)?;
    // SAFETY: the name ends in zero and outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("no device {device}"));
    }
    Ok(i32::try_from(index)?)
}

/// `struct ifinfomsg`.
fn link_message(index: i32, flags: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(index.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes
}

fn terminated(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}
