//! The command line from outside: help, wrong flags and exit codes. Nothing here attaches a probe.
#![expect(clippy::print_stdout, reason = "a check that this host has no program for is said")]

use std::collections::BTreeSet;
use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

fn tcptrace(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tcptrace"))
        .args(args)
        .output()
        .expect("the binary was built for this test")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("tcptrace writes UTF-8")
}

/// Exit code 2, nothing on stdout, exactly this on stderr.
fn refused(args: &[&str], stderr: &str) {
    let output = tcptrace(args);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""), "{args:?}");
    assert_eq!(text(&output.stderr), stderr, "{args:?}");
}

#[test]
fn alone_it_lists_what_asks_for_a_cause_then_what_works_and_exits_2() {
    let output = tcptrace(&[]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""));
    let list = "\nQuestions:\n  nagle         why written bytes waited, and what let them go\n  \
                fastopen      did TCP Fast Open work, and if not, why\n  \
                defer-accept  what TCP_DEFER_ACCEPT did to each connection\n  \
                close         what shape each close had, and why\n  \
                sockopt       who set which TCP option, when, and whether it could still matter\n\n\
                Work:\n  timeline      everything known about each socket, in order\n  record        ";
    assert!(text(&output.stderr).contains(list), "{}", text(&output.stderr));
}

#[test]
fn help_goes_to_stdout_and_fits_one_screen() {
    for args in [
        ["-h"].as_slice(),
        &["nagle", "-h"],
        &["close", "-h"],
        &["fastopen", "-h"],
        &["defer-accept", "-h"],
        &["sockopt", "-h"],
        &["timeline", "-h"],
        &["record", "-h"],
        &["completions", "-h"],
    ] {
        let output = tcptrace(args);
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
        let help = text(&output.stdout);
        assert!(help.lines().count() <= 25, "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
        let flags: Vec<&str> = help
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix('-'))
            .filter_map(|line| line.split("  ").next())
            .collect();
        let once: BTreeSet<&str> = flags.iter().copied().collect();
        assert!(!flags.is_empty() && flags.len() == once.len(), "{help}");
    }
}

#[test]
fn the_flags_of_a_question_stand_by_what_they_do_and_help_is_last() {
    for question in ["nagle", "timeline", "record"] {
        for flag in ["-h", "--help"] {
            let help = text(&tcptrace(&[question, flag]).stdout);
            let headings: Vec<&str> = help
                .lines()
                .filter(|line| ["Filters:", "Output:", "Limits:", "Options:"].contains(line))
                .collect();
            assert_eq!(headings, ["Filters:", "Output:", "Limits:", "Options:"], "{help}");
        }
    }
}

#[test]
fn only_what_works_is_in_the_help() {
    let help = ["-h", "--help"].map(|flag| text(&tcptrace(&["nagle", flag]).stdout)).concat();
    for flag in ["--mutate", "--perfetto", "--html"] {
        assert!(!help.contains(flag), "{flag}");
        assert_eq!(tcptrace(&["nagle", &format!("{flag}-"), "x"]).status.code(), Some(2), "{flag}");
    }
    for flag in [
        "--port",
        "--local",
        "--remote",
        "--pid",
        "--comm",
        "--user",
        "--cgroup",
        "--container",
        "--netns",
        "--stack",
        "--cause",
        "--release",
        "--top",
        "--min-hold",
        "--duration",
        "--json",
        "--attach",
        "--buffer",
        "--max-sockets",
        "--time",
        "--width",
        "--read",
        "--write",
        "--force",
        "--count",
        "--exit-code",
    ] {
        assert!(help.contains(flag), "{flag}");
    }
}

#[test]
fn a_flag_that_a_command_cannot_honour_is_an_error_that_names_one_that_can() {
    let help = ["-h", "--help"].map(|flag| text(&tcptrace(&["timeline", flag]).stdout)).concat();
    assert!(!help.contains("--min-hold") && help.contains("--port"), "{help}");
    refused(
        &["timeline", "--min-hold", "0"],
        "error: --min-hold: tcptrace timeline shows every hold; tcptrace nagle takes it\n  \
         try: tcptrace timeline -h\n",
    );
    refused(
        &["timeline", "--cause", "cork"],
        "error: --cause: tcptrace timeline shows every event; tcptrace nagle takes it\n  \
         try: tcptrace nagle --cause cork\n",
    );
    refused(
        &["timeline", "--top", "3"],
        "error: --top: the summary of tcptrace timeline has no table; tcptrace nagle takes it\n  \
         try: tcptrace timeline -h\n",
    );
}

/// A recording of this version's first one, on 6.1.
fn recorded(name: &str) -> String {
    format!("{}/tests/traces/0.1.0/6.1/{name}.tcptrace", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn causes_and_releases_narrow_what_is_printed_and_counted() {
    let trace = recorded("cork_probe_timer_then_tail");
    for (flags, holds) in [
        (["--cause", "cork"].as_slice(), 2),
        (&["--cause", "nagle,msg_more"], 0),
        (&["--cause", "nagle", "--cause", "cork"], 2),
        (&["--release", "loss_probe"], 1),
        (&["--release", "loss_probe,ack", "--cause", "cork"], 1),
        (&["--release", "ack"], 0),
    ] {
        let output = tcptrace(&[&["nagle", "--json", "--exit-code", "-r", &trace], flags].concat());
        let found = text(&output.stdout);
        assert_eq!(found.matches("\"type\":\"hold\"").count(), holds, "{flags:?}: {found}");
        assert!(found.contains(&format!("\"type\":\"summary\",\"holds\":{holds},")), "{found}");
        assert_eq!(output.status.code(), Some(i32::from(holds > 0)), "{flags:?}");
    }
    let said = |flags: &[&str]| {
        text(&tcptrace(&[&["nagle", "-r", &trace], flags].concat()).stdout).replace('\n', " ")
    };
    assert!(!said(&[]).contains(", only "));
    let none = said(&["--cause", "nagle,msg_more", "--release", "ack"]);
    let told = ", only cause nagle or msg_more, release ack: no hold was one of these. ";
    assert!(none.contains(told), "{none}");
    assert!(said(&["--release", "loss_probe"]).contains(", only release loss_probe: 1 hold on "));
    let started = said(&["--json", "--cause", "cork"]);
    assert!(started.contains(r#""only":{"cause":["cork"]},"#), "{started}");
    let help = text(&tcptrace(&["nagle", "--cause", "help"]).stdout);
    assert!(help.contains("--cause cork ") && !help.contains("--release"), "{help}");
    refused(
        &["nagle", "--release", "cork"],
        &format!(
            "error: --release: no 'cork' in tcptrace nagle: there are {}\n  \
             try: tcptrace nagle --release help\n",
            text(&tcptrace(&["nagle", "--release", "help"]).stdout)
                .lines()
                .filter_map(|line| line.split_whitespace().nth(1))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    );
}

#[test]
fn the_table_has_as_many_rows_as_are_wanted() {
    let trace = recorded("cork_probe_timer_then_tail");
    let shown =
        |flags: &[&str]| text(&tcptrace(&[&["nagle", "-r", &trace], flags].concat()).stdout);
    assert!(!shown(&[]).contains("in other rows"));
    let one = shown(&["--top", "1"]);
    assert!(one.contains("probe timer") && one.contains("  1 hold in other rows\n"), "{one}");
    refused(
        &["nagle", "--top", "0"],
        "error: --top: '0' is not a number of rows\n  try: tcptrace nagle --top 10\n",
    );
}

#[test]
fn a_recording_is_not_asked_what_only_this_host_knows() {
    let trace = recorded("cork_probe_timer_then_tail");
    for (flags, said) in [
        (["--netns", "1"], "a recording knows numbers only"),
        (["--container", "web"], "--container"),
        (["--cgroup", "/a/.."], "not a path from the root"),
    ] {
        let output = tcptrace(&[&["nagle", "-r", &trace], flags.as_slice()].concat());
        let error = text(&output.stderr);
        assert!(output.status.code() == Some(2) && error.contains(said), "{error}");
    }
    let output = tcptrace(&["nagle", "-r", &trace, "--stack"]);
    assert!(text(&output.stderr).contains("recorded without stacks"));
    let other = tcptrace(&["nagle", "--json", "-r", &trace, "--netns", "net:[7]"]);
    assert!(text(&other.stdout).contains("\"holds\":0,"));
    // It does not tell cgroups, and what is not known keeps nothing out.
    let unknown = tcptrace(&["nagle", "--json", "-r", &trace, "--cgroup", "/a"]);
    assert!(text(&unknown.stdout).contains("\"holds\":2,"));
}

#[test]
fn version_names_the_formats_and_the_object() {
    let output = tcptrace(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    let version = text(&output.stdout);
    let object = version.trim_end().rsplit(' ').next().unwrap_or_default().trim_end_matches(')');
    assert!(
        version.starts_with(concat!(
            "tcptrace ",
            env!("CARGO_PKG_VERSION"),
            " (trace format 1, wire format "
        )),
        "{version}"
    );
    assert!(object.len() == 16 && object.chars().all(|c| c.is_ascii_hexdigit()), "{version}");
}

#[test]
fn a_near_miss_gets_one_suggestion() {
    refused(&["nagel"], "error: no question 'nagel'; did you mean 'nagle'?\n");
    refused(&["nag"], "error: no question 'nag'; did you mean 'nagle'?\n");
    refused(&["xyzzy"], "error: no question 'xyzzy'\n  try: tcptrace --help\n");
    refused(
        &["nagle", "--prt", "80"],
        "error: no flag '--prt' in tcptrace nagle; did you mean '--port'?\n  try: tcptrace nagle -h\n",
    );
}

#[test]
fn wrong_values_say_what_and_why_and_what_to_try() {
    let cases = [
        (
            ["--port", "0"],
            "--port: 0 is not a port: ports are 1 to 65535\n  try: tcptrace nagle --port 80\n",
        ),
        (
            ["--port", "65536"],
            "--port: 65536 is not a port: ports are 1 to 65535\n  try: tcptrace nagle --port 8080\n",
        ),
        (["--port", "90-80"], "--port: 90-80 runs backwards\n  try: tcptrace nagle --port 80-90\n"),
        (
            ["-d", "10"],
            "--duration: 10 of what? 10s, 10ms, 10m\n  try: tcptrace nagle --duration 10s\n",
        ),
        (
            ["--min-hold", "1"],
            "--min-hold: 1 of what? 1s, 1ms, 1m\n  try: tcptrace nagle --min-hold 1s\n",
        ),
        (
            ["--buffer", "3MiB"],
            "--buffer: 3MiB is not a power of two from 4KiB to 1GiB\n  try: tcptrace nagle --buffer 4MiB\n",
        ),
        (
            ["--max-sockets", "0"],
            "--max-sockets: '0' is not a number from 1 to 67108864\n  try: tcptrace nagle --max-sockets 1000000\n",
        ),
        (
            ["--pid", "0"],
            "--pid: '0' is not a process number\n  try: tcptrace nagle --pid $(pidof -s server)\n",
        ),
        (
            ["--time", "mars"],
            "--time: not 'mars': it takes local, utc, relative\n  try: tcptrace nagle -h\n",
        ),
        (["-v", "-q"], "--verbose and --quiet exclude each other\n  try: tcptrace nagle -h\n"),
    ];
    for ([flag, value], stderr) in cases {
        refused(&["nagle", flag, value], &format!("error: {stderr}"));
    }
    refused(
        &["completions"],
        "error: tcptrace completions needs <SHELL>\n  try: tcptrace completions -h\n",
    );
    refused(
        &["completions", "ksh"],
        "error: <SHELL>: not 'ksh': it takes bash, zsh, fish\n  try: tcptrace completions -h\n",
    );
    refused(
        &["--json-schema", "nagle"],
        "error: --json-schema stands alone, without a command\n  try: tcptrace --json-schema\n",
    );
    refused(&["nagle", "--port"], "error: --port: needs a value\n  try: tcptrace nagle -h\n");
    refused(
        &["nagle", "extra"],
        "error: no argument 'extra' in tcptrace nagle\n  try: tcptrace nagle -h\n",
    );
}

#[test]
fn wrong_filters_say_what_and_why_and_what_to_try() {
    let cases = [
        (
            ["--local", "10.0.0/8"],
            "--local: '10.0.0/8' is not an address: it takes 192.0.2.7, 10.0.0.0/8, [2001:db8::]/32, :443\n  try: tcptrace nagle --local 192.0.2.0/24\n",
        ),
        (
            ["--remote", "10.0.0.0/33"],
            "--remote: '10.0.0.0/33': a prefix here has 0 to 32 bits\n  try: tcptrace nagle --remote 192.0.2.0/24\n",
        ),
        (
            ["--remote", "[::1]:70000"],
            "--remote: '[::1]:70000': '70000' is not a port: ports are 1 to 65535\n  try: tcptrace nagle --remote :443\n",
        ),
        (
            ["--comm", "sixteen-bytes-it"],
            "--comm: 'sixteen-bytes-it' has 16 bytes: the kernel keeps only 15 of a thread's name\n  try: tcptrace nagle --comm sixteen-bytes-i\n",
        ),
        (
            ["--user", "anna"],
            "--user: there is no COMMAND to run as 'anna'\n  try: tcptrace nagle --user anna -- COMMAND\n",
        ),
        (["-4", "-6"], "-4 and -6 exclude each other\n  try: tcptrace nagle -h\n"),
    ];
    for ([flag, value], stderr) in cases {
        refused(&["nagle", flag, value], &format!("error: {stderr}"));
    }
    let many = "--comm a ".repeat(9);
    let many: Vec<&str> = ["nagle"].into_iter().chain(many.split_whitespace()).collect();
    refused(
        &many,
        "error: --comm: 9 names are too many, at most 8 fit\n  try: tcptrace nagle --pid $(pidof -s server)\n",
    );
}

#[test]
fn the_schema_is_printed_as_it_is_tested() {
    let output = tcptrace(&["--json-schema"]);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed, serde_json::Value::from(tcptrace::render::schema()));
}

/// What `program` complains about, given `input`; `None` where it is not here, which is said.
fn complaints(program: &str, args: &[&str], input: &Path) -> Option<String> {
    let input = fs::File::open(input).expect("the test has written it");
    match Command::new(program).args(args).stdin(input).stdout(Stdio::null()).output() {
        Ok(output) => {
            let failed = if output.status.success() { "" } else { "failed: " };
            Some(format!("{failed}{}", text(&output.stderr)))
        }
        Err(error) => {
            println!("not checked with {program}: {error}");
            None
        }
    }
}

#[test]
fn every_shell_that_is_here_reads_its_completions() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for shell in ["bash", "zsh", "fish"] {
        let output = tcptrace(&["completions", shell]);
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
        assert!(text(&output.stdout).contains("min-hold"), "{shell}");
        let file = folder.join(format!("completions.{shell}"));
        fs::write(&file, &output.stdout).unwrap();
        let complaints = complaints(shell, &["-n"], &file);
        assert!(complaints.as_deref().unwrap_or_default().is_empty(), "{shell}: {complaints:?}");
        assert!(shell != "bash" || complaints.is_some(), "every host of ours has bash");
    }
}

#[test]
fn the_manual_pages_are_set_without_a_warning() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("man");
    let output = tcptrace(&["man", folder.to_str().expect("cargo's folders are UTF-8")]);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    for page in ["tcptrace.8", "tcptrace-nagle.8", "tcptrace-completions.8"] {
        let args = ["-man", "-ww", "-Tutf8", "-z"];
        let complaints = complaints("groff", &args, &folder.join(page)).unwrap_or_default();
        assert_eq!(complaints, "", "{page}");
    }
    let help = text(&tcptrace(&["--help"]).stdout);
    assert!(!help.contains("\n  man "), "{help}");
    let missing = tcptrace(&["man", "/proc/nowhere"]);
    assert_eq!(missing.status.code(), Some(2));
}
