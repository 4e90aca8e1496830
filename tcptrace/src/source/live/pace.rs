//! When the kernel is asked what was lost. Only then can a tick tell that nothing more was, and only behind a tick is
//! printed what was concluded.

/// So long after the last tick what has come since wants one, nanoseconds: less than a look into the ring buffer waits, so
/// that each look is answered by a tick.
const BUSY_NS: u64 = 100_000_000;
/// After so many events it is not waited for: what is concluded of them takes memory until it is printed.
const MANY: u64 = 2048;
/// So long after the last event something may still be due by time alone, nanoseconds: a stretch of the timeline is over one
/// second after its last line.
const LINGER_NS: u64 = 1_500_000_000;
/// How often the kernel is asked while nothing comes, nanoseconds.
const IDLE_NS: u64 = 1_000_000_000;

/// How long ago what was.
#[derive(Debug)]
pub(super) struct Pace {
    /// The last tick, nanoseconds, `CLOCK_MONOTONIC`.
    ticked_ns: u64,
    /// The last look that has found events.
    came_ns: u64,
    /// Events since the last tick.
    events: u64,
}

impl Pace {
    /// Begins at this moment, nanoseconds, `CLOCK_MONOTONIC`.
    pub(super) const fn from(now_ns: u64) -> Self {
        Self { ticked_ns: now_ns, came_ns: now_ns, events: 0 }
    }

    /// A look at `now_ns` has found so many events.
    pub(super) const fn took(&mut self, now_ns: u64, events: u64) {
        self.events += events;
        if events > 0 {
            self.came_ns = now_ns;
        }
    }

    /// Whether the kernel is to be asked now.
    pub(super) const fn is_due(&self, now_ns: u64) -> bool {
        let since_ns = now_ns.saturating_sub(self.ticked_ns);
        let lingers = now_ns.saturating_sub(self.came_ns) < LINGER_NS;
        self.events >= MANY || since_ns >= if lingers { BUSY_NS } else { IDLE_NS }
    }

    /// The kernel was asked at `now_ns`, and so many events have come with the answer.
    pub(super) const fn ticked(&mut self, now_ns: u64, events: u64) {
        self.took(now_ns, events);
        (self.ticked_ns, self.events) = (now_ns, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// The moments, in milliseconds, at which a reader that looks every 125 ms ticks, where events come with these looks.
    fn ticks(until_ms: u64, events: &[(u64, u64)]) -> Vec<u64> {
        let mut pace = Pace::from(0);
        let mut ticks = Vec::new();
        for at_ms in (125..=until_ms).step_by(125) {
            let came = events.iter().find(|(at, _)| *at == at_ms).map_or(0, |(_, many)| *many);
            pace.took(at_ms * MS, came);
            if pace.is_due(at_ms * MS) {
                pace.ticked(at_ms * MS, 0);
                ticks.push(at_ms);
            }
        }
        ticks
    }

    #[test]
    fn what_has_come_is_ticked_at_once_and_a_second_of_nothing_once() {
        let all = ticks(20_000, &[(10_000, 1)]);
        // At first, and for as long as a stretch of the timeline can still end, every look.
        let within = |from: u64, to: u64| all.iter().filter(|at| (from..to).contains(*at)).count();
        assert_eq!((within(0, 1_500), within(10_000, 11_500)), (11, 12));
        assert!(all.contains(&10_000), "{all:?}");
        // Then one a second.
        assert_eq!((within(3_000, 9_000), within(13_000, 19_000)), (6, 6));
        let gaps = all.windows(2).map(|two| two[1] - two[0]);
        assert_eq!(gaps.max(), Some(1_000));
    }

    #[test]
    fn many_events_do_not_wait_for_the_time() {
        let mut pace = Pace::from(0);
        pace.took(MS, MANY - 1);
        assert!(!pace.is_due(MS));
        pace.took(2 * MS, 1);
        assert!(pace.is_due(2 * MS));
        pace.ticked(2 * MS, 5);
        assert!(!pace.is_due(3 * MS));
        assert!(pace.is_due(102 * MS));
    }
}
