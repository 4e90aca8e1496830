//! The flags of a live run, and what they choose.

use std::{
    env,
    io::{self, IsTerminal as _},
    time::Duration,
};

use clap::ValueEnum;
use jiff::tz::TimeZone;
use tcptrace_common::filter::{Filter, MAX_PORTS};

use super::{
    command::{Failure, WRONG},
    value::{Ports, buffer, duration, duration_or_zero, pid, ports, width},
};
use crate::render::{Clock, Detail, Format, Json, Text};

/// Columns in a pipe, and the most on a terminal.
const WIDTHS: (usize, usize) = (100, 120);

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Local or remote port: 80, 8000-8010, 80,443
    ///
    /// Only sockets with this local or remote port: one, a range 8000-8010, or a list 80,443. Repeated: any of them.
    #[arg(long, value_name = "N", value_parser = ports, help_heading = "Filters")]
    pub(super) port: Vec<Ports>,
    /// Only what this process writes
    ///
    /// Only what this process (all its threads) writes. The number is that of the host, not of a container.
    #[arg(short, long, value_parser = pid, help_heading = "Filters")]
    pub(super) pid: Option<u32>,
    /// Leave out holds that are shorter; 0 shows all
    ///
    /// Leave out single holds that are shorter, as 500us, 1ms, 0.5s; 0 shows all. The summary counts every one.
    #[arg(long, value_name = "DUR", default_value = "1ms", value_parser = duration_or_zero, help_heading = "Filters")]
    pub(super) min_hold: Duration,
    /// One JSON object per line, no text
    ///
    /// One JSON object per line on stdout, no text: a start line, one line per finding, a summary.
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
    /// Every event of the evidence
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
        help_heading = "Output"
    )]
    pub(super) color: Color,
    /// Columns of text
    ///
    /// Columns of text. Default: the terminal's, at most 120; 100 in a pipe.
    #[arg(long, value_name = "N", value_parser = width, help_heading = "Output")]
    pub(super) width: Option<usize>,
    /// Stop after this time: 500ms, 10s, 1h30m
    #[arg(short, long, value_name = "DUR", value_parser = duration, help_heading = "Limits")]
    pub(super) duration: Option<Duration>,
    /// Ring buffer, a power of two
    ///
    /// Size of the ring buffer, a power of two: 512KiB, 4MiB. A larger one loses fewer events.
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = buffer, help_heading = "Limits")]
    pub(super) buffer: u32,
    /// Kind of probe: auto, fentry, kprobe
    ///
    /// Kind of probe: auto (the cheapest that works here), fentry, kprobe.
    #[arg(
        long,
        value_enum,
        value_name = "KIND",
        default_value = "auto",
        hide_possible_values = true,
        help_heading = "Limits"
    )]
    pub(super) attach: Attach,
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

impl Options {
    pub(super) fn ports(&self) -> Vec<(u16, u16)> {
        self.port.iter().flat_map(|ports| ports.0.iter().copied()).collect()
    }

    pub(super) fn filter(&self, ports: &[(u16, u16)]) -> Result<Filter, Failure> {
        let mut filter = Filter { pid: self.pid.unwrap_or(0), ..Filter::ALL };
        let Some(places) = filter.ports.get_mut(..ports.len()) else {
            let message = format!(
                "--port: {} ports or ranges are too many, at most {MAX_PORTS} fit\n  try: a range, as 8000-8010",
                ports.len()
            );
            return Err(Failure { message, code: WRONG });
        };
        places.copy_from_slice(ports);
        filter.ports_len = u32::try_from(ports.len()).unwrap_or(0);
        Ok(filter)
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
        let clock = match self.time {
            Time::Local => Clock::Wall(TimeZone::try_system().unwrap_or(TimeZone::UTC)),
            Time::Utc => Clock::Wall(TimeZone::UTC),
            Time::Relative => Clock::Relative,
        };
        let detail = match (self.quiet, self.verbose) {
            (true, _) => Detail::Verdicts,
            (_, true) => Detail::Everything,
            _ => Detail::Evidence,
        };
        Box::new(Text::new(
            width,
            color(self.color, terminal, |name| env::var(name).ok()),
            clock,
            detail,
        ))
    }
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
        let most = options(&text(MAX_PORTS));
        assert_eq!(most.filter(&most.ports()).ok().map(|filter| filter.ports_len), Some(16));
        let more = options(&text(MAX_PORTS + 1));
        assert_eq!(more.filter(&more.ports()).err().map(|failure| failure.code), Some(WRONG));
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
