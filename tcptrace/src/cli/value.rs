//! Values as they are typed: ports, durations, sizes.

use std::{error::Error, fmt, time::Duration};

use crate::{analysis::Kind, explain::words};

use tcptrace_common::filter::COMM_BYTES;

use crate::filter::{Side, SideError};

pub(super) const MIB: u32 = 1 << 20;
/// Most sockets that are followed at once: their table alone has 1 GiB then.
pub(super) const MOST_SOCKETS: u32 = 1 << 26;
/// Largest ring buffer that is taken.
pub(super) const MOST_BUFFER: u32 = 1 << 30;

/// One `--port`: first and last of each range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ports(pub(super) Vec<(u16, u16)>);

/// A value that a flag does not take.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadValue {
    pub(super) why: String,
    /// One that it takes.
    pub(super) instead: String,
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Error for BadValue {}

fn bad<T>(why: impl Into<String>, instead: impl Into<String>) -> Result<T, BadValue> {
    Err(BadValue { why: why.into(), instead: instead.into() })
}

pub(super) fn ports(text: &str) -> Result<Ports, BadValue> {
    text.split(',').map(port_range).collect::<Result<_, _>>().map(Ports)
}

fn port_range(text: &str) -> Result<(u16, u16), BadValue> {
    let Some((first, last)) = text.split_once('-').filter(|(first, _)| !first.is_empty()) else {
        return port(text).map(|port| (port, port));
    };
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return bad(format!("{text} runs backwards"), format!("{last}-{first}"));
    }
    Ok((first, last))
}

fn port(text: &str) -> Result<u16, BadValue> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(0) => bad("0 is not a port: ports are 1 to 65535", "80"),
        Ok(port) if digits => Ok(port),
        _ if digits => bad(format!("{text} is not a port: ports are 1 to 65535"), "8080"),
        _ => bad(format!("'{text}' is not a port: it takes 80, 8000-8010 or 80,443"), "8080"),
    }
}

pub(super) fn pid(text: &str) -> Result<u32, BadValue> {
    match text.parse::<u32>() {
        Ok(pid) if pid > 0 && pid <= i32::MAX.unsigned_abs() => Ok(pid),
        _ => bad(format!("'{text}' is not a process number"), "$(pidof -s server)"),
    }
}

pub(super) fn side(text: &str) -> Result<Side, BadValue> {
    text.parse().map_err(|SideError { why, instead }| BadValue { why, instead })
}

/// The kernel keeps 15 bytes of a thread's name, so that a longer one would never match.
pub(super) fn comm(text: &str) -> Result<String, BadValue> {
    let most = COMM_BYTES - 1;
    if text.is_empty() {
        return bad("no thread has an empty name", "nginx");
    }
    if text.len() <= most {
        return Ok(text.to_owned());
    }
    let why = format!(
        "'{text}' has {} bytes: the kernel keeps only {most} of a thread's name",
        text.len()
    );
    let cut = (0..=most).rev().find_map(|end| text.get(..end)).unwrap_or_default();
    bad(why, cut)
}

/// A question, by the name that is typed.
pub(super) fn question(text: &str) -> Result<Kind, BadValue> {
    let known = |kind: &&Kind| words(**kind).question == text;
    let names = || Kind::ALL.iter().map(|kind| words(*kind).question).collect::<Vec<_>>();
    Kind::ALL.iter().find(known).copied().map_or_else(
        || bad(format!("no question '{text}': there are {}", names().join(", ")), "nagle"),
        Ok,
    )
}

/// How many rows are shown.
pub(super) fn rows(text: &str) -> Result<usize, BadValue> {
    match text.parse() {
        Ok(rows) if rows > 0 => Ok(rows),
        _ => bad(format!("'{text}' is not a number of rows"), "10"),
    }
}

/// How many files are kept.
pub(super) fn files(text: &str) -> Result<usize, BadValue> {
    match text.parse() {
        Ok(files) if files > 0 => Ok(files),
        _ => bad(format!("'{text}' is not a number of files"), "16"),
    }
}

/// `64MiB`, at least 64 KiB.
pub(super) fn size(text: &str) -> Result<u64, BadValue> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit_bytes: u64 = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "" if !number.is_empty() => {
            return bad(format!("{number} of what? {number}MiB, {number}GiB"), "64MiB");
        }
        _ => return bad(format!("'{text}' is not a size: it takes 64MiB, 1GiB"), "64MiB"),
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_bytes)) {
        Some(bytes) if bytes >= 64 << 10 => Ok(bytes),
        _ => bad(format!("{text} is less than 64KiB, or too large"), "64MiB"),
    }
}

pub(super) fn count(text: &str) -> Result<u64, BadValue> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => bad(format!("'{text}' is not a number of findings"), "1"),
    }
}

pub(super) fn width(text: &str) -> Result<usize, BadValue> {
    match text.parse() {
        Ok(width) if (40..=1000).contains(&width) => Ok(width),
        _ => bad(format!("'{text}' is not a width of 40 to 1000 columns"), "100"),
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, BadValue> {
    match duration_or_zero(text)? {
        Duration::ZERO => bad("0 would stop at once", "10s"),
        duration => Ok(duration),
    }
}

/// `500ms`, `10s`, `1.5s`, `1h30m`, `0`.
pub(super) fn duration_or_zero(text: &str) -> Result<Duration, BadValue> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let not_one = || bad(format!("'{text}' is not a duration: it takes 500ms, 10s, 1h30m"), "10s");
    let (mut rest, mut total) = (text, 0_u64);
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit_ns: u64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" | "min" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" if decimal(number, 1).is_some() => {
                return bad(
                    format!("{number} of what? {number}s, {number}ms, {number}m"),
                    format!("{text}s"),
                );
            }
            _ => return not_one(),
        };
        match decimal(number, unit_ns).and_then(|ns| total.checked_add(ns)) {
            Some(sum) => total = sum,
            None => return not_one(),
        }
        rest = after;
    }
    if text.is_empty() { not_one() } else { Ok(Duration::from_nanos(total)) }
}

/// `number` (with a fraction or without) times `unit`, cut off to a whole.
fn decimal(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 || number.ends_with('.') {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let part = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()? };
    let all =
        u128::from(whole.parse::<u64>().ok()?) * u128::from(unit) + part * u128::from(unit) / scale;
    u64::try_from(all).ok()
}

/// `4MiB`: a power of two from 4 KiB to 1 GiB.
pub(super) fn buffer(text: &str) -> Result<u32, BadValue> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit_bytes: u32 = match unit {
        "KiB" => 1 << 10,
        "MiB" => MIB,
        "GiB" => 1 << 30,
        "" if !number.is_empty() => {
            return bad(format!("{number} of what? {number}MiB, {number}KiB"), "4MiB");
        }
        _ => return bad(format!("'{text}' is not a size: it takes 512KiB, 4MiB"), "4MiB"),
    };
    match number.parse::<u32>().ok().and_then(|number| number.checked_mul(unit_bytes)) {
        Some(bytes) if bytes.is_power_of_two() && (4096..=MOST_BUFFER).contains(&bytes) => {
            Ok(bytes)
        }
        _ => bad(format!("{text} is not a power of two from 4KiB to 1GiB"), "4MiB"),
    }
}

/// `1000000`: sockets that are followed at once.
pub(super) fn sockets(text: &str) -> Result<u32, BadValue> {
    match text.parse() {
        Ok(number) if (1..=MOST_SOCKETS).contains(&number) => Ok(number),
        _ => bad(format!("'{text}' is not a number from 1 to {MOST_SOCKETS}"), "1000000"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_numbers_ranges_and_lists() {
        assert_eq!(ports("8080"), Ok(Ports(vec![(8080, 8080)])));
        assert_eq!(ports("80,443,8000-8010"), Ok(Ports(vec![(80, 80), (443, 443), (8000, 8010)])));
        let why = |text| ports(text).unwrap_err().why;
        assert_eq!(why("0"), "0 is not a port: ports are 1 to 65535");
        assert_eq!(why("65536"), "65536 is not a port: ports are 1 to 65535");
        assert_eq!(
            ports("90-80").unwrap_err(),
            BadValue { why: "90-80 runs backwards".into(), instead: "80-90".into() }
        );
        for text in ["", "+80", "http", "80,", "-5", "80-", "1-2-3"] {
            assert!(why(text).contains("is not a port"), "{text}: {}", why(text));
        }
    }

    #[test]
    fn durations_need_a_unit() {
        for (text, ms) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            ("2m", 120_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(duration_or_zero("0"), Ok(Duration::ZERO));
        assert_eq!(duration_or_zero("100us"), Ok(Duration::from_micros(100)));
        assert_eq!(duration("10").unwrap_err().why, "10 of what? 10s, 10ms, 10m");
        assert_eq!(duration("1h30").unwrap_err().why, "30 of what? 30s, 30ms, 30m");
        assert_eq!(duration("0").unwrap_err().why, "0 would stop at once");
        for text in ["", "s", "-1s", "1..5s", "1.s", "5 s", "1d", "99999999999h", "1e3s"] {
            assert!(duration(text).unwrap_err().why.contains("is not a duration"), "{text}");
        }
    }

    #[test]
    fn the_buffer_is_a_power_of_two() {
        assert_eq!(
            [buffer("4MiB"), buffer("512KiB"), buffer("1GiB")],
            [Ok(4 << 20), Ok(512 << 10), Ok(1 << 30)]
        );
        for text in ["3MiB", "0MiB", "2KiB", "2GiB", "99999999999MiB"] {
            assert!(buffer(text).unwrap_err().why.contains("power of two"), "{text}");
        }
        assert_eq!(buffer("16").unwrap_err().why, "16 of what? 16MiB, 16KiB");
        assert!(buffer("4MB").unwrap_err().why.contains("is not a size"));
    }

    #[test]
    fn a_number_of_sockets_is_at_least_one_and_fits() {
        assert_eq!([sockets("1"), sockets("67108864")], [Ok(1), Ok(1 << 26)]);
        for text in ["0", "67108865", "1M", "-1", ""] {
            assert!(sockets(text).unwrap_err().why.contains("is not a number from 1"), "{text}");
        }
    }

    #[test]
    fn process_numbers_and_widths_have_limits() {
        assert_eq!((pid("2211"), width("80")), (Ok(2211), Ok(80)));
        for text in ["0", "-1", "x", "4294967295"] {
            assert!(pid(text).is_err(), "{text}");
        }
        assert!(width("10").is_err() && width("x").is_err());
    }
}
