//! The BPF programs. Each probed kernel function has a file in [`probe`]; only [`read`] reads kernel memory, only
//! [`emit`] writes the ring buffer. Nothing is decided here but whether an event is worth emitting.
#![no_std]
#![no_main]
// One atomic addition is written as an instruction of the BPF processor.
#![feature(asm_experimental_arch)]

mod closing;
mod emit;
mod exchange;
mod existing;
mod filter;
mod frame;
mod maps;
mod probe;
mod process;
mod read;
mod request;
mod socket;
mod sockopt;
mod stack;

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
