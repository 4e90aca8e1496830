//! Who else sits on the kernel's functions.

use std::{collections::BTreeSet, fs};

/// Where tracefs is found: at its own place, or below debugfs. Only root may look.
const FILES: [&str; 2] =
    ["/sys/kernel/tracing/enabled_functions", "/sys/kernel/debug/tracing/enabled_functions"];

/// The functions at whose entry more than one kind of tracer sits: all BPF trampolines of a function (fentry, fexit) are one,
/// all kprobes of the host are one, the function tracer and live patches are others. Empty where that cannot be told.
pub fn mixed() -> BTreeSet<String> {
    FILES.iter().find_map(|file| fs::read_to_string(file).ok()).map_or_else(BTreeSet::new, |text| {
        text.lines().filter_map(several).map(str::to_owned).collect()
    })
}

/// The function of a line `name (number) flags ...`, where the number is more than one (`t_show()`, kernel/trace/ftrace.c).
fn several(line: &str) -> Option<&str> {
    let mut words = line.split_ascii_whitespace();
    let (name, number) = (words.next()?, words.next()?);
    let number: u32 = number.strip_prefix('(')?.strip_suffix(')')?.parse().ok()?;
    (number > 1).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::several;

    #[test]
    fn functions_with_several_tracers_are_told_from_those_with_one() {
        let line = "tcp_push (2) R   D   \ttramp: ftrace_regs_caller+0x0/0x65 (call_direct_funcs+0x0/0x20)";
        assert_eq!(several(line), Some("tcp_push"));
        assert_eq!(several(&line.replace("(2)", "(1)")), None);
        assert_eq!(several("\tdirect-->bpf_trampoline_6442489229+0x0/0xf6"), None);
        assert_eq!(several(""), None);
    }
}
