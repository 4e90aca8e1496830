//! Numbers as a person reads them: always with their unit, four significant digits at most.

use std::fmt::Write as _;

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// `38 µs`, `226.9 ms`, `7.03 s`: for sentences and tables.
pub fn duration(ns: u64) -> String {
    if ns < MICRO {
        format!("{ns} ns")
    } else if ns < MILLI - MICRO / 2 {
        format!("{} µs", rounded(ns, MICRO))
    } else if ns < SECOND - MILLI / 20 {
        let tenths = rounded(ns, MILLI / 10);
        format!("{}.{} ms", tenths / 10, tenths % 10)
    } else if ns < 10 * SECOND - SECOND / 200 {
        let hundredths = rounded(ns, SECOND / 100);
        format!("{}.{:02} s", hundredths / 100, hundredths % 100)
    } else {
        let tenths = rounded(ns, SECOND / 10);
        if tenths < 10_000 {
            format!("{}.{} s", tenths / 10, tenths % 10)
        } else {
            format!("{} s", rounded(ns, SECOND))
        }
    }
}

/// A limit as a person would type it: `1 ms`, `1.5 s`, `100 µs`; no digit that says nothing.
pub fn limit(ns: u64) -> String {
    let (unit, name) = match ns {
        SECOND.. => (SECOND, "s"),
        MILLI.. => (MILLI, "ms"),
        MICRO.. => (MICRO, "µs"),
        _ => (1, "ns"),
    };
    if ns.is_multiple_of(unit) { format!("{} {name}", ns / unit) } else { duration(ns) }
}

/// Number and unit of an offset in the evidence column: two decimals.
pub fn offset(ns: u64) -> (String, &'static str) {
    let (unit, name) = if ns < SECOND - MILLI / 200 { (MILLI, "ms") } else { (SECOND, "s") };
    let hundredths = rounded(ns, unit / 100);
    (format!("{}.{:02}", hundredths / 100, hundredths % 100), name)
}

/// `105 B`, `1460 B`, `14.2 kB`.
pub fn bytes(count: u64) -> String {
    let tenths = |unit: u64, name: &str| {
        let tenths = rounded(count, unit / 10);
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    };
    match count {
        0..10_000 => format!("{count} B"),
        10_000..1_000_000 => tenths(1_000, "kB"),
        1_000_000..1_000_000_000 => tenths(1_000_000, "MB"),
        _ => tenths(1_000_000_000, "GB"),
    }
}

/// `1,204`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 hold`, `31 holds`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// Ticks of the traced kernel in milliseconds (`224 ms`, `13.3 ms`); in ticks where its HZ is not known.
pub fn ticks(ticks: u32, hz: Option<u32>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = match hz.filter(|hz| *hz > 0) {
        None => write!(out, "{ticks} ticks"),
        Some(hz) => {
            let tenths = rounded(u64::from(ticks) * 10_000, u64::from(hz));
            if tenths.is_multiple_of(10) {
                write!(out, "{} ms", tenths / 10)
            } else {
                write!(out, "{}.{} ms", tenths / 10, tenths % 10)
            }
        }
    };
    out
}

/// Ticks of the traced kernel in nanoseconds.
pub fn ticks_ns(ticks: u32, hz: Option<u32>) -> Option<u64> {
    (u64::from(ticks) * SECOND).checked_div(u64::from(hz?))
}

fn rounded(number: u64, unit: u64) -> u64 {
    number.saturating_add(unit / 2) / unit.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_four_digits_at_most_and_never_round_to_a_thousand() {
        let shown: Vec<_> = [
            400,
            38_000,
            999_499,
            999_500,
            1_449_999,
            226_930_000,
            999_949_999,
            999_950_000,
            7_030_000_000,
            9_995_000_000,
            200_060_000_000,
            4_000_000_000_000,
        ]
        .map(duration)
        .into();
        assert_eq!(
            shown,
            [
                "400 ns", "38 µs", "999 µs", "1.0 ms", "1.4 ms", "226.9 ms", "999.9 ms", "1.00 s",
                "7.03 s", "10.0 s", "200.1 s", "4000 s"
            ]
        );
    }

    #[test]
    fn a_limit_reads_as_it_was_typed() {
        assert_eq!(
            [1_000_000, 1_500_000, 2_000_000_000, 0].map(limit),
            ["1 ms", "1.5 ms", "2 s", "0 ns"]
        );
    }

    #[test]
    fn offsets_have_two_decimals() {
        assert_eq!(offset(226_950_000), ("226.95".to_owned(), "ms"));
        assert_eq!(offset(999_994_999), ("999.99".to_owned(), "ms"));
        assert_eq!(offset(999_995_000), ("1.00".to_owned(), "s"));
    }

    #[test]
    fn bytes_are_whole_below_ten_kilobytes() {
        assert_eq!(
            [8, 1460, 9_999, 14_200, 2_500_000].map(bytes),
            ["8 B", "1460 B", "9999 B", "14.2 kB", "2.5 MB"]
        );
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!(
            [0, 999, 1204, 84113, 1_000_000].map(count),
            ["0", "999", "1,204", "84,113", "1,000,000"]
        );
    }

    #[test]
    fn ticks_become_milliseconds_by_the_traced_kernels_hz() {
        assert_eq!(ticks(56, Some(250)), "224 ms");
        assert_eq!(ticks(4, Some(300)), "13.3 ms");
        assert_eq!(ticks(4, None), "4 ticks");
        assert_eq!(ticks_ns(3, Some(0)), None);
    }
}
