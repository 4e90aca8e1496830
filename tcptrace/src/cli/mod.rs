//! The command line: flags in, findings to stdout, everything else to stderr, and the exit code.

mod command;
mod manual;
mod options;
mod session;
mod value;
mod wrong;

pub use command::run;
