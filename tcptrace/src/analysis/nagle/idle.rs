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
#[derive(Debug, Default)]
pub struct Machine(State);

#[derive(Debug)]
enum State {
    Idle(Kept),
    Busy(Box<machine::Machine>),
}

impl Default for State {
    fn default() -> Self {
        Self::Idle(Kept::default())
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
                    self.0 = State::Idle(machine.kept());
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
        if let State::Idle(kept) = &mut self.0
            && kept.suffices(event)
        {
            return;
        }
        self.with(|machine| machine.on_event(event, out));
    }

    fn on_end(&mut self, socket: SocketId, at_ns: u64, out: &mut Vec<Finding<Hold, Fact>>) {
        // One that holds nothing has nothing more to say.
        if let State::Busy(machine) = &mut self.0 {
            machine.on_end(socket, at_ns, out);
        }
    }

    fn on_loss(&mut self, at_ns: u64) {
        self.with(|machine| machine.on_loss(at_ns));
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path};

    use super::*;
    use crate::{
        finding::Evidence,
        trace::{Item, Reader},
    };

    /// One socket, by the short way where it suffices and by the long one.
    #[derive(Default)]
    struct Both {
        short: Machine,
        long: machine::Machine,
    }

    #[test]
    fn what_passes_a_socket_that_holds_nothing_is_taken_as_by_one_that_does() {
        let (mut sufficed, mut holds) = (0, 0);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces/0.1.0/6.1");
        for trace in fs::read_dir(folder).unwrap() {
            let path = trace.unwrap().path();
            if path.extension().is_none_or(|end| end != "tcptrace") {
                continue;
            }
            let mut sockets: BTreeMap<SocketId, Both> = BTreeMap::new();
            let mut reader = Reader::new(fs::File::open(&path).unwrap()).unwrap();
            let _cut = reader.run(&mut |item| {
                let Item::Event(event) = item else { return true };
                let Both { short, long } = sockets.entry(event.socket).or_default();
                let (mut few, mut all) = (Vec::new(), Vec::new());
                let was_idle = matches!(short.0, State::Idle(_));
                short.on_event(&event, &mut few);
                long.on_event(&event, &mut all);
                assert_eq!(few, all, "{event:?}");
                holds += all.len();
                assert_eq!(long.is_idle(), matches!(short.0, State::Idle(_)), "{event:?}");
                if let State::Idle(kept) = &short.0 {
                    let whole = std::mem::take(long).kept();
                    assert_eq!(format!("{kept:?}"), format!("{whole:?}"), "{event:?}");
                    *long = whole.into();
                    sufficed += usize::from(was_idle);
                }
                true
            });
        }
        assert!(sufficed > 1_000 && holds > 50, "{sufficed} {holds}");
    }

    #[test]
    fn a_socket_and_a_line_of_its_evidence_take_little_room() {
        // A hundred thousand sockets can hold bytes at one time, each with a few lines.
        assert_eq!((size_of::<Machine>(), size_of::<Evidence<Fact>>()), (72, 56));
    }
}
