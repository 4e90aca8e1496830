//! Traces that are whole, cut off, damaged, foreign, newer, or in parts: what is read of them, and what is said.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tcptrace::{
    event::Facts,
    record::{Recorder, Rotation, Target, numbered},
    trace::{
        Cost, Counted, Ending, Header, Item, Reach, Reader, Slowest, Spent,
        read::{Cut, End, Inside, ReadError},
        text::{Told, read},
    },
};
use tcptrace_common::{hook::Hook, loss::Loss};

/// A folder of the test's own, empty.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn header() -> Header {
    Header {
        tcptrace: "0.1.0".to_owned(),
        facts: Facts {
            host: "web-3".to_owned(),
            release: "6.1.0".to_owned(),
            hz: Some(250),
            mono_ns: 1_000_000_000,
            real_ns: 1_795_356_182_412_000_000,
            ..Facts::default()
        },
        questions: vec!["nagle".to_owned()],
        buffer_bytes: 4 << 20,
        ..Header::default()
    }
}

/// `many` holds of 8 bytes, each on a socket of its own and released after 200 ms; a tick after each.
fn items(many: u32) -> Vec<Item> {
    let mut text = String::new();
    for socket in 1..=many {
        let ms = 1_000 + u64::from(socket) * 300;
        let at = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
        let port = 40_000_u32 + socket;
        let port = (port & 0xff) << 8 | port >> 8;
        let _ = writeln!(
            text,
            "{} s{socket} pid=7 socket | skc_family=2 skc_state=1 inet_sport=36895 skc_dport={port} skc_rcv_saddr=167903424 skc_daddr=1291976896",
            at(ms)
        );
        let _ = writeln!(text, "{} comm 7 server", at(ms));
        let _ = writeln!(
            text,
            "{} s{socket} pid=7 tcp_push flags=0 mss_now=50 nonagle=2 | nonagle=2 packets_out=0 snd_sml=100 snd_una=100 snd_nxt=100 write_seq=108 snd_wnd=60000 snd_cwnd=10 sacked_out=0 lost_out=0 retrans_out=0 mss_cache=50 srtt_us=160000 tcp_wstamp_ns=0 tcp_clock_cache=0 sk_pacing_status=0 sk_tsq_flags=0 tail_len=8 repair=0 icsk_pending=3 sk_lock_owned=1",
            at(ms + 1)
        );
        let _ = writeln!(
            text,
            "{} s{socket} pid=7 tcp_sendmsg_locked size=8 ret=8 | write_seq=108 snd_nxt=100",
            at(ms + 1)
        );
        let _ = writeln!(
            text,
            "{} s{socket} pid=0 tcp_write_timer_handler | icsk_pending=3 packets_out=0 snd_una=100 snd_nxt=100 write_seq=108 sk_lock_owned=0",
            at(ms + 201)
        );
        let _ = writeln!(
            text,
            "{} s{socket} pid=0 tcp_event_new_data_sent | seq=100 end_seq=108 nonagle=2 packets_out=0 snd_una=100 snd_nxt=100 write_seq=108 mss_cache=50 repair=0 sk_lock_owned=0",
            at(ms + 201)
        );
        let _ = writeln!(text, "{} tick", at(ms + 210));
    }
    let mut n = 0;
    let mut item = |line: &str| match read(line, &[]).expect(line) {
        Told::Item(mut item) => {
            if let Item::Event(event) = &mut item {
                n += 1;
                event.n = n;
            }
            item
        }
        other => panic!("{other:?}"),
    };
    text.lines().map(&mut item).collect()
}

fn ending() -> Ending {
    Ending {
        started_ns: 1_000_000_000,
        ended_ns: 90_000_000_000,
        lost: vec![(Hook::tcp_push, Loss::TableFull, 2)],
        misses: Some(0),
        cost: Some(Cost {
            run_ns: 12_000,
            runs: 40,
            sampled_ns: Some(100_000_000),
            by_hook: vec![Spent { hook: Hook::tcp_push, runs: 30, run_ns: 11_000 }],
        }),
        shared: vec![Hook::tcp_push, Hook::tcp_fin],
        counted: Some(Counted {
            since_ns: 1_000_000_000,
            writes: 1_204,
            sockets: Some(41),
            slowest: Some(Slowest {
                took_ns: 38_200_000,
                at_ns: 1_500_000_000,
                pid: 2211,
                tid: 2212,
                comm: "a, b=%c".to_owned(),
            }),
        }),
        ..Ending::default()
    }
}

/// A file of these items, recorded as a run does it.
fn recorded(path: &Path, items: &[Item], rotation: Rotation) {
    let target = Target::File { path: path.to_owned(), force: false };
    let mut recorder = Recorder::start(&target, header(), rotation).unwrap();
    for item in items {
        recorder.item(item);
    }
    let written = recorder.end(&ending()).unwrap();
    assert_eq!(written.left_out, 0);
}

/// What is handed over, and how it ends.
fn told(bytes: &[u8]) -> (Vec<Item>, Result<End, ReadError>) {
    let mut items = Vec::new();
    let end = Reader::new(bytes).and_then(|mut reader| {
        reader.run(&mut |item| {
            items.push(item);
            true
        })
    });
    (items, end)
}

/// Where each zstd frame of the file ends.
fn frame_ends(bytes: &[u8]) -> Vec<usize> {
    let (mut ends, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        at += zstd::zstd_safe::find_frame_compressed_size(&bytes[at..]).unwrap();
        ends.push(at);
    }
    ends
}

fn tcptrace(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tcptrace")).args(args).output().unwrap()
}

fn printed(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_whole_file_gives_back_every_item_and_its_end() {
    let (path, items) = (folder("whole").join("a.tcptrace"), items(40));
    recorded(&path, &items, Rotation::default());
    let bytes = fs::read(&path).unwrap();
    assert!(frame_ends(&bytes).len() >= 20);
    let (read, end) = told(&bytes);
    assert_eq!(read, items);
    assert_eq!(end.unwrap(), End { ending: ending(), cut: None });
}

#[test]
fn zstdcat_of_a_file_shows_its_header() {
    let path = folder("header").join("a.tcptrace");
    recorded(&path, &items(1), Rotation::default());
    let bytes = fs::read(&path).unwrap();
    let first = zstd::bulk::decompress(&bytes[..frame_ends(&bytes)[0]], 1 << 20).unwrap();
    let text = String::from_utf8(first).unwrap();
    assert!(text.starts_with("#! tcptrace-trace 1\n# tcptrace 0.1.0\n# host web-3\n"), "{text}");
    assert!(text.contains(
        "\n# row 2 tcp_push flags mss_now nonagle size_goal turn part from_start | nonagle:1 "
    ));
}

#[test]
fn a_file_cut_at_any_byte_of_its_last_two_frames_gives_every_whole_frame() {
    let (path, items) = (folder("cut").join("a.tcptrace"), items(40));
    recorded(&path, &items, Rotation::default());
    let bytes = fs::read(&path).unwrap();
    let ends = frame_ends(&bytes);
    let from = ends[ends.len() - 3];
    let whole: Vec<usize> = ends.iter().map(|end| told(&bytes[..*end]).0.len()).collect();
    assert!(whole.windows(2).all(|two| two[0] <= two[1]) && *whole.last().unwrap() == items.len());
    for cut in from..bytes.len() {
        let (read, end) = told(&bytes[..cut]);
        let frames = ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(read, items[..whole[frames - 1]], "cut at {cut}");
        let End { ending, cut: at } = end.unwrap();
        let inside =
            if ends.contains(&cut) { Inside::Nothing } else { Inside::Frame(frames as u64 + 1) };
        assert_eq!(at, Some(Cut { offset: cut as u64, inside }));
        assert_eq!((ending.reach, ending.misses), (Reach::Cut, None));
    }
}

#[test]
fn every_finding_of_the_whole_frames_is_explained_and_the_rest_is_said_to_be_missing() {
    let path = folder("cut_told").join("a.tcptrace");
    recorded(&path, &items(40), Rotation::default());
    let bytes = fs::read(&path).unwrap();
    let ends = frame_ends(&bytes);
    let (cut, frames) = (ends[ends.len() - 2] - 3, ends.len() - 2);
    let left = |item: &&Item| matches!(item, Item::Event(event) if event.hook == Hook::tcp_event_new_data_sent);
    let holds = told(&bytes[..cut]).0.iter().filter(left).count();
    fs::write(&path, &bytes[..cut]).unwrap();
    let name = path.to_str().unwrap();
    let output = tcptrace(&["nagle", "--json", "-r", name]);
    let (findings, said) = printed(&output);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(findings.matches("\"release\":\"probe_timer\"").count(), holds);
    let certain = findings.matches("\"certainty\":\"seen\"").count();
    assert!((holds - 1..=holds).contains(&certain), "{certain} of {holds}");
    assert!(findings.contains("\"complete\":false"));
    let start = format!("warning: {name} ends inside frame {} at byte {cut} (", frames + 1);
    assert!(said.starts_with(&start) && said.contains("is missing"), "{said}");
}

#[test]
fn a_flipped_bit_is_damage_with_its_place_and_what_stands_before_is_explained() {
    let (path, items) = (folder("damaged").join("a.tcptrace"), items(40));
    recorded(&path, &items, Rotation::default());
    let whole = fs::read(&path).unwrap();
    let ends = frame_ends(&whole);
    let (start, end) = (ends[9], ends[10]);
    let before = told(&whole[..start]).0.len();
    for byte in start..end {
        let mut bytes = whole.clone();
        bytes[byte] ^= 0x10;
        let (read, end) = told(&bytes);
        match end {
            Err(
                ReadError::Damaged { frame: 11, offset, .. } | ReadError::TooLong { offset, .. },
            ) => {
                assert_eq!(offset, start as u64);
            }
            // zstd has bits that change nothing.
            Ok(_) => assert_eq!(read, items, "byte {byte} from {start} on went unnoticed"),
            other => panic!("byte {byte} of {start}..: {other:?}"),
        }
        assert!(read.len() >= before && read[..before] == items[..before]);
    }
    let mut bytes = whole;
    bytes[end - 2] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let output = tcptrace(&["nagle", "-r", path.to_str().unwrap()]);
    let (findings, said) = printed(&output);
    assert_eq!(output.status.code(), Some(2));
    assert!(findings.contains("8 B waited 200.0 ms"), "{findings}");
    let error = format!("error: {} is damaged in frame 11 at byte {start}: ", path.display());
    assert!(said.contains(&error), "{said}");
}

#[test]
fn what_is_no_trace_is_refused_in_one_sentence() {
    let folder = folder("foreign");
    let name = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let zstd = |text: &str| zstd::bulk::compress(text.as_bytes(), 1).unwrap();
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("empty", Vec::new(), "is empty\n"),
        (
            "elf",
            b"\x7fELF\x02\x01\x01".to_vec(),
            "is no trace of tcptrace: it begins with \"\\x7fELF\\x02\\x01\\x01\"\n",
        ),
        (
            "text",
            b"hello\nworld\n".to_vec(),
            "is no trace of tcptrace: it begins with \"hello\\nworld\\n\"\n",
        ),
        ("other", zstd("hello"), "is no trace of tcptrace: it begins with \"hello\"\n"),
        (
            "newer",
            b"#! tcptrace-trace 3\n".to_vec(),
            "has format 3, this tcptrace reads 1; use a newer tcptrace\n",
        ),
        (
            "newer_frames",
            zstd("#! tcptrace-trace 2\n"),
            "has format 2, this tcptrace reads 1; use a newer tcptrace\n",
        ),
        ("zero", b"#! tcptrace-trace 0\n".to_vec(), "line 1 at byte 0: '0' is no format version\n"),
        (
            "line",
            b"#! tcptrace-trace 1\n1.0 s1 pid=1 tcp_pull\n".to_vec(),
            "line 2 at byte 20: 'tcp_pull' is no hook\n",
        ),
        (
            "half",
            b"#! tcptrace-tr".to_vec(),
            "is no trace of tcptrace: it begins with a line without an end\n",
        ),
    ];
    for (file, bytes, why) in cases {
        fs::write(name(file), bytes).unwrap();
        for command in [&["nagle", "-r"] as &[&str], &["replay"], &["cat"]] {
            let file = name(file);
            let output = tcptrace(&[command, &[file.as_str()]].concat());
            let (_, said) = printed(&output);
            assert_eq!(output.status.code(), Some(2), "{file}: {said}");
            assert!(said.contains(&format!("error: {file} {why}")), "{command:?}: {said}");
            assert_eq!(said.matches("error:").count(), 1, "{said}");
        }
    }
    for missing in ["/nowhere/a.tcptrace", folder.to_str().unwrap()] {
        let output = tcptrace(&["nagle", "-r", missing]);
        let (out, said) = printed(&output);
        assert_eq!((output.status.code(), out.as_str()), (Some(2), ""));
        assert!(said.starts_with("error: ") && said.contains(missing), "{said}");
    }
}

#[test]
fn the_text_of_a_file_is_accepted_back_compressed_or_not() {
    let folder = folder("text");
    let path = folder.join("a.tcptrace");
    recorded(&path, &items(40), Rotation::default());
    let file = path.to_str().unwrap();
    let (text, _) = printed(&tcptrace(&["cat", file]));
    assert!(
        text.starts_with("#! tcptrace-trace 1\n")
            && text.ends_with("tcp_push:table_of_sockets_full=2\n")
    );
    let (text_path, packed) = (folder.join("a.txt"), folder.join("a.txt.zst"));
    fs::write(&text_path, &text).unwrap();
    // As the zstd command makes it of a pipe: one frame that does not tell its length.
    fs::write(&packed, zstd::stream::encode_all(text.as_bytes(), 3).unwrap()).unwrap();
    for format in [&["--json"] as &[&str], &["--time", "utc"]] {
        let of = |path: &Path| {
            printed(&tcptrace(&[&["nagle", "-r", path.to_str().unwrap()], format].concat()))
        };
        assert_eq!(of(&path), of(&text_path));
        assert_eq!(of(&path), of(&packed));
        assert!(of(&path).0.contains("8 B waited 200.0 ms"));
    }
    let (again, _) = printed(&tcptrace(&["cat", text_path.to_str().unwrap()]));
    assert_eq!(again, text);
}

#[test]
fn a_text_cut_inside_a_line_is_read_up_to_the_line_before() {
    let path = folder("text_cut").join("a.tcptrace");
    recorded(&path, &items(3), Rotation::default());
    let (text, _) = printed(&tcptrace(&["cat", path.to_str().unwrap()]));
    let lines = text.lines().count();
    let cut = text.len() - 5;
    let (read, end) = told(&text.as_bytes()[..cut]);
    assert_eq!(read, items(3));
    let inside = Inside::Line(lines as u64);
    assert_eq!(end.unwrap().cut, Some(Cut { offset: cut as u64, inside }));
}

#[test]
fn files_of_one_recording_explain_themselves_and_together_are_one() {
    let folder = folder("parts");
    let (path, items) = (folder.join("a.tcptrace"), items(200));
    let rotation = Rotation { every_ns: Some(20_000_000_000), ..Rotation::default() };
    recorded(&path, &items, rotation);
    let parts: Vec<PathBuf> =
        (1..1000).map(|n| numbered(&path, n)).take_while(|p| p.exists()).collect();
    assert!(parts.len() >= 3 && !path.exists(), "{parts:?}");
    let contents: Vec<Vec<u8>> = parts.iter().map(|part| fs::read(part).unwrap()).collect();
    let (read, end) = told(&contents.concat());
    let events = |items: &[Item]| -> Vec<Item> {
        items.iter().filter(|item| matches!(item, Item::Event(_))).cloned().collect()
    };
    assert_eq!(events(&read), events(&items));
    assert_eq!(end.unwrap(), End { ending: ending(), cut: None });
    for bytes in &contents[..contents.len() - 1] {
        let end = told(bytes).1.unwrap();
        assert_eq!((end.ending.reach, end.cut), (Reach::Part, None));
    }
    // The sockets of the first file are known in the last: none has ended.
    let last = &told(contents.last().unwrap()).0;
    let first_socket = last.iter().find_map(|item| match item {
        Item::Event(event) => Some(event),
        _ => None,
    });
    assert_eq!(first_socket.map(|e| (e.hook, e.socket.0, e.n)), Some((Hook::socket, 1, 1)));
    // Another order is no recording, and neither are parts of two.
    let swapped = [contents[1].clone(), contents[0].clone()].concat();
    let offset = contents[1].len() as u64;
    assert!(matches!(told(&swapped).1, Err(ReadError::Another(at)) if at == offset));
}

#[test]
fn a_middle_file_of_a_recording_finds_what_the_whole_finds_there() {
    let folder = folder("middle");
    let (path, whole) = (folder.join("a.tcptrace"), folder.join("whole.tcptrace"));
    let rotation = Rotation { every_ns: Some(20_000_000_000), ..Rotation::default() };
    recorded(&path, &items(200), rotation);
    recorded(&whole, &items(200), Rotation::default());
    let holds = |path: &Path| -> Vec<String> {
        let path = path.to_str().unwrap();
        let (found, _) = printed(&tcptrace(&["nagle", "--json", "--min-hold", "0", "-r", path]));
        found.lines().filter(|line| line.contains("\"hold\"")).map(str::to_owned).collect()
    };
    let (all, parts) = (holds(&whole), [1, 2, 3].map(|part| holds(&numbered(&path, part))));
    let ended = |holds: &[String]| -> Vec<String> {
        holds.iter().filter(|hold| hold.contains("\"probe_timer\"")).cloned().collect()
    };
    let middle = ended(&parts[1]);
    let at = all.iter().position(|hold| *hold == middle[0]).unwrap();
    assert!(at > 50 && middle.len() > 50, "{at} {}", middle.len());
    assert_eq!(all[at..at + middle.len()], middle);
    // What goes on at a seam is still held at the end of one file; the next has not seen it begin.
    let seams = parts.iter().flatten().filter(|hold| !all.contains(hold)).count();
    assert_eq!(parts.iter().map(|part| ended(part).len()).sum::<usize>() + seams, 200, "{seams}");
}

#[test]
fn only_so_many_files_are_kept_and_numbers_go_on_after_a_restart() {
    let folder = folder("kept");
    let path = folder.join("a.tcptrace");
    let rotation = Rotation { every_ns: Some(5_000_000_000), keep: Some(3), ..Rotation::default() };
    let names = || {
        let mut names: Vec<String> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    recorded(&path, &items(100), rotation);
    let first = names();
    assert_eq!(first.len(), 3);
    let last: u32 = first[2]["a-".len()..][..6].parse().unwrap();
    assert!(last > 4, "{first:?}");
    recorded(&path, &items(1), rotation);
    assert_eq!(
        names(),
        [first[1].clone(), first[2].clone(), format!("a-{:06}.tcptrace", last + 1)]
    );
}

#[test]
fn half_a_second_after_an_event_its_frame_is_on_the_disk() {
    let path = folder("soon").join("a.tcptrace");
    let target = Target::File { path: path.clone(), force: false };
    let mut recorder = Recorder::start(&target, header(), Rotation::default()).unwrap();
    let all = items(1);
    for item in &all {
        recorder.item(item);
    }
    let Some(Item::Tick { now_ns }) = all.last() else { panic!("{all:?}") };
    // Ticks of an idle host, which are not stored themselves.
    for ms in (50..=700).step_by(50) {
        recorder.item(&Item::Tick { now_ns: now_ns + ms * 1_000_000 });
    }
    let stored = || told(&fs::read(&path).unwrap()).0;
    for _ in 0..1000 {
        if stored().len() == all.len() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{:?}", stored());
}

#[test]
fn a_file_that_is_there_is_not_overwritten_without_force() {
    let path = folder("force").join("a.tcptrace");
    fs::write(&path, "mine").unwrap();
    let start = |force| {
        let target = Target::File { path: path.clone(), force };
        Recorder::start(&target, header(), Rotation::default())
    };
    let why = start(false).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(why.contains("is there already") && why.contains("--force"), "{why}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    start(true).unwrap().end(&ending()).unwrap();
    assert!(told(&fs::read(&path).unwrap()).1.is_ok());
}

#[test]
fn a_full_disk_keeps_the_whole_frames_and_is_told() {
    let target = Target::File { path: "/dev/full".into(), force: true };
    let error = Recorder::start(&target, header(), Rotation::default()).err();
    let text = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(text.starts_with("cannot write /dev/full: No space left"), "{text}");
}

#[test]
fn a_disk_that_stands_still_loses_frames_and_never_keeps_the_reader_waiting() {
    let folder = folder("slow");
    let path = folder.join("fifo");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    // It is open for reading, and nobody reads: a pipe takes 64 kB.
    let fifo = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let target = Target::File { path, force: true };
    let mut recorder = Recorder::start(&target, header(), Rotation::default()).unwrap();
    let some = items(50);
    let mut n = 0;
    // Were one of these to wait for the disk, the test would not end.
    for _ in 0..4_000 {
        for item in &some {
            let mut item = item.clone();
            if let Item::Event(event) = &mut item {
                n += 1;
                event.n = n;
            }
            recorder.item(&item);
        }
    }
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut chunk = vec![0; 1 << 16];
        let mut fifo = fifo;
        loop {
            let read = std::io::Read::read(&mut fifo, &mut chunk).unwrap();
            bytes.extend(&chunk[..read]);
            let all = told(&bytes);
            if all.1.as_ref().is_ok_and(|end| end.cut.is_none()) {
                return all;
            }
        }
    });
    let written = recorder.end(&ending()).unwrap();
    let (items, end) = reader.join().unwrap();
    let events = items.iter().filter(|item| matches!(item, Item::Event(_))).count() as u64;
    let told: u64 = items
        .iter()
        .map(|item| if let Item::Loss { events, .. } = item { *events } else { 0 })
        .sum();
    assert!(written.left_out > 0);
    // Where numbers are missing, that was told before anything that follows.
    let mut last_n = 0;
    let mut told_loss = false;
    for item in &items {
        match item {
            Item::Loss { .. } => told_loss = true,
            Item::Event(event) if event.hook != Hook::socket => {
                // A socket's record may stand between, told again elsewhere.
                let follows = event.n <= last_n + 2;
                assert!(follows || told_loss, "{last_n} then {}", event.n);
                (last_n, told_loss) = (event.n, false);
            }
            _ => {}
        }
    }
    assert_eq!((events, events + written.left_out), (written.events, n));
    let lost = end.unwrap().ending.lost;
    let slow = lost.iter().filter(|(_, reason, _)| *reason == Loss::DiskSlow);
    let slow: u64 = slow.map(|(_, _, events)| events).sum();
    assert_eq!((slow, told), (written.left_out, written.left_out));
}

#[test]
fn exit_codes_tell_findings_none_and_what_proves_nothing() {
    let folder = folder("exit");
    let code = |name: &str, items: &[Item], ending: &Ending, args: &[&str]| {
        let path = folder.join(name);
        let target = Target::File { path: path.clone(), force: true };
        let mut recorder = Recorder::start(&target, header(), Rotation::default()).unwrap();
        for item in items {
            recorder.item(item);
        }
        recorder.end(ending).unwrap();
        tcptrace(&[&["nagle", "-q", "-r", path.to_str().unwrap()], args].concat()).status.code()
    };
    let whole = Ending { lost: Vec::new(), ..ending() };
    assert_eq!(code("a", &items(2), &whole, &[]), Some(0));
    assert_eq!(code("b", &items(2), &whole, &["--exit-code"]), Some(1));
    assert_eq!(code("c", &items(2), &whole, &["--exit-code", "--min-hold", "1s"]), Some(0));
    assert_eq!(code("d", &items(2), &ending(), &["--exit-code", "--min-hold", "1s"]), Some(4));
    assert_eq!(code("e", &[], &whole, &["--exit-code"]), Some(0));
}

#[test]
fn a_recording_is_narrowed_as_a_live_run_is() {
    let path = folder("narrow").join("a.tcptrace");
    recorded(&path, &items(20), Rotation::default());
    let holds = |args: &[&str]| {
        let output = tcptrace(&[&["nagle", "--json", "-r", path.to_str().unwrap()], args].concat());
        let (out, said) = printed(&output);
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{args:?}");
        out.matches("{\"type\":\"hold\"").count()
    };
    for (args, want) in [
        (&[] as &[&str], 20),
        (&["--port", "8080"], 20),
        (&["--port", "40001-40005"], 5),
        (&["--port", "9"], 0),
        (&["--local", "192.0.2.0/24"], 20),
        (&["--remote", "10.0.0.0/8"], 0),
        (&["--remote", ":40007"], 1),
        (&["-6"], 0),
        (&["-4"], 20),
        (&["--pid", "7"], 20),
        (&["--pid", "8"], 0),
        (&["--comm", "server"], 20),
        (&["--comm", "serve"], 0),
        (&["--count", "3"], 3),
        (&["--duration", "1s"], 3),
    ] {
        assert_eq!(holds(args), want, "{args:?}");
    }
}

#[test]
fn ctrl_c_leaves_a_pipe_to_whoever_writes_it() {
    let path = folder("pipe").join("a.tcptrace");
    recorded(&path, &items(40), Rotation::default());
    let bytes = fs::read(&path).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tcptrace"))
        .args(["nagle", "-q", "-r", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let (first, rest) = bytes.split_at(frame_ends(&bytes)[9]);
    std::io::Write::write_all(&mut pipe, first).unwrap();
    // What it has read is told before more has come: it is at work, and hears signals.
    let mut out = child.stdout.take().unwrap();
    let mut some = [0; 64];
    assert!(std::io::Read::read(&mut out, &mut some).unwrap() > 0);
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    std::thread::sleep(std::time::Duration::from_millis(50));
    std::io::Write::write_all(&mut pipe, rest).unwrap();
    drop(pipe);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut out, &mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(text.contains("40 holds on 40 of 41 sockets"), "{text}");
}

#[test]
fn flags_of_a_live_run_are_refused_with_a_recording() {
    for flags in [
        ["--buffer", "4MiB"],
        ["--max-sockets", "9"],
        ["--attach", "kprobe"],
        ["--write", "x"],
        ["--user", "x"],
    ] {
        let args = [&["nagle", "-r", "x"], &flags[..]].concat();
        let output = tcptrace(&args);
        let (_, said) = printed(&output);
        assert_eq!(output.status.code(), Some(2));
        assert!(said.contains("exclude each other"), "{said}");
    }
}
