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

/// Puts this thread into the namespace of the first process.
pub(crate) fn enter_first() -> anyhow::Result<()> {
    Netns(File::open("/proc/1/ns/net").context("open the first network namespace")?).enter()
}

/// What a route asks of the connections that take it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Metric {
    /// ACKs at once (`RTAX_QUICKACK` of `linux/rtnetlink.h`).
    Quickack = 15,
    /// Fast Open without cookies (`RTAX_FASTOPEN_NO_COOKIE`).
    FastopenNoCookie = 17,
}

/// Adds a route to one address by a device.
pub(crate) fn route(device: &str, to: IpAddr, metric: Metric) -> anyhow::Result<()> {
    let (family, prefix, bytes) = match to {
        IpAddr::V4(to) => (libc::AF_INET, 32, to.octets().to_vec()),
        IpAddr::V6(to) => (libc::AF_INET6, 128, to.octets().to_vec()),
    };
    // struct rtmsg
    let mut fixed = vec![u8::try_from(family).unwrap_or(0), prefix, 0, 0];
    fixed.extend([
        libc::RT_TABLE_MAIN,
        libc::RTPROT_STATIC,
        libc::RT_SCOPE_LINK,
        libc::RTN_UNICAST,
        0,
        0,
        0,
        0,
    ]);
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let mut request = Request::new(libc::RTM_NEWROUTE, flags, &fixed);
    request.attribute(libc::RTA_DST, &bytes);
    request.attribute(libc::RTA_OIF, &index(device)?.to_ne_bytes());
    request.nested(libc::RTA_METRICS, |metrics| {
        metrics.attribute(metric as u16, &1_u32.to_ne_bytes());
    });
    request.send().with_context(|| format!("a route to {to}"))
}

/// Makes a device of which nobody hears, and switches it on.
pub(crate) fn dummy(device: &str) -> anyhow::Result<()> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let mut request = Request::new(libc::RTM_NEWLINK, flags, &link_message(0, 0));
    request.attribute(libc::IFLA_IFNAME, &terminated(device));
    request.nested(libc::IFLA_LINKINFO, |info| info.attribute(libc::IFLA_INFO_KIND, b"dummy\0"));
    request.send().with_context(|| format!("make {device}"))?;
    up(device)
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
