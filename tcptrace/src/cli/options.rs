//! The flags of a live run, and what they choose.

use std::{
    env,
    ffi::OsString,
    io::{self, IsTerminal as _},
    path::PathBuf,
    time::Duration,
};

use clap::ValueEnum;
use jiff::tz::TimeZone;
use tcptrace_common::filter as kernel;

use super::{
    command::{Failure, WRONG, command},
    narrow::Narrow,
    place,
    user::{Account, of_command},
    value::{
        Ports, buffer, comm, count, duration, duration_or_zero, pid, ports, rows, side, sockets,
        width,
    },
};
use crate::{
    explain::Words,
    filter::{Family, Filter, FilterError, Side},
    render::{Clock, Detail, Format, Json, Text},
};

/// Columns in a pipe, and the most on a terminal.
const WIDTHS: (usize, usize) = (100, 120);
/// Shorter holds are not printed singly.
const MIN_HOLD: Duration = Duration::from_millis(1);
/// Holds that a sender of bulk data meets all the time (windows, pacing, the device) are not printed singly when shorter.
const MIN_USUAL_HOLD: Duration = Duration::from_millis(200);

/// What is watched.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Watched {
    /// Local or remote port: 80, 8000-8010, 80,443
    ///
    /// Only sockets with this local or remote port: one, a range 8000-8010, or a list 80,443. Repeated: any of them.
    #[arg(long, value_name = "N", value_parser = ports, help_heading = "Filters")]
    pub(super) port: Vec<Ports>,
    /// Own end: :443, 10.0.0.0/8, 192.0.2.7:443
    ///
    /// Only sockets whose own end is this address, network or port: :443, 192.0.2.7, 10.0.0.0/8, 192.0.2.7:443,
    /// `[2001:db8::]/32`. Repeated: any of them. An IPv4-mapped IPv6 address counts as the IPv4 one.
    #[arg(long, value_name = "ADDR", value_parser = side, help_heading = "Filters")]
    pub(super) local: Vec<Side>,
    /// Other end
    ///
    /// Only sockets whose other end is this address, network or port; written as for --local.
    #[arg(long, value_name = "ADDR", value_parser = side, help_heading = "Filters")]
    pub(super) remote: Vec<Side>,
    /// IPv4 only
    ///
    /// Only IPv4, which includes IPv4-mapped IPv6 sockets.
    #[arg(short = '4', conflicts_with = "ipv6", hide_short_help = true, help_heading = "Filters")]
    pub(super) ipv4: bool,
    /// IPv6 only
    ///
    /// Only IPv6, without IPv4-mapped sockets.
    #[arg(short = '6', hide_short_help = true, help_heading = "Filters")]
    pub(super) ipv6: bool,
    /// Only what this process writes
    ///
    /// Only what this process (all its threads) writes; in close, what it closes. The number is that of the host, not of a container.
    #[arg(short, long, value_parser = pid, help_heading = "Filters")]
    pub(super) pid: Option<u32>,
    /// Only what threads of this name write
    ///
    /// Only what threads of exactly this name write, at most 15 bytes: the comm of the kernel, as ps -L shows it.
    /// Repeated: any of them.
    #[arg(long, value_name = "NAME", value_parser = comm, help_heading = "Filters")]
    pub(super) comm: Vec<String>,
    /// Only what this cgroup, and those below it, write
    ///
    /// Only what processes of this cgroup (version 2), and of those below it, write: a path from the root as
    /// /system.slice/nginx.service, or below /sys/fs/cgroup. Repeated: any of them.
    #[arg(long, value_name = "PATH", hide_short_help = true, help_heading = "Filters")]
    pub(super) cgroup: Vec<String>,
    /// Only what this container writes
    ///
    /// Only what the processes of this container write: its number, or the first 12 digits of that, or a name that
    /// stands in the path of a cgroup, which those of Docker and Kubernetes do not. It is looked up in the paths of the
    /// cgroups (version 2), and no runtime is asked. Repeated: any of them. A recording keeps paths: --cgroup with --read.
    #[arg(long, value_name = "NAME|ID", hide_short_help = true, help_heading = "Filters")]
    pub(super) container: Vec<String>,
    /// Only sockets of this network namespace
    ///
    /// Only sockets of this network namespace: that of a process, or a file as /run/netns/blue, or as the kernel writes it,
    /// net:[4026531840], which is the form for --read. Repeated: any of them. Default: those of all namespaces.
    #[arg(long, value_name = "PID|PATH", hide_short_help = true, help_heading = "Filters")]
    pub(super) netns: Vec<String>,
    /// The user stack of the call that wrote
    ///
    /// Show the user stack of each call that left bytes waiting: at most 8 functions, the innermost first, with file and
    /// line where the program has debug information. It is looked up while the process lives; one that was compiled
    /// without frame pointers shows its innermost function only.
    #[arg(long, hide_short_help = true, help_heading = "Output")]
    pub(super) stack: bool,
    /// Whom COMMAND runs as
    ///
    /// Whom COMMAND runs as: a name, or a number. Default: under sudo whoever typed it, else whoever runs tcptrace.
    #[arg(long, value_name = "NAME", hide_short_help = true, help_heading = "Filters")]
    pub(super) user: Option<String>,
    /// Run it, watch it and its children, stop when it ends
    ///
    /// Run COMMAND, watch what it and its children write, and stop when it ends. It starts once every probe is attached;
    /// its exit status is printed on stderr and changes nothing of tcptrace's own. When tcptrace stops first, by
    /// --duration or by a signal that only it gets, COMMAND runs on without being watched.
    #[arg(last = true, value_name = "COMMAND", help_heading = "Filters")]
    pub(super) command: Vec<OsString>,
}

/// For how long, and by what means.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Limits {
    /// Stop after this time: 500ms, 10s, 1h30m
    #[arg(short, long, value_name = "DUR", value_parser = duration, help_heading = "Limits")]
    pub(super) duration: Option<Duration>,
    /// Ring buffer, a power of two
    ///
    /// Size of the ring buffer, a power of two: 512KiB, 4MiB. A larger one loses fewer events.
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = buffer, hide_short_help = true, help_heading = "Limits")]
    pub(super) buffer: u32,
    /// Sockets that are followed at once
    ///
    /// Most sockets that are followed at once; what more there are is told to be lost. Default: 131072. Before Linux 6.1
    /// 65536, because there the memory for all of them, 100 bytes each, is taken at the start.
    #[arg(long, value_name = "N", value_parser = sockets, hide_short_help = true, help_heading = "Limits")]
    pub(super) max_sockets: Option<u32>,
    /// Kind of probe: auto, fentry, kprobe
    ///
    /// Kind of probe: auto (the cheapest that works here), fentry, kprobe.
    #[arg(
        long,
        value_enum,
        value_name = "KIND",
        default_value = "auto",
        hide_possible_values = true,
        hide_short_help = true,
        help_heading = "Limits"
    )]
    pub(super) attach: Attach,
}

/// A question: what is watched, live or in a recording, and how it is shown.
#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Options {
    #[command(flatten)]
    pub(super) watched: Watched,
    /// Leave out holds that are shorter; 0 shows all [default: 1ms]
    ///
    /// Leave out single holds that are shorter, as 500us, 1ms, 0.5s; 0 shows all. The summary counts every one. The
    /// default is 1ms, and 200ms for what a sender of bulk data meets all the time: a window, pacing,
    /// the device, a full send buffer.
    #[arg(long, value_name = "DUR", value_parser = duration_or_zero, help_heading = "Filters")]
    pub(super) min_hold: Option<Duration>,
    /// Leave out shorter closes in good order; 0 shows all [default: 1ms]
    ///
    /// Leave out single closes in good order that are shorter, as 500us, 1ms, 0.5s; 0 shows all. What is a finding in
    /// itself (a reset, a socket that nobody closes, a FIN that was sent again) is always shown. The summary counts every
    /// one.
    #[arg(long, value_name = "DUR", value_parser = duration_or_zero, help_heading = "Filters")]
    pub(super) min_duration: Option<Duration>,
    /// Only these causes: nagle,cork; help lists them
    ///
    /// Print and count only what one of these held, by the names of --json, as nagle,cork: one cause of several is enough.
    /// In close they are shapes and reasons, as separate,merged. help lists the names.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        hide_short_help = true,
        help_heading = "Filters"
    )]
    pub(super) cause: Vec<String>,
    /// Only these releases: ack,fin; help lists them
    ///
    /// Print and count only what one of these let go, by the names of --json, as ack,fin. help lists the names.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        hide_short_help = true,
        help_heading = "Filters"
    )]
    pub(super) release: Vec<String>,
    /// Rows of the summary's table [default: 10]
    ///
    /// Most rows of the summary's table, the worst first. The default is 10.
    #[arg(long, value_name = "N", value_parser = rows, conflicts_with = "json", hide_short_help = true, help_heading = "Output")]
    pub(super) top: Option<usize>,
    /// No single findings: the summary alone, at the least cost
    ///
    /// Print no single findings, only the summary, and watch only what it takes to count them: the cheapest way. A hold
    /// counts with the cause at its beginning; what let it go is undetermined where the few probes do not tell it, and a
    /// write that sleeps in its call is not counted. With --read, of a full recording, everything is known.
    #[arg(
        long,
        conflicts_with_all = ["min_hold", "count", "verbose", "stack"],
        hide_short_help = true,
        help_heading = "Output"
    )]
    pub(super) summary_only: bool,
    /// First the sockets that are there already
    ///
    /// Tell first the options of the sockets that are there already, read from the sockets without touching them. Filters by
    /// process go by who has a socket open.
    #[arg(long, hide_short_help = true, conflicts_with = "read", help_heading = "Output")]
    pub(super) existing: bool,
    /// Explain a recorded trace; - is stdin
    ///
    /// Explain a recorded trace instead of the running kernel: what record or --write has stored, or a text of cat; -
    /// reads standard input. It needs no privileges and takes the same flags.
    #[arg(
        short,
        long,
        value_name = "FILE",
        conflicts_with_all = ["write", "command", "user", "attach", "buffer", "max_sockets", "container"],
        help_heading = "Output"
    )]
    pub(super) read: Option<PathBuf>,
    /// Store the events that this run uses
    ///
    /// Store the events that this run uses in a file too, for --read. A file that is there already is an error without
    /// --force.
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub(super) write: Option<PathBuf>,
    /// Overwrite FILE
    #[arg(long, requires = "write", hide_short_help = true, help_heading = "Output")]
    pub(super) force: bool,
    /// One JSON object per line, no text
    ///
    /// One JSON object per line on stdout, no text: a start line, one line per finding, a summary.
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
    /// Every event of the evidence, and what each probe costs
    ///
    /// Every event of the evidence; and in the summary what each probe costs, by samples of 100 ms, one a second at first
    /// and then one in 10 s, for which the kernel takes the time of all BPF programs of the host.
    #[arg(short, long, conflicts_with = "quiet", help_heading = "Output")]
    pub(super) verbose: bool,
    /// Verdicts only
    #[arg(short, long, help_heading = "Output")]
    pub(super) quiet: bool,
    /// Clock of printed times: local, utc, relative
    ///
    /// Clock of printed times: local, utc, or relative to the start. JSON has UTC and the monotonic clock always.
    #[arg(
        long,
        value_enum,
        value_name = "CLOCK",
        default_value = "local",
        hide_possible_values = true,
        hide_short_help = true,
        help_heading = "Output"
    )]
    pub(super) time: Time,
    /// Colour: auto, always, never
    ///
    /// Colour: auto (on a terminal, unless `NO_COLOR` is set or `TERM` is dumb), always, never.
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        hide_short_help = true,
        help_heading = "Output"
    )]
    pub(super) color: Color,
    /// Columns of text
    ///
    /// Columns of text. Default: the terminal's, at most 120; 100 in a pipe.
    #[arg(long, value_name = "N", value_parser = width, hide_short_help = true, help_heading = "Output")]
    pub(super) width: Option<usize>,
    /// 1 when there were findings, 4 when losses leave that open
    ///
    /// Exit code 1 when there were findings (after all filters), 4 when there were none but events were lost, so that
    /// this proves nothing; 0 otherwise.
    #[arg(long, hide_short_help = true, help_heading = "Output")]
    pub(super) exit_code: bool,
    /// Stop after so many findings
    #[arg(
        short,
        long,
        value_name = "N",
        value_parser = count,
        hide_short_help = true,
        help_heading = "Limits"
    )]
    pub(super) count: Option<u64>,
    #[command(flatten)]
    pub(super) limits: Limits,
    /// Answer wrongly on purpose.
    #[cfg(feature = "mutate")]
    #[arg(long, hide = true, value_enum)]
    pub(super) mutate: Option<crate::analysis::nagle::Mutation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Time {
    Local,
    Utc,
    Relative,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Attach {
    Auto,
    Fentry,
    Kprobe,
}

impl Time {
    pub(super) fn clock(self) -> Clock {
        match self {
            Self::Local => Clock::Wall(TimeZone::try_system().unwrap_or(TimeZone::UTC)),
            Self::Utc => Clock::Wall(TimeZone::UTC),
            Self::Relative => Clock::Relative,
        }
    }
}

impl Watched {
    /// What is to be watched: what is typed of this host is looked up there, unless a recording is asked.
    pub(super) fn filter(&self, live: bool) -> Result<Filter, Failure> {
        let family = match (self.ipv4, self.ipv6) {
            (true, _) => Some(Family::V4),
            (_, true) => Some(Family::V6),
            _ => None,
        };
        let netns = self.netns.iter().map(|text| place::netns(text, live));
        let cgroups = self.cgroup.iter().map(|text| place::cgroup(text, live));
        let containers = self.container.iter().map(|text| place::container(text));
        Ok(Filter {
            ports: self.port.iter().flat_map(|ports| ports.0.iter().copied()).collect(),
            local: self.local.clone(),
            remote: self.remote.clone(),
            family,
            netns: netns.collect::<Result<_, _>>()?,
            pid: self.pid,
            comms: self.comm.clone(),
            cgroups: cgroups.chain(containers).collect::<Result<_, _>>()?,
            command: None,
        })
    }

    /// Whom COMMAND runs as; `None` is whoever runs tcptrace.
    pub(super) fn account(&self) -> Result<Option<Account>, Failure> {
        match &self.user {
            Some(name) if self.command.is_empty() => Err(Failure {
                message: format!(
                    "--user: there is no COMMAND to run as '{name}'\n  try: {} --user {name} -- COMMAND",
                    command(env::args().nth(1).as_deref())
                ),
                code: WRONG,
            }),
            user => of_command(user.as_deref()),
        }
    }
}

/// Shorter findings are counted, not printed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Least {
    /// Of any kind, nanoseconds.
    pub(super) any_ns: u64,
    /// Of those whose causes are usual for bulk data, nanoseconds.
    pub(super) usual_ns: u64,
    /// Any is printed at all; otherwise all are only counted.
    pub(super) singly: bool,
}

impl Options {
    /// What findings of `words` are printed singly.
    pub(super) fn least(&self, words: &Words) -> Result<Least, Failure> {
        let given = [
            ("--min-hold", self.min_hold, "every hold", "nagle"),
            ("--min-duration", self.min_duration, "no such thing", "close"),
        ];
        let wrong = given.iter().find(|(flag, limit, ..)| limit.is_some() && *flag != words.least);
        if let Some((flag, _, shows, taker)) = wrong {
            let message = format!(
                "{flag}: tcptrace {0} shows {shows}; tcptrace {taker} takes it\n  try: tcptrace {0} -h",
                words.question
            );
            return Err(Failure { message, code: WRONG });
        }
        let limit = self.min_hold.or(self.min_duration);
        let in_ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Ok(Least {
            any_ns: in_ns(limit.unwrap_or(MIN_HOLD)),
            usual_ns: in_ns(limit.unwrap_or(MIN_USUAL_HOLD)),
            singly: !self.summary_only,
        })
    }

    /// The causes and releases asked for.
    pub(super) fn narrow(&self, words: &Words) -> Result<Narrow, Failure> {
        for (flag, given) in [("--top", self.top.is_some()), ("--summary-only", self.summary_only)]
        {
            if given && words.columns.is_empty() {
                let message = format!(
                    "{flag}: the summary of tcptrace {} has no table; tcptrace nagle takes it\n  try: tcptrace {0} -h",
                    words.question
                );
                return Err(Failure { message, code: WRONG });
            }
        }
        Narrow::new(words, &self.cause, &self.release)
    }

    pub(super) fn format(&self) -> Box<dyn Format> {
        if self.json {
            return Box::new(Json);
        }
        let terminal = io::stdout().is_terminal();
        let size =
            || terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
        let columns = || {
            env::var("COLUMNS")
                .ok()
                .and_then(|columns| columns.parse().ok())
                .filter(|columns| *columns > 0)
        };
        let (pipe, most) = WIDTHS;
        let width = self.width.unwrap_or_else(|| {
            if terminal { columns().or_else(size).unwrap_or(pipe).min(most) } else { pipe }
        });
        let detail = match (self.quiet, self.verbose) {
            (true, _) => Detail::Verdicts,
            (_, true) => Detail::Everything,
            _ => Detail::Evidence,
        };
        Box::new(Text::new(
            width,
            color(self.color, terminal, |name| env::var(name).ok()),
            self.time.clock(),
            detail,
        ))
    }
}

/// The form that the programs take; what does not fit in there is a wrong flag.
pub(super) fn kernel_form(filter: &Filter) -> Result<kernel::Filter, Failure> {
    filter.kernel().map_err(|error| {
        let (flag, instead) = match error {
            FilterError::TooMany { flag: "--port", .. } => ("--port", "--port 8000-8010"),
            FilterError::TooMany { flag: "--local", .. } => ("--local", "--local 10.0.0.0/8"),
            FilterError::TooMany { flag: "--remote", .. } => ("--remote", "--remote 10.0.0.0/8"),
            FilterError::TooMany { flag: "--netns", .. } => ("--netns", "--port 80"),
            FilterError::TooMany { flag: "--cgroup", .. } => ("--cgroup", "--cgroup /system.slice"),
            _ => ("--comm", "--pid $(pidof -s server)"),
        };
        let command = command(env::args().nth(1).as_deref());
        Failure { message: format!("{flag}: {error}\n  try: {command} {instead}"), code: WRONG }
    })
}

/// Whether to colour: `--color` first, then `NO_COLOR`, `CLICOLOR_FORCE`, `TERM`, then who reads.
fn color(wanted: Color, terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name| variable(name).is_some_and(|value: String| !value.is_empty());
    match wanted {
        Color::Always => true,
        Color::Never => false,
        Color::Auto if set("NO_COLOR") => false,
        Color::Auto if variable("CLICOLOR_FORCE").is_some_and(|value| value == "1") => true,
        Color::Auto => terminal && variable("TERM").is_none_or(|term| term != "dumb"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::command::{Cli, Command};

    #[test]
    fn more_ranges_than_fit_are_refused() {
        let options = |text: &str| match Cli::try_parse_from(["tcptrace", "nagle", "--port", text])
            .unwrap()
            .command
        {
            Some(Command::Question(question)) => question.parts().1,
            _ => panic!("no question"),
        };
        let text =
            |count: usize| (1..=count).map(|port| port.to_string()).collect::<Vec<_>>().join(",");
        let most = options(&text(kernel::MAX_PORTS));
        let kernel = |options: &Options| kernel_form(&options.watched.filter(true).ok().unwrap());
        assert_eq!(kernel(&most).ok().map(|filter| filter.ports_len), Some(16));
        let more = options(&text(kernel::MAX_PORTS + 1));
        assert_eq!(kernel(&more).err().map(|failure| failure.code), Some(WRONG));
    }

    #[test]
    fn colour_is_for_terminals_unless_someone_says_otherwise() {
        let with = |wanted, terminal, name: &'static str, value: &'static str| {
            color(wanted, terminal, |asked| (asked == name).then(|| value.to_owned()))
        };
        assert!(with(Color::Auto, true, "", "") && !with(Color::Auto, false, "", ""));
        assert!(
            !with(Color::Auto, true, "NO_COLOR", "1") && with(Color::Auto, true, "NO_COLOR", "")
        );
        assert!(
            !with(Color::Auto, true, "TERM", "dumb")
                && with(Color::Auto, false, "CLICOLOR_FORCE", "1")
        );
        assert!(with(Color::Always, false, "NO_COLOR", "1") && !with(Color::Never, true, "", ""));
    }
}
