//! The command line: flags in, findings to stdout, everything else to stderr, and the exit code.

mod attach;
mod child;
mod command;
mod input;
mod interrupt;
mod manual;
mod narrow;
mod options;
mod place;
mod record;
mod replay;
mod session;
mod status;
mod user;
mod value;
mod watch;
mod wrong;

pub use command::run;
