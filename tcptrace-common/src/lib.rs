//! What may cross the kernel boundary: the table of hooks, the table of kernel fields, and the records between them.
//!
//! This crate is shared by the BPF programs and by user space. It imports nothing and decides nothing.
#![no_std]

pub mod hook;
pub mod field;
pub mod layout;
pub mod event;
pub mod exchange;
pub mod filter;
pub mod loss;
pub mod sockopt;
pub mod tcp;

/// Version of everything in this crate that crosses the boundary; raised with every change to it.
pub const WIRE_VERSION: u32 = 12;
