//! What the running kernel is and has: types, functions, rights. Nothing here loads or attaches anything.

pub mod btf;
pub mod cgroup;
pub mod netns;
pub mod symbols;
pub mod facts;
pub mod ftrace;
pub mod holders;
pub mod privilege;
pub mod process;
pub mod program;
pub mod signals;
pub mod sockets;
