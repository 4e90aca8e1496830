//! Any bytes as a trace: as a file, as the contents of frames with right checksums, as the lines of a text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tcptrace::trace::{Item, ReadError, Reader, binary::MARK, read::End};
use tcptrace_fuzz::{frame, header};

fuzz_target!(|input: &[u8]| {
    let (form, rest) = input.split_first().unwrap_or((&0, &[]));
    match form % 4 {
        0 => same(rest),
        1 => {
            let mut text = header().to_string().into_bytes();
            text.extend(rest);
            same(&text);
            same(&frame(&text));
        }
        // A header of its own as well.
        2 => {
            let mut text = b"#! tcptrace-trace 1\n".to_vec();
            text.extend(rest);
            same(&text);
        }
        _ => {
            // Frames whose contents begin as those of items do: 2 bytes of length, then so many.
            let mut file = frame(header().to_string().as_bytes());
            let mut rest = rest;
            while let [low, high, after @ ..] = rest {
                let length = usize::from(*low) | usize::from(*high & 3) << 8;
                let (contents, after) = after.split_at(length.min(after.len()));
                let mark: &[u8] = if high & 0x80 == 0 { &[MARK] } else { &[] };
                file.extend(frame(&[mark, contents].concat()));
                rest = after;
            }
            same(&file);
        }
    }
});

type Read = (Vec<Item>, Option<Result<End, String>>);

/// Reads it at once and byte by byte.
fn same(file: &[u8]) {
    assert_eq!(read(file, file.len().max(1)), read(file, 7));
}

fn read(file: &[u8], step: usize) -> Read {
    let mut items = Vec::new();
    let told = |error: &ReadError| error.to_string();
    let mut reader = match Reader::new(Slow(file, step)) {
        Ok(reader) => reader,
        Err(error) => return (items, Some(Err(told(&error)))),
    };
    let end = reader.run(&mut |item| {
        items.push(item);
        items.len() < 10_000
    });
    (items, Some(end.map_err(|error| told(&error))))
}

/// Gives so many bytes at a time.
struct Slow<'a>(&'a [u8], usize);

impl std::io::Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let many = self.1.min(buffer.len()).min(self.0.len());
        let (now, rest) = self.0.split_at(many);
        buffer[..many].copy_from_slice(now);
        self.0 = rest;
        Ok(many)
    }
}
