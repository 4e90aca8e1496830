//! The running kernel as a source: loads, attaches, reads the ring buffer, gives sockets their names.
//!
//! Only this file names aya and tokio, and no kernel address gets past `source`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    time::Duration,
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Array, CgroupArray, HashMap, MapData, PerCpuArray, RingBuf, StackTraceMap},
    programs::{
        Program, ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun as _,
        kprobe::KProbeLinkId,
    },
};
use tcptrace_common::{
    filter::{Filter, MAX_PROCESSES},
    hook::{At, Hook},
    layout::Layout,
    loss::{COUNTERS, Loss},
};
use tokio::{
    io::unix::AsyncFd,
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use crate::{
    event::{About, Attached, Event, Facts, Raw},
    kernel::{
        btf::Types,
        facts, netns, privilege, process,
        program::{self, Counts},
        symbols::Symbols,
    },
    source::{
        Cost, Ending, Flow, Item, Reach, Source, SourceError,
        names::Names,
        plan::{Candidate, Form, candidates},
        refusal::AttachError,
        stacks::Stacks,
    },
};

/// The BPF programs, built by this crate's build script.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("TCPTRACE_BPF_OBJECT_PATH"));

/// How often the ring buffer is looked at when nothing wakes the reader.
const POLL: Duration = Duration::from_millis(50);
/// Events of several CPUs may lie in the ring buffer in another order than that of their times, by less than this.
const ORDER_NS: u64 = 1_000_000;
/// Unread bytes at which the reader is woken; a quarter of a smaller buffer.
const WAKE_BYTES: u64 = 64 << 10;
/// The programs that keep the table of the command's processes, by their tracepoints.
const TREE_PROGRAMS: [&str; 2] = ["sched_process_fork", "sched_process_free"];
/// Most user stacks that the kernel keeps apart; one whose place is taken is not told.
const MAX_STACKS: u32 = 4096;
/// Shortest time between the two samples that tell the kernel's HZ.
const HZ_SAMPLE: Duration = Duration::from_millis(60);

/// What to attach, and for how long.
#[derive(Clone, Debug)]
pub struct Request {
    /// The hooks wanted; the first `required` of them are indispensable.
    pub hooks: Vec<Hook>,
    /// How many of `hooks` are indispensable.
    pub required: usize,
    /// What to let through.
    pub filter: Filter,
    /// The cgroups that the filter lets through, as folders.
    pub cgroups: Vec<PathBuf>,
    /// Whether the user stacks of calls that leave bytes waiting are wanted.
    pub stacks: bool,
    /// The process of a command: watched with its children where the filter says so, and the run ends when it does.
    pub command: Option<u32>,
    /// Whether the events of sockets that hold no bytes are wanted too. A question that does not need them pays
    /// nothing for the rest.
    pub everything: bool,
    /// What kind of probes.
    pub form: Form,
    /// Bytes of the ring buffer, a power of two.
    pub buffer_bytes: u32,
    /// Ends by itself after this time.
    pub duration: Option<Duration>,
}

/// Hash of the BPF object in this binary, 16 hex digits: which programs a bug report is about.
pub fn object_hash() -> String {
    let mut hasher = DefaultHasher::new();
    OBJECT.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Counters of lost events, by [`Loss::index`].
type LostCounters = PerCpuArray<MapData, [u64; COUNTERS as usize]>;

/// User stacks, by the kernel's number.
type StackMap = StackTraceMap<MapData>;

/// Read-only data of the programs.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Global<T>(T);
// SAFETY: both types are made of integers only and have no padding, as their definitions assert.
unsafe impl aya::Pod for Global<Layout> {}
// SAFETY: as above.
unsafe impl aya::Pod for Global<Filter> {}

/// The programs are attached while this lives.
pub struct Live {
    ebpf: Option<Ebpf>,
    programs: Vec<String>,
    ring: RingBuf<MapData>,
    lost: LostCounters,
    facts: Facts,
    names: Names,
    /// The kernel's stacks, and their names; where they are wanted.
    stacks: Option<(StackMap, Stacks)>,
    duration: Option<Duration>,
    /// Readable once the command has ended.
    command: Option<OwnedFd>,
    started_ns: u64,
    counted: BTreeMap<(Hook, u8), u64>,
    missed: BTreeMap<String, u64>,
    /// `counted` when the last probe was on.
    before: BTreeMap<(Hook, u8), u64>,
    #[cfg(feature = "bpf-log")]
    logger: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live")
            .field("programs", &self.programs)
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

impl Live {
    /// Loads and attaches what is asked for, and nothing else.
    ///
    /// # Errors
    /// [`AttachError`]: rights, type information or an indispensable function are missing.
    pub fn attach(request: &Request) -> Result<Self, AttachError> {
        let missing = privilege::missing_capabilities();
        if !missing.is_empty() {
            return Err(AttachError::Rights {
                missing: format!("{} {}", missing.join(" and "), is_or_are(&missing)),
            });
        }
        let types = Types::of_running_kernel()?;
        let symbols = Symbols::of_running_kernel().map_err(AttachError::Symbols)?;
        let mut ebpf = loaded(request, &types)?;
        let plan: Vec<(Hook, Vec<Candidate>)> = {
            let has = |name: &str| ebpf.program(name).is_some();
            let of = |hook: &Hook| (*hook, candidates(*hook, request.form, &types, &symbols, &has));
            request.hooks.iter().map(of).collect()
        };
        let absent = absent(request, &types);
        // One copy of the kernel's types at a time: aya parses its own.
        drop(types);
        let first = clock_sample(&mut ebpf)?;
        let sampled = Instant::now();
        let command = request.command.map(process::opened).transpose()?;
        let Attachment { programs, attached, not_seen } = attach_all(&mut ebpf, plan, request)?;
        std::thread::sleep(HZ_SAMPLE.saturating_sub(sampled.elapsed()));
        let second = clock_sample(&mut ebpf)?;
        let stacks = request.stacks.then(|| stacks(&mut ebpf)).transpose()?;
        enable(&mut ebpf)?;
        let facts = Facts {
            hz: facts::hz(first, second),
            probes: programs.len(),
            attached,
            not_seen,
            absent,
            ..facts_of_this_moment()
        };
        #[cfg(feature = "bpf-log")]
        let logger = {
            env_logger::init();
            aya_log::EbpfLogger::init(&mut ebpf).ok()
        };
        let (ring, lost) = readers(&mut ebpf)?;
        let mut live = Self {
            ebpf: Some(ebpf),
            programs,
            ring,
            lost,
            names: Names::default(),
            stacks,
            duration: request.duration,
            command,
            started_ns: facts.mono_ns,
            facts,
            counted: BTreeMap::new(),
            missed: BTreeMap::new(),
            before: BTreeMap::new(),
            #[cfg(feature = "bpf-log")]
            logger,
        };
        // What was lost while only some of the probes were on concerns nobody.
        live.new_losses().map_err(|_unreadable| AttachError::Object("map LOST"))?;
        live.before = live.counted.clone();
        Ok(live)
    }

    /// Hands over what is in the ring buffer, up to the first event that is later than `until_ns`, and what was lost before
    /// that; whether that was all.
    fn drain(
        &mut self,
        until_ns: u64,
        on: &mut dyn FnMut(Item) -> Flow,
    ) -> Result<(Flow, bool), SourceError> {
        // Asked for first and told last: every event from before a loss has been told then.
        let at_ns = now_ns(libc::CLOCK_MONOTONIC);
        let mut lost = self.new_losses()?;
        lost.extend(self.new_misses());
        let mut is_all = true;
        while let Some(record) = self.ring.next() {
            let mut raw = Raw::decode(&record)
                .map_err(|e| SourceError(format!("the ring buffer holds no event: {e}")))?;
            drop(record);
            is_all = raw.event.at_ns <= until_ns;
            let stack = stack_of(&mut self.stacks, &mut raw.event).map(Item::About);
            for item in stack.into_iter().chain(self.names.name(raw)) {
                if on(item) == Flow::Stop {
                    return Ok((Flow::Stop, false));
                }
            }
            if !is_all {
                break;
            }
        }
        #[cfg(feature = "bpf-log")]
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        for (hook, events) in lost {
            if on(Item::Loss { hook, at_ns, events }) == Flow::Stop {
                return Ok((Flow::Stop, is_all));
            }
        }
        Ok((Flow::Continue, is_all))
    }

    fn new_losses(&mut self) -> Result<Vec<(Hook, u64)>, SourceError> {
        let per_cpu = self.lost.get(&0, 0).map_err(|e| SourceError(e.to_string()))?;
        let mut lost = Vec::new();
        for hook in Hook::ALL {
            let mut events = 0;
            for reason in Loss::ALL {
                let counter = reason.index(*hook) as usize;
                let total: u64 = per_cpu.iter().filter_map(|cpu| cpu.get(counter)).sum();
                let before = self.counted.insert((*hook, *reason as u8), total).unwrap_or(0);
                events += total - before;
            }
            if events > 0 {
                lost.push((*hook, events));
            }
        }
        Ok(lost)
    }

    /// Runs skipped since the last look, where this kernel counts them.
    fn new_misses(&mut self) -> Vec<(Hook, u64)> {
        let mut missed = Vec::new();
        for name in &self.programs {
            let program = self.ebpf.as_ref().and_then(|ebpf| ebpf.program(name));
            let counts = program.and_then(counts_of);
            let Some(total) = counts.and_then(|c| c.recursion_misses) else { continue };
            let before = self.missed.insert(name.clone(), total).unwrap_or(0);
            let hook = Hook::ALL.iter().find(|hook| hook.symbols().contains(&name.as_str()));
            if let Some(hook) = hook.filter(|_| total > before) {
                missed.push((*hook, total - before));
            }
        }
        missed
    }

    async fn follow(&mut self, on: &mut dyn FnMut(Item) -> Flow) -> Result<(), SourceError> {
        let fails = |e: std::io::Error| SourceError(e.to_string());
        let fd = self.ring.as_fd().try_clone_to_owned().map_err(fails)?;
        // SAFETY: the descriptor is ours alone and stays open while it is registered.
        let ready = unsafe { AsyncFd::register(fd) }.map_err(|e| SourceError(e.to_string()))?;
        let mut stop = Stop::new(self.duration, self.command.take()).map_err(fails)?;
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut behind = false;
        loop {
            tokio::select! {
                () = stop.asked() => return Ok(()),
                () = tokio::task::yield_now(), if behind => {}
                guard = ready.readable() => guard.map_err(fails)?.clear_ready(),
                _ = poll.tick() => {}
            }
            // Where events come faster than they are taken the buffer is never empty: time goes on all the same.
            let began_ns = now_ns(libc::CLOCK_MONOTONIC);
            let (flow, is_all) = self.drain(began_ns + ORDER_NS, on)?;
            behind = !is_all;
            if flow == Flow::Stop || on(Item::Tick { now_ns: began_ns }) == Flow::Stop {
                return Ok(());
            }
        }
    }

    /// Takes the programs off; what they cost and missed is asked for while they are still there.
    fn detach(&mut self) -> (Option<u64>, Option<Cost>) {
        let Some(ebpf) = self.ebpf.take() else { return (None, None) };
        let mut misses = Some(0);
        let mut cost = Cost { run_ns: 0, runs: 0 };
        for name in &self.programs {
            let counts = ebpf.program(name).and_then(counts_of).unwrap_or_default();
            misses = misses.zip(counts.recursion_misses).map(|(sum, n): (u64, u64)| sum + n);
            cost.run_ns += counts.run_time_ns;
            cost.runs += counts.run_cnt;
        }
        drop(ebpf);
        (misses, (cost.runs > 0).then_some(cost))
    }

    fn losses(&self) -> Vec<(Hook, Loss, u64)> {
        let of = |hook: Hook, loss: Loss| {
            let key = (hook, loss as u8);
            let before = self.before.get(&key).copied().unwrap_or(0);
            Some((hook, loss, self.counted.get(&key)? - before))
        };
        let reasons = |hook: &Hook| {
            let hook = *hook;
            Loss::ALL.iter().filter_map(move |loss| of(hook, *loss))
        };
        Hook::ALL.iter().flat_map(reasons).filter(|(_, _, n)| *n > 0).collect()
    }
}

impl Source for Live {
    fn run(&mut self, on: &mut dyn FnMut(Item) -> Flow) -> Result<Ending, SourceError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| SourceError(format!("cannot start the reader: {e}")))?;
        runtime.block_on(self.follow(on))?;
        // From here on a second Ctrl-C ends the process at once, as it would have without us.
        // SAFETY: restores the default action of a signal.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
        let (misses, cost) = self.detach();
        let ended_ns = now_ns(libc::CLOCK_MONOTONIC);
        self.drain(u64::MAX, on)?;
        Ok(Ending {
            started_ns: self.started_ns,
            ended_ns,
            lost: self.losses(),
            misses,
            cost,
            reach: Reach::Whole,
        })
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }
}

/// The maps and the read-only data of the programs; none of them is in the kernel yet.
fn loaded(request: &Request, types: &Types) -> Result<Ebpf, AttachError> {
    let layout = Global(types.layout(&wanted_fields(&request.hooks)));
    let filter = Global(request.filter);
    let wake_bytes = u64::from(request.buffer_bytes / 4).min(WAKE_BYTES);
    let everything = u32::from(request.everything);
    let processes = if request.command.is_some() { MAX_PROCESSES } else { 1 };
    let (user_stacks, stacks) = if request.stacks { (1_u32, MAX_STACKS) } else { (0, 1) };
    let mut ebpf = EbpfLoader::new()
        .override_global("LAYOUT", &layout, true)
        .override_global("FILTER", &filter, true)
        .override_global("EVERYTHING", &everything, true)
        .override_global("USER_STACKS", &user_stacks, true)
        .override_global("WAKE_BYTES", &wake_bytes, true)
        .map_max_entries("EVENTS", request.buffer_bytes)
        .map_max_entries("PROCESSES", processes)
        .map_max_entries("STACKS", stacks)
        .load(OBJECT)
        .map_err(|e| AttachError::Load(e.to_string()))?;
    put_in_cgroups(&mut ebpf, &request.cgroups)?;
    Ok(ebpf)
}

/// Tells the programs which cgroups the filter lets through.
fn put_in_cgroups(ebpf: &mut Ebpf, paths: &[PathBuf]) -> Result<(), AttachError> {
    let broken = || AttachError::Object("map CGROUPS");
    let mut cgroups: CgroupArray<_> =
        ebpf.map_mut("CGROUPS").and_then(|map| map.try_into().ok()).ok_or_else(broken)?;
    for (index, path) in (0..).zip(paths) {
        let cgroup = |why: String| AttachError::Cgroup { path: path.clone(), why };
        let folder = File::open(path).map_err(|error| cgroup(error.to_string()))?;
        cgroups.set(index, folder, 0).map_err(|error| cgroup(error.to_string()))?;
    }
    Ok(())
}

/// The kernel's stacks, and where their names are looked up.
fn stacks(ebpf: &mut Ebpf) -> Result<(StackMap, Stacks), AttachError> {
    let map = ebpf.take_map("STACKS").and_then(|map| StackTraceMap::try_from(map).ok());
    Ok((map.ok_or(AttachError::Object("map STACKS"))?, Stacks::new()))
}

/// Gives the stack of a call the number that it has in the trace; its names, when it is met for the first time.
fn stack_of(known: &mut Option<(StackMap, Stacks)>, event: &mut Event) -> Option<About> {
    if event.hook != Hook::user_stack {
        return None;
    }
    let told = event.arg("stack").filter(|number| number.cast_signed() >= 0);
    let (number, about) = match (known, told) {
        (Some((map, stacks)), Some(kernel)) => stacks.number(event.pid, kernel, || {
            let found = map.get(&kernel, 0).ok();
            found
                .iter()
                .flat_map(aya::maps::stack_trace::StackTrace::frames)
                .map(|f| f.ip)
                .collect()
        }),
        _ => (0, None),
    };
    event.set_arg("stack", number);
    about
}

/// What ends a run: a signal, its time, or the end of the command.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
    deadline: Option<Instant>,
    command: Option<AsyncFd<OwnedFd>>,
}

impl Stop {
    fn new(duration: Option<Duration>, command: Option<OwnedFd>) -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            deadline: duration.map(|d| Instant::now() + d),
            // SAFETY: the descriptor is ours alone and stays open while it is registered.
            command: command.map(|fd| unsafe { AsyncFd::register(fd) }).transpose()?,
        })
    }

    async fn asked(&mut self) {
        let deadline = self.deadline;
        let time_is_up = async {
            match deadline {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let command = async {
            match &self.command {
                Some(ended) => drop(ended.readable().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = command => {}
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = time_is_up => {}
        }
    }
}

fn wanted_fields(hooks: &[Hook]) -> Vec<tcptrace_common::field::Field> {
    use tcptrace_common::field::Field;
    // What the programs look at themselves, and what the record of a new socket carries.
    let own = [
        Field::write_seq,
        Field::snd_nxt,
        Field::skc_hash,
        Field::skc_state,
        Field::inet_sport,
        Field::skc_dport,
        Field::socket_sk,
        Field::pid,
        Field::tgid,
        Field::pacing_timer,
        Field::sk_tsq_flags,
    ];
    let mut wanted: BTreeSet<Field> =
        own.into_iter().chain(Hook::socket.fields().iter().copied()).collect();
    wanted.extend(hooks.iter().flat_map(|h| h.fields()).copied());
    wanted.into_iter().collect()
}

fn attach_all(
    ebpf: &mut Ebpf,
    plan: Vec<(Hook, Vec<Candidate>)>,
    request: &Request,
) -> Result<Attachment, AttachError> {
    let btf = Btf::from_sys_fs().map_err(|e| AttachError::Load(e.to_string()))?;
    let mut all = Attachment::default();
    if let Some(pid) = request.command {
        all.programs.extend(follow_command(ebpf, &btf, pid)?);
    }
    for (i, (hook, candidates)) in plan.into_iter().enumerate() {
        match attach_first(ebpf, &btf, hook, candidates) {
            Ok((names, at)) => {
                all.programs.extend(names);
                all.attached.push(at);
            }
            Err(Unattached { why, .. }) if i < request.required => {
                return Err(AttachError::Hook { hook: hook.name(), why });
            }
            Err(Unattached { absent: true, .. }) if hook.replaced_by().is_some() => {}
            Err(_) => all.not_seen.push(hook.name()),
        }
    }
    Ok(all)
}

/// What was attached, and what could not be.
#[derive(Debug, Default)]
struct Attachment {
    /// Names of the programs.
    programs: Vec<String>,
    attached: Vec<Attached>,
    not_seen: Vec<&'static str>,
}

/// Fields of the wanted hooks that this kernel does not have.
fn absent(request: &Request, types: &Types) -> Vec<&'static str> {
    let wanted = wanted_fields(&request.hooks);
    let layout = types.layout(&wanted);
    let lacks = |field: &&tcptrace_common::field::Field| {
        layout.place.get(**field as usize).is_none_or(|at| at.size == 0)
    };
    wanted.iter().filter(lacks).map(|field| field.name()).collect()
}

/// Attaches the first candidate that the kernel takes; otherwise says what was tried and why each failed.
fn attach_first(
    ebpf: &mut Ebpf,
    btf: &Btf,
    hook: Hook,
    candidates: Vec<Candidate>,
) -> Result<(Vec<String>, Attached), Unattached> {
    let mut why = Vec::new();
    for candidate in candidates {
        let (name, tried) = match &candidate {
            Candidate::Tracing { function, .. } => {
                (function.clone(), attach_tracing(ebpf, btf, &candidate))
            }
            Candidate::Kprobe { symbol, .. } => (symbol.clone(), attach_kprobe(ebpf, &candidate)),
        };
        match tried {
            Ok(names) => {
                let kind = kind(&candidate, hook);
                return Ok((names, Attached { hook, function: name, kind }));
            }
            Err(e) => why.push(format!("{} on {name}: {}", kind(&candidate, hook), brief(&e))),
        }
    }
    let absent = why.is_empty();
    if absent {
        why.push(format!("this kernel has none of: {}", hook.symbols().join(", ")));
    }
    if privilege::locked_down() {
        why.push("the kernel is locked down (confidentiality): kprobes are refused, tracing programs are not".to_owned());
    } else if privilege::perf_event_paranoid().is_some_and(|level| level >= 3) {
        why.push("kernel.perf_event_paranoid is 3 or more: kprobes need CAP_SYS_ADMIN".to_owned());
    }
    Err(Unattached { why: why.join("\n  "), absent })
}

/// Why nothing was attached for a hook.
#[derive(Debug)]
struct Unattached {
    why: String,
    /// The kernel has no such function.
    absent: bool,
}

fn kind(candidate: &Candidate, hook: Hook) -> &'static str {
    match (candidate, hook.at()) {
        (Candidate::Tracing { .. }, At::Exit) => "fexit",
        (Candidate::Tracing { .. }, _) => "fentry",
        (Candidate::Kprobe { at_return: Some(_), .. }, _) => "kretprobe",
        (Candidate::Kprobe { .. }, _) => "kprobe",
    }
}

/// The innermost reason, without the verifier's log.
fn brief(error: &ProgramError) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    let text = match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let chatter = ["processed", "stack depth", "verification time", "mark_precise"];
            let tells = |line: &&str| {
                !line.trim().is_empty() && !chatter.iter().any(|start| line.starts_with(start))
            };
            let last = log.lines().rev().find(tells).unwrap_or("");
            format!("{io_error} ({last})")
        }
        _ => inner.to_string(),
    };
    text.trim_end_matches(" ()").to_owned()
}

fn attach_tracing(
    ebpf: &mut Ebpf,
    btf: &Btf,
    candidate: &Candidate,
) -> Result<Vec<String>, ProgramError> {
    let Candidate::Tracing { program: name, function } = candidate else { return Ok(Vec::new()) };
    match ebpf.program_mut(name) {
        Some(Program::FEntry(p)) => {
            p.load(function, btf)?;
            p.attach()?;
        }
        Some(Program::FExit(p)) => {
            p.load(function, btf)?;
            p.attach()?;
        }
        _ => return Err(ProgramError::NotLoaded),
    }
    Ok(vec![name.clone()])
}

fn attach_kprobe(ebpf: &mut Ebpf, candidate: &Candidate) -> Result<Vec<String>, ProgramError> {
    let Candidate::Kprobe { program, at_return, symbol } = candidate else { return Ok(Vec::new()) };
    // The return first: an entry without it would only fill its table.
    let at_return = match at_return {
        Some(name) => Some((name, attach_one_kprobe(ebpf, name, symbol)?)),
        None => None,
    };
    if let Err(error) = attach_one_kprobe(ebpf, program, symbol) {
        if let Some((name, link)) = at_return
            && let Some(Program::KProbe(p)) = ebpf.program_mut(name)
        {
            p.detach(link)?;
        }
        return Err(error);
    }
    let names =
        at_return.map(|(name, _)| name.clone()).into_iter().chain([program.clone()]).collect();
    Ok(names)
}

fn attach_one_kprobe(
    ebpf: &mut Ebpf,
    name: &str,
    symbol: &str,
) -> Result<KProbeLinkId, ProgramError> {
    let Some(Program::KProbe(p)) = ebpf.program_mut(name) else {
        return Err(ProgramError::NotLoaded);
    };
    if p.fd().is_err() {
        p.load()?;
    }
    p.attach(symbol, 0)
}

/// What the kernel counts of a program. Skipped runs are counted by nobody before 5.12, and never for kprobes.
fn counts_of(program: &Program) -> Option<Counts> {
    let mut counts = program::counts(program.fd().ok()?.as_fd()).ok()?;
    if matches!(program, Program::KProbe(_)) {
        counts.recursion_misses = None;
    }
    Some(counts)
}

/// Jiffies and nanoseconds of one moment, by running a program that belongs to no hook.
fn clock_sample(ebpf: &mut Ebpf) -> Result<[u64; 2], AttachError> {
    let broken = || AttachError::Object("program jiffies");
    let program: &mut RawTracePoint =
        ebpf.program_mut("jiffies").and_then(|p| p.try_into().ok()).ok_or_else(broken)?;
    if program.fd().is_err() {
        program.load().map_err(|e| AttachError::Hook { hook: "the clock", why: brief(&e) })?;
    }
    if program.test_run(RawTracePointRunOptions::new()).is_err() {
        return Ok([0, 0]);
    }
    let clock: Array<_, [u64; 2]> =
        ebpf.map("CLOCK").and_then(|m| m.try_into().ok()).ok_or_else(broken)?;
    clock.get(&0, 0).map_err(|_unreadable| broken())
}

/// The host's name for its kernel, and one moment on both clocks.
fn facts_of_this_moment() -> Facts {
    Facts {
        host: facts::host(),
        release: facts::release(),
        mono_ns: now_ns(libc::CLOCK_MONOTONIC),
        real_ns: now_ns(libc::CLOCK_REALTIME),
        netns: netns::of_process(1).ok(),
        ..Facts::default()
    }
}

/// Lets the programs begin, all at the same moment.
fn enable(ebpf: &mut Ebpf) -> Result<(), AttachError> {
    let broken = || AttachError::Object("map ENABLED");
    let mut enabled: Array<_, u32> =
        ebpf.map_mut("ENABLED").and_then(|map| map.try_into().ok()).ok_or_else(broken)?;
    enabled.set(0, 1, 0).map_err(|_unwritable| broken())
}

/// Watches the process of a command and those that will descend from it; the names of the programs that do.
fn follow_command(ebpf: &mut Ebpf, btf: &Btf, pid: u32) -> Result<Vec<String>, AttachError> {
    let broken = || AttachError::Object("map PROCESSES");
    let mut processes: HashMap<_, u32, u32> =
        ebpf.map_mut("PROCESSES").and_then(|map| map.try_into().ok()).ok_or_else(broken)?;
    processes.insert(pid, 1, 0).map_err(|_unwritable| broken())?;
    for name in TREE_PROGRAMS {
        let attached = match ebpf.program_mut(name) {
            Some(Program::BtfTracePoint(program)) => {
                program.load(name, btf).and_then(|()| program.attach().map(drop))
            }
            _ => return Err(AttachError::Object("program for processes")),
        };
        attached.map_err(|e| AttachError::Hook { hook: name, why: brief(&e) })?;
    }
    Ok(TREE_PROGRAMS.map(str::to_owned).into())
}

/// The two maps that are read while the programs run.
fn readers(ebpf: &mut Ebpf) -> Result<(RingBuf<MapData>, LostCounters), AttachError> {
    let ring = ebpf.take_map("EVENTS").and_then(|map| RingBuf::try_from(map).ok());
    let lost = ebpf.take_map("LOST").and_then(|map| PerCpuArray::try_from(map).ok());
    Ok((
        ring.ok_or(AttachError::Object("map EVENTS"))?,
        lost.ok_or(AttachError::Object("map LOST"))?,
    ))
}

fn is_or_are(names: &[&str]) -> &'static str {
    if names.len() == 1 { "is" } else { "are" }
}

/// Nanoseconds on `clock`.
fn now_ns(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a plain system call that fills the struct.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
