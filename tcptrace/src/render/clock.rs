//! Times as they are printed: the host's monotonic nanoseconds as wall clock, or since the start.

use jiff::{Timestamp, tz::TimeZone};

use crate::event::Facts;

/// The clock of printed times.
#[derive(Clone, Debug)]
pub enum Clock {
    /// Wall clock in this zone.
    Wall(TimeZone),
    /// Since the start.
    Relative,
}

impl Clock {
    /// `14:03:07.412`, or `+4.312 s`.
    pub fn millis(&self, facts: &Facts, at_ns: u64) -> String {
        self.format(facts, at_ns, 3)
    }

    /// `14:03:07.4`, or `+4.3 s`.
    pub fn tenths(&self, facts: &Facts, at_ns: u64) -> String {
        self.format(facts, at_ns, 1)
    }

    /// `2026-11-22 14:03:02 UTC`; for the relative clock, that of UTC.
    pub fn date(&self, facts: &Facts, at_ns: u64) -> String {
        let zone = match self {
            Self::Wall(zone) => zone.clone(),
            Self::Relative => TimeZone::UTC,
        };
        wall(facts, at_ns).map_or_else(
            || "?".to_owned(),
            |time| time.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S %Z").to_string(),
        )
    }

    fn format(&self, facts: &Facts, at_ns: u64, decimals: usize) -> String {
        match self {
            Self::Relative => {
                let ns = i128::from(at_ns) - i128::from(facts.mono_ns);
                let sign = if ns < 0 { '-' } else { '+' };
                let unit = 10_u128.pow(9 - u32::try_from(decimals).unwrap_or(0).min(9));
                let parts = ns.unsigned_abs() / unit;
                let whole = 1_000_000_000 / unit;
                format!("{sign}{}.{:0decimals$} s", parts / whole, parts % whole)
            }
            Self::Wall(zone) => match wall(facts, at_ns) {
                Some(time) => {
                    let time = time.to_zoned(zone.clone());
                    // Cut off, not rounded, as clocks are.
                    let ns = u64::try_from(time.subsec_nanosecond()).unwrap_or(0);
                    let fraction = format!("{ns:09}");
                    format!(
                        "{}.{}",
                        time.strftime("%H:%M:%S"),
                        fraction.get(..decimals).unwrap_or("")
                    )
                }
                None => "?".to_owned(),
            },
        }
    }
}

/// RFC 3339 with nanoseconds, UTC; `None` outside the years that can be written.
pub(super) fn rfc3339(facts: &Facts, at_ns: u64) -> Option<String> {
    wall(facts, at_ns).map(|time| format!("{time:.9}"))
}

fn wall(facts: &Facts, at_ns: u64) -> Option<Timestamp> {
    let ns = i128::from(facts.real_ns) + i128::from(at_ns) - i128::from(facts.mono_ns);
    Timestamp::from_nanosecond(ns).ok()
}
