//! Why did TCP wait? Everything is in the library; this file is the process.

use std::process::ExitCode;

fn main() -> ExitCode {
    tcptrace::cli::run()
}
