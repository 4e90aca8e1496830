//! Queueing disciplines: what a device does with what it is given, and a copy of that from before.

use anyhow::Context as _;

use super::{netlink::Request, netns::index};

/// `TCA_KIND` and `TCA_OPTIONS` of `linux/rtnetlink.h`.
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
/// `linux/pkt_sched.h`.
const TC_H_ROOT: u32 = u32::MAX;
const TC_H_CLSACT: u32 = 0xffff_fff1;
const TC_H_CLSACT_HANDLE: u32 = 0xffff_0000;
const TC_H_CLSACT_EGRESS: u32 = 0xffff_fff3;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_BURST: u16 = 6;
const TC_LINKLAYER_ETHERNET: u8 = 1;
/// `linux/pkt_cls.h`, `linux/tc_act/tc_mirred.h`.
const TCA_MATCHALL_ACT: u16 = 2;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_MIRRED_PARMS: u16 = 2;
const TCA_EGRESS_MIRROR: u32 = 2;
const TC_ACT_PIPE: u32 = 3;

/// What a shaped device may send at once, bytes: little more than one full segment of the stories.
const BURST_BYTES: u32 = 1_500;
/// What a shaped device queues, bytes: more than a story writes.
const LIMIT_BYTES: u32 = 200_000;

/// Delays what a device sends, by netem.
pub(crate) fn delay(device: &str, delay_us: u64) -> anyhow::Result<()> {
    let mut request = root(device, b"netem\0")?;
    // struct tc_netem_qopt: latency in units of 64 ns, limit in packets, loss, gap, duplicate, jitter.
    let mut options = u32::try_from(delay_us * 1000 / 64)?.to_ne_bytes().to_vec();
    options.extend(1000_u32.to_ne_bytes());
    options.extend([0; 16]);
    request.attribute(TCA_OPTIONS, &options);
    request.send().with_context(|| format!("delay {device}"))
}

/// Lets the queueing discipline of a device take nothing, or everything again.
pub(crate) fn drops(device: &str, on: bool) -> anyhow::Result<()> {
    let request = if on {
        let mut request = root(device, b"pfifo\0")?;
        // struct tc_fifo_qopt: the limit, in packets.
        request.attribute(TCA_OPTIONS, &0_u32.to_ne_bytes());
        request
    } else {
        Request::new(libc::RTM_DELQDISC, 0, &message(device, 0, TC_H_ROOT, 0)?)
    };
    request.send().with_context(|| format!("let {device} drop"))
}

/// Lets a device send so many bytes a second, by tbf.
pub(crate) fn shape(device: &str, bytes_a_second: u32) -> anyhow::Result<()> {
    let mut request = root(device, b"tbf\0")?;
    // struct tc_ratespec: cell_log, linklayer, overhead, cell_align, mpu, rate.
    let mut rate = vec![0, TC_LINKLAYER_ETHERNET];
    rate.extend([0; 6]);
    rate.extend(bytes_a_second.to_ne_bytes());
    // struct tc_tbf_qopt: rate, peak rate, limit, buffer, mtu.
    let mut parameters = rate;
    parameters.extend([0; 12]);
    parameters.extend(LIMIT_BYTES.to_ne_bytes());
    parameters.extend([0; 8]);
    request.nested(TCA_OPTIONS, |options| {
        options.attribute(TCA_TBF_PARMS, &parameters);
        options.attribute(TCA_TBF_BURST, &BURST_BYTES.to_ne_bytes());
    });
    request.send().with_context(|| format!("shape {device}"))
}

/// Lets a device pace its flows, by fq.
pub(crate) fn pace(device: &str) -> anyhow::Result<()> {
    root(device, b"fq\0")?.send().with_context(|| format!("pace {device}"))
}

/// Gives a copy of all that `device` is given to `copy`, before the queueing discipline has a hand in it.
pub(crate) fn mirror(device: &str, copy: &str) -> anyhow::Result<()> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let fixed = message(device, TC_H_CLSACT_HANDLE, TC_H_CLSACT, 0)?;
    let mut request = Request::new(libc::RTM_NEWQDISC, flags, &fixed);
    request.attribute(TCA_KIND, b"clsact\0");
    request.send().with_context(|| format!("look before the queue of {device}"))?;
    // The priority of the filter, and the protocol in network order.
    let info = 1 << 16 | u32::from(u16::try_from(libc::ETH_P_ALL)?.to_be());
    let fixed = message(device, 0, TC_H_CLSACT_EGRESS, info)?;
    let mut request = Request::new(libc::RTM_NEWTFILTER, flags, &fixed);
    // struct tc_mirred: index, capab, action, refcnt, bindcnt, eaction, ifindex.
    let to = u32::try_from(index(copy)?)?;
    let parameters: Vec<u8> = [0, 0, TC_ACT_PIPE, 0, 0, TCA_EGRESS_MIRROR, to]
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect();
    request.attribute(TCA_KIND, b"matchall\0");
    request.nested(TCA_OPTIONS, |options| {
        options.nested(TCA_MATCHALL_ACT, |actions| {
            // The actions are numbered.
            actions.nested(1, |action| {
                action.attribute(TCA_ACT_KIND, b"mirred\0");
                action.nested(TCA_ACT_OPTIONS, |mirred| {
                    mirred.attribute(TCA_MIRRED_PARMS, &parameters);
                });
            });
        });
    });
    request.send().with_context(|| format!("copy what {device} is given"))
}

/// Makes a queueing discipline of this kind the device's own.
fn root(device: &str, kind: &[u8]) -> anyhow::Result<Request> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let mut request = Request::new(libc::RTM_NEWQDISC, flags, &message(device, 0, TC_H_ROOT, 0)?);
    request.attribute(TCA_KIND, kind);
    Ok(request)
}

/// `struct tcmsg`.
fn message(device: &str, handle: u32, parent: u32, info: u32) -> anyhow::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    bytes.extend(index(device)?.to_ne_bytes());
    for word in [handle, parent, info] {
        bytes.extend(word.to_ne_bytes());
    }
    Ok(bytes)
}
