//! What the findings say that the kernel has counted, beside what it has.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use tcptrace_common::hook::Hook;

use crate::{
    analysis::{Cause, Kind},
    event::Event,
    timeline::Entry,
};

/// Most network namespaces that are told apart; what is in others is not compared.
const MAX_NETNS: usize = 4096;

/// Counters of one question by network namespace.
#[derive(Debug)]
pub struct Counters {
    kind: Kind,
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
    /// By how much the findings say that they have raised it.
    #[serde(rename = "findings")]
    pub found: u64,
    /// Other connections raise it as well, so that the kernel's may be more; absent when they do not.
    #[serde(skip_serializing_if = "is_false")]
    pub shared: bool,
}

impl Compared {
    /// Whether the kernel has counted what the findings say.
    pub const fn agrees(&self) -> bool {
        if self.shared { self.kernel >= self.found } else { self.kernel == self.found }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Counters that connections without `TCP_DEFER_ACCEPT` raise as well.
const SHARED: [&str; 4] = ["EmbryonicRsts", "ListenOverflows", "SyncookiesRecv", "TCPTimeouts"];

impl Counters {
    /// Nothing is counted yet.
    pub const fn new(kind: Kind) -> Self {
        Self { kind, found: BTreeMap::new(), kernel: BTreeMap::new() }
    }

    /// Counts what a finding says.
    pub fn add(&mut self, entry: &Entry) {
        let raised = match &entry.finding.cause {
            Cause::Fastopen(attempt) => {
                attempt.counters().into_iter().map(|name| (name, 1)).collect()
            }
            Cause::DeferAccept(deferral) => deferral.counters(),
            _ => Vec::new(),
        };
        let Some(netns) = entry.socket.netns else { return };
        for (name, times) in raised {
            let is_full = self.found.len() >= MAX_NETNS * 8;
            if let Some(count) = self.found.get_mut(&(netns, name)) {
                *count += u64::from(times);
            } else if !is_full {
                self.found.insert((netns, name), times.into());
            }
        }
    }

    /// Whether the question's findings tell of this counter.
    fn is_told(&self, name: &str) -> bool {
        match self.kind {
            Kind::Fastopen => name.starts_with("TCPFastOpen"),
            Kind::DeferAccept => name == "TCPDeferAcceptDrop" || SHARED.contains(&name),
            _ => false,
        }
    }

    /// Takes what the kernel has counted.
    pub fn event(&mut self, e: &Event) {
        if e.hook != Hook::netstat {
            return;
        }
        let Some(netns) = e.arg("netns") else { return };
        for (name, _) in e.hook.args() {
            if let Some(rise) = e.arg(name).filter(|_| self.is_told(name)) {
                self.kernel.insert((netns, name), u64::from(rise));
            }
        }
    }

    /// Those that have risen, or should have, of the namespaces whose counters are known.
    pub fn compared(&self) -> Vec<Compared> {
        let one = |(&(netns, name), &kernel): (&(u32, &'static str), &u64)| {
            let found = self.found.get(&(netns, name)).copied().unwrap_or(0);
            let shared = SHARED.contains(&name);
            let says = if shared { found } else { kernel + found };
            (says > 0).then_some(Compared { netns, name, kernel, found, shared })
        };
        self.kernel.iter().filter_map(one).collect()
    }
}
