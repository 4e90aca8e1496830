//! What the findings say that the kernel has counted, beside what it has.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use tcptrace_common::hook::Hook;

use crate::{analysis::Cause, event::Event, timeline::Entry};

/// Most network namespaces that are told apart; what is in others is not compared.
const MAX_NETNS: usize = 4096;

/// Counters by network namespace.
#[derive(Debug, Default)]
pub struct Counters {
    /// By namespace and name, those of the findings.
    found: BTreeMap<(u32, &'static str), u64>,
    /// By namespace and name, by how much the kernel's have risen.
    kernel: BTreeMap<(u32, &'static str), u64>,
}

/// One counter of one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Compared {
    /// Number of the network namespace.
    pub netns: u32,
    /// Name of the counter in `/proc/net/netstat`.
    pub name: &'static str,
    /// By how much the kernel's has risen from the start to the end.
    pub kernel: u64,
    /// How many findings say that they have raised it.
    #[serde(rename = "findings")]
    pub found: u64,
}

impl Counters {
    /// Counts what a finding says.
    pub fn add(&mut self, entry: &Entry) {
        let Cause::Fastopen(attempt) = &entry.finding.cause else { return };
        let Some(netns) = entry.socket.netns else { return };
        for name in attempt.counters() {
            let is_full = self.found.len() >= MAX_NETNS * 8;
            if let Some(count) = self.found.get_mut(&(netns, name)) {
                *count += 1;
            } else if !is_full {
                self.found.insert((netns, name), 1);
            }
        }
    }

    /// Takes what the kernel has counted.
    pub fn event(&mut self, e: &Event) {
        if e.hook != Hook::netstat {
            return;
        }
        let Some(netns) = e.arg("netns") else { return };
        for (name, _) in e.hook.args().iter().filter(|(name, _)| *name != "netns") {
            if let Some(rise) = e.arg(name) {
                self.kernel.insert((netns, name), u64::from(rise));
            }
        }
    }

    /// Those that have risen, or should have, of the namespaces whose counters are known.
    pub fn compared(&self) -> Vec<Compared> {
        let one = |(&(netns, name), &kernel): (&(u32, &'static str), &u64)| {
            let found = self.found.get(&(netns, name)).copied().unwrap_or(0);
            (kernel + found > 0).then_some(Compared { netns, name, kernel, found })
        };
        self.kernel.iter().filter_map(one).collect()
    }
}
