//! The questions as commands, help and version, and the exit code.

use std::{
    borrow::Cow,
    env,
    fmt::Write as _,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{
    CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum, error::ErrorKind,
};
use clap_complete::Shell;
use tcptrace_common::WIRE_VERSION;

use super::{
    manual::{self, ENVIRONMENT, EXIT_STATUS},
    options::Options,
    record::{self, record},
    replay::{self, cat, replay},
    watch::watch,
    wrong::wrong,
};
use crate::{
    analysis::{Kind, for_each_analysis},
    explain::words,
    render,
    source::live,
    trace::FORMAT,
};

/// Wrong flags, or output that could not be written.
pub(super) const WRONG: u8 = 2;
/// This host or user cannot.
pub(super) const CANNOT: u8 = 3;

/// What ends a run early: what to print, and the exit code.
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) code: u8,
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let parsed = tree().subcommand(man()).try_get_matches();
    let result = match parsed.as_ref().map(clap::ArgMatches::subcommand) {
        Ok(Some(("man", matches))) => matches
            .get_one::<PathBuf>("DIR")
            .map_or(Ok(()), |folder| manual::write(tree(), folder).map_err(|e| unwritten(&e)))
            .map(|()| 0),
        _ => match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
            Ok(Cli { json_schema: true, .. }) => print(&json_schema()).map(|()| 0),
            Ok(Cli { command: Some(command), .. }) => command.run(),
            Ok(Cli { command: None, .. }) => {
                // Nothing better is left to do when stderr is gone.
                let _ = write!(io::stderr(), "{}", tree().render_help());
                return ExitCode::from(WRONG);
            }
            Err(error) => flags(&error).map(|()| 0),
        },
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            let _ = writeln!(io::stderr(), "error: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

/// Why did TCP wait? Explains waiting bytes from inside the kernel, to a person and to a program.
#[derive(Debug, Parser)]
#[command(
    name = "tcptrace",
    version,
    override_usage = "tcptrace QUESTION|timeline [FILTERS] [OUTPUT] [LIMITS] [-- COMMAND ARGS...]\n       tcptrace completions SHELL",
    subcommand_help_heading = "COMMANDS",
    subcommand_value_name = "COMMAND",
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    infer_subcommands = false,
    max_term_width = 100,
    after_help = "tcptrace nagle -h lists the flags of nagle, --help explains it; so with every name above."
)]
pub(super) struct Cli {
    /// JSON Schema of --json
    ///
    /// Prints the JSON Schema (draft 2020-12) of one line of --json, for every question, and ends.
    #[arg(long)]
    json_schema: bool,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    #[command(flatten)]
    Question(Question),
    #[command(
        about = "write a trace to a file, explain it later and elsewhere",
        long_about = RECORD,
        after_long_help = ending(),
        override_usage = "tcptrace record -o FILE [FILTERS] [LIMITS] [-- COMMAND ARGS...]",
        disable_help_flag = true,
        arg = help_flag(),
        max_term_width = 100
    )]
    Record(record::Options),
    #[command(
        about = "ask a recorded trace every question it can answer",
        long_about = REPLAY,
        after_long_help = ending(),
        max_term_width = 100
    )]
    Replay(replay::Options),
    #[command(
        about = "print a trace as text (which is accepted back as input)",
        long_about = CAT,
        after_long_help = ending(),
        max_term_width = 100
    )]
    Cat {
        /// What record or --write has stored; - is stdin. Several files of one recording, in their order
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
    #[command(
        about = "shell completions for bash, zsh, fish",
        long_about = COMPLETIONS,
        max_term_width = 100
    )]
    Completions {
        /// bash, zsh or fish
        #[arg(value_enum, value_name = "SHELL", hide_possible_values = true)]
        shell: Complete,
    },
}

const RECORD: &str = "\
Writes a trace to a file: what every question needs, to be explained later, elsewhere, by anyone, without privileges.

The file is a row of independent zstd frames with checksums. One that was cut off is read up to its last whole frame; at \
most half a second, or 64 KiB of its text, are missing when tcptrace is killed. The kernel's events are never kept \
waiting for the disk: what it cannot take in time is left out, and counted in the file. A full disk ends the recording; \
its whole frames stay. No byte of what is sent is stored.";

const REPLAY: &str = "\
Reads a recorded trace once and tells what each question makes of it. tcptrace nagle -r FILE asks one of them.";

const CAT: &str = "\
Prints recorded traces as text, one line per event behind a header; docs/trace.md describes it. Every command that \
reads a trace takes the text as well. The files of one rotated recording, in their order, are printed as one.";

const COMPLETIONS: &str = "\
Prints completions for a shell, to be put where that shell looks for them.

bash: /etc/bash_completion.d/tcptrace; zsh: a folder of $fpath, as _tcptrace; fish: \
~/.config/fish/completions/tcptrace.fish.";

/// A shell that completions are made for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Complete {
    Bash,
    Zsh,
    Fish,
}

impl Command {
    fn run(self) -> Result<u8, Failure> {
        match self {
            Self::Record(options) => record(&options),
            Self::Replay(options) => replay(&options),
            Self::Cat { files } => cat(&files),
            Self::Question(question) => {
                let (kind, options) = question.parts();
                watch(kind, &options)
            }
            Self::Completions { shell } => {
                let shell = match shell {
                    Complete::Bash => Shell::Bash,
                    Complete::Zsh => Shell::Zsh,
                    Complete::Fish => Shell::Fish,
                };
                print(&manual::completions(tree(), shell)).map(|()| 0)
            }
        }
    }
}

/// All that a person may type. What asks for a cause stands in a list of its own.
pub(super) fn tree() -> clap::Command {
    let command = Cli::command();
    let width = command.get_subcommands().map(|each| each.get_name().len()).max().unwrap_or(0);
    let (mut questions, mut work) = (String::new(), String::new());
    for each in command.get_subcommands().filter(|each| !each.is_hide_set()) {
        let name = each.get_name();
        let asks = Kind::ALL.iter().map(|kind| words(*kind)).any(|w| w.asks && w.question == name);
        let list = if asks { &mut questions } else { &mut work };
        let about = each.get_about().map(ToString::to_string).unwrap_or_default();
        // A String takes everything.
        let _ = writeln!(list, "  {name:width$}  {about}");
    }
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\nQuestions:\n{questions}\nWork:\n{work}\n\
         Options:\n{{options}}{{after-help}}"
    ))
}

/// For `cargo xtask dist`: writes the manual pages into a folder. It is beside the tree, because completions name what
/// is only hidden.
fn man() -> clap::Command {
    let folder = clap::Arg::new("DIR").required(true).value_parser(clap::value_parser!(PathBuf));
    clap::Command::new("man").hide(true).arg(folder)
}

fn json_schema() -> Vec<u8> {
    // A tree of values has no keys that are not strings, so it cannot fail.
    let mut text = serde_json::to_vec_pretty(&render::schema()).unwrap_or_default();
    text.push(b'\n');
    text
}

macro_rules! questions {
    ($($variant:ident = $module:ident;)*) => {
        #[derive(Debug, Subcommand)]
        pub(super) enum Question {
            $(
                #[command(
                    about = words(Kind::$variant).about,
                    long_about = words(Kind::$variant).manual,
                    after_long_help = ending(),
                    disable_help_flag = true,
                    arg = help_flag(),
                    mut_arg("min_hold", |arg| arg.hide(words(Kind::$variant).least != "--min-hold")),
                    mut_arg("min_duration", |arg| arg.hide(words(Kind::$variant).least != "--min-duration")),
                    mut_arg("cause", |arg| arg.hide(!words(Kind::$variant).asks)),
                    mut_arg("release", |arg| arg.hide((words(Kind::$variant).releases)().is_empty())),
                    mut_arg("summary_only", |arg| arg.hide(Kind::$variant.sparse().0.is_empty())),
                    mut_arg("existing", |arg| arg.hide(!Kind::$variant.existing())),
                    mut_arg("top", |arg| arg.hide(!words(Kind::$variant).asks)),
                    max_term_width = 100
                )]
                $variant(Options)
            ),*
        }

        impl Question {
            pub(super) fn parts(self) -> (Kind, Options) {
                match self { $( Self::$variant(options) => (Kind::$variant, options) ),* }
            }
        }
    };
}
for_each_analysis!(questions);

/// It names its heading: without one it would stand before the filters.
fn help_flag() -> clap::Arg {
    clap::Arg::new("help")
        .short('h')
        .long("help")
        .action(clap::ArgAction::Help)
        .help("Print help (see more with '--help')")
        .long_help("Print help (see a summary with '-h')")
        .help_heading("Options")
}

/// The end of a question's `--help`.
fn ending() -> String {
    let codes: Vec<String> =
        EXIT_STATUS.iter().map(|(code, what)| format!("{code} {what}")).collect();
    let variables: Vec<&str> = ENVIRONMENT.iter().map(|(name, _)| *name).collect();
    format!(
        "Exit codes: {}. Findings go to stdout, everything else to stderr.\n\nEnvironment: {}.",
        codes.join("; "),
        variables.join(", ")
    )
}

/// Help and version are no errors; anything else becomes one message.
fn flags(error: &clap::Error) -> Result<(), Failure> {
    let text = match error.kind() {
        ErrorKind::DisplayHelp => error.render().to_string(),
        ErrorKind::DisplayVersion => format!(
            "tcptrace {} (trace format {FORMAT}, wire format {WIRE_VERSION}, BPF object {})\n",
            env!("CARGO_PKG_VERSION"),
            live::object_hash()
        ),
        _ => return Err(Failure { message: wrong(error), code: WRONG }),
    };
    print(text.as_bytes())
}

/// To stdout; a reader that has seen enough is no error.
pub(super) fn print(text: &[u8]) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(unwritten(&error)),
        _ => Ok(()),
    }
}

pub(super) fn unwritten(error: &io::Error) -> Failure {
    Failure { message: format!("output could not be written: {error}"), code: WRONG }
}

/// The command that was meant, as far as it can be told.
pub(super) fn command(first: Option<&str>) -> Cow<'static, str> {
    let known = |name: &&str| tree().get_subcommands().any(|command| command.get_name() == *name);
    first
        .filter(known)
        .map_or(Cow::Borrowed("tcptrace"), |name| Cow::Owned(format!("tcptrace {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        tree().subcommand(man()).debug_assert();
    }
}
