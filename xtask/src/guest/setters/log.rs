//! strace's log of `setsockopt()`: the calls that docs/sockopt.md says are told.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Deserialize;

/// A call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Logged {
    pub(super) tid: u32,
    /// Level and number of the option.
    pub(super) key: (u32, u32),
    /// The value, as tcptrace prints it; `None` where it is no number and no name.
    pub(super) asked: Option<Asked>,
    /// 0, or a negative error number.
    pub(super) result: i32,
}

/// A value that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Asked {
    Number(i64),
    Word(String),
}

const SOL_IP: u32 = 0;
const SOL_SOCKET: u32 = 1;
const SOL_TCP: u32 = 6;
/// `SO_LINGER` and `TCP_CONGESTION`, whose values are no numbers.
const LINGER: (u32, u32) = (SOL_SOCKET, 13);
const CONGESTION: (u32, u32) = (SOL_TCP, 13);
/// Options of `SOL_SOCKET` that are told (docs/sockopt.md): `SO_DEBUG`, `SO_TYPE`, `SO_SNDBUF`, `SO_RCVBUF`, `SO_KEEPALIVE`,
/// `SO_LINGER`, the two buffers' `FORCE` forms, `SO_BUSY_POLL`, `SO_MAX_PACING_RATE`.
const OF_SOCKETS: [u32; 10] = [1, 3, 7, 8, 9, 13, 32, 33, 46, 47];
/// Switches, of which is told whether they are asked to be on: `TCP_NODELAY`, `TCP_CORK`, `SO_KEEPALIVE`.
const SWITCHES: [(u32, u32); 3] = [(SOL_TCP, 1), (SOL_TCP, 3), (SOL_SOCKET, 9)];

/// Reads a log.
pub(super) fn read(text: &str) -> anyhow::Result<Vec<Logged>> {
    // A call that another thread's line interrupts is put together again.
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let Some((tid, rest)) = line.trim_start().split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(tid, start);
            continue;
        }
        let whole = match rest.split_once(" resumed>") {
            Some((_, end)) => format!("{}{end}", begun.remove(tid).unwrap_or_default()),
            None => rest.to_owned(),
        };
        if whole.starts_with("setsockopt(") {
            let tid = tid.parse().with_context(|| format!("no thread: {line}"))?;
            let (is_told, call) =
                call(tid, &whole).with_context(|| format!("not understood: {line}"))?;
            calls.extend(is_told.then_some(call));
        }
    }
    Ok(calls)
}

/// `setsockopt(FD<PROTOCOL:[...]>, LEVEL, OPTNAME, VALUE, OPTLEN) = RESULT`, and whether it is told.
fn call(tid: u32, text: &str) -> Option<(bool, Logged)> {
    let (call, result) = text.rsplit_once(" = ")?;
    let (socket, arguments) = call.strip_prefix("setsockopt(")?.split_once(">, ")?;
    let (_, protocol) = socket.split_once('<')?;
    let is_tcp = protocol.starts_with("TCP:") || protocol.starts_with("TCPv6:");
    let (level, arguments) = arguments.split_once(", ")?;
    let (optname, arguments) = arguments.split_once(", ")?;
    let (value, _optlen) = arguments.trim_end().strip_suffix(')')?.rsplit_once(", ")?;
    let key = (number(level)?, number(optname)?);
    let is_told = match key.0 {
        SOL_TCP => true,
        SOL_SOCKET => OF_SOCKETS.contains(&key.1),
        SOL_IP => key.1 == 1 && value == "[1]",
        _ => false,
    };
    let call = Logged { tid, key, asked: asked(key, value), result: result_of(result)? };
    Some((is_tcp && is_told, call))
}

/// `0x6` or `6`.
fn number(text: &str) -> Option<u32> {
    let hex = text.strip_prefix("0x").map(|digits| u32::from_str_radix(digits, 16).ok());
    hex.unwrap_or_else(|| text.parse().ok())
}

/// `0`, or `-1 EINVAL (Invalid argument)`.
fn result_of(text: &str) -> Option<i32> {
    let mut words = text.split_whitespace();
    if words.next()? == "0" {
        return Some(0);
    }
    Some(-match words.next()? {
        "EPERM" => libc::EPERM,
        "ENOENT" => libc::ENOENT,
        "EINVAL" => libc::EINVAL,
        "ENOPROTOOPT" => libc::ENOPROTOOPT,
        "EOPNOTSUPP" => libc::EOPNOTSUPP,
        _ => return None,
    })
}

/// `[1]`, `{l_onoff=1, l_linger=5}`, `"reno"`.
fn asked(key: (u32, u32), value: &str) -> Option<Asked> {
    if key == LINGER {
        let part = |name| {
            let (_, rest) = value.split_once(name)?;
            rest.split([',', '}']).next()?.parse::<i64>().ok()
        };
        let (on, seconds) = (part("l_onoff=")?, part("l_linger=")?);
        return Some(if on == 0 { Asked::Word("off".to_owned()) } else { Asked::Number(seconds) });
    }
    let number = value.strip_prefix('[').and_then(|value| value.strip_suffix(']'));
    if key == CONGESTION {
        // What is as long as a number strace takes for one.
        let name = match number {
            Some(number) => {
                number.parse::<i32>().ok()?.to_ne_bytes().map(char::from).iter().collect()
            }
            None => value.trim_matches('"').to_owned(),
        };
        return Some(Asked::Word(name));
    }
    let number: i64 = number?.parse().ok()?;
    Some(Asked::Number(if SWITCHES.contains(&key) { i64::from(number != 0) } else { number }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_tcp_are_read_and_no_others() {
        let log = "12 setsockopt(3<TCP:[127.0.0.1:1->127.0.0.1:2]>, 0x6, 0x1, [2], 4) = 0\n\
                   13 setsockopt(4<TCPv6:[77]>, 0x1, 0xd, {l_onoff=1, l_linger=5}, 8) = 0\n\
                   13 setsockopt(4<UDP:[77]>, 0x1, 0x7, [1], 4) = 0\n\
                   13 setsockopt(4<TCP:[77]>, 0x1, 0x2, [1], 4) = 0\n\
                   12 setsockopt(5<TCP:[5]>, 0x6, 0xd, \"nosuch\", 6 <unfinished ...>\n\
                   12 setsockopt(5<TCP:[5]>, 0x6, 0xd, [1869505906], 4) = 0\n\
                   13 setsockopt(6<TCP:[6]>, 0x6, 0x4, [0], 4) = -1 EINVAL (Invalid argument)\n\
                   12 <... setsockopt resumed>) = -1 ENOENT (No such file or directory)\n";
        let calls = read(log).unwrap();
        let brief: Vec<_> = calls.iter().map(|call| (call.tid, call.key, call.result)).collect();
        assert_eq!(
            brief,
            [
                (12, (6, 1), 0),
                (13, LINGER, 0),
                (12, CONGESTION, 0),
                (13, (6, 4), -libc::EINVAL),
                (12, CONGESTION, -libc::ENOENT)
            ]
        );
        let asked: Vec<_> = calls.into_iter().filter_map(|call| call.asked).collect();
        let word = |word: &str| Asked::Word(word.to_owned());
        assert_eq!(
            asked,
            [Asked::Number(1), Asked::Number(5), word("reno"), Asked::Number(0), word("nosuch")]
        );
    }

    #[test]
    fn a_line_that_is_not_understood_is_an_error() {
        assert!(read("12 setsockopt(3<TCP:[1]>, 0x6) = 0\n").is_err());
        assert!(read("12 setsockopt(3<TCP:[1]>, 0x6, 0x1, [1], 4) = -1 EWHAT (?)\n").is_err());
    }
}
