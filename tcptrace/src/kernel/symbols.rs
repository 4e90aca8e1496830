//! The functions the running kernel has, by `/proc/kallsyms`: names only, which needs no rights.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufReader},
};

use tcptrace_common::hook::Hook;

/// Where the kernel lists its functions.
pub const PATH: &str = "/proc/kallsyms";

/// The symbols that hooks may sit on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols(BTreeSet<String>);

impl Symbols {
    /// Keeps, of the running kernel's list, what any row of the hook table names, compiler suffixes included.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn of_running_kernel() -> io::Result<Self> {
        Self::from_lines(BufReader::new(File::open(PATH)?))
    }

    fn from_lines(lines: impl io::BufRead) -> io::Result<Self> {
        let wanted: BTreeSet<&str> = Hook::ALL.iter().flat_map(|h| h.symbols()).copied().collect();
        let mut kept = BTreeSet::new();
        for line in lines.lines() {
            let line = line?;
            let mut words = line.split_ascii_whitespace().skip(1);
            let (Some(kind), Some(name)) = (words.next(), words.next()) else { continue };
            let stem = name.split('.').next().unwrap_or(name);
            // Only text symbols of the kernel itself: a module's name follows in brackets.
            if matches!(kind, "t" | "T") && words.next().is_none() && wanted.contains(stem) {
                kept.insert(name.to_owned());
            }
        }
        Ok(Self(kept))
    }

    /// Where a kprobe for `function` can sit: on itself, or on the part of it that the compiler split off, which has the
    /// socket as its first argument too but promises nothing of the others.
    pub fn kprobe(&self, function: &str, needs_arguments: bool) -> Option<&str> {
        if let Some(name) = self.0.get(function) {
            return Some(name);
        }
        // What link-time optimisation renames is the function itself.
        if let Some(name) = self.with_number(function, ".llvm.") {
            return Some(name);
        }
        if needs_arguments {
            return None;
        }
        self.with_number(function, ".part.")
    }

    /// The symbol that is `function`, `suffix` and a number.
    fn with_number(&self, function: &str, suffix: &str) -> Option<&str> {
        let number = |name: &str| {
            let rest = name.strip_prefix(function)?.strip_prefix(suffix)?;
            Some(!rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
        };
        self.0.iter().map(String::as_str).find(|name| number(name) == Some(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols(text: &str) -> Symbols {
        Symbols::from_lines(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_function_is_taken_before_its_part() {
        let s = symbols("0 t tcp_tsq_write.part.0\n0 t tcp_tsq_write\n0 T tcp_push\n");
        assert_eq!(s.kprobe("tcp_tsq_write", false), Some("tcp_tsq_write"));
        assert_eq!(s.kprobe("tcp_push", true), Some("tcp_push"));
    }

    #[test]
    fn a_part_serves_only_where_no_argument_is_read() {
        let s = symbols("0 t tcp_tsq_write.part.0\n");
        assert_eq!(s.kprobe("tcp_tsq_write", false), Some("tcp_tsq_write.part.0"));
        assert_eq!(s.kprobe("tcp_tsq_write", true), None);
    }

    #[test]
    fn only_a_plain_part_and_a_renamed_function_are_known() {
        let s = symbols("0 t tcp_tsq_write.part.0.isra.0\n0 t tcp_fin.llvm.123\n");
        assert_eq!(s.kprobe("tcp_tsq_write", false), None);
        assert_eq!(s.kprobe("tcp_fin", true), Some("tcp_fin.llvm.123"));
    }

    #[test]
    fn data_and_modules_are_no_functions() {
        let s = symbols("0 d tcp_push\n0 t tcp_fin\t[mymodule]\n0 t tcp_fin.cold\n");
        assert_eq!(s.kprobe("tcp_push", false), None);
        assert_eq!(s.kprobe("tcp_fin", false), None);
    }
}
