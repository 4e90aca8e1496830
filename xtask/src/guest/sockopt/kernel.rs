//! Options that the kernel itself sets: `nvme-tcp`, and Sun RPC as NFS uses it. Each makes its own socket, connects it from a
//! system call or from a work queue, and nobody has a descriptor of it.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    path::Path,
    process::Command,
    thread,
};

use anyhow::Context as _;

use super::{
    super::{
        capture::Capture,
        netns::{Netns, address, dummy},
        stage::{Family, SETTLE_NS},
        sys::{checked, now_ns, realtime_offset_ns, set_option, sleep_until},
        tool::Tool,
    },
    cases::{Key, sockaddr},
    functions::{Made, Tracer},
    player::{Player, is_from},
    rpc,
    said::{Found, existing},
    wire::ends,
};
use crate::modules;

/// The modules.
pub(crate) const MODULES: [&str; 2] = ["nvme_tcp", "nfsv3"];

/// A device behind which nobody is.
const NOBODY: &str = "nobody0";
const NVME: &str = "/dev/nvme-fabrics";
/// Where a target of `nvme-tcp` listens by convention, and where the server of RPC does here.
const NVME_PORT: u16 = 4420;
const RPC_PORT: u16 = 4421;
/// What `nvme_tcp_alloc_queue()` (drivers/nvme/host/tcp.c) sets `TCP_SYNCNT` to, in every version.
const SYN_RETRIES: i32 = 1;
/// `TCP_KEEPIDLE` of a mount whose `timeo` is [`rpc::TIMEO`], as `/proc/net/tcp` has it: hundredths of a second.
const IDLE_CS: u64 = rpc::TIMEO * 10;
/// A delayed ACK is out by then, and only the keepalive timer is left.
const ACKED_NS: u64 = 200_000_000;

/// Size of the first message of `nvme-tcp` and of its answer, bytes (`struct nvme_tcp_icreq_pdu`).
const FIRST_MESSAGE: usize = 128;
const NODELAY: Key = (6, 1);
const CORK: Key = (6, 3);
/// What `nvme_tcp_alloc_queue()` sets, in its order.
const BY_NVME: [Key; 3] = [(6, 7), NODELAY, (1, 13)];
/// What `xs_tcp_set_socket_timeouts()` and `xs_tcp_finish_connecting()` (net/sunrpc/xprtsock.c) set of each connection.
const BY_RPC: [Key; 6] = [(1, 9), (6, 4), (6, 5), (6, 6), (6, 18), NODELAY];

/// Those of them, and `TCP_CORK`, which are told of a socket that is there.
const EXISTING: [(&str, Key); 7] = [
    ("SO_KEEPALIVE", (1, 9)),
    ("TCP_KEEPIDLE", (6, 4)),
    ("TCP_KEEPINTVL", (6, 5)),
    ("TCP_KEEPCNT", (6, 6)),
    ("TCP_USER_TIMEOUT", (6, 18)),
    ("TCP_NODELAY", NODELAY),
    ("TCP_CORK", CORK),
];

/// What was done in one namespace, and what of it the kernel recorded.
#[derive(Debug)]
pub(super) struct Played {
    /// Held, so that its number is not given to another one.
    pub(super) netns: Netns,
    others: Vec<Netns>,
    pub(super) made: Vec<Step>,
    pub(super) wrong: Vec<String>,
    /// What `tcptrace sockopt --existing` says while NFS waits for its server.
    existing: Option<String>,
}

/// The calls that one socket had, in their order.
#[derive(Debug)]
pub(super) struct Step {
    what: &'static str,
    /// Where the socket was to be connected to.
    port: u16,
    calls: Vec<Made>,
    /// What the other end got after each end of `TCP_CORK`, bytes.
    uncorked: Vec<u32>,
}

/// Plays all of it in a namespace of its own; with a tcptrace, and how it is to attach, the socket of NFS is looked for among
/// those that are there already.
pub(super) fn played(family: Family, existing: Option<(&Path, &str)>) -> anyhow::Result<Played> {
    modules::load(&MODULES)?;
    thread::scope(|scope| {
        let player = scope.spawn(|| {
            let netns = Netns::create()?;
            let (others, made, wrong) = (Vec::new(), Vec::new(), Vec::new());
            let mut played = Played { netns, others, made, wrong, existing: None };
            let tracer = Tracer::start()?;
            played.connect_to_nobody(&tracer, family)?;
            played.connect_to_a_target_that_errs(&tracer, family)?;
            played.mount(&tracer, family, existing)?;
            Ok(played)
        });
        player.join().map_err(|_panicked| anyhow::anyhow!("the player panicked"))?
    })
}

/// What `--existing` says of this thread's namespace, in which a process must be for that.
fn said_of_existing(tcptrace: &Path, form: &str) -> anyhow::Result<String> {
    let mut sleeper = Command::new("sleep").arg("1000").spawn().context("sleep")?;
    let port = RPC_PORT.to_string();
    let words = ["sockopt", "--json", "--existing", "-d", "1ms", "--port", &port, "--attach", form];
    let said = Tool::start(tcptrace, &words.map(str::to_owned), false).and_then(Tool::ended);
    sleeper.kill()?;
    sleeper.wait()?;
    Ok(said?.0)
}

impl Played {
    /// How many calls the kernel recorded.
    pub(super) fn calls(&self) -> u32 {
        let calls: usize = self.made.iter().map(|step| step.calls.len()).sum();
        u32::try_from(calls).unwrap_or(u32::MAX)
    }

    fn step(&mut self, tracer: &Tracer, what: &'static str, port: u16) -> anyhow::Result<Vec<Key>> {
        let calls = tracer.take()?;
        let keys = calls.iter().map(|call| call.key).collect();
        self.made.push(Step { what, port, calls, uncorked: Vec::new() });
        Ok(keys)
    }

    /// `nvme-tcp` connects to where nobody is, and sends its SYN as often as a program does that sets `TCP_SYNCNT` to the same.
    fn connect_to_nobody(&mut self, tracer: &Tracer, family: Family) -> anyhow::Result<()> {
        let wanted = thread::spawn(move || -> anyhow::Result<_> {
            let netns = Netns::create()?;
            let syns = syns(family, |peer| connect_with(SYN_RETRIES, family, peer))?;
            Ok((netns, syns))
        });
        let (netns, (wanted, program)) =
            wanted.join().map_err(|_panicked| anyhow::anyhow!("the program panicked"))??;
        self.others.push(netns);
        let _calls_of_the_program = tracer.take()?;
        let (syns, error) = syns(family, connect)?;
        let keys = self.step(tracer, "NVMe to nobody", NVME_PORT)?;
        let is_late = |error: &io::Error| error.raw_os_error() == Some(libc::ETIMEDOUT);
        // One is the least that is sent again, and by default it is 6 times (`tcp_syn_retries`).
        let is_like = syns == wanted && (2..7).contains(&syns);
        if !is_like || !is_late(&error) || !is_late(&program) || keys != BY_NVME {
            self.wrong.push(format!(
                "NVMe to nobody: {syns} SYNs, {error}, {keys:?} set; a program: {wanted} SYNs, {program}"
            ));
        }
        Ok(())
    }

    /// `nvme-tcp` connects, and what the target says is not understood: it ends its side, and leaves a socket that with `SO_LINGER`
    /// on for no time resets the connection instead of waiting for the other side's end.
    fn connect_to_a_target_that_errs(
        &mut self,
        tracer: &Tracer,
        family: Family,
    ) -> anyhow::Result<()> {
        let host = loopback(family);
        let listener = TcpListener::bind((host, NVME_PORT))?;
        let capture = Capture::start("lo", realtime_offset_ns())?;
        let target = thread::spawn(move || -> io::Result<TcpStream> {
            let (mut accepted, _) = listener.accept()?;
            let mut message = [0; FIRST_MESSAGE];
            accepted.read_exact(&mut message)?;
            // An answer of no type.
            accepted.write_all(&[0; FIRST_MESSAGE])?;
            Ok(accepted)
        });
        let error = connect(host);
        let accepted =
            target.join().map_err(|_panicked| anyhow::anyhow!("the target panicked"))??;
        let keys = self.step(tracer, "NVMe to a target", NVME_PORT)?;
        sleep_until(now_ns() + 10_000_000);
        drop(accepted);
        let sent = capture.drain()?;
        // Loopback shows each segment twice.
        let own: Vec<_> =
            sent.iter().filter(|one| one.outgoing && one.dport == NVME_PORT).collect();
        let ends: Vec<(bool, bool)> = own
            .iter()
            .map(|one| (one.fin, one.rst))
            .filter(|(is_end, is_reset)| *is_end || *is_reset)
            .collect();
        if ends != [(true, false), (false, true)] || keys != BY_NVME {
            self.wrong.push(format!("NVMe: {error}, {keys:?} set, sent {own:?}"));
        }
        Ok(())
    }

    /// NFS asks a server that refuses the mount.
    fn mount(
        &mut self,
        tracer: &Tracer,
        family: Family,
        existing: Option<(&Path, &str)>,
    ) -> anyhow::Result<()> {
        let table = if family == Family::V4 { "tcp" } else { "tcp6" };
        let mut due = None;
        let mut said = None;
        let (error, uncorked) = rpc::refused_mount(loopback(family), RPC_PORT, &mut || {
            sleep_until(now_ns() + ACKED_NS);
            due = keepalive_due(&fs::read_to_string(format!("/proc/thread-self/net/{table}"))?);
            said = existing.map(|(tcptrace, form)| said_of_existing(tcptrace, form)).transpose()?;
            Ok(())
        })?;
        self.existing = said;
        let keys = self.step(tracer, "NFS", RPC_PORT)?;
        if let Some(step) = self.made.last_mut() {
            step.uncorked = uncorked;
        }
        let set: Vec<Key> = keys.iter().copied().filter(|key| BY_RPC.contains(key)).collect();
        // On 5.10 it writes the bit of TCP_NODELAY by itself.
        let mut wanted = BY_RPC.to_vec();
        wanted.retain(|key| *key != NODELAY || is_from((5, 11)));
        if error.raw_os_error() != Some(libc::EACCES) || set != wanted {
            self.wrong.push(format!("NFS: {error}, set {keys:?}"));
        }
        // It was started when the connection was made.
        if !due.is_some_and(|due| (IDLE_CS - 100..=IDLE_CS).contains(&due)) {
            self.wrong.push(format!("NFS: its keepalive timer ends in {due:?} cs, not {IDLE_CS}"));
        }
        Ok(())
    }
}

const fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        Family::V6 => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
    }
}

/// How many SYNs are sent to where nobody is, and how the connection fails.
fn syns(
    family: Family,
    connect: impl FnOnce(IpAddr) -> io::Error,
) -> anyhow::Result<(usize, io::Error)> {
    dummy(NOBODY)?;
    let (own, peer) = ends(family);
    address(NOBODY, own)?;
    sleep_until(now_ns() + SETTLE_NS);
    let capture = Capture::start(NOBODY, realtime_offset_ns())?;
    let error = connect(peer);
    Ok((capture.drain()?.iter().filter(|segment| segment.syn).count(), error))
}

/// Has a socket connect there whose `TCP_SYNCNT` is set by a program.
fn connect_with(syn_retries: i32, family: Family, to: IpAddr) -> io::Error {
    let connected = || -> io::Result<()> {
        let socket = Player::new(family).socket(0)?;
        set_option(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_SYNCNT, &syn_retries)?;
        let (length, name) = sockaddr(SocketAddr::new(to, NVME_PORT));
        // SAFETY: the address is as long as is said.
        let result = unsafe { libc::connect(socket.as_raw_fd(), name.as_ptr().cast(), length) };
        checked(i64::from(result)).map(drop)
    };
    connected().err().unwrap_or_else(|| io::Error::other("it has connected"))
}

/// Has `nvme-tcp` connect there, which fails.
fn connect(to: IpAddr) -> io::Error {
    let own = "nqn.2014-08.org.nvmexpress:uuid:";
    let (id, target) =
        ("22222222-2222-2222-2222-222222222222", "11111111-1111-1111-1111-111111111111");
    let words = format!(
        "transport=tcp,traddr={to},trsvcid={NVME_PORT},nqn={own}{target},hostnqn={own}{id},hostid={id}"
    );
    fs::write(NVME, words).err().unwrap_or_else(|| io::Error::other("NVMe has connected"))
}

/// What the keepalive timer of the connection to the server of RPC has left, hundredths of a second, of `/proc/net/tcp`.
fn keepalive_due(table: &str) -> Option<u64> {
    let server = format!(":{RPC_PORT:04X}");
    table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (timer, left) = words.get(5)?.split_once(':')?;
        // ESTABLISHED, and the keepalive timer.
        let is_it = words.get(2)?.ends_with(&server) && *words.get(3)? == "01" && timer == "02";
        is_it.then(|| u64::from_str_radix(left, 16).ok()).flatten()
    })
}

/// What is wrong with what is told of them.
pub(super) fn compared(played: &Played, found: &[&Found]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut told = found.iter();
    for step in &played.made {
        // What a socket has that nobody has set an option of.
        let mut values: BTreeMap<Key, String> = BTreeMap::new();
        let mut uncorked = step.uncorked.iter();
        for call in &step.calls {
            let old = values.get(&call.key).cloned().unwrap_or_else(|| unset(call.key).to_owned());
            let (level, optname) = call.key;
            let line = format!("{level}/{optname} {old} to {} 0 kernel {}", call.value, call.tid);
            values.insert(call.key, call.value.to_string());
            let is_uncorked = call.key == CORK && call.value == 0;
            let left = if is_uncorked { uncorked.next().copied().unwrap_or(0) } else { 0 };
            // What it sets before it connects, and then for each record.
            let (phase, port) =
                if call.key == CORK { ("connected", step.port) } else { ("not_connected", 0) };
            let is_it = |found: &Found| {
                found.line() == line
                    && (found.phase(), found.remote_port()) == (phase, port)
                    && found.released_bytes() == left
            };
            match told.next() {
                Some(found) if is_it(found) => {}
                found => {
                    wrong.push(format!("{}: {line} is told as {found:?}", step.what));
                    // What follows may only be out of step.
                    return wrong;
                }
            }
        }
    }
    wrong.extend(told.map(|found| format!("the kernel has not set {found:?}")));
    wrong
}

/// What is wrong with what is told of the sockets that were there while NFS waited.
pub(super) fn compared_existing(played: &Played) -> anyhow::Result<Vec<String>> {
    let Some(text) = &played.existing else { return Ok(Vec::new()) };
    let found = existing(text)?;
    let own: Vec<&Found> = found.iter().filter(|one| one.remote_port() == RPC_PORT).collect();
    let [own] = own.as_slice() else {
        return Ok(vec![format!("--existing: the socket of NFS is not told once: {text}")]);
    };
    let mut wrong = Vec::new();
    if own.has_process() {
        wrong.push(format!("--existing: nobody has the socket of NFS open: {own:?}"));
    }
    let calls = played.made.last().map(|step| step.calls.as_slice()).unwrap_or_default();
    for (name, key) in EXISTING {
        // On 5.10 it is on by no call.
        let set = (key == NODELAY).then(|| "1".to_owned());
        let last = || calls.iter().rfind(|call| call.key == key).map(|call| call.value.to_string());
        let value = set.or_else(last).unwrap_or_else(|| unset(key).to_owned());
        if own.existing_value(name).as_ref() != Some(&value) {
            wrong.push(format!("--existing: {name} is {value}, told is {own:?}"));
        }
    }
    Ok(wrong)
}

/// What is told of an option that nobody has set.
const fn unset(key: Key) -> &'static str {
    match key {
        (6, 4..=7) => "default",
        (1, 13) => "off",
        _ => "0",
    }
}

#[cfg(test)]
mod tests {
    use super::keepalive_due;

    #[test]
    fn the_timer_is_that_of_the_connection() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n\
             0: 0100007F:1145 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n\
             1: 0100007F:8A5C 0100007F:1145 01 00000000:00000000 02:000001E3 00000000\n";
        assert_eq!(keepalive_due(table), Some(483));
        assert_eq!(keepalive_due(&table.replace("02:0", "00:0")), None);
    }
}
