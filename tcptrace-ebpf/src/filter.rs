//! What the filter lets through: sockets by their ports, ends, family and network namespace, tasks by their process, name,
//! descent and cgroup.

use core::ptr;

use aya_ebpf::helpers::generated::{self, bpf_get_current_pid_tgid};
use tcptrace_common::{
    field::Field,
    filter::{MAX_CGROUPS, MAX_COMMS, MAX_NETNS, MAX_PORTS, MAX_SIDES, Side},
    tcp::AF_INET,
};

use crate::{
    maps::{CGROUPS, FILTER, PROCESSES},
    read::{Glance, Reader, Words},
    socket::ports,
};

/// Whether nothing but ports is asked for.
#[inline(always)]
pub fn only_ports() -> bool {
    // SAFETY: numbers of the filter.
    let others = unsafe {
        told(&raw const FILTER.family)
            | told(&raw const FILTER.netns_len)
            | told(&raw const FILTER.local_len)
            | told(&raw const FILTER.remote_len)
    };
    others | tasks_asked_for() == 0
}

/// Whether the ports may be asked for, or the socket has already lost its own: all that a write costs on any other.
#[inline(always)]
pub fn ports_may_pass(sk: Glance) -> bool {
    let ports = sk.word(Field::skc_portpair);
    let (remote, local) = (u16::from_be(ports as u16), (ports >> 16) as u16);
    local == 0 || port_passes(local, remote)
}

/// Whether the socket itself is asked for, by its ports, its ends, its family and its network namespace.
#[inline(always)]
pub fn passes<R: Reader>(reader: &R) -> bool {
    ports_pass(reader)
        && family_passes(reader)
        && netns_passes(reader)
        && end_passes(reader, &raw const FILTER.local_len, &raw const FILTER.local, &LOCAL)
        && end_passes(reader, &raw const FILTER.remote_len, &raw const FILTER.remote, &REMOTE)
}

/// Whether connections to a socket that listens may be asked for: it has no other end yet.
#[inline(always)]
pub fn listener_passes<R: Reader>(reader: &R) -> bool {
    ports_pass(reader) && netns_passes(reader)
}

/// A number of the filter, or a switch: the loader may have written it; volatile keeps the compiler from using the value it sees.
///
/// # Safety
/// `at` is aligned and lies within the filter, or is a variable.
#[inline(always)]
pub unsafe fn told<T: Copy>(at: *const T) -> T {
    // SAFETY: the caller's promise.
    unsafe { ptr::read_volatile(at) }
}

/// Whether one of the socket's ports is asked for.
#[inline(always)]
fn ports_pass<R: Reader>(reader: &R) -> bool {
    // SAFETY: a number of the filter.
    if unsafe { told(&raw const FILTER.ports_len) } == 0 {
        return true;
    }
    let ports = ports(reader);
    port_passes(u16::from_be((ports >> 16) as u16), u16::from_be(ports as u16))
}

/// Whether one of the ports is asked for, host byte order.
#[inline(always)]
fn port_passes(local: u16, remote: u16) -> bool {
    // SAFETY: a number of the filter.
    let used = unsafe { told(&raw const FILTER.ports_len) };
    if used == 0 {
        return true;
    }
    let matches = |i: usize| {
        let row = (&raw const FILTER.ports).cast::<(u16, u16)>().wrapping_add(i);
        // SAFETY: `i` is below the length of the table.
        let (first, last) = unsafe { (told(&raw const (*row).0), told(&raw const (*row).1)) };
        (first <= local && local <= last) || (first <= remote && remote <= last)
    };
    // The first by itself: as a rule it is the only one, and its numbers can stand in the instructions.
    if matches(0) {
        return true;
    }
    let mut i = 1;
    while i < MAX_PORTS && (i as u32) < used {
        if matches(i) {
            return true;
        }
        i += 1;
    }
    false
}

/// Where one end of a connection is read from.
struct End {
    port: Field,
    v4: Field,
    v6: Field,
}

const LOCAL: End =
    End { port: Field::inet_sport, v4: Field::skc_rcv_saddr, v6: Field::skc_v6_rcv_saddr };
const REMOTE: End = End { port: Field::skc_dport, v4: Field::skc_daddr, v6: Field::skc_v6_daddr };

/// The first 96 bits of an IPv6 address that stands for an IPv4 one, without those that are 0 in any case.
const MAPPED: u64 = 0xffff;

/// An end's address in host byte order, high half first; IPv4 as the IPv6 address that stands for it.
#[inline(always)]
fn address<R: Reader>(reader: &R, end: &End) -> [u64; 2] {
    if reader.value(Field::skc_family) as u32 == AF_INET {
        return [0, MAPPED << 32 | u64::from(u32::from_be(reader.value(end.v4) as u32))];
    }
    let [high, low] = reader.wide_value(end.v6);
    [u64::from_be(high), u64::from_be(low)]
}

#[inline(always)]
fn is_mapped([high, low]: [u64; 2]) -> bool {
    high == 0 && low >> 32 == MAPPED
}

/// Whether the family is asked for; what an IPv6 socket with IPv4-mapped ends speaks is IPv4.
#[inline(always)]
fn family_passes<R: Reader>(reader: &R) -> bool {
    // SAFETY: a number of the filter.
    let wanted = unsafe { told(&raw const FILTER.family) };
    if wanted == 0 {
        return true;
    }
    // A connected socket has two ends of one family; one that listens has only its own.
    let is_v4 = is_mapped(address(reader, &REMOTE)) || is_mapped(address(reader, &LOCAL));
    is_v4 == (wanted == AF_INET)
}

/// Whether the socket's network namespace is asked for.
#[inline(always)]
fn netns_passes<R: Reader>(reader: &R) -> bool {
    // SAFETY: a number of the filter.
    let used = unsafe { told(&raw const FILTER.netns_len) };
    if used == 0 {
        return true;
    }
    let own = reader.followed_value(Field::netns);
    let mut i = 0;
    while i < MAX_NETNS {
        if i as u32 >= used {
            return false;
        }
        let row = (&raw const FILTER.netns).cast::<u32>().wrapping_add(i);
        // SAFETY: `i` is below the length of the table.
        if unsafe { told(row) } == own {
            return true;
        }
        i += 1;
    }
    false
}

/// Whether this end is asked for.
#[inline(always)]
fn end_passes<R: Reader>(
    reader: &R,
    used: *const u32,
    rows: *const [Side; MAX_SIDES],
    end: &End,
) -> bool {
    // SAFETY: a number of the filter.
    let used = unsafe { told(used) };
    if used == 0 {
        return true;
    }
    let found = address(reader, end);
    let port = u16::from_be(reader.value(end.port) as u16);
    let mut i = 0;
    while i < MAX_SIDES {
        if i as u32 >= used {
            return false;
        }
        let row = rows.cast::<Side>().wrapping_add(i);
        // SAFETY: `i` is below the length of the table.
        let (net, mask, wanted, v6) = unsafe {
            let (net, mask) = (&raw const (*row).net, &raw const (*row).mask);
            let (net, mask) = (net.cast::<u64>(), mask.cast::<u64>());
            (
                [told(net), told(net.wrapping_add(1))],
                [told(mask), told(mask.wrapping_add(1))],
                told(&raw const (*row).port),
                told(&raw const (*row).v6),
            )
        };
        let differs = (found[0] ^ net[0]) & mask[0] | (found[1] ^ net[1]) & mask[1];
        let family = v6 == 0 || !is_mapped(found);
        if differs == 0 && (wanted == 0 || wanted == port) && family {
            return true;
        }
        i += 1;
    }
    false
}

/// Whether some tasks are asked for, and others not.
#[inline(always)]
pub fn tasks_matter() -> bool {
    tasks_asked_for() != 0
}

/// 0 when every task is.
#[inline(always)]
fn tasks_asked_for() -> u32 {
    // SAFETY: numbers of the filter.
    unsafe {
        told(&raw const FILTER.pid)
            | told(&raw const FILTER.tree)
            | told(&raw const FILTER.comms_len)
            | told(&raw const FILTER.cgroups_len)
    }
}

/// Whether the task at work is asked for, by its process, its name, its descent and its cgroup.
#[inline(always)]
pub fn task_passes() -> bool {
    // SAFETY: numbers of the filter.
    let (pid, tree) = unsafe { (told(&raw const FILTER.pid), told(&raw const FILTER.tree)) };
    if pid == 0 && tree == 0 {
        return comm_passes() && cgroup_passes();
    }
    // SAFETY: the helper has no argument.
    let own = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    // SAFETY: the value is not looked at.
    (pid == 0 || pid == own)
        && (tree == 0 || unsafe { PROCESSES.get(&own) }.is_some())
        && comm_passes()
        && cgroup_passes()
}

/// Whether the task at work is in one of the cgroups, or below. Under cgroup v1 alone there are none to be asked for.
#[inline(always)]
fn cgroup_passes() -> bool {
    // SAFETY: a number of the filter.
    let used = unsafe { told(&raw const FILTER.cgroups_len) };
    if used == 0 {
        return true;
    }
    let mut i = 0;
    while i < MAX_CGROUPS as u32 {
        if i >= used {
            return false;
        }
        if CGROUPS.current_task_under_cgroup(i) == Ok(true) {
            return true;
        }
        i += 1;
    }
    false
}

#[inline(always)]
fn comm_passes() -> bool {
    // SAFETY: a number of the filter.
    let used = unsafe { told(&raw const FILTER.comms_len) };
    if used == 0 {
        return true;
    }
    let mut own = [0u64; 2];
    // SAFETY: the helper fills 16 bytes, with zeros after the name.
    unsafe { generated::bpf_get_current_comm((&raw mut own).cast(), size_of_val(&own) as u32) };
    let mut i = 0;
    while i < MAX_COMMS {
        if i as u32 >= used {
            return false;
        }
        let row = (&raw const FILTER.comms).cast::<[u64; 2]>().wrapping_add(i).cast::<u64>();
        // SAFETY: `i` is below the length of the table.
        let wanted = unsafe { [told(row), told(row.wrapping_add(1))] };
        if own[0] == wanted[0] && own[1] == wanted[1] {
            return true;
        }
        i += 1;
    }
    false
}
