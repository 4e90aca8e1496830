//! Wrong flags: what happened, why, and what to try; one message.

use std::{env, error::Error as _};

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::{command::command, value::BadValue};

/// What is wrong with the flags, why, and what to try.
pub(super) fn wrong(error: &clap::Error) -> String {
    let command = command(env::args().nth(1).as_deref());
    let help = format!("\n  try: {command} -h");
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let name = context(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            let near = near(error, ContextKind::SuggestedSubcommand);
            let list = if near.is_empty() { "\n  try: tcptrace --help" } else { "" };
            format!("no question '{name}'{near}{list}")
        }
        ErrorKind::UnknownArgument => {
            let name = context(error, ContextKind::InvalidArg).unwrap_or_default();
            let what = if name.starts_with('-') { "flag" } else { "argument" };
            let near = near(error, ContextKind::SuggestedArg);
            format!("no {what} '{name}' in {command}{near}{help}")
        }
        ErrorKind::ValueValidation => {
            let flag = flag(error, ContextKind::InvalidArg);
            match error.source().and_then(|source| source.downcast_ref::<BadValue>()) {
                Some(bad) => {
                    format!("{flag}: {}\n  try: {command} {flag} {}", bad.why, bad.instead)
                }
                None => format!("{flag}: not a value it takes{help}"),
            }
        }
        ErrorKind::InvalidValue => format!("{}{help}", not_in_the_list(error)),
        ErrorKind::MissingRequiredArgument => {
            let missing = context(error, ContextKind::InvalidArg).unwrap_or("something");
            format!("{command} needs {missing}{help}")
        }
        ErrorKind::ArgumentConflict if error.get(ContextKind::InvalidSubcommand).is_some() => {
            let flag = flag(error, ContextKind::PriorArg);
            format!("{flag} stands alone, without a command\n  try: tcptrace {flag}")
        }
        ErrorKind::ArgumentConflict => {
            let flags =
                [ContextKind::InvalidArg, ContextKind::PriorArg].map(|kind| flag(error, kind));
            match flags {
                [flag, other] if flag == other => {
                    format!("{flag} was given twice, and takes one value{help}")
                }
                [flag, other] => format!("{flag} and {other} exclude each other{help}"),
            }
        }
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or("these flags cannot be read");
            format!("{}{help}", first.trim_start_matches("error: "))
        }
    }
}

fn not_in_the_list(error: &clap::Error) -> String {
    let flag = flag(error, ContextKind::InvalidArg);
    let valid = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) if !valid.is_empty() => {
            format!(": it takes {}", valid.join(", "))
        }
        _ => String::new(),
    };
    match context(error, ContextKind::InvalidValue) {
        Some(value) if !value.is_empty() => format!("{flag}: not '{value}'{valid}"),
        _ => format!("{flag}: needs a value{valid}"),
    }
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        Some(ContextValue::Strings(texts)) => texts.first().map(String::as_str),
        _ => None,
    }
}

/// `--port` of `--port <N>`.
fn flag(error: &clap::Error, kind: ContextKind) -> &str {
    context(error, kind).and_then(|text| text.split([' ', '=']).next()).unwrap_or("a flag")
}

fn near(error: &clap::Error, kind: ContextKind) -> String {
    context(error, kind).map(|near| format!("; did you mean '{near}'?")).unwrap_or_default()
}
