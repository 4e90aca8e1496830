//! The kernel's own record of who sets options inside it: a tracer of its functions (`Documentation/trace/kprobetrace.rst`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::cases::Key;

const TRACEFS: &str = "/sys/kernel/tracing";
/// Name of the group of events, and of the buffer that they are written to.
const OWN: &str = "sockopt";

/// What a function sets its option to.
#[derive(Clone, Copy)]
enum Sets {
    /// Always that.
    Always(i64),
    /// Its second argument.
    Argument,
}

/// The functions by which a module sets an option of its own socket (net/ipv4/tcp.c, net/core/sock.c).
const FUNCTIONS: [(&str, Key, Sets); 10] = [
    ("tcp_sock_set_nodelay", (6, 1), Sets::Always(1)),
    ("tcp_sock_set_cork", (6, 3), Sets::Argument),
    ("tcp_sock_set_keepidle", (6, 4), Sets::Argument),
    ("tcp_sock_set_keepintvl", (6, 5), Sets::Argument),
    ("tcp_sock_set_keepcnt", (6, 6), Sets::Argument),
    ("tcp_sock_set_syncnt", (6, 7), Sets::Argument),
    ("tcp_sock_set_quickack", (6, 12), Sets::Argument),
    ("tcp_sock_set_user_timeout", (6, 18), Sets::Argument),
    ("sock_set_keepalive", (1, 9), Sets::Always(1)),
    // On, for no time.
    ("sock_no_linger", (1, 13), Sets::Always(0)),
];

/// A call of one of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Made {
    /// The task that made it; a worker of the kernel's too.
    pub(super) tid: u32,
    pub(super) key: Key,
    /// What the option is set to, in its own unit.
    pub(super) value: i64,
}

/// A tracer at work; it ends with this.
#[derive(Debug)]
pub(super) struct Tracer(PathBuf);

impl Tracer {
    pub(super) fn start() -> anyhow::Result<Self> {
        let tracer = Self(Path::new(TRACEFS).join("instances").join(OWN));
        for (function, ..) in FUNCTIONS {
            // A value has 32 bits and a sign.
            let event = format!("p:{OWN}/{function} {function} value=%si:s32\n");
            append("kprobe_events", &event).with_context(|| format!("trace {function}"))?;
        }
        fs::create_dir(&tracer.0).context("make a buffer for traces")?;
        fs::write(tracer.0.join(format!("events/{OWN}/enable")), "1").context("start to trace")?;
        Ok(tracer)
    }

    /// The calls since the last time, in their order.
    pub(super) fn take(&self) -> anyhow::Result<Vec<Made>> {
        let file = self.0.join("trace");
        let text = fs::read_to_string(&file).context("read the trace")?;
        fs::write(&file, "").context("clear the trace")?;
        read(&text)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // Without them the row could not be played again, which then says so.
        let _off = fs::write(self.0.join(format!("events/{OWN}/enable")), "0");
        let _gone = fs::remove_dir(&self.0);
        for (function, ..) in FUNCTIONS {
            let _gone = append("kprobe_events", &format!("-:{OWN}/{function}\n"));
        }
    }
}

fn append(file: &str, line: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let file = fs::OpenOptions::new().append(true).open(Path::new(TRACEFS).join(file));
    file?.write_all(line.as_bytes())
}

/// `COMM-TID [CPU] FLAGS TIME: FUNCTION: (ADDRESS) value=N`, between lines that start with `#`.
fn read(text: &str) -> anyhow::Result<Vec<Made>> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines.map(|line| made(line).with_context(|| format!("not understood: {line}"))).collect()
}

fn made(line: &str) -> Option<Made> {
    let (task, rest) = line.split_once(" [")?;
    let tid = task.trim().rsplit_once('-')?.1.parse().ok()?;
    let (before, after) = rest.split_once(": (")?;
    let name = before.rsplit_once(' ')?.1;
    let (_, key, sets) = FUNCTIONS.into_iter().find(|(function, ..)| *function == name)?;
    let argument = after.rsplit_once("value=")?.1.trim().parse().ok()?;
    let value = match sets {
        Sets::Always(value) => value,
        Sets::Argument => argument,
    };
    Some(Made { tid, key, value })
}

#[cfg(test)]
mod tests {
    use super::{Made, read};

    #[test]
    fn calls_are_read_in_their_order() {
        let text = "# tracer: nop\n#\n\
             kworker/u2:1-33      [000] .....    12.345678: tcp_sock_set_keepidle: (tcp_sock_set_keepidle+0x0/0x70) value=5\n\
             a b-c-77      [000] d..1.    12.345679: sock_no_linger: (sock_no_linger+0x0/0x40 [x]) value=-13\n";
        let wanted =
            [Made { tid: 33, key: (6, 4), value: 5 }, Made { tid: 77, key: (1, 13), value: 0 }];
        assert_eq!(read(text).unwrap(), wanted);
        assert!(read("what is this").is_err());
    }
}
