//! What the programs cost, by samples: the kernel takes the time of BPF programs only while somebody wants it to, and then of
//! every program of the host, at two readings of the clock for each run.

use std::os::fd::OwnedFd;

use crate::kernel::program::{self, Counts};

/// How long a sample takes, at least.
const SAMPLE_NS: u64 = 100_000_000;
/// From the start of one sample to that of the next: at first, so that a short run has several, and then.
const SOON_NS: u64 = 1_000_000_000;
const EVERY_NS: u64 = 10_000_000_000;

/// Takes the time of the programs: all the time, where the kernel does anyway, else in samples, where these are wanted.
#[derive(Default)]
pub(super) struct Meter {
    /// The kernel took the time of all programs when the run began.
    is_taken: bool,
    samples: bool,
    sample: Option<Sample>,
    /// When the next sample begins.
    next_ns: u64,
    /// How many have begun.
    begun: u64,
    /// What all of them took together.
    over_ns: u64,
    /// Runs and time in them, program by program.
    spent: Vec<(u64, u64)>,
}

/// A sample that is being taken.
struct Sample {
    /// While it is open, the kernel takes the time.
    _counting: OwnedFd,
    since_ns: u64,
    before: Vec<Counts>,
}

/// What it has come to.
pub(super) struct Measured {
    /// How long all samples took, where there were any.
    pub(super) sampled_ns: Option<u64>,
    /// Runs and time, program by program, in the order in which they were asked for.
    pub(super) by_program: Vec<(u64, u64)>,
}

impl Meter {
    /// Before the first event; `samples` says whether these are wanted.
    pub(super) fn new(samples: bool) -> Self {
        Self { is_taken: program::takes_time(), samples, ..Self::default() }
    }

    /// Begins a sample, or ends one, where it is time; `counts` asks the kernel about all programs.
    pub(super) fn look(&mut self, now_ns: u64, counts: impl FnOnce() -> Vec<Counts>) {
        match &self.sample {
            Some(sample) if now_ns >= sample.since_ns + SAMPLE_NS => {
                self.end_sample(now_ns, &counts());
            }
            None if self.samples && !self.is_taken && now_ns >= self.next_ns => {
                let is_young = self.begun < EVERY_NS / SOON_NS;
                self.next_ns = now_ns + if is_young { SOON_NS } else { EVERY_NS };
                self.begun += 1;
                // Whoever lacks CAP_SYS_ADMIN has an estimate.
                self.sample = program::take_time().ok().map(|counting| Sample {
                    _counting: counting,
                    since_ns: now_ns,
                    before: counts(),
                });
                self.samples = self.sample.is_some();
            }
            _ => {}
        }
    }

    /// What it has come to, with what the kernel counts now; `None` where nobody took the time, or not from start to end.
    pub(super) fn end(mut self, now_ns: u64, counts: &[Counts]) -> Option<Measured> {
        if self.is_taken {
            let by_program = counts.iter().map(|of| (of.run_cnt, of.run_time_ns)).collect();
            return program::takes_time().then_some(Measured { sampled_ns: None, by_program });
        }
        self.end_sample(now_ns, counts);
        let Self { over_ns, spent: by_program, .. } = self;
        (over_ns > 0).then_some(Measured { sampled_ns: Some(over_ns), by_program })
    }

    fn end_sample(&mut self, now_ns: u64, after: &[Counts]) {
        let Some(Sample { _counting, since_ns, before }) = self.sample.take() else { return };
        self.spent.resize(after.len(), (0, 0));
        for ((sum, before), after) in self.spent.iter_mut().zip(&before).zip(after) {
            sum.0 += after.run_cnt.saturating_sub(before.run_cnt);
            sum.1 += after.run_time_ns.saturating_sub(before.run_time_ns);
        }
        self.over_ns += now_ns.saturating_sub(since_ns);
    }
}
