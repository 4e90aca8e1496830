//! A long recording read at a terminal, and stopped by Ctrl-C.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::fd::{FromRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

/// Lines of the recording: much more than what is read before the first look at the child.
const LINES: usize = 400_000;

/// A recording in the text form, without its end.
fn long(name: &str) -> PathBuf {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/traces/0.1.0/6.1/congestion_window.tcptrace");
    let cat = Command::new(env!("CARGO_BIN_EXE_tcptrace")).arg("cat").arg(recorded).output();
    let text = String::from_utf8(cat.unwrap().stdout).unwrap();
    let (header, events): (Vec<&str>, Vec<&str>) = text.lines().partition(|l| l.starts_with('#'));
    let event = events.iter().find(|line| line.contains(" tcp_rcv_established ")).unwrap();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut file = File::create(&path).unwrap();
    file.write_all(format!("{}\n", header.join("\n")).as_bytes()).unwrap();
    file.write_all(format!("{event}\n").repeat(LINES).as_bytes()).unwrap();
    path
}

/// Both ends of a terminal: the person's and the program's.
fn terminal() -> (File, OwnedFd) {
    let (mut person, mut program) = (-1, -1);
    let (no_name, usual) = (std::ptr::null_mut(), std::ptr::null());
    // SAFETY: writes two descriptors that are ours; nothing else is asked for.
    let opened = unsafe {
        libc::openpty(&raw mut person, &raw mut program, no_name, usual, std::ptr::null())
    };
    assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: it is open and belongs to nobody else.
    let person = unsafe { File::from_raw_fd(person) };
    // SAFETY: as above.
    (person, unsafe { OwnedFd::from_raw_fd(program) })
}

fn signal(child: &Child, signal: libc::c_int) {
    // SAFETY: the child has not been waited for, so that its number is its own.
    unsafe { libc::kill(child.id().cast_signed(), signal) };
}

/// Lets the child run for a moment in each second until something has come of it.
fn slowly(child: &mut Child, mut came: impl FnMut() -> bool) {
    for _ in 0..200 {
        thread::sleep(Duration::from_millis(10));
        signal(child, libc::SIGSTOP);
        if came() || child.try_wait().unwrap().is_some() {
            return;
        }
        thread::sleep(Duration::from_millis(600));
        signal(child, libc::SIGCONT);
    }
}

fn read(path: &Path, stderr: Stdio) -> Child {
    Command::new(env!("CARGO_BIN_EXE_tcptrace"))
        .args(["nagle", "-r"])
        .arg(path)
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .unwrap()
}

/// What the first Ctrl-C leads to.
fn stopped(child: Child) -> (Output, String) {
    signal(&child, libc::SIGINT);
    signal(&child, libc::SIGCONT);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (output, text)
}

#[test]
fn a_long_file_shows_how_far_it_is_on_a_terminal_and_ctrl_c_ends_it_with_a_summary() {
    let path = long("long_on_a_terminal.txt");
    let (mut person, program) = terminal();
    // SAFETY: the descriptor is open.
    unsafe {
        libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&person), libc::F_SETFL, libc::O_NONBLOCK)
    };
    let mut child = read(&path, program.into());
    let mut shown = Vec::new();
    slowly(&mut child, || {
        let mut more = [0; 4096];
        while let Ok(many @ 1..) = person.read(&mut more) {
            shown.extend(&more[..many]);
        }
        shown.contains(&b'%')
    });
    let bar = String::from_utf8_lossy(&shown).into_owned();
    let name = path.display().to_string();
    let rest = bar.split(&format!("reading {name} ")).nth(1).unwrap_or_else(|| panic!("{bar:?}"));
    let (cells, percent) = rest.split_once(' ').unwrap();
    let done = cells.trim_end_matches('.').len();
    assert!(cells.len() == 20 && cells[..done].bytes().all(|cell| cell == b'#'), "{bar:?}");
    let percent: usize = percent.split(' ').next().unwrap().parse().unwrap();
    assert!(percent < 100 && done == percent * 20 / 100, "{bar:?}");
    let (output, text) = stopped(child);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("\nseen: ") && text.contains("\ncost: "), "{text}");
    // It is taken away before anything else stands there.
    let mut after = Vec::new();
    let mut more = [0; 4096];
    while let Ok(many @ 1..) = person.read(&mut more) {
        after.extend(&more[..many]);
    }
    assert!(after.starts_with(b"\r\x1b[K"), "{:?}", String::from_utf8_lossy(&after));
    fs::remove_file(path).unwrap();
}

#[test]
fn in_a_pipe_nothing_is_shown_and_ctrl_c_ends_it_with_a_summary_too() {
    let path = long("long_in_a_pipe.txt");
    let mut child = read(&path, Stdio::piped());
    let mut turns = 0;
    slowly(&mut child, || {
        turns += 1;
        turns == 4
    });
    let (output, text) = stopped(child);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("\nseen: not to the end"), "{text}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    fs::remove_file(path).unwrap();
}
