//! What is watched: the criteria of one run, as the kernel takes them, as they are printed, and as a trace keeps them.
//!
//! A repeated criterion means "any of these"; different ones must all match.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use tcptrace_common::{
    filter::{self, COMM_BYTES, MAX_CGROUPS, MAX_COMMS, MAX_NETNS, MAX_PORTS, MAX_SIDES},
    tcp::{AF_INET, AF_INET6},
};

/// The criteria of one run; the default lets everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Local or remote ports, first and last of each range.
    pub ports: Vec<(u16, u16)>,
    /// Own ends.
    pub local: Vec<Side>,
    /// Other ends.
    pub remote: Vec<Side>,
    /// Address family.
    pub family: Option<Family>,
    /// Network namespaces of the sockets, by number (inode).
    pub netns: Vec<u32>,
    /// The process that writes.
    pub pid: Option<u32>,
    /// Names of the thread that writes, 15 bytes at most.
    pub comms: Vec<String>,
    /// Cgroups of the process that writes, as paths from the root: each with those below it.
    pub cgroups: Vec<String>,
    /// A command that is watched with its children.
    pub command: Option<Command>,
}

/// An address family; an IPv4-mapped IPv6 address is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A command that tcptrace started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its name, as it was typed.
    pub program: String,
    /// Its process.
    pub pid: u32,
}

/// One end of a connection: `:443`, `10.0.0.0/8`, `192.0.2.7:443`, `[2001:db8::]/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    net: Option<(IpAddr, u8)>,
    port: Option<u16>,
}

/// The first bits of an address, and its family.
fn first_bits(ip: IpAddr, bits: u8) -> (bool, u128) {
    let (is_v6, all, width) = match ip {
        IpAddr::V4(ip) => (false, u128::from(ip.to_bits()), 32_u32),
        IpAddr::V6(ip) => (true, ip.to_bits(), 128),
    };
    (is_v6, all.checked_shr(width.saturating_sub(u32::from(bits))).unwrap_or(0))
}

/// A filter that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// More of one criterion than the kernel's table takes.
    #[error("{found} {what} are too many, at most {most} fit")]
    TooMany {
        /// The flag that gives them.
        flag: &'static str,
        /// What they are.
        what: &'static str,
        /// How many were given.
        found: usize,
        /// How many fit.
        most: usize,
    },
    /// A name that no thread can have.
    #[error(
        "'{0}' has {len} bytes: the kernel keeps only 15 of a thread's name",
        len = .0.len()
    )]
    LongComm(String),
    /// Text that is no filter.
    #[error("'{0}' is no filter that this tcptrace knows")]
    Unknown(String),
}

/// Text that is no end of a connection: why, and one that is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct SideError {
    /// What is wrong.
    pub why: String,
    /// Something that would be taken.
    pub instead: String,
}

impl Filter {
    /// The form that the programs take.
    ///
    /// # Errors
    /// [`FilterError`]: more of one criterion than there is room for, or a name that is too long.
    pub fn kernel(&self) -> Result<filter::Filter, FilterError> {
        let mut kernel = filter::Filter {
            pid: self.pid.unwrap_or(0),
            tree: u32::from(self.command.is_some()),
            family: match self.family {
                None => 0,
                Some(Family::V4) => AF_INET,
                Some(Family::V6) => AF_INET6,
            },
            ..filter::Filter::ALL
        };
        let comms = self.comms.iter().map(|comm| kernel_comm(comm)).collect::<Result<Vec<_>, _>>();
        let cgroups = vec![0_u8; self.cgroups.len()];
        let sides = |sides: &[Side]| sides.iter().map(|side| side.kernel()).collect::<Vec<_>>();
        let (local, remote) = (sides(&self.local), sides(&self.remote));
        kernel.ports_len =
            fill(&mut kernel.ports, &self.ports, ("--port", "ports or ranges", MAX_PORTS))?;
        kernel.comms_len = fill(&mut kernel.comms, &comms?, ("--comm", "names", MAX_COMMS))?;
        kernel.netns_len =
            fill(&mut kernel.netns, &self.netns, ("--netns", "namespaces", MAX_NETNS))?;
        // The cgroups themselves are in a map.
        kernel.cgroups_len =
            fill(&mut [0_u8; MAX_CGROUPS], &cgroups, ("--cgroup", "cgroups", MAX_CGROUPS))?;
        kernel.local_len = fill(&mut kernel.local, &local, ("--local", "addresses", MAX_SIDES))?;
        kernel.remote_len =
            fill(&mut kernel.remote, &remote, ("--remote", "addresses", MAX_SIDES))?;
        Ok(kernel)
    }

    /// Whether a socket with these ends is let through; an end that is not known does not keep it out.
    pub fn socket_passes(&self, local: Option<SocketAddr>, remote: Option<SocketAddr>) -> bool {
        let in_ranges = |end: SocketAddr| {
            self.ports.iter().any(|&(first, last)| (first..=last).contains(&end.port()))
        };
        let side_passes = |sides: &[Side], end: Option<SocketAddr>| {
            sides.is_empty() || end.is_none_or(|end| sides.iter().any(|side| side.contains(end)))
        };
        let family = remote.or(local).map(|end| Family::of(end.ip()));
        (self.ports.is_empty() || local.is_none_or(in_ranges) || remote.is_none_or(in_ranges))
            && side_passes(&self.local, local)
            && side_passes(&self.remote, remote)
            && self.family.is_none_or(|wanted| family.is_none_or(|found| found == wanted))
    }

    /// Whether a socket of this network namespace is let through; one that is not known does not keep it out.
    pub fn netns_passes(&self, netns: Option<u32>) -> bool {
        self.netns.is_empty() || netns.is_none_or(|netns| self.netns.contains(&netns))
    }

    /// Whether everything that it lets through is let through by `wider` too, as far as that can be told: a recording of
    /// the one can answer for the other.
    pub fn is_within(&self, wider: &Self) -> bool {
        let ports = |(first, last): &(u16, u16)| {
            wider.ports.iter().any(|(from, to)| from <= first && last <= to)
        };
        let sides = |own: &[Side], wider: &[Side]| {
            own.iter().all(|side| wider.is_empty() || wider.iter().any(|all| side.is_within(all)))
        };
        let same = |own: bool, wider: bool, equal: bool| !own || !wider || equal;
        (wider.ports.is_empty() || self.ports.iter().all(ports))
            && sides(&self.local, &wider.local)
            && sides(&self.remote, &wider.remote)
            && same(self.family.is_some(), wider.family.is_some(), self.family == wider.family)
            && same(self.pid.is_some(), wider.pid.is_some(), self.pid == wider.pid)
            && (wider.netns.is_empty()
                || self.netns.iter().all(|netns| wider.netns.contains(netns)))
            && (wider.cgroups.is_empty()
                || self
                    .cgroups
                    .iter()
                    .all(|own| wider.cgroups.iter().any(|all| is_below(own, all))))
            && (wider.comms.is_empty() || self.comms.iter().all(|comm| wider.comms.contains(comm)))
    }

    /// What both let through, where this is [within](Self::is_within) the other.
    #[must_use]
    pub fn and(&self, wider: &Self) -> Self {
        fn of<T: Clone>(own: &[T], wider: &[T]) -> Vec<T> {
            if own.is_empty() { wider.to_vec() } else { own.to_vec() }
        }
        Self {
            ports: of(&self.ports, &wider.ports),
            local: of(&self.local, &wider.local),
            remote: of(&self.remote, &wider.remote),
            family: self.family.or(wider.family),
            netns: of(&self.netns, &wider.netns),
            pid: self.pid.or(wider.pid),
            comms: of(&self.comms, &wider.comms),
            cgroups: of(&self.cgroups, &wider.cgroups),
            command: self.command.clone().or_else(|| wider.command.clone()),
        }
    }

    /// Whether it asks who acts: then a socket is met when such a task first uses it, not when it begins.
    pub fn is_about_tasks(&self) -> bool {
        self.pid.is_some()
            || !self.comms.is_empty()
            || !self.cgroups.is_empty()
            || self.command.is_some()
    }

    /// Whether this task is let through, by its process, its name and its cgroup; what is not known does not keep it out.
    /// Who descends from a command cannot be judged here: every task passes that criterion.
    pub fn task_passes(&self, pid: u32, comm: Option<&str>, cgroup: Option<&str>) -> bool {
        self.pid.is_none_or(|wanted| wanted == pid)
            && (self.comms.is_empty()
                || comm.is_none_or(|comm| self.comms.iter().any(|wanted| wanted == comm)))
            && (self.cgroups.is_empty()
                || cgroup.is_none_or(|own| self.cgroups.iter().any(|all| is_below(own, all))))
    }

    /// One line for the header of a trace, read back by [`str::parse`]: `port=80,8000-8010 comm=nginx`; empty when
    /// everything is let through.
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        let mut add = |key: &str, values: Vec<String>| {
            if !values.is_empty() {
                words.push(format!("{key}={}", values.join(",")));
            }
        };
        add("port", self.ports.iter().map(|range| range_text(*range)).collect());
        add("local", self.local.iter().map(Side::to_string).collect());
        add("remote", self.remote.iter().map(Side::to_string).collect());
        add("family", self.family.iter().map(|family| family.number().to_string()).collect());
        add("netns", self.netns.iter().map(u32::to_string).collect());
        add("pid", self.pid.iter().map(u32::to_string).collect());
        add("comm", self.comms.iter().map(|comm| escaped(comm)).collect());
        add("cgroup", self.cgroups.iter().map(|path| escaped(path)).collect());
        let command = |command: &Command| format!("{}@{}", escaped(&command.program), command.pid);
        add("command", self.command.iter().map(command).collect());
        words.join(" ")
    }
}

/// For a person: `ports 80, 8000-8010, pid 5`; `everything`.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        let ports: Vec<_> = self.ports.iter().map(|range| range_text(*range)).collect();
        match self.ports.as_slice() {
            [] => {}
            [(first, last)] if first == last => words.push(format!("port {first}")),
            _ => words.push(format!("ports {}", ports.join(", "))),
        }
        let any =
            |sides: &[Side]| sides.iter().map(Side::to_string).collect::<Vec<_>>().join(" or ");
        words.extend((!self.local.is_empty()).then(|| format!("local {}", any(&self.local))));
        words.extend((!self.remote.is_empty()).then(|| format!("remote {}", any(&self.remote))));
        words.extend(self.family.map(|family| format!("IPv{}", family.number())));
        let netns: Vec<String> = self.netns.iter().map(u32::to_string).collect();
        words.extend((!netns.is_empty()).then(|| format!("netns {}", netns.join(" or "))));
        words.extend(self.pid.map(|pid| format!("pid {pid}")));
        words.extend((!self.comms.is_empty()).then(|| format!("comm {}", self.comms.join(" or "))));
        let cgroups = self.cgroups.join(" or ");
        words.extend((!cgroups.is_empty()).then(|| format!("cgroup {cgroups}")));
        words.extend(self.command.iter().map(|command| format!("command {}", command.program)));
        f.write_str(&if words.is_empty() { "everything".to_owned() } else { words.join(", ") })
    }
}

/// Reads what [`Filter::words`] writes.
impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        for word in text.split_whitespace() {
            let unknown = || FilterError::Unknown(word.to_owned());
            let (key, values) = word.split_once('=').ok_or_else(unknown)?;
            for value in values.split(',') {
                filter.add(key, value).ok_or_else(unknown)?;
            }
        }
        Ok(filter)
    }
}

impl Filter {
    fn add(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "port" => {
                let (first, last) = value.split_once('-').unwrap_or((value, value));
                let range: (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
                self.ports.extend((range.0 <= range.1).then_some(range));
            }
            "local" => self.local.push(value.parse().ok()?),
            "remote" => self.remote.push(value.parse().ok()?),
            "family" => {
                self.family = Some(match value {
                    "4" => Family::V4,
                    "6" => Family::V6,
                    _ => return None,
                });
            }
            "netns" => self.netns.push(value.parse().ok()?),
            "pid" => self.pid = Some(value.parse().ok()?),
            "comm" => self.comms.push(unescaped(value)?),
            "cgroup" => self.cgroups.push(unescaped(value)?),
            "command" => {
                let (program, pid) = value.rsplit_once('@')?;
                let (program, pid) = (unescaped(program)?, pid.parse().ok()?);
                self.command = Some(Command { program, pid });
            }
            _ => return None,
        }
        Some(())
    }
}

impl Family {
    /// That of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.to_canonical().is_ipv4() { Self::V4 } else { Self::V6 }
    }
    /// 4 or 6.
    pub const fn number(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }
}

impl Side {
    /// Whether everything on this side is on the other.
    fn is_within(&self, all: &Self) -> bool {
        let port = all.port.is_none() || all.port == self.port;
        let net = match (self.net, all.net) {
            (_, None) => true,
            (Some((own, long)), Some((wide, short))) => {
                long >= short && first_bits(own, short) == first_bits(wide, short)
            }
            (None, Some(_)) => false,
        };
        port && net
    }

    /// An address with the length of its prefix, a port, or both. The bits behind the prefix are dropped, and an
    /// IPv4-mapped address becomes an IPv4 one. A prefix that is too long is cut to the whole address.
    pub fn new(net: Option<(IpAddr, u8)>, port: Option<u16>) -> Self {
        let net = net.map(|(address, prefix)| {
            let (bits, prefix) = match address {
                IpAddr::V4(_) => (mapped(address), prefix.min(32) + 96),
                IpAddr::V6(_) => (mapped(address), prefix.min(128)),
            };
            let first = IpAddr::V6(Ipv6Addr::from_bits(bits & mask(prefix)));
            match (first.to_canonical(), prefix) {
                (v4 @ IpAddr::V4(_), 96..) => (v4, prefix - 96),
                _ => (first, prefix),
            }
        });
        Self { net, port }
    }

    /// Whether this end is one of them.
    pub fn contains(self, end: SocketAddr) -> bool {
        self.port.is_none_or(|port| port == end.port())
            && self.net.is_none_or(|(net, prefix)| {
                let prefix = if net.is_ipv4() { prefix + 96 } else { prefix };
                Family::of(net) == Family::of(end.ip())
                    && (mapped(end.ip()) ^ mapped(net)) & mask(prefix) == 0
            })
    }

    fn kernel(self) -> filter::Side {
        let Some((net, prefix)) = self.net else {
            return filter::Side { port: self.port.unwrap_or(0), ..filter::Side::ANY };
        };
        let prefix = if net.is_ipv4() { prefix + 96 } else { prefix };
        filter::Side {
            net: halves(mapped(net)),
            mask: halves(mask(prefix)),
            port: self.port.unwrap_or(0),
            v6: u16::from(net.is_ipv6()),
            pad: 0,
        }
    }
}

/// As it is typed.
impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((net, prefix)) = self.net {
            let whole = if net.is_ipv4() { 32 } else { 128 };
            match net {
                IpAddr::V4(v4) => write!(f, "{v4}")?,
                IpAddr::V6(v6) => write!(f, "[{v6}]")?,
            }
            if prefix != whole {
                write!(f, "/{prefix}")?;
            }
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl FromStr for Side {
    type Err = SideError;

    fn from_str(text: &str) -> Result<Self, SideError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::new(Some((address, u8::MAX)), None));
        }
        let wrong = |why: String| SideError { why, instead: "192.0.2.0/24".to_owned() };
        // `[ADDRESS]`, then the rest; or the rest begins with the slash, or with the only colon.
        let (address, rest) = if let Some(inside) = text.strip_prefix('[') {
            inside.split_once(']').ok_or_else(|| wrong(format!("'{text}': its [ has no ]")))?
        } else {
            let end = text.find('/').or_else(|| text.find(':')).unwrap_or(text.len());
            text.split_at(end)
        };
        let (slash, port) = rest.split_once(':').map_or((rest, None), |(a, b)| (a, Some(b)));
        let port = port.map(|port| port_number(port, text)).transpose()?;
        if address.is_empty() && slash.is_empty() && port.is_some() {
            return Ok(Self { net: None, port });
        }
        let not_one = || {
            wrong(format!(
                "'{text}' is not an address: it takes 192.0.2.7, 10.0.0.0/8, [2001:db8::]/32, :443"
            ))
        };
        let address: IpAddr = address.parse().map_err(|_none| not_one())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match slash.strip_prefix('/') {
            None if slash.is_empty() => most,
            None => return Err(not_one()),
            Some(digits) => digits
                .parse::<u8>()
                .ok()
                .filter(|prefix| *prefix <= most && digits.bytes().all(|b| b.is_ascii_digit()))
                .ok_or_else(|| wrong(format!("'{text}': a prefix here has 0 to {most} bits")))?,
        };
        Ok(Self::new(Some((address, prefix)), port))
    }
}

fn port_number(port: &str, text: &str) -> Result<u16, SideError> {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    port.parse().ok().filter(|port| *port > 0 && digits).ok_or_else(|| SideError {
        why: format!("'{text}': '{port}' is not a port: ports are 1 to 65535"),
        instead: ":443".to_owned(),
    })
}

/// Whether a cgroup is this one, or below it; both as paths from the root.
fn is_below(own: &str, all: &str) -> bool {
    let below = own.strip_prefix(all.trim_end_matches('/'));
    below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Copies the values to where the kernel looks for them; how many there are.
fn fill<T: Copy>(
    places: &mut [T],
    values: &[T],
    (flag, what, most): (&'static str, &'static str, usize),
) -> Result<u32, FilterError> {
    let found = values.len();
    let places = places.get_mut(..found).ok_or(FilterError::TooMany { flag, what, found, most })?;
    places.copy_from_slice(values);
    Ok(u32::try_from(found).unwrap_or(0))
}

/// A thread's name as the kernel keeps it.
fn kernel_comm(comm: &str) -> Result<[u64; 2], FilterError> {
    if comm.len() >= COMM_BYTES {
        return Err(FilterError::LongComm(comm.to_owned()));
    }
    let mut bytes = comm.bytes();
    let mut word = || u64::from_ne_bytes(std::array::from_fn(|_| bytes.next().unwrap_or(0)));
    Ok([word(), word()])
}

/// An address as IPv6 bits.
fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The first `prefix` of 128 bits.
fn mask(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0)
}

fn halves(bits: u128) -> [u64; 2] {
    let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0);
    [half(bits >> 64), half(bits)]
}

fn range_text((first, last): (u16, u16)) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// Every byte that could be taken for a part of the line's grammar, as `%` and two hexadecimal digits.
fn escaped(text: &str) -> String {
    let one = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"_.-/:+".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02x}")
        }
    };
    text.bytes().map(one).collect()
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            u8::try_from(high << 4 | low).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn side(text: &str) -> Side {
        text.parse().unwrap()
    }

    #[test]
    fn a_recording_answers_for_what_is_within_its_filter() {
        let filter = |words: &str| words.parse::<Filter>().unwrap();
        for (own, wider, within) in [
            ("", "port=80", true),
            ("port=80", "", true),
            ("port=8005", "port=8000-8010", true),
            ("port=8005-8011", "port=8000-8010", false),
            ("port=9090", "port=8080", false),
            ("local=10.1.0.0/16", "local=10.0.0.0/8", true),
            ("local=10.0.0.0/8", "local=10.1.0.0/16", false),
            ("local=10.1.2.3:80", "local=10.0.0.0/8", true),
            ("local=10.1.2.3", "local=:80", false),
            ("remote=[2001:db8::]/64", "remote=[2001:db8::]/32", true),
            ("pid=5", "pid=5", true),
            ("pid=5", "pid=6", false),
            ("pid=5", "port=80", true),
            ("comm=a", "comm=b", false),
            ("netns=7", "netns=7,8", true),
            ("", "netns=7", true),
            ("netns=9", "netns=7,8", false),
            ("cgroup=/a/b", "cgroup=/a", true),
            ("cgroup=/a", "cgroup=/", true),
            ("cgroup=/ab", "cgroup=/a", false),
            ("cgroup=/a", "cgroup=/a/b", false),
            ("cgroup=/a", "pid=5", true),
        ] {
            assert_eq!(filter(own).is_within(&filter(wider)), within, "{own} in {wider}");
        }
        assert_eq!(filter("pid=5").and(&filter("port=80")), filter("port=80 pid=5"));
    }

    #[test]
    fn ends_are_addresses_prefixes_and_ports() {
        for (typed, shown) in [
            (":443", ":443"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("192.0.2.7:443", "192.0.2.7:443"),
            ("10.0.0.0/8:443", "10.0.0.0/8:443"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("[2001:db8::]/32", "[2001:db8::]/32"),
            ("2001:db8::/32", "[2001:db8::]/32"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
            ("[2001:db8::]/32:443", "[2001:db8::]/32:443"),
            ("2001:db8::1", "[2001:db8::1]"),
            ("::", "[::]"),
            ("[::]/0", "[::]/0"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("[::ffff:192.0.2.7]:80", "192.0.2.7:80"),
        ] {
            assert_eq!(side(typed).to_string(), shown, "{typed}");
            assert_eq!(side(shown), side(typed), "{typed}");
        }
        for (typed, why) in [
            ("", "is not an address"),
            ("10.0.0/8", "is not an address"),
            ("example.org", "is not an address"),
            ("443", "is not an address"),
            ("[2001:db8::1]443", "is not an address"),
            ("[2001:db8::1", "has no ]"),
            ("10.0.0.0/33", "0 to 32 bits"),
            ("10.0.0.0/+8", "0 to 32 bits"),
            ("[::]/129", "0 to 128 bits"),
            (":0", "is not a port"),
            (":65536", "is not a port"),
            ("192.0.2.7:http", "is not a port"),
            ("192.0.2.7:", "is not a port"),
        ] {
            let error = typed.parse::<Side>().unwrap_err();
            assert!(error.why.contains(why), "{typed}: {error}");
            assert!(error.instead.parse::<Side>().is_ok());
        }
    }

    fn passes(filter: &str, local: &str, remote: &str) -> bool {
        let filter: Filter = filter.parse().unwrap();
        filter.socket_passes(local.parse().ok(), remote.parse().ok())
    }

    #[test]
    fn sockets_pass_by_ports_ends_and_family() {
        let (v4, v6) =
            (("192.0.2.10:8080", "10.1.2.3:40112"), ("[2001:db8::10]:8080", "[2001:db8::77]:9"));
        let mapped = ("[::ffff:192.0.2.10]:8080", "[::ffff:10.1.2.3]:40112");
        for (filter, of_v4, of_v6) in [
            ("", true, true),
            ("port=8080", true, true),
            ("port=40000-41000", true, false),
            ("port=1-7,9", false, true),
            ("local=:8080", true, true),
            ("remote=:8080", false, false),
            ("remote=10.0.0.0/8", true, false),
            ("remote=10.0.0.0/8:40112", true, false),
            ("remote=10.0.0.0/8:1", false, false),
            ("remote=10.2.0.0/16,[2001:db8::]/32", false, true),
            ("local=10.0.0.0/8", false, false),
            ("local=0.0.0.0/0", true, false),
            ("local=[::]/0", false, true),
            ("family=4", true, false),
            ("family=6", false, true),
            ("family=4 port=9", false, false),
        ] {
            assert_eq!(passes(filter, v4.0, v4.1), of_v4, "{filter}");
            assert_eq!(passes(filter, mapped.0, mapped.1), of_v4, "{filter}, mapped");
            assert_eq!(passes(filter, v6.0, v6.1), of_v6, "{filter}");
        }
        // What is not known keeps nothing out.
        for filter in ["port=9", "local=:9", "remote=:9", "family=6"] {
            assert!(passes(filter, "", ""), "{filter}");
        }
        assert!(passes("port=9", "192.0.2.10:8080", "") && passes("remote=:9", "192.0.2.10:1", ""));
        assert!(!passes("local=:9", "192.0.2.10:8080", ""));
        assert!(!passes("family=6", "192.0.2.10:8080", ""));
    }

    #[test]
    fn sockets_pass_by_namespace() {
        let passes = |filter: &str, netns| filter.parse::<Filter>().unwrap().netns_passes(netns);
        assert!(passes("", Some(1)) && passes("netns=1,2", Some(2)) && passes("netns=1", None));
        assert!(!passes("netns=1,2", Some(3)));
    }

    #[test]
    fn tasks_pass_by_process_and_name() {
        let passes = |filter: &str, pid, comm| {
            filter.parse::<Filter>().unwrap().task_passes(pid, comm, None)
        };
        assert!(passes("", 1, None) && passes("port=80 command=x@9", 1, Some("y")));
        assert!(passes("pid=5", 5, None) && !passes("pid=5", 6, None));
        assert!(passes("comm=nginx,redis", 1, Some("redis")) && passes("comm=nginx", 1, None));
        assert!(!passes("comm=nginx", 1, Some("nginx2")) && !passes("comm=a pid=5", 6, Some("a")));
        let within = |filter: &str, cgroup| {
            filter.parse::<Filter>().unwrap().task_passes(1, None, Some(cgroup))
        };
        assert!(
            within("cgroup=/a,/b", "/b/c")
                && within("cgroup=/b/c", "/b/c")
                && within("cgroup=/", "/b")
        );
        assert!(
            !within("cgroup=/b", "/bc")
                && !within("cgroup=/b/c", "/b")
                && !within("cgroup=/b", "/")
        );
    }

    #[test]
    fn a_person_reads_what_is_watched() {
        for (filter, shown) in [
            ("", "everything"),
            ("port=8080", "port 8080"),
            ("port=80,8000-8010 pid=5", "ports 80, 8000-8010, pid 5"),
            ("port=80-90", "ports 80-90"),
            ("local=10.0.0.0/8 comm=nginx", "local 10.0.0.0/8, comm nginx"),
            ("remote=:443,[2001:db8::]/32 family=6", "remote :443 or [2001:db8::]/32, IPv6"),
            ("comm=a%20b,c", "comm a b or c"),
            ("command=./bench@7", "command ./bench"),
            ("netns=7,8 cgroup=/a%20b,/c", "netns 7 or 8, cgroup /a b or /c"),
        ] {
            let filter: Filter = filter.parse().unwrap();
            assert_eq!(filter.to_string(), shown);
        }
        for text in ["port", "port=", "port=x", "local=x", "family=5", "comm=%4", "x=1"] {
            assert_eq!(text.parse::<Filter>(), Err(FilterError::Unknown(text.to_owned())));
        }
    }

    #[test]
    fn the_kernel_gets_masks_and_padded_names() {
        let filter: Filter = "port=80 remote=10.0.0.0/8:443 local=[2001:db8::]/32 family=6 pid=5 \
                              comm=abcdefghi command=x@9"
            .parse()
            .unwrap();
        let kernel = filter.kernel().unwrap();
        assert_eq!((kernel.pid, kernel.tree, kernel.family), (5, 1, AF_INET6));
        let lens = (kernel.ports_len, kernel.comms_len, kernel.local_len, kernel.remote_len);
        assert_eq!(lens, (1, 1, 1, 1));
        let (v6, v4) = (kernel.local[0], kernel.remote[0]);
        assert_eq!((v4.net, v4.port, v4.v6), ([0, 0xffff_0a00_0000], 443, 0));
        assert_eq!(v4.mask, [u64::MAX, 0xffff_ffff_ff00_0000]);
        assert_eq!((v6.net, v6.port, v6.v6), ([0x2001_0db8_0000_0000, 0], 0, 1));
        assert_eq!(v6.mask, [0xffff_ffff_0000_0000, 0]);
        assert_eq!(kernel.comms[0].map(u64::to_ne_bytes), [*b"abcdefgh", *b"i\0\0\0\0\0\0\0"]);
        assert_eq!(Filter::default().kernel(), Ok(filter::Filter::ALL));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_limit() {
        let many = |count: u16| (1..=count).map(|n| (n, n)).collect::<Vec<_>>();
        let filter = |count| Filter { ports: many(count), ..Filter::default() };
        assert_eq!(filter(16).kernel().map(|kernel| kernel.ports_len), Ok(16));
        let error = filter(17).kernel().unwrap_err();
        assert_eq!(error.to_string(), "17 ports or ranges are too many, at most 16 fit");
        let cgroups = Filter { cgroups: vec!["/".to_owned(); 9], ..Filter::default() };
        assert!(matches!(cgroups.kernel(), Err(FilterError::TooMany { flag: "--cgroup", .. })));
        let sides = Filter { remote: vec![side(":1"); 9], ..Filter::default() };
        assert!(matches!(sides.kernel(), Err(FilterError::TooMany { flag: "--remote", .. })));
        let long = Filter { comms: vec!["sixteen-bytes-it".to_owned()], ..Filter::default() };
        assert!(matches!(long.kernel(), Err(FilterError::LongComm(_))));
    }

    fn any_side() -> impl Strategy<Value = Side> {
        let net = prop::option::of((any::<IpAddr>(), any::<u8>()));
        (net, prop::option::of(1..=u16::MAX))
            .prop_filter("something", |(net, port)| net.is_some() || port.is_some())
            .prop_map(|(net, port)| Side::new(net, port))
    }

    prop_compose! {
        fn any_filter()(
            ports in prop::collection::vec((any::<u16>(), any::<u16>()), 0..4),
            local in prop::collection::vec(any_side(), 0..3),
            remote in prop::collection::vec(any_side(), 0..3),
            family in prop::option::of(prop::sample::select(vec![Family::V4, Family::V6])),
            netns in prop::collection::vec(any::<u32>(), 0..3),
            pid in any::<Option<u32>>(),
            comms in prop::collection::vec(".{1,5}", 0..3),
            cgroups in prop::collection::vec("/.{0,9}", 0..3),
            command in prop::option::of((".{1,20}", any::<u32>())),
        ) -> Filter {
            let ports = ports.into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect();
            let command = command.map(|(program, pid)| Command { program, pid });
            Filter { ports, local, remote, family, netns, pid, comms, cgroups, command }
        }
    }

    proptest! {
        #[test]
        fn words_are_read_back(filter in any_filter()) {
            let words = filter.words();
            prop_assert!(!words.contains(['\n', '\r', '\t']), "{words}");
            prop_assert_eq!(words.parse(), Ok(filter));
        }

        #[test]
        fn a_network_contains_its_addresses_and_no_other_family(
            address in any::<IpAddr>(),
            prefix in 0u8..=32,
            other in any::<IpAddr>(),
        ) {
            let address = address.to_canonical();
            let net = Side::new(Some((address, prefix)), None);
            prop_assert!(net.contains(SocketAddr::new(address, 1)));
            if Family::of(address) != Family::of(other) {
                prop_assert!(!net.contains(SocketAddr::new(other, 1)));
            }
        }
    }
}
