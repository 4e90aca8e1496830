//! `-- COMMAND`: a process that exists before the probes, and runs only once every one of them is attached.

use std::{
    ffi::OsString,
    io::{self, PipeReader, PipeWriter, Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    process::{Child, Command, ExitStatus},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    command::{Failure, WRONG},
    user::Account,
};
use crate::filter;

/// How often, and how long apart, a command that was interrupted with us is asked whether it has ended.
const LAST_LOOKS: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// A command that waits to be let go. When it is dropped instead, the command ends without having run.
#[derive(Debug)]
pub(super) struct Waiting {
    command: filter::Command,
    gate: Option<PipeWriter>,
    spawning: Option<JoinHandle<io::Result<Child>>>,
}

/// A command that runs.
#[derive(Debug)]
pub(super) struct Running(Child);

impl Waiting {
    /// Makes the process of the command; `None` when there is no command.
    pub(super) fn start(
        words: &[OsString],
        account: Option<Account>,
    ) -> Result<Option<Self>, Failure> {
        let Some((program, arguments)) = words.split_first() else { return Ok(None) };
        let name = program.to_string_lossy().into_owned();
        let mut command = Command::new(program);
        command.args(arguments);
        if let Some((user, home)) = account.as_ref().and_then(|account| account.names.as_ref()) {
            command.envs([("USER", user), ("LOGNAME", user), ("HOME", home)]);
        }
        spawn(command, account)
            .map(|(pid, gate, spawning)| {
                let command = filter::Command { program: name.clone(), pid };
                Some(Self { command, gate: Some(gate), spawning: Some(spawning) })
            })
            .map_err(|error| cannot_run(&name, &error))
    }

    /// What to watch.
    pub(super) const fn command(&self) -> &filter::Command {
        &self.command
    }

    /// Lets it go.
    pub(super) fn go(mut self) -> Result<Running, Failure> {
        if let Some(mut gate) = self.gate.take() {
            // When nobody waits there any more, its end tells why.
            let _gone = gate.write_all(&[1]);
        }
        let spawned = self.spawning.take().map_or_else(|| Err(gone()), joined);
        spawned.map(Running).map_err(|error| cannot_run(&self.command.program, &error))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.gate.take());
        // It ends by itself, and is waited for there.
        let _ended = self.spawning.take().map(joined);
    }
}

impl Running {
    /// How it ended, for a person.
    pub(super) fn end(mut self) -> String {
        for _ in 0..LAST_LOOKS {
            match self.0.try_wait() {
                Ok(Some(status)) => return ended(status),
                // Ctrl-C reaches both at the same time.
                Ok(None) => thread::sleep(BETWEEN_LOOKS),
                Err(error) => return format!("command cannot be waited for: {error}"),
            }
        }
        format!("command runs on as process {}, no longer watched", self.0.id())
    }
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("command ended with exit code {code}"),
        (None, Some(signal)) => format!("command was ended by signal {signal}"),
        (None, None) => format!("command ended: {status}"),
    }
}

fn cannot_run(name: &str, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::NotFound if !name.contains('/') => {
            format!("\n  try: its path, as -- ./{name}")
        }
        io::ErrorKind::PermissionDenied => {
            format!("\n  try: chmod +x {name}, or --user with someone who may run it")
        }
        _ => String::new(),
    };
    Failure { message: format!("cannot run '{name}': {error}{hint}"), code: WRONG }
}

fn joined(spawning: JoinHandle<io::Result<Child>>) -> io::Result<Child> {
    spawning.join().unwrap_or_else(|_panic| Err(gone()))
}

fn gone() -> io::Error {
    io::Error::other("the thread that starts it is gone")
}

/// Makes the process, which waits for a byte in the pipe; its number, the pipe, and the thread that waits for its exec.
fn spawn(
    mut command: Command,
    account: Option<Account>,
) -> io::Result<(u32, PipeWriter, JoinHandle<io::Result<Child>>)> {
    let (mut number, own_number) = io::pipe()?;
    let (at_gate, gate) = io::pipe()?;
    let child = InChild {
        number: own_number.as_raw_fd(),
        at_gate: at_gate.as_raw_fd(),
        gate: gate.as_raw_fd(),
        account,
    };
    // SAFETY: it makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(move || child.wait()) };
    let spawning = thread::spawn(move || {
        let spawned = command.spawn();
        drop::<(PipeWriter, PipeReader)>((own_number, at_gate));
        spawned
    });
    let mut pid = [0; 4];
    match number.read_exact(&mut pid) {
        Ok(()) => Ok((u32::from_ne_bytes(pid), gate, spawning)),
        // No process was made.
        Err(error) => joined(spawning).and(Err(error)),
    }
}

/// What happens in the process between fork and exec: only system calls are allowed there.
struct InChild {
    number: RawFd,
    at_gate: RawFd,
    gate: RawFd,
    account: Option<Account>,
}

impl InChild {
    fn wait(&self) -> io::Result<()> {
        // SAFETY: a plain system call on this process's own copy: while that is open, the gate would never be seen shut.
        checked(unsafe { libc::close(self.gate) })?;
        // SAFETY: the call has no argument and cannot fail.
        let pid = unsafe { libc::getpid() }.to_ne_bytes();
        // SAFETY: the buffer outlives the call and is as long as said.
        let written = unsafe { libc::write(self.number, pid.as_ptr().cast(), pid.len()) };
        if written < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut byte = [0_u8];
        loop {
            // SAFETY: as above.
            match unsafe { libc::read(self.at_gate, byte.as_mut_ptr().cast(), byte.len()) } {
                1.. => return self.become_the_user(),
                0 => return Err(io::Error::from_raw_os_error(libc::ECANCELED)),
                _ => {
                    let error = io::Error::last_os_error();
                    if error.raw_os_error() != Some(libc::EINTR) {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn become_the_user(&self) -> io::Result<()> {
        let Some(Account { uid, gid, groups, .. }) = &self.account else { return Ok(()) };
        // SAFETY: the list outlives the call and is as long as said.
        checked(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })?;
        // SAFETY: a plain system call.
        checked(unsafe { libc::setgid(*gid) })?;
        // SAFETY: a plain system call; the last one, because it gives up the right to make the others.
        checked(unsafe { libc::setuid(*uid) })
    }
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    fn start(line: &[&str]) -> Waiting {
        Waiting::start(&words(line), None).ok().flatten().unwrap()
    }

    /// The program that the process runs; none once it has ended.
    fn program_of(pid: u32) -> Option<String> {
        fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|comm| comm.trim_end().to_owned())
    }

    #[test]
    fn a_command_runs_only_when_it_is_let_go() {
        let waiting = start(&["sleep", "0.05"]);
        let pid = waiting.command().pid;
        assert_ne!(program_of(pid).unwrap(), "sleep");
        let running = waiting.go().ok().unwrap();
        assert_eq!((running.0.id(), program_of(pid).unwrap().as_str()), (pid, "sleep"));
        assert_eq!(running.end(), "command ended with exit code 0");
    }

    #[test]
    fn a_command_that_is_not_let_go_ends_without_having_run() {
        let waiting = start(&["sleep", "60"]);
        let pid = waiting.command().pid;
        drop(waiting);
        assert_eq!(program_of(pid), None);
    }

    #[test]
    fn it_is_said_how_a_command_ended() {
        for (script, said) in [
            ("exit 7", "command ended with exit code 7"),
            ("kill -TERM $$", "command was ended by signal 15"),
        ] {
            assert_eq!(start(&["sh", "-c", script]).go().ok().unwrap().end(), said);
        }
        let mut running = start(&["sleep", "60"]).go().ok().unwrap();
        let pid = running.0.id();
        let status = running.0.try_wait();
        assert!(matches!(status, Ok(None)));
        // SAFETY: a plain system call on a child that is not reaped yet.
        let kill = || unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
        assert_eq!(running.end(), format!("command runs on as process {pid}, no longer watched"));
        assert_eq!(kill(), 0);
    }

    #[test]
    fn what_cannot_be_run_is_said_with_exit_code_2() {
        let failure = start(&["/no/such/program"]).go().err().unwrap();
        assert_eq!(failure.code, WRONG);
        assert!(failure.message.starts_with("cannot run '/no/such/program': No such file"));
        assert!(Waiting::start(&[], None).ok().unwrap().is_none());
    }
}
