//! Every recorded story in every format, byte for byte; and what tcptrace finds in it against what the wire showed.
//!
//! `traces/README.md` says where the traces come from, and how the pages are renewed.

mod strict;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use insta::assert_snapshot;
use serde::Deserialize;
use unicode_width::UnicodeWidthStr as _;

/// Columns of the pages.
const WIDTH: usize = 100;
/// The story whose pages are also made in colour, for a narrow terminal, and as the text of the trace.
const SHOWN_IN_ALL_WAYS: &str = "0.1.0/6.1/cork_probe_timer_then_tail.tcptrace";
/// How far two times of one event may be apart: the oracle's stand before and behind the probes.
const ALLOWANCE_NS: u64 = 1_000_000;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// Runs tcptrace beside the trace, in no environment, so that no page depends on who makes it.
fn tcptrace(trace: &Path, words: &[&str], input: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tcptrace"))
        .args(words)
        .current_dir(trace.parent().expect("a trace is in a folder"))
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built for this test");
    let mut stdin = child.stdin.take().expect("it was given one");
    // Who reads a file closes its stdin unread.
    let _unread = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{} {words:?}: {said}", trace.display());
    String::from_utf8(output.stdout).expect("tcptrace writes UTF-8")
}

fn name(trace: &Path) -> &str {
    trace.file_name().and_then(|name| name.to_str()).expect("the name of a trace is UTF-8")
}

/// What each of the commands prints, as in a session.
fn page(trace: &Path, commands: &[&str], more: &[&str]) -> String {
    let mut page = String::new();
    for command in commands {
        let line = command.replace("FILE", name(trace));
        let words: Vec<&str> = line.split(' ').chain(more.iter().copied()).collect();
        page.extend(["$ tcptrace ", &line, "\n", &tcptrace(trace, &words, ""), "\n"]);
    }
    page
}

#[track_caller]
fn fits(text: &str, columns: usize) {
    for line in text.lines().filter(|line| !line.starts_with("$ ")) {
        assert!(line.width() <= columns, "{} columns: {line}", line.width());
    }
}

/// Compares with `snapshots/VERSION/KERNEL/STORY.form.snap`.
fn golden(trace: &Path, form: &str, page: &str) {
    no_kernel_address(trace, page);
    let folder = place(trace).parent().expect("a version and a kernel").to_owned();
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(Path::new("snapshots").join(folder));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| assert_snapshot!(format!("{}.{form}", story(trace)), page));
}

/// `0.1.0/6.1/nagle_ack.tcptrace`.
fn place(trace: &Path) -> &Path {
    trace.strip_prefix(folder("traces")).expect("a trace is in there")
}

fn story(trace: &Path) -> &str {
    name(trace).trim_end_matches(".tcptrace")
}

const TEXT: [&str; 3] = ["nagle -r FILE", "nagle -v -r FILE", "timeline -r FILE"];
const TEXT_OF_A_CLOSE: [&str; 3] = ["close -r FILE", "close -q -r FILE", "timeline -r FILE"];

/// Whether the story is about how a connection ends.
fn is_close(trace: &Path) -> bool {
    story(trace).starts_with("close_")
}

#[test]
fn text() {
    insta::glob!("traces", "*/*/*.tcptrace", |trace| {
        let commands = if is_close(trace) { &TEXT_OF_A_CLOSE } else { &TEXT };
        let mut text =
            page(trace, commands, &["--time", "utc", "--width", "100", "--color", "never"]);
        fits(&text, WIDTH);
        text += &page(trace, &["replay FILE"], &["--time", "utc"]);
        golden(trace, "text", &text);
    });
}

#[test]
fn json() {
    insta::glob!("traces", "*/*/*.tcptrace", |trace| {
        let question =
            if is_close(trace) { "close --json -r FILE" } else { "nagle --json -r FILE" };
        let text = page(trace, &[question, "timeline --json -r FILE"], &[]);
        for line in text.lines().filter(|line| line.starts_with('{')) {
            strict::check(&format!("{line}\n"));
        }
        golden(trace, "json", &text);
    });
}

#[test]
fn one_story_in_colour_and_narrow_and_as_the_text_of_its_trace() {
    let trace = folder("traces").join(SHOWN_IN_ALL_WAYS);
    let ways =
        |width, color| page(&trace, &TEXT, &["--time", "utc", "--width", width, "--color", color]);
    let (narrow, colour) = (ways("60", "never"), ways("100", "always"));
    // The rows of a table are one line on any terminal.
    let whole = |line: &str| line.starts_with("  server[");
    let (table, rest): (Vec<&str>, Vec<&str>) =
        narrow.lines().partition(|line| whole(line) || line.starts_with("  process "));
    fits(&table.join("\n"), WIDTH);
    // The longest of the kernel's words, behind what explains it.
    fits(&rest.join("\n"), 61);
    golden(&trace, "narrow", &narrow);
    // A diff shows what a terminal would obey.
    golden(&trace, "colour", &colour.replace('\u{1b}', "\\e"));
    golden(&trace, "cat", &page(&trace, &["cat FILE"], &[]));
}

#[test]
fn the_text_of_a_trace_tells_what_its_frames_tell() {
    for trace in traces() {
        let text = tcptrace(&trace, &["cat", name(&trace)], "");
        for question in ["nagle", "timeline"] {
            let frames = tcptrace(&trace, &[question, "--json", "-r", name(&trace)], "");
            assert_eq!(tcptrace(&trace, &[question, "--json", "-r", "-"], &text), frames);
        }
        assert_eq!(tcptrace(&trace, &["cat", "-"], &text), text);
        no_kernel_address(&trace, &text);
    }
}

/// One connection of a story, as call log and wire showed it when the trace was recorded.
#[derive(Debug, Deserialize)]
struct Witnessed {
    local: SocketAddr,
    remote: SocketAddr,
    holds: Vec<Hold>,
    close: Option<Close>,
}

/// A teardown, as the oracle saw it and as `--json` states it.
#[derive(Debug, Deserialize)]
struct Close {
    side: String,
    shape: String,
    reason: String,
    segments: u32,
    fin_to_ack_ns: Option<u64>,
    fin_to_close_ns: Option<u64>,
}

/// A hold, as the oracle saw it and as `--json` states it.
#[derive(Debug, Deserialize)]
struct Hold {
    monotonic_ns: u64,
    held_ns: u64,
    bytes: u64,
    causes: Vec<Cause>,
    release: String,
    #[serde(default)]
    tail: bool,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Cause {
    Name(String),
    Part { cause: String },
}

impl Cause {
    fn name(&self) -> &str {
        match self {
            Self::Name(cause) | Self::Part { cause } => cause,
        }
    }
}

/// By own and other end.
type Found<T> = BTreeMap<(SocketAddr, SocketAddr), Vec<T>>;

#[test]
fn what_tcptrace_finds_is_what_the_wire_showed() {
    let (mut holds, mut closes) = (0, 0);
    for folder in folders() {
        for (scenario, connections) in expected(&folder) {
            let Some(connections) = connections else { continue };
            let trace = folder.join(format!("{scenario}.tcptrace"));
            if is_close(&trace) {
                closes += compared(
                    &trace,
                    connections,
                    "close",
                    |it| Vec::from_iter(it.close),
                    same_close,
                );
            } else {
                holds += compared(&trace, connections, "hold", |it| it.holds, same);
            }
        }
    }
    assert!(holds >= 40 && closes >= 20, "only {holds} holds and {closes} closes were compared");
}

/// Compares what was seen of each connection of a story with what is found, and says how much that was.
fn compared<T: for<'de> Deserialize<'de> + std::fmt::Debug>(
    trace: &Path,
    connections: Vec<Witnessed>,
    kind: &str,
    of: impl Fn(Witnessed) -> Vec<T>,
    same: impl Fn(&Path, &[T], &[T]),
) -> usize {
    let mut found: Found<T> = found(trace, kind);
    let mut judged = 0;
    for it in connections {
        let ends = (it.local, it.remote);
        let wire = of(it);
        same(trace, &wire, &found.remove(&ends).unwrap_or_default());
        judged += wire.len();
    }
    assert!(found.is_empty(), "{}: of no connection: {found:?}", trace.display());
    judged
}

/// What the oracle saw, by the name of the story; nothing where it could not judge.
fn expected(folder: &Path) -> BTreeMap<String, Option<Vec<Witnessed>>> {
    let text = fs::read_to_string(folder.join("expected.json")).expect("it is beside the traces");
    serde_json::from_str(&text).expect("it is what cargo xtask traces writes")
}

fn found<T: for<'de> Deserialize<'de>>(trace: &Path, kind: &str) -> Found<T> {
    let mut found = Found::new();
    let [command, least] =
        if kind == "close" { ["close", "--min-duration"] } else { ["nagle", "--min-hold"] };
    let words = [command, "--json", least, "0", "-r", name(trace)];
    for line in tcptrace(trace, &words, "").lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        let word = |name: &str| line.pointer(name).and_then(serde_json::Value::as_str);
        if word("/type") == Some(kind) {
            assert_eq!(word("/certainty"), Some("seen"), "nothing was lost: {line}");
            let end = |name: &str| {
                let end = word(name).and_then(|end| end.parse().ok());
                end.expect("the ends of a connection are known")
            };
            let ends = (end("/socket/local"), end("/socket/remote"));
            let one = serde_json::from_value(line).expect("it is as documented");
            found.entry(ends).or_default().push(one);
        }
    }
    found
}

fn same_close(trace: &Path, wire: &[Close], found: &[Close]) {
    let close = |a_ns: Option<u64>, b_ns: Option<u64>| match (a_ns, b_ns) {
        (Some(a_ns), Some(b_ns)) => a_ns.abs_diff(b_ns) <= ALLOWANCE_NS,
        (None, None) => true,
        _ => false,
    };
    let same = |(wire, found): (&Close, &Close)| {
        (&wire.side, &wire.shape, &wire.reason, wire.segments)
            == (&found.side, &found.shape, &found.reason, found.segments)
            && close(wire.fin_to_ack_ns, found.fin_to_ack_ns)
            && close(wire.fin_to_close_ns, found.fin_to_close_ns)
    };
    assert!(
        wire.len() == found.len() && wire.iter().zip(found).all(same),
        "{}: wire {wire:?}, tcptrace {found:?}",
        trace.display()
    );
}

fn same(trace: &Path, wire: &[Hold], found: &[Hold]) {
    let trace = trace.display();
    assert_eq!(wire.len(), found.len(), "{trace}: wire {wire:?}, tcptrace {found:?}");
    for (wire, found) in wire.iter().zip(found) {
        let names = |hold: &Hold| -> Vec<String> {
            hold.causes.iter().map(|cause| cause.name().to_owned()).collect()
        };
        // How much of a write found no room only the sleeping program knows.
        let asleep = names(wire) == ["send_buffer"];
        let close = |a_ns: u64, b_ns: u64| a_ns.abs_diff(b_ns) <= ALLOWANCE_NS;
        assert!(
            names(wire) == names(found)
                && wire.release == found.release
                && (asleep || (wire.bytes, wire.tail) == (found.bytes, found.tail))
                && close(wire.monotonic_ns, found.monotonic_ns)
                && close(wire.held_ns, found.held_ns),
            "{trace}: wire {wire:?}, tcptrace {found:?}"
        );
    }
}

#[test]
fn every_page_is_of_a_trace() {
    let page = |trace: &Path, form: &str| {
        place(trace).with_file_name(format!("{}.{form}.snap", story(trace)))
    };
    let shown = folder("traces").join(SHOWN_IN_ALL_WAYS);
    let mut wanted: BTreeSet<PathBuf> =
        ["narrow", "colour", "cat"].map(|form| page(&shown, form)).into();
    for trace in traces() {
        wanted.extend(["text", "json"].map(|form| page(&trace, form)));
    }
    for kernel in entries(&folder("snapshots")).iter().flat_map(|version| entries(version)) {
        for page in entries(&kernel) {
            let place = page.strip_prefix(folder("snapshots")).expect("a page is in there");
            assert!(wanted.contains(place), "there is no trace of {}", page.display());
        }
    }
}

/// Addresses of the kernel's half begin with 16 bits that are set, and have 16 digits.
fn no_kernel_address(path: &Path, text: &str) {
    for word in text.split(|c: char| !c.is_ascii_hexdigit()) {
        let address = word.len() == 16 && word.to_ascii_lowercase().starts_with("ffff");
        assert!(!address, "{}: {word}", path.display());
    }
}

#[test]
fn every_trace_has_its_oracle_and_is_small() {
    let mut bytes = 0;
    for folder in folders() {
        let there: BTreeSet<String> = entries(&folder)
            .iter()
            .filter_map(|path| Some(name(path).strip_suffix(".tcptrace")?.to_owned()))
            .collect();
        let told: BTreeSet<String> = expected(&folder).into_keys().collect();
        assert_eq!(there, told, "{}", folder.display());
    }
    for trace in traces() {
        bytes += trace.metadata().expect("it is there").len();
    }
    assert!(bytes < 600_000, "{bytes} bytes of traces");
}

/// Each kernel of each recording.
fn folders() -> Vec<PathBuf> {
    let versions = entries(&folder("traces")).into_iter().filter(|path| path.is_dir());
    let kernels: Vec<PathBuf> = versions.flat_map(|version| entries(&version)).collect();
    assert!(!kernels.is_empty(), "{kernels:?}");
    kernels
}

fn traces() -> Vec<PathBuf> {
    let all = folders().into_iter().flat_map(|folder| entries(&folder));
    all.filter(|path| path.extension().is_some_and(|end| end == "tcptrace")).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder can be read");
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    paths.sort();
    paths
}
