//! Any items: what goes into a trace comes out of it, in either form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tcptrace::trace::{Encoder, Item, Reader, item::Ending, text::Writer};
use tcptrace_fuzz::{Bytes, Step, frame, header};

fuzz_target!(|input: &[u8]| {
    let mut bytes = Bytes(input);
    let ending = bytes.ending();
    let skip = bytes.number();
    let mut items: Vec<Item> = bytes
        .steps(3_000, true)
        .into_iter()
        .filter_map(|step| if let Step::Item(item) = step { Some(item) } else { None })
        .collect();
    // Numbers that do not follow each other.
    for (index, item) in items.iter_mut().enumerate() {
        if let Item::Event(event) = item {
            event.n += if index % 5 == 4 { skip / 2 } else { 0 };
        }
    }
    let mut text = header().to_string();
    let mut writer = Writer::default();
    items.iter().for_each(|item| writer.item(&mut text, item));
    writer.end(&mut text, &ending);
    check(text.as_bytes(), &items, &ending);
    check(&frame(text.as_bytes()), &items, &ending);
    let mut file = frame(header().to_string().as_bytes());
    let mut encoder = Encoder::default();
    for item in &items {
        encoder.item(item);
        if encoder.is_full() {
            file.extend(encoder.take().map_or(Vec::new(), |filled| frame(&filled.bytes)));
        }
    }
    encoder.end(&ending);
    file.extend(encoder.take().map_or(Vec::new(), |filled| frame(&filled.bytes)));
    check(&file, &items, &ending);
});

fn check(file: &[u8], items: &[Item], ending: &Ending) {
    let mut reader = Reader::new(file).expect("a trace");
    let mut read = Vec::new();
    let end = reader.run(&mut |item| {
        read.push(item);
        true
    });
    let end = end.expect("a whole trace");
    assert_eq!(read, items);
    assert_eq!((&end.ending, end.cut), (ending, None));
}
