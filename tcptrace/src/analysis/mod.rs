//! The questions. One file each; to add one: a `mod` line and a row in TABLE 3, both here.

pub mod close;
pub mod defer_accept;
pub(crate) mod delack;
mod episode;
pub mod fastopen;
pub mod nagle;
pub mod sockopt;
pub mod timeline;

use tcptrace_common::hook::Hook;

use crate::{
    event::{Event, Holder, SocketId},
    finding::{Finding, Task},
};

/// TABLE 3. Row: variant (and, in kebab case, subcommand) = module.
macro_rules! for_each_analysis {
    ($apply:ident) => {
        $apply! {
            Nagle = nagle;
            Fastopen = fastopen;
            DeferAccept = defer_accept;
            Close = close;
            Sockopt = sockopt;
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
    /// Whether it wants what happens to sockets that are closing, and to the minisocks that take their place.
    const CLOSING: bool = false;
    /// Whether it wants what Fast Open does.
    const OPENING: bool = false;
    /// Whether it wants what `TCP_DEFER_ACCEPT` does.
    const DEFERRING: bool = false;
    /// Whether it tells of sockets that were there before the start, where that is asked for.
    const EXISTING: bool = false;
    /// Whether it concludes from time alone: then [`Self::due_ns`] is asked after each event.
    const TICKS: bool = false;

    /// Kernel functions that suffice to count its findings, for `--summary-only`; none where counting takes no less.
    const SPARSE: &'static [Hook] = &[];
    /// How many of `SPARSE` are indispensable.
    const SPARSE_REQUIRED: usize = 0;

    /// No more than [`Self::SPARSE`] will be told.
    fn sparse(&mut self) {}
    /// Looks at what the next event will want of memory: a look at many sockets at once does not wait for each of them. What
    /// it gives means nothing.
    fn glance(&self) -> u64 {
        0
    }
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
    /// Who has the socket open at the end, where that was looked up; [`Self::on_end`] comes next.
    fn on_holder(&mut self, _holder: Holder) {}
    /// Whether the rest of the socket's life, if it has one, matters no more; `gone` says that the socket itself is.
    fn is_over(&self, gone: bool) -> bool {
        gone
    }
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
        pub enum Machine {
            $( #[doc = concat!("`", stringify!($module), "`")] $variant($module::Machine) ),*
        }

        /// Room for what one event concludes, which many events take turns to use; empty between them.
        #[derive(Debug, Default)]
        pub struct Room {
            $( $module: Vec<Finding<<$module::Machine as Analysis>::Cause, <$module::Machine as Analysis>::Fact>> ),*
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
            /// Whether it was still going on when the trace ended.
            pub const fn goes_on(&self) -> bool {
                match self { $( Self::$variant(c) => c.goes_on() ),* }
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
            /// Kernel functions that suffice to count its findings, and how many of them are indispensable.
            pub const fn sparse(self) -> (&'static [Hook], usize) {
                match self { $( Self::$variant => (
                    <$module::Machine as Analysis>::SPARSE,
                    <$module::Machine as Analysis>::SPARSE_REQUIRED,
                ) ),* }
            }
            /// Whether the question wants what happens to sockets that hold nothing, too.
            pub const fn everything(self) -> bool {
                match self { $( Self::$variant => <$module::Machine as Analysis>::EVERYTHING ),* }
            }
            /// Whether the question wants what happens to sockets that are closing.
            pub const fn closing(self) -> bool {
                match self { $( Self::$variant => <$module::Machine as Analysis>::CLOSING ),* }
            }
            /// Whether the question wants what Fast Open does.
            pub const fn opening(self) -> bool {
                match self { $( Self::$variant => <$module::Machine as Analysis>::OPENING ),* }
            }
            /// Whether the question wants what `TCP_DEFER_ACCEPT` does.
            pub const fn deferring(self) -> bool {
                match self { $( Self::$variant => <$module::Machine as Analysis>::DEFERRING ),* }
            }
            /// Whether the question can tell of sockets that were there before the start.
            pub const fn existing(self) -> bool {
                match self { $( Self::$variant => <$module::Machine as Analysis>::EXISTING ),* }
            }
            /// Whether the question concludes from time alone.
            pub const fn ticks(self) -> bool {
                match self { $( Self::$variant => <$module::Machine as Analysis>::TICKS ),* }
            }
        }

        impl Machine {
            /// No more than [`Kind::sparse`] will be told.
            pub fn sparse(&mut self) {
                match self { $( Self::$variant(m) => m.sparse() ),* }
            }
            /// Looks at what the next event will want of memory.
            pub fn glance(&self) -> u64 {
                match self { $( Self::$variant(m) => m.glance() ),* }
            }
            /// Takes the next event of this socket.
            pub fn on_event(&mut self, event: &Event, room: &mut Room, out: &mut Vec<Finding<Cause, Fact>>) {
                match self { $( Self::$variant(m) => {
                    let own = &mut room.$module;
                    m.on_event(event, own);
                    if !own.is_empty() {
                        out.extend(own.drain(..).map(|f| f.map(Cause::$variant, Fact::$variant)));
                    }
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
            /// Who has the socket open at the end.
            pub fn on_holder(&mut self, holder: Holder) {
                match self { $( Self::$variant(m) => m.on_holder(holder) ),* }
            }
            /// Whether the rest of the socket's life matters no more.
            pub fn is_over(&self, gone: bool) -> bool {
                match self { $( Self::$variant(m) => m.is_over(gone) ),* }
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
    match (&mut finding.cause, mutation) {
        (Cause::Nagle(hold), Some(mutation)) => hold.mutate(mutation, &mut finding.from_ns),
        (Cause::Fastopen(attempt), Some(mutation)) => attempt.mutate(mutation),
        (Cause::DeferAccept(deferral), Some(mutation)) => deferral.mutate(mutation),
        (Cause::Close(teardown), Some(mutation)) => teardown.mutate(mutation),
        (Cause::Sockopt(told), Some(mutation)) => told.mutate(mutation),
        _ => {}
    }
    finding
}
