//! `bench cost`: what the probes add to each operation of the workloads, in guests whose clock counts instructions.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{
    guests::{Boot, Programs, emulator},
    row::Row,
};
use crate::{guest::peers, kernels, report::Figure, setup};

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Series of kernels
    #[arg(long, value_delimiter = ',', default_value = kernels::USUAL)]
    kernel: Vec<String>,
    /// Workloads with their ports, instead of those that each tool is about
    #[arg(long, value_name = "MODE:PORT", value_delimiter = ',')]
    rows: Vec<String>,
    /// Tools beside them
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = TOOLS)]
    tools: Vec<String>,
    /// Other programs beside the same workloads as well: bpftrace, tcpdump, and some of libbpf-tools
    #[arg(long)]
    peers: bool,
    /// Starts of each tool
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: u32,
    /// Operations of each connection
    #[arg(long, value_name = "N", default_value_t = 500)]
    ops: u32,
    /// Writes the section of docs/performance.md
    #[arg(long)]
    write: bool,
    /// Writes the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Compares with the figures of a file that --json has written; exit code 1 where pp or held has grown by more than
    /// 30 instructions and 2 %
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

impl Args {
    fn wants_floor(&self) -> bool {
        self.tools.iter().any(|tool| tool == "floor")
    }
}

/// The port that the tools are told to watch.
const WATCHED: u16 = 8080;
const TOOLS: &str = "floor,nagle,summary,close";
/// The workloads of tools about holds, and of tools about closes.
const HOLDS: [&str; 4] = ["pp:8080", "held:8080", "cork:8080", "pp:9090"];
const CLOSES: [&str; 4] = ["cc:8080", "cc:9090", "pp:8080", "pp:9090"];
/// What a guest needs in which Debian's tree lies twice, packed and unpacked.
const PEERS_MIB: u32 = 4096;
/// Fresh connections of each start.
const CONNECTIONS: u32 = 2;

/// What the performance page measured the floor at, on 6.1, and how near it must come.
const FLOOR: [(&str, u16, f64); 2] = [("pp", 8080, 775.0), ("held", 8080, 1370.0)];
const FLOOR_KERNEL: &str = "6.1";
const FLOOR_SHARE: f64 = 0.03;
/// Growth of a row that is no noise, in instructions and in its share: both.
const GROWN: (f64, f64) = (30.0, 0.02);

/// What was found out on one kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Found {
    /// Series of the kernel.
    kernel: String,
    /// Its release and package.
    release: String,
    rows: Vec<Row>,
    /// Programs that do not run on it, and why.
    #[serde(default)]
    refused: Vec<(String, String)>,
}

/// The task.
pub(crate) fn task(args: &Args) -> Result<ExitCode> {
    let series =
        args.kernel.iter().map(|name| kernels::series(name)).collect::<Result<Vec<_>>>()?;
    setup::ensure(&series)?;
    let guests = Programs::build(args.wants_floor())?;
    let mut all = Vec::new();
    for series in series {
        let found = measured(series, args, &guests)?;
        print!("{}", table(&found)?);
        all.push(found);
    }
    if args.write {
        super::write_section("cost", &section(&all, args)?)?;
    }
    if let Some(file) = &args.json {
        fs::write(file, serde_json::to_string_pretty(&all)? + "\n")
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    let own = all.iter().flat_map(|found| &found.rows).filter(|row| !peers::is_peer(&row.tool));
    let wrong = own.into_iter().any(|row| !row.wrong.is_empty());
    let grown = args.against.as_deref().map(|file| grown(file, &all)).transpose()?.unwrap_or(false);
    Ok(if wrong || grown { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Whether the answers are right while the cost is measured, shortly and with no figure asserted: the part of the tests.
pub(crate) fn answers() -> Result<()> {
    let args = Args {
        kernel: vec![kernels::USUAL.to_owned()],
        rows: ["pp:8080", "held:8080", "cc:8080"].map(str::to_owned).to_vec(),
        tools: TOOLS.split(',').map(str::to_owned).collect(),
        peers: false,
        rounds: 1,
        ops: 200,
        write: false,
        json: None,
        against: None,
    };
    let found =
        measured(kernels::series(kernels::USUAL)?, &args, &Programs::build(args.wants_floor())?)?;
    eprint!("{}", table(&found)?);
    let wrong: Vec<&String> = found.rows.iter().flat_map(|row| &row.wrong).collect();
    ensure!(wrong.is_empty(), "{wrong:?}");
    Ok(())
}

/// Tools, and the workloads to run beside each of them: one guest.
struct Group {
    tools: Vec<String>,
    rows: Vec<String>,
}

/// Tools are measured in one guest with others that are about the same workloads.
fn groups(args: &Args, has_floor: bool) -> Vec<Group> {
    let wanted = args.tools.iter().filter(|tool| *tool != "floor" || has_floor).cloned();
    if !args.rows.is_empty() {
        return vec![Group { tools: wanted.collect(), rows: args.rows.clone() }];
    }
    let (mut closes, mut holds): (Vec<_>, Vec<_>) = wanted.partition(|tool| tool == "close");
    if args.peers {
        holds.extend(peers::OF_HOLDS.map(str::to_owned));
        closes.extend(peers::OF_CLOSES.map(str::to_owned));
    }
    let group = |tools, rows: [&str; 4]| Group { tools, rows: rows.map(str::to_owned).to_vec() };
    let groups = [group(holds, HOLDS), group(closes, CLOSES)];
    groups.into_iter().filter(|group| !group.tools.is_empty()).collect()
}

fn measured(series: &'static kernels::Series, args: &Args, programs: &Programs) -> Result<Found> {
    let mut found = Found {
        kernel: series.name.to_owned(),
        release: String::new(),
        rows: Vec::new(),
        refused: Vec::new(),
    };
    for group in groups(args, programs.has_floor()) {
        let (release, figures) = in_guest(series, args, &group, programs)?;
        found.release = release;
        found.rows.extend(figures.iter().filter_map(Row::of));
        for figure in figures {
            let refused = figure.refused.map(|why| (figure.tool, why));
            found.refused.extend(refused.filter(|refused| !found.refused.contains(refused)));
        }
    }
    Ok(found)
}

/// The kernel that ran, and what came out.
fn in_guest(
    series: &'static kernels::Series,
    args: &Args,
    group: &Group,
    programs: &Programs,
) -> Result<(String, Vec<Figure>)> {
    let mut boot = Boot::new(&["cost"])
        .with("--rows", &group.rows.join(","))
        .with("--tools", &group.tools.join(","))
        .with("--rounds", &args.rounds)
        .with("--ops", &args.ops)
        .with("--connections", &CONNECTIONS);
    if args.peers {
        (boot.packages, boot.memory) = (&peers::PACKAGES, PEERS_MIB);
    }
    programs.figures(series, &boot, group.tools.len() * group.rows.len())
}

impl Found {
    /// What a tool adds to the workload's thread; `None` of a row that is not there, wrong or unstable.
    fn own(&self, tool: &str, mode: &str, port: u16) -> Option<f64> {
        self.rows.iter().find(|row| row.is(tool, mode, port))?.good()
    }
}

/// How the table calls a tool.
fn tool(name: &str) -> &str {
    match name {
        "floor" => "the floor",
        "nagle" => "`tcptrace nagle --port 8080`",
        "summary" => "`tcptrace nagle --summary-only --port 8080`",
        "close" => "`tcptrace close --port 8080`",
        "bpftrace fentry" => "bpftrace, 3 counts and sizes, fentry",
        "bpftrace kprobe" => "bpftrace, 3 counts and sizes, kprobes",
        "tcpdump" => "`tcpdump -w /dev/null`",
        _ => name,
    }
}

fn table(found: &Found) -> Result<String> {
    let mut text = format!(
        "### Linux {}\n\n\
         | workload | base | beside it | added, in its thread | % of base | all that ran | x floor |\n\
         |---|--:|---|--:|--:|--:|--:|\n",
        found.release
    );
    let mut seen: Vec<(&str, u16)> = Vec::new();
    for row in &found.rows {
        if !seen.contains(&(&row.mode, row.port)) {
            seen.push((&row.mode, row.port));
        }
    }
    for (mode, port) in seen {
        for row in found.rows.iter().filter(|row| row.mode == mode && row.port == port) {
            let good = row.good();
            let shown = |figure: Option<f64>| figure.map(|figure| format!("{figure:.0}"));
            let why = if row.wrong.is_empty() { "unstable" } else { "WRONG" };
            let added = shown(good).unwrap_or_else(|| why.to_owned());
            let whole = shown(good.map(|_| row.added)).unwrap_or_default();
            let share =
                good.map(|own| format!("{:.1}", own / row.base * 100.0)).unwrap_or_default();
            let floor = found.own("floor", mode, port).filter(|_| row.tool != "floor");
            let floor = good.zip(floor).map(|(own, floor)| format!("{:.2}", own / floor));
            let floor = floor.unwrap_or_default();
            writeln!(
                text,
                "| {mode} {port} | {:.0} | {} | {added} | {share} | {whole} | {floor} |",
                row.base,
                tool(&row.tool)
            )?;
        }
    }
    for row in &found.rows {
        for wrong in &row.wrong {
            writeln!(text, "\nWRONG, {} {} beside {}: {wrong}.", row.mode, row.port, row.tool)?;
        }
    }
    for (name, why) in &found.refused {
        writeln!(text, "\n{name} does not run here: {why}.")?;
    }
    text += &floor(found)?;
    text += &closes(found);
    text += &targets(found)?;
    Ok(text + "\n")
}

/// Whether the floor is where the page has it.
fn floor(found: &Found) -> Result<String> {
    let mut text = String::new();
    for (mode, port, page) in FLOOR {
        let Some(own) = found.own("floor", mode, port) else { continue };
        let off = (own - page) / page;
        if found.kernel == FLOOR_KERNEL && off.abs() > FLOOR_SHARE {
            writeln!(
                text,
                "\nThe floor takes {own:.0} of {mode}, {:+.0} % of the {page:.0} it was built to take.",
                off * 100.0
            )?;
        }
    }
    Ok(text)
}

/// What `close` adds to a connection, and to a segment of one that is not closing: `pp` sends two, which both ends see.
fn closes(found: &Found) -> String {
    let of = |mode: &str| found.own("close", mode, WATCHED);
    of("cc").zip(of("pp")).map_or_else(String::new, |(connection, segments)| {
        format!(
            "\n`tcptrace close` adds {connection:.0} to a connection, both of its ends together, and {:.0} to a segment of \
             one that is not closing, sent and received.\n",
            segments / 2.0
        )
    })
}

/// What a target is about: its number, name, row, and its line and goal with the floor and the peer in hand.
struct Target {
    number: u32,
    what: &'static str,
    tool: &'static str,
    mode: &'static str,
    port: u16,
    /// Shares of the floor, of the peer's aggregate, and a figure: the least of them counts.
    line: (Option<f64>, Option<f64>, Option<f64>),
    goal: (Option<f64>, Option<f64>, Option<f64>),
}

/// The fastest aggregate of bpftrace.
const PEER: &str = "bpftrace fentry";

const TARGETS: [Target; 8] = [
    Target {
        number: 1,
        what: "un-held, `--summary-only`",
        tool: "summary",
        mode: "pp",
        port: 8080,
        line: (Some(1.4), Some(0.5), None),
        goal: (Some(1.15), Some(0.4), None),
    },
    Target {
        number: 2,
        what: "un-held, as typed",
        tool: "nagle",
        mode: "pp",
        port: 8080,
        line: (None, Some(1.0), Some(2320.0)),
        goal: (None, None, Some(1690.0)),
    },
    Target {
        number: 3,
        what: "held, `--summary-only`",
        tool: "summary",
        mode: "held",
        port: 8080,
        line: (None, Some(1.0), Some(2100.0)),
        goal: (None, None, Some(1650.0)),
    },
    Target {
        number: 3,
        what: "held, as typed",
        tool: "nagle",
        mode: "held",
        port: 8080,
        line: (None, None, Some(3000.0)),
        goal: (None, None, Some(2300.0)),
    },
    Target {
        number: 4,
        what: "other port, `--summary-only`",
        tool: "summary",
        mode: "pp",
        port: 9090,
        line: (None, Some(0.8), Some(950.0)),
        goal: (None, Some(0.65), Some(800.0)),
    },
    Target {
        number: 4,
        what: "other port, as typed",
        tool: "nagle",
        mode: "pp",
        port: 9090,
        line: (None, Some(1.0), Some(1233.0)),
        goal: (None, None, None),
    },
    Target {
        number: 5,
        what: "churn, `close`",
        tool: "close",
        mode: "cc",
        port: 8080,
        line: (None, None, Some(6000.0)),
        goal: (None, None, Some(4400.0)),
    },
    Target {
        number: 6,
        what: "churn, other port, `close`",
        tool: "close",
        mode: "cc",
        port: 9090,
        line: (None, None, Some(1500.0)),
        goal: (None, None, Some(800.0)),
    },
];

fn targets(found: &Found) -> Result<String> {
    let mut text =
        "\n| target | what | value | line | goal | |\n|--:|---|--:|--:|--:|---|\n".to_owned();
    for target in TARGETS {
        let Some(value) = found.own(target.tool, target.mode, target.port) else { continue };
        let of = |tool: &str| found.own(tool, target.mode, target.port);
        let limit = |(floor, peer, figure): (Option<f64>, Option<f64>, Option<f64>)| {
            let floor = floor.zip(of("floor")).map(|(share, floor)| share * floor);
            let peer = peer.zip(of(PEER)).map(|(share, peer)| share * peer);
            [floor, peer, figure].into_iter().flatten().reduce(f64::min)
        };
        let (line, goal) = (limit(target.line), limit(target.goal));
        let shown =
            |limit: Option<f64>| limit.map_or_else(|| "-".to_owned(), |l| format!("{l:.0}"));
        // A goal can be a figure where the line is a share of a peer's: the line must be kept as well.
        let word = match (line, goal) {
            (None, _) => "-",
            (Some(line), _) if value > line => "over",
            (_, Some(goal)) if value <= goal => "ok, goal",
            _ => "ok",
        };
        writeln!(
            text,
            "| {} | {} | {value:.0} | {} | {} | {word} |",
            target.number,
            target.what,
            shown(line),
            shown(goal)
        )?;
    }
    Ok(text)
}

/// Says which rows have grown since the file was written, and whether one has.
fn grown(file: &Path, all: &[Found]) -> Result<bool> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let before: Vec<Found> = serde_json::from_str(&text)
        .with_context(|| format!("{} is not what --json writes", file.display()))?;
    let lines = growth(&before, all);
    for line in &lines {
        println!("GROWN {line}");
    }
    Ok(!lines.is_empty())
}

fn growth(before: &[Found], now: &[Found]) -> Vec<String> {
    let mut lines = Vec::new();
    for found in now {
        let Some(old) = before.iter().find(|old| old.kernel == found.kernel) else { continue };
        for row in found.rows.iter().filter(|row| matches!(row.mode.as_str(), "pp" | "held")) {
            let (mode, port, name) = (row.mode.as_str(), row.port, row.tool.as_str());
            let figures = old.own(name, mode, port).zip(found.own(name, mode, port));
            let Some((was, is)) = figures else { continue };
            let (by, share) = GROWN;
            if is - was > by && is - was > share * was {
                lines.push(format!(
                    "{}: {mode} {port} beside {name}: {was:.0} to {is:.0}",
                    found.kernel
                ));
            }
        }
    }
    lines
}

fn section(all: &[Found], args: &Args) -> Result<String> {
    let emulator = emulator()?;
    let mut text = format!(
        "## Cost\n\n\
         Written by `cargo xtask bench cost --kernel {} --write` on {}, with QEMU {emulator}.\n\n\
         What the probes add to one operation, in instructions of a guest whose clock counts them: one virtual CPU, no \
         network, both ends of a connection in one thread. The same on every host, and not nanoseconds: caches, branch \
         misses and other CPUs are not in it. Each figure is the middle one of {} fresh connections of {} operations, \
         with and without the tool in turns. \"In its thread\" is what the kernel charges to the workload's thread: the \
         probes, and softirq that runs in it; \"all that ran\" has the tool's own process too, where it ran meanwhile.\n\n\
         - `pp`: 1 B each way without Nagle; two sends that leave at once. At port 9090 nobody asked for it.\n\
         - `held`: 1 B, then 1 B that Nagle holds until the peer's ACK comes; two sends, one of them held.\n\
         - `cork`: 1 B under `TCP_CORK`, which then ends; one send, held.\n\
         - `cc`: a connection from `connect()` to the end of both sides, three segments of teardown.\n\n\
         A row whose answers were not right in the very run that was timed says WRONG: the workload tells how many \
         holds it made, of how many bytes, what held them and what let them go, and how many ends it closed. One whose \
         base moved says unstable.\n\n\
         The floor is a program of two hooks (fexit `tcp_push`, fentry `tcp_event_new_data_sent`), written by hand \
         (`tcptrace-ebpf/floor`), that sees holds begin and end and answers nothing.\n\n",
        args.kernel.join(","),
        super::today()?,
        args.rounds * CONNECTIONS,
        args.ops,
    );
    for found in all {
        text += &table(found)?;
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(tool: &str, base: &[f64], traced: f64) -> Figure {
        let traced = vec![vec![traced; 2]; base.len() - 1];
        let base: Vec<Vec<f64>> = base.iter().map(|base| vec![*base, *base]).collect();
        Figure {
            tool: tool.to_owned(),
            mode: "pp".to_owned(),
            port: 8080,
            base_own: base.clone(),
            base,
            traced_own: traced.clone(),
            traced,
            wrong: Vec::new(),
            refused: None,
        }
    }

    const FLAT: [f64; 2] = [20_000.0; 2];

    fn found(figures: &[Figure]) -> Found {
        let rows = figures.iter().map(|figure| Row::of(figure).unwrap()).collect();
        let (kernel, release) = ("6.1".to_owned(), "6.1.0".to_owned());
        Found { kernel, release, rows, refused: Vec::new() }
    }

    #[test]
    fn a_base_that_moves_and_a_wrong_answer_leave_no_figure() {
        let steady = figure("summary", &[20_000.0, 20_010.0, 20_100.0, 20_100.0], 20_900.0);
        let moved = figure("nagle", &[20_000.0, 20_100.0, 20_000.0], 22_000.0);
        let wrong = Figure { wrong: vec!["no".to_owned()], ..figure("floor", &FLAT, 20_775.0) };
        let text = table(&found(&[steady, moved, wrong])).unwrap();
        assert!(text.contains("| 848 |") && text.contains("| unstable |"), "{text}");
        assert!(text.contains("| WRONG |") && !text.contains("| 775 |"), "{text}");
    }

    #[test]
    fn a_target_is_the_least_of_its_limits() {
        let floor = figure("floor", &FLAT, 20_775.0);
        let ok = figure("summary", &FLAT, 21_080.0);
        let over = figure("summary", &FLAT, 21_090.0);
        let word = |row: &Figure| targets(&found(&[floor.clone(), row.clone()])).unwrap();
        assert!(word(&ok).contains("| 1080 | 1085 | 891 | ok |"), "{}", word(&ok));
        assert!(word(&over).contains("| 1090 | 1085 | 891 | over |"), "{}", word(&over));
        // Beyond the line, which a peer moves, a goal is none.
        let rows = [figure(PEER, &FLAT, 21_000.0), figure("nagle", &FLAT, 21_100.0)];
        let text = targets(&found(&rows)).unwrap();
        assert!(text.contains("| 1100 | 1000 | 1690 | over |"), "{text}");
    }

    #[test]
    fn growth_is_told_of_rows_that_are_steady_enough_to_tell() {
        let old = found(&[figure("summary", &FLAT, 20_900.0)]);
        let same = found(&[figure("summary", &FLAT, 20_925.0)]);
        let more = found(&[figure("summary", &FLAT, 20_940.0)]);
        assert!(growth(std::slice::from_ref(&old), &[same]).is_empty());
        assert_eq!(growth(&[old], &[more]).len(), 1);
    }

    #[test]
    fn what_closes_cost_is_told_of_a_connection_and_of_a_segment() {
        let of =
            |mode: &str, traced| Figure { mode: mode.to_owned(), ..figure("close", &FLAT, traced) };
        let both = found(&[of("cc", 23_000.0), of("pp", 20_400.0)]);
        assert!(closes(&both).contains("adds 3000 to a connection"), "{}", closes(&both));
        assert!(closes(&both).contains("and 200 to a segment"), "{}", closes(&both));
        assert!(closes(&found(&[of("cc", 23_000.0)])).is_empty());
    }

    #[test]
    fn a_floor_that_is_not_where_it_was_says_so() {
        let at = |traced| floor(&found(&[figure("floor", &FLAT, traced)])).unwrap();
        assert!(at(20_790.0).is_empty());
        assert!(at(20_850.0).contains("+10 %"), "{}", at(20_850.0));
    }
}
