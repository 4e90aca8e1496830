//! The command line: flags in, findings to stdout, everything else to stderr, and the exit code.

mod child;
mod command;
mod manual;
mod options;
mod session;
mod user;
mod value;
mod wrong;

pub use command::run;
