//! What each filter lets through: several tcptraces with different ones watch the same connections at the same time.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::{self, Command},
    sync::mpsc::channel,
    thread,
    time::Duration,
};

use anyhow::Context as _;

use super::{
    held::{Held, corked},
    netns::Netns,
    stage::{Family, PORT, Stage, play},
    sys::name_thread,
    tool::{Found, Tool, parse},
};
use crate::{report::Outcome, scenario};

/// The row of the table.
pub(crate) const NAME: &str = "filters";
/// The story: two holds of one process, of about 227 and 44 ms. It is played in both families.
const STORY: &str = "cork_probe_timer_then_tail";
/// The peer's port.
const PEER_PORT: u16 = 40_112;
/// Where an IPv6 socket connects to IPv4.
const MAPPED: &str = "[::ffff:127.0.0.1]:8080";

/// Holds over IPv4, over IPv6, and by IPv6 sockets with IPv4-mapped addresses.
type Holds = [usize; 3];
const ALL: Holds = [2, 2, 1];
const NONE: Holds = [0; 3];

/// A filter, the holds it prints, and how many its summary counts.
struct Case {
    flags: Vec<String>,
    printed: Holds,
    counted: usize,
}

fn cases() -> Vec<Case> {
    let case = |flags: &str, printed: Holds| Case {
        flags: flags.split_whitespace().map(str::to_owned).collect(),
        printed,
        counted: printed.iter().sum(),
    };
    let own = process::id();
    let around = format!("1-{},{}-{}", PORT - 1, PORT + 1, PEER_PORT - 1);
    let longer = |limit: &str, printed: Holds| Case {
        counted: ALL.iter().sum(),
        ..case(&format!("--min-hold {limit}"), printed)
    };
    vec![
        case("", ALL),
        case(&format!("--port {PORT}"), ALL),
        case(&format!("--port {PEER_PORT} -6"), [0, 2, 0]),
        case(&format!("--port 1-79,8081 --port {PORT}-{PORT}"), ALL),
        case(&format!("--port {around} --remote 192.0.2.0/24"), NONE),
        case(&format!("--pid {own} -4"), [2, 0, 1]),
        case("--pid 1", NONE),
        case(&format!("--pid {own} --port 9"), NONE),
        longer("100ms", [1, 1, 1]),
        longer("10s", NONE),
        case(&format!("--local :{PORT} --remote 192.0.2.0/24 -4 --comm server"), [2, 0, 0]),
        case(&format!("--local :9 --local 127.0.0.1:{PORT}"), [0, 0, 1]),
        case(&format!("--local [2001:db8::]/32:{PORT}"), [0, 2, 0]),
        case(&format!("--local 192.0.2.10:{PEER_PORT}"), NONE),
        case("--remote [2001:db8::77] --remote 127.0.0.0/8", [0, 2, 1]),
        case("--remote [::]/0", [0, 2, 0]),
        case("--comm nginx --comm server", ALL),
        case("--comm serve", NONE),
    ]
}

/// Starts them all, plays the connections once, and counts; then commands.
pub(crate) fn outcome(tcptrace: &Path, offset_ns: u64) -> Outcome {
    let mut outcome = Outcome {
        scenario: NAME.to_owned(),
        family: "both".to_owned(),
        form: "any".to_owned(),
        ..Outcome::default()
    };
    for tried in [filtered(tcptrace, offset_ns), commands(tcptrace), places(tcptrace)] {
        match tried {
            Ok(wrong) => outcome.broken.extend(wrong),
            Err(error) => outcome.broken.push(format!("{error:#}")),
        }
    }
    outcome
}

fn filtered(tcptrace: &Path, offset_ns: u64) -> anyhow::Result<Vec<String>> {
    let story = scenario::all().into_iter().find(|story| story.name == STORY);
    let story = story.ok_or_else(|| anyhow::anyhow!("the story {STORY} is gone"))?;
    let cases = cases();
    let watching =
        Tool::start_all(tcptrace, &cases.iter().map(|case| json(&case.flags)).collect::<Vec<_>>())?;
    for family in [Family::V4, Family::V6] {
        play(Stage { story: story.clone(), family, first_port: PEER_PORT, offset_ns })?;
    }
    let mapped = thread::spawn(|| {
        name_thread(c"server");
        corked(MAPPED.parse()?)
    });
    mapped.join().map_err(|_panic| anyhow::anyhow!("the mapped connection panicked"))??;
    let mut wrong = Vec::new();
    for ((text, _), case) in Tool::stop_all(watching)?.into_iter().zip(cases) {
        let printed = by_address(&parse(&text).found);
        let counted = text.contains(&format!("\"type\":\"summary\",\"holds\":{},", case.counted));
        if printed != case.printed || !counted {
            wrong.push(format!(
                "{}: holds {printed:?} instead of {:?}, or not {} in the summary: {text}",
                case.flags.join(" "),
                case.printed,
                case.counted
            ));
        }
    }
    Ok(wrong)
}

/// What a tcptrace is started with.
fn json(flags: &[impl AsRef<str>]) -> Vec<String> {
    ["nagle", "--json"]
        .into_iter()
        .chain(flags.iter().map(AsRef::as_ref))
        .map(str::to_owned)
        .collect()
}

fn by_address(found: &[Found]) -> Holds {
    let mut holds = NONE;
    for local in found.iter().filter_map(|found| found.local) {
        let [v4, v6, mapped] = &mut holds;
        *match local.ip().to_canonical() {
            IpAddr::V4(Ipv4Addr::LOCALHOST) => mapped,
            IpAddr::V4(_) => v4,
            IpAddr::V6(_) => v6,
        } += 1;
    }
    holds
}

/// The way to a COMMAND: what stands before tcptrace, its flags, the command, its exit code, the holds to be found.
struct Run {
    before: &'static [&'static str],
    flags: &'static [&'static str],
    command: Vec<String>,
    code: i32,
    holds: usize,
}

/// Commands that hold bytes, of which a grandchild does the work, while somebody else does the same outside of them.
fn commands(tcptrace: &Path) -> anyhow::Result<Vec<String>> {
    let own = std::env::current_exe()?.display().to_string();
    let held = |levels| Held { below: levels, code: 5, linger: Duration::from_millis(400) };
    let sh = |script: &str| ["sh", "-c", script].map(str::to_owned).to_vec();
    let runs = [
        Run { before: &[], flags: &[], command: held(2).words(&own), code: 5, holds: 1 },
        Run {
            before: &[],
            flags: &["--attach", "kprobe"],
            command: held(0).words(&own),
            code: 5,
            holds: 1,
        },
        Run {
            before: &[],
            flags: &["--user", "1000"],
            command: sh(r#"test "$(id -u) $(id -g) $(id -G)" = "1000 1000 1000""#),
            code: 0,
            holds: 0,
        },
        Run {
            before: &["env", "SUDO_UID=1000", "SUDO_GID=1001"],
            flags: &[],
            command: sh(r#"test "$(id -u) $(id -g) $(id -G)" = "1000 1001 1001""#),
            code: 0,
            holds: 0,
        },
    ];
    let tcptrace = tcptrace.display().to_string();
    let mut wrong = Vec::new();
    for run in runs {
        wrong.extend(command(&tcptrace, &run)?);
    }
    Ok(wrong)
}

fn command(tcptrace: &str, run: &Run) -> anyhow::Result<Option<String>> {
    let mut words: Vec<String> = run.before.iter().copied().map(str::to_owned).collect();
    words.extend([tcptrace, "nagle", "--json"].map(str::to_owned));
    words.extend(run.flags.iter().copied().map(str::to_owned));
    words.push("--".to_owned());
    words.extend(run.command.iter().cloned());
    let (program, arguments) = words.split_first().map_or((tcptrace, &[][..]), |(p, a)| (p, a));
    let tool = Tool::start(Path::new(program), arguments, false)?;
    if run.holds > 0 {
        corked("127.0.0.1:0".parse()?)?;
    }
    let (text, said) = tool.ended()?;
    let found = parse(&text).found.len();
    let status = format!("command ended with exit code {}", run.code);
    let fine = found == run.holds
        && said.contains(&status)
        && !said.iter().any(|line| line.starts_with("tcptrace ended"));
    Ok((!fine).then(|| format!("{}: {found} holds, {said:?}, {text}", words.join(" "))))
}

/// Where the cgroups of version 2 are, and those that hold bytes: one by itself, one below it, one beside both.
pub(super) const CGROUPS: &str = "/sys/fs/cgroup";
const OUTER: &str = "/outer";
const INNER: &str = "/outer/web";
const BESIDE: &str = "/beside";

/// What a process is in must be told, and what is asked for found: namespaces, cgroups with those below, containers.
fn places(tcptrace: &Path) -> anyhow::Result<Vec<String>> {
    mount_cgroups()?;
    for cgroup in [OUTER, INNER, BESIDE] {
        fs::create_dir_all(format!("{CGROUPS}{cgroup}")).context("make a cgroup")?;
    }
    let (tell, told) = channel();
    let (go, going) = channel();
    let apart = thread::spawn(move || {
        let number = Netns::create()?.number()?;
        // SAFETY: it takes nothing and cannot fail.
        tell.send((number, unsafe { libc::gettid() }))?;
        going.recv()?;
        corked("127.0.0.1:0".parse()?)
    });
    let (number, tid) = told.recv().context("no namespace")?;
    let file = format!("/proc/{}/task/{tid}/ns/net", process::id());
    let (number, own) = (format!("net:[{number}]"), process::id().to_string());
    let cases: [(&[&str], usize); 12] = [
        (&[], 4),
        (&["--netns", &file], 1),
        (&["--netns", &number, "--attach", "kprobe"], 1),
        (&["--netns", &own], 3),
        (&["--netns", &own, "--netns", &number], 4),
        (&["--cgroup", OUTER], 2),
        (&["--cgroup", "/sys/fs/cgroup/outer/web/", "--attach", "kprobe"], 1),
        (&["--cgroup", INNER, "--cgroup", BESIDE], 2),
        (&["--cgroup", "/"], 4),
        (&["--cgroup", OUTER, "--netns", &number], 0),
        (&["--container", "web"], 1),
        (&["--cause", "cork", "--release", "probe_timer", "--cgroup", OUTER], 2),
    ];
    let watching = Tool::start_all(tcptrace, &cases.map(|(flags, _)| json(flags)))?;
    for cgroup in [OUTER, INNER, BESIDE] {
        held_in(cgroup)?;
    }
    go.send(())?;
    apart.join().map_err(|_panic| anyhow::anyhow!("the connection apart panicked"))??;
    let mut wrong = Vec::new();
    for ((text, _), (flags, holds)) in Tool::stop_all(watching)?.into_iter().zip(cases) {
        let flags = flags.join(" ");
        let found = parse(&text).found.len();
        let cgroup = |path: &str| text.contains(&format!("\"cgroup\":\"{path}\"}},\"bytes\""));
        let untold = holds == 4 && ![OUTER, INNER, BESIDE].iter().all(|path| cgroup(path));
        if found != holds || untold {
            wrong.push(format!("{flags}: {found} holds instead of {holds}: {text}"));
        }
    }
    wrong.extend(refused(tcptrace)?);
    Ok(wrong)
}

/// What is not there, or could be several, is refused with what to try.
fn refused(tcptrace: &Path) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    let id = "0123456789ab";
    let docker = format!("{CGROUPS}{BESIDE}/docker-{id}{id}.scope");
    fs::create_dir_all(&docker)?;
    fs::create_dir_all(format!("{CGROUPS}{BESIDE}/web"))?;
    for (flags, said) in [
        (["--cgroup", "/none"], "there is no /none below"),
        (["--netns", "/none"], "No such file"),
        (["--container", "web"], "2 cgroups could be meant"),
        (["--container", "db"], "no cgroup is called so"),
        (["--cause", "cold"], "no 'cold'"),
    ] {
        let out = Command::new(tcptrace).args(["nagle", "-d", "100ms"]).args(flags).output()?;
        let error = String::from_utf8_lossy(&out.stderr);
        if out.status.code() != Some(2) || !error.contains(said) || !error.contains("try:") {
            wrong.push(format!("{}: {} {error}", flags.join(" "), out.status));
        }
    }
    let out = Command::new(tcptrace)
        .args(["nagle", "--json", "-d", "300ms", "--container", id])
        .output()?;
    let text = String::from_utf8_lossy(&out.stdout);
    if !text.contains(&format!("\"cgroup\":[\"{BESIDE}/docker-{id}{id}.scope\"]")) {
        wrong.push(format!("--container {id}: {text}"));
    }
    Ok(wrong)
}

/// Mounts them, where nobody has.
pub(super) fn mount_cgroups() -> anyhow::Result<()> {
    if Path::new(CGROUPS).join("cgroup.procs").exists() {
        return Ok(());
    }
    fs::create_dir_all(CGROUPS).context("make the folder of the cgroups")?;
    let (none, at, kind) = (c"none".as_ptr(), c"/sys/fs/cgroup".as_ptr(), c"cgroup2".as_ptr());
    // SAFETY: a plain system call with valid strings.
    let mounted = unsafe { libc::mount(none, at, kind, 0, std::ptr::null()) };
    anyhow::ensure!(mounted == 0, "mount cgroup2: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Holds bytes in a process of this cgroup.
fn held_in(cgroup: &str) -> anyhow::Result<()> {
    let held = Held { below: 0, code: 0, linger: Duration::from_millis(200) };
    let own = std::env::current_exe()?.display().to_string();
    let words = held.words(&own).join(" ");
    let script = format!("echo $$ > {CGROUPS}{cgroup}/cgroup.procs && exec {words}");
    let status = Command::new("sh").args(["-c", &script]).status()?;
    anyhow::ensure!(status.success(), "the program in {cgroup} ended with {status}");
    Ok(())
}
