//! The questions. One file each; to add one: a `mod` line and a row in TABLE 3, both here.

pub mod nagle;
pub mod timeline;

use tcptrace_common::hook::Hook;

use crate::{
    event::{Event, SocketId},
    finding::{Finding, Task},
};

/// TABLE 3. Row: variant (and, in kebab case, subcommand) = module.
macro_rules! for_each_analysis {
    ($apply:ident) => {
        $apply! {
            Nagle = nagle;
            Timeline = timeline;
        }
    };
}
pub(crate) use for_each_analysis;

/// A pure state machine for one socket. Time is what the events say.
pub trait Analysis: Default {
    /// What one finding of this question concludes.
    type Cause;
    /// What one line of its evidence says.
    type Fact;
    /// Kernel functions this question needs probed; the first [`Self::REQUIRED`] of them it cannot do without.
    const HOOKS: &'static [Hook];
    /// How many of `HOOKS` are indispensable.
    const REQUIRED: usize;
    /// Whether it wants what happens to sockets that hold nothing, too: every write, segment and timer.
    const EVERYTHING: bool = false;
    /// Whether it concludes from time alone: then [`Self::due_ns`] is asked after each event.
    const TICKS: bool = false;

    /// Takes the next event of this socket; pushes what it concludes.
    fn on_event(&mut self, event: &Event, out: &mut Vec<Finding<Self::Cause, Self::Fact>>);
    /// The trace is over at `at_ns`: what was still going on?
    fn on_end(
        &mut self,
        socket: SocketId,
        at_ns: u64,
        out: &mut Vec<Finding<Self::Cause, Self::Fact>>,
    );
    /// Events were lost at `at_ns`: what spans it is uncertain from here on.
    fn on_loss(&mut self, at_ns: u64);
    /// When it concludes although nothing happens, nanoseconds, `CLOCK_MONOTONIC`.
    fn due_ns(&self) -> Option<u64> {
        None
    }
    /// [`Self::due_ns`] has come, and nothing has happened on this socket up to it. What is concluded must not depend
    /// on how much later this is called.
    fn on_due(&mut self, _out: &mut Vec<Finding<Self::Cause, Self::Fact>>) {}
}

macro_rules! declare {
    ($($variant:ident = $module:ident;)*) => {
        /// Which question was asked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $( #[doc = concat!("`", stringify!($module), "`")] $variant ),*
        }

        /// The state of one question for one socket.
        #[derive(Debug)]
        #[expect(
            clippy::large_enum_variant,
            reason = "one run has machines of one question; a larger one than nagle's lies in a box of its own"
        )]
        pub enum Machine {
            $( #[doc = concat!("`", stringify!($module), "`")] $variant($module::Machine) ),*
        }

        /// What a finding of any question concludes.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Cause {
            $( #[doc = concat!("`", stringify!($module), "`")] $variant(<$module::Machine as Analysis>::Cause) ),*
        }

        /// What a line of evidence of any question says.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Fact {
            $( #[doc = concat!("`", stringify!($module), "`")] $variant(<$module::Machine as Analysis>::Fact) ),*
        }

        impl Cause {
            /// The task that began it.
            pub const fn task(&self) -> Option<Task> {
                match self { $( Self::$variant(c) => c.task() ),* }
            }
            /// Holds that it is about, or that end in it.
            pub const fn holds(&self) -> u64 {
                match self { $( Self::$variant(c) => c.holds() ),* }
            }
            /// Lines of its evidence that do not matter to most readers.
            pub const fn minor(&self) -> u64 {
                match self { $( Self::$variant(c) => c.minor() ),* }
            }
        }

        impl Fact {
            /// The task that acted.
            pub const fn task(&self) -> Option<Task> {
                match self { $( Self::$variant(f) => f.task() ),* }
            }
            /// The user stack that it tells, by number.
            pub const fn stack(&self) -> Option<u32> {
                match self { $( Self::$variant(f) => f.stack() ),* }
            }
        }

        impl Kind {
            /// All questions, in the order of the table.
            pub const ALL: &'static [Self] = &[ $( Self::$variant ),* ];
            /// Fresh state for one socket.
            pub fn machine(self) -> Machine {
                match self { $( Self::$variant => Machine::$variant($module::Machine::default()) ),* }
            }
            /// Kernel functions to probe.
            pub const fn hooks(self) -> &'static [Hook] {
                match self { $( Self::$variant => <$module::Machine as Analysis>::HOOKS ),* }
            }
            /// How many of [`Self::hooks`] the question cannot do without.
            pub const fn required(self) -> usize {
                match self { $( Self::$variant => <$module::Machine as Analysis>::REQUIRED ),* }
            }
            /// Whether the question wants what happens to sockets that hold nothing, too.
            pub const fn everything(self) -> bool {
                match self { $( Self::$variant => <$module::Machine as Analysis>::EVERYTHING ),* }
            }
            /// Whether the question concludes from time alone.
            pub const fn ticks(self) -> bool {
                match self { $( Self::$variant => <$module::Machine as Analysis>::TICKS ),* }
            }
        }

        impl Machine {
            /// Takes the next event of this socket.
            pub fn on_event(&mut self, event: &Event, out: &mut Vec<Finding<Cause, Fact>>) {
                match self { $( Self::$variant(m) => {
                    let mut own = Vec::new();
                    m.on_event(event, &mut own);
                    out.extend(own.into_iter().map(|f| f.map(Cause::$variant, Fact::$variant)));
                } ),* }
            }
            /// The trace is over.
            pub fn on_end(&mut self, socket: SocketId, at_ns: u64, out: &mut Vec<Finding<Cause, Fact>>) {
                match self { $( Self::$variant(m) => {
                    let mut own = Vec::new();
                    m.on_end(socket, at_ns, &mut own);
                    out.extend(own.into_iter().map(|f| f.map(Cause::$variant, Fact::$variant)));
                } ),* }
            }
            /// Events were lost.
            pub fn on_loss(&mut self, at_ns: u64) {
                match self { $( Self::$variant(m) => m.on_loss(at_ns) ),* }
            }
            /// When it concludes although nothing happens.
            pub fn due_ns(&self) -> Option<u64> {
                match self { $( Self::$variant(m) => m.due_ns() ),* }
            }
            /// That moment has come.
            pub fn on_due(&mut self, out: &mut Vec<Finding<Cause, Fact>>) {
                match self { $( Self::$variant(m) => {
                    let mut own = Vec::new();
                    m.on_due(&mut own);
                    out.extend(own.into_iter().map(|f| f.map(Cause::$variant, Fact::$variant)));
                } ),* }
            }
        }
    };
}
for_each_analysis!(declare);

/// Falsifies a finding in the way asked for.
#[cfg(feature = "mutate")]
pub fn mutate(
    mut finding: Finding<Cause, Fact>,
    mutation: Option<nagle::Mutation>,
) -> Finding<Cause, Fact> {
    if let (Cause::Nagle(hold), Some(mutation)) = (&mut finding.cause, mutation) {
        hold.mutate(mutation, &mut finding.from_ns);
    }
    finding
}
