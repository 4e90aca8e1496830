//! Sockets that hold nothing are nearly all sockets: of these only what outlives a hold is kept.

use tcptrace_common::hook::Hook;

use crate::{
    analysis::{
        Analysis,
        nagle::{
            Fact, Held, Hold,
            machine::{self, Kept},
        },
    },
    event::{Event, SocketId},
    finding::Finding,
};

/// The state of one socket, which takes room for a hold only while there is one.
#[derive(Debug)]
pub struct Machine(State);

#[derive(Debug)]
enum State {
    Idle(Kept),
    Busy(Box<machine::Machine>),
}

impl Default for Machine {
    fn default() -> Self {
        Self(State::Idle(Kept::default()))
    }
}

impl Machine {
    /// Since when the oldest write waits, nanoseconds, `CLOCK_MONOTONIC`; how many bytes do; and what holds them.
    pub(in crate::analysis) fn held(&self) -> Option<(u64, u32, Held)> {
        match &self.0 {
            State::Idle(_) => None,
            State::Busy(machine) => machine.held(),
        }
    }

    fn with(&mut self, act: impl FnOnce(&mut machine::Machine)) {
        match &mut self.0 {
            State::Idle(kept) => {
                let mut machine = machine::Machine::from(std::mem::take(kept));
                act(&mut machine);
                self.0 = if machine.is_idle() {
                    State::Idle(machine.kept())
                } else {
                    State::Busy(Box::new(machine))
                };
            }
            State::Busy(machine) => {
                act(machine);
                if machine.is_idle() {
                    self.0 = State::Idle(std::mem::take(&mut **machine).kept());
                }
            }
        }
    }
}

impl Analysis for Machine {
    type Cause = Hold;
    type Fact = Fact;
    const HOOKS: &'static [Hook] = machine::Machine::HOOKS;
    const REQUIRED: usize = machine::Machine::REQUIRED;
    const SPARSE: &'static [Hook] = machine::Machine::SPARSE;
    const SPARSE_REQUIRED: usize = machine::Machine::SPARSE_REQUIRED;

    fn sparse(&mut self) {
        self.with(machine::Machine::sparse);
    }

    fn glance(&self) -> u64 {
        match &self.0 {
            State::Idle(kept) => kept.glance(),
            State::Busy(machine) => machine.glance(),
        }
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Finding<Hold, Fact>>) {
        self.with(|machine| machine.on_event(event, out));
    }

    fn on_end(&mut self, socket: SocketId, at_ns: u64, out: &mut Vec<Finding<Hold, Fact>>) {
        self.with(|machine| machine.on_end(socket, at_ns, out));
    }

    fn on_loss(&mut self, at_ns: u64) {
        self.with(|machine| machine.on_loss(at_ns));
    }
}
