//! What one call made of an option: the data of a finding, and the lines of its evidence.

use schemars::JsonSchema;
use serde::Serialize;

use super::Value;
#[cfg(feature = "mutate")]
use crate::analysis::nagle::Mutation;
use crate::finding::Task;

/// Whether it changed anything. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The socket has another value than before, or bytes left by it.
    TookEffect,
    /// The call succeeded and changed nothing.
    NoEffect,
    /// It was set on a listener: each socket accepted from then on has it.
    InheritedByChildren,
    /// The call failed.
    Refused,
    /// The evidence does not tell.
    Undetermined,
}

/// Why. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The socket had that value before.
    Unchanged,
    /// It counts, or is taken, only before the connection is made.
    Connected,
    /// The kernel takes the option and does nothing with it.
    Ignored,
    /// The number is that of another option at this level: `SO_DEBUG` is 1, as `TCP_NODELAY` is at the level of TCP.
    WrongLevel,
    /// The value is out of the range that the kernel takes.
    BadValue,
    /// This kernel has no such option, or it is not to be set.
    NotKnown,
    /// No congestion control, or no protocol, of this name.
    NoSuchName,
    /// The task lacks the capability, or a policy forbids it.
    NotPermitted,
    /// A sysctl has it switched off.
    SwitchedOff,
    /// It needs a connection.
    NotConnected,
    /// The value's address is not in the program's memory.
    BadAddress,
}

/// The way it was set by. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The system call `setsockopt()`, of 64 or 32 bits.
    Setsockopt,
    /// `io_uring`.
    IoUring,
    /// A BPF program.
    Bpf,
    /// The kernel itself: a module that has the socket.
    Kernel,
    /// Multipath TCP, on a subflow.
    Mptcp,
}

/// What the socket was like at the call. The names are those of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It was not connected: before `connect()` or `listen()`, or after the end of its connection.
    NotConnected,
    /// It listened.
    Listener,
    /// Its connection was being made.
    Connecting,
    /// It was connected.
    Connected,
    /// One end or both had closed.
    Closing,
}

/// What a finding tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// An option was set, or was to be.
    Change(Change),
    /// A socket that was there at the start.
    Existing(Existing),
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Level of the option, `SOL_TCP` and the like.
    pub level: u32,
    /// Its number.
    pub optname: u32,
    /// The way it came by.
    pub via: Via,
    /// Who did; `None` where no task was at work.
    pub task: Option<Task>,
    /// What the socket was like; `None` where the call had begun before it was watched, or the kernel could not be read.
    pub phase: Option<Phase>,
    /// The value before.
    pub old: Option<Value>,
    /// The value after.
    pub new: Option<Value>,
    /// What was asked for, in the unit of the call; for `SO_LINGER` whether it is on.
    pub asked: Option<Value>,
    /// What was asked for behind that: the seconds of `SO_LINGER`.
    pub asked_more: Option<u32>,
    /// 0, or a negative error.
    pub result: i32,
    /// Whether it changed anything.
    pub effect: Effect,
    /// Why.
    pub reason: Option<Reason>,
    /// Bytes that waited before the call and had left when it returned.
    pub released_bytes: Option<u32>,
    /// Bytes that waited before it.
    pub waiting_bytes: Option<u32>,
    /// `TCP_CORK` is on afterwards.
    pub corked: Option<bool>,
    /// `SO_KEEPALIVE` is on afterwards.
    pub keepalive: Option<bool>,
}

/// The options of a socket that was there at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    /// Who has it open; `None` where nobody has.
    pub task: Option<Task>,
    /// What it was like.
    pub phase: Option<Phase>,
    /// Level and number of each option, and its value.
    pub values: Vec<(u32, u32, Value)>,
}

impl Told {
    /// Who set it, or has it.
    pub const fn task(&self) -> Option<Task> {
        match self {
            Self::Change(change) => change.task,
            Self::Existing(existing) => existing.task,
        }
    }

    /// It is about no hold.
    pub const fn holds(&self) -> u64 {
        0
    }

    /// A call that had not returned is not told.
    pub const fn goes_on(&self) -> bool {
        false
    }

    /// All of its lines matter.
    pub const fn minor(&self) -> u64 {
        0
    }

    /// Falsifies what is told in the way asked for: the effect, the value before, or the value after.
    #[cfg(feature = "mutate")]
    pub fn mutate(&mut self, mutation: Mutation) {
        let Self::Change(change) = self else { return };
        match mutation {
            Mutation::Causes => {
                change.effect = match change.effect {
                    Effect::TookEffect | Effect::InheritedByChildren => Effect::NoEffect,
                    _ => Effect::TookEffect,
                };
            }
            Mutation::Releases => change.old = Some(Value::Number(-77)),
            Mutation::Times => change.new = Some(Value::Number(-77)),
        }
    }
}

/// One line of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Fact {
    /// The call began.
    Called {
        /// Bytes that waited to be sent.
        #[serde(skip_serializing_if = "Option::is_none")]
        waiting_bytes: Option<u32>,
        /// Who called.
        #[serde(skip)]
        task: Task,
    },
    /// The call returned.
    Returned {
        /// 0, or a negative error.
        result: i32,
        /// Bytes that waited to be sent.
        #[serde(skip_serializing_if = "Option::is_none")]
        waiting_bytes: Option<u32>,
    },
    /// The socket was read.
    Read,
}

impl Fact {
    /// It tells no user stack.
    pub const fn stack(&self) -> Option<u32> {
        None
    }

    /// The task that acted.
    pub const fn task(&self) -> Option<Task> {
        match self {
            Self::Called { task, .. } => Some(*task),
            Self::Returned { .. } | Self::Read => None,
        }
    }
}
