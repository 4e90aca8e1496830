//! Any bytes as a record of the ring buffer, and what becomes of a record that is one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tcptrace::{event::Raw, trace};
use tcptrace_common::event::HEADER_BYTES;
use tcptrace_fuzz::without;

fuzz_target!(|input: &[u8]| {
    let Ok(Raw { event, .. }) = Raw::decode(input) else { return };
    assert!(input.len() >= HEADER_BYTES + 4 * event.hook.slots());
    let _ = event.comm();
    let read: Vec<_> = event.hook.fields().iter().map(|field| event.field(*field)).collect();
    // What was not read is nothing, whatever the slots held.
    let mut plain = without(&event, 0);
    let fields = 1_u64.wrapping_shl(read.len() as u32) - 1;
    plain.fill(event.valid() & fields as u32);
    assert_eq!(read, plain.hook.fields().iter().map(|f| plain.field(*f)).collect::<Vec<_>>());
    let line = trace::Line(&event).to_string();
    let mut again = trace::parse(&line).expect("what was written can be read");
    (again.n, again.socket) = (event.n, event.socket);
    assert_eq!(again, plain, "{line}");
});
