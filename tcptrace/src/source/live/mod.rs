//! The running kernel as a source: loads, attaches, reads the ring buffer, gives sockets their names.
//!
//! Only this folder names aya and tokio, and no kernel address gets past `source`.

mod attach;
mod exchanges;
mod existing;
mod listeners;
mod load;
mod object;
mod unclosed;

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    time::Duration,
};

use aya::{
    Btf, Ebpf,
    maps::{MapData, PerCpuArray, RingBuf, StackTraceMap},
    programs::Program,
};
use tcptrace_common::{
    filter::Filter,
    hook::Hook,
    loss::{COUNTERS, Loss},
};
use tokio::{
    io::unix::AsyncFd,
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

pub use self::load::object_hash;
use self::{
    attach::{Attachment, attach_all},
    exchanges::Exchanges,
    listeners::Before,
    load::{Wanted, attachable, clock_sample, enable, loaded, readers},
    unclosed::Unclosed,
};
use crate::{
    event::{About, Event, Facts, Raw},
    kernel::{
        btf::Types,
        facts, netns, privilege, process,
        program::{self, Counts},
    },
    source::{
        Cost, Ending, Flow, Item, Reach, Source, SourceError,
        names::Names,
        plan::{Candidate, Form, hook_of, tracing},
        refusal::AttachError,
        stacks::Stacks,
    },
};

/// How often the ring buffer is looked at when nothing wakes the reader.
const POLL: Duration = Duration::from_millis(50);
/// Events of several CPUs may lie in the ring buffer in another order than that of their times, by less than this.
const ORDER_NS: u64 = 1_000_000;
/// Shortest time between the two samples that tell the kernel's HZ.
const HZ_SAMPLE: Duration = Duration::from_millis(60);

/// What a run may want. A question that does not want it pays nothing for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// The user stacks of calls that leave bytes waiting.
    Stacks,
    /// Findings that are only counted: what only explains them is not read.
    SummaryOnly,
    /// The number of exchanges on which no byte waits, and the slowest reply.
    Counting,
    /// The events of sockets that hold no bytes, too.
    Everything,
    /// What happens to sockets that are closing.
    Closing,
    /// What Fast Open does.
    Opening,
    /// What `TCP_DEFER_ACCEPT` does.
    Deferring,
    /// The options of sockets that were there before the start.
    Existing,
}

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
    /// What else is wanted, or less.
    pub wants: BTreeSet<Want>,
    /// The process of a command: watched with its children where the filter says so, and the run ends when it does.
    pub command: Option<u32>,
    /// What kind of probes.
    pub form: Form,
    /// Bytes of the ring buffer, a power of two.
    pub buffer_bytes: u32,
    /// Ends by itself after this time.
    pub duration: Option<Duration>,
}

/// Counters of lost events, by [`Loss::index`].
type LostCounters = PerCpuArray<MapData, [u64; COUNTERS as usize]>;
/// User stacks, by the kernel's number.
type StackMap = StackTraceMap<MapData>;

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
    /// `missed` when the last probe was on.
    missed_before: BTreeMap<String, u64>,
    /// The links of kprobes, by the kernel's number of the program.
    kprobes: BTreeMap<u32, OwnedFd>,
    /// What the programs count of every exchange, where that is wanted.
    exchanges: Option<Exchanges>,
    /// What was there before the first event, where that is wanted.
    before_all: Option<Before>,
    /// Which sockets that are there at the start are told, where they are.
    existing: Option<(Filter, Vec<PathBuf>)>,
    /// Sockets that their peer has closed, where the question is about such.
    unclosed: Option<Unclosed>,
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

/// What sockets that are there already are chosen by, where they are asked for and the kernel takes the iterator.
fn existing_wanted(
    request: &Request,
    ebpf: &mut Ebpf,
    btf: &Btf,
) -> Result<Option<(Filter, Vec<PathBuf>)>, AttachError> {
    if !request.wants.contains(&Want::Existing) {
        return Ok(None);
    }
    let refused = |why| AttachError::Hook { hook: "the iterator over sockets", why };
    existing::load(ebpf, btf).map_err(refused)?;
    Ok(Some((request.filter, request.cgroups.clone())))
}

impl Live {
    /// Loads and attaches what is asked for, and nothing else.
    ///
    /// # Errors
    /// [`AttachError`]: rights, type information or an indispensable function are missing.
    pub fn attach(request: &Request) -> Result<Self, AttachError> {
        let live = Self::attached(request)?;
        // Half of what the process has by now was for the kernel's types, in pieces that the allocator would keep.
        #[cfg(target_env = "gnu")]
        // SAFETY: it takes a number, and changes nothing that anybody has.
        unsafe {
            libc::malloc_trim(0)
        };
        Ok(live)
    }

    fn attached(request: &Request) -> Result<Self, AttachError> {
        has_rights()?;
        let types = Types::of_running_kernel()?;
        let wanted = Wanted::of(request, &types);
        let mut ebpf = loaded(request, &wanted)?;
        let has = |name: &str| ebpf.program(name).is_some();
        let form = if wanted.has_plain() { request.form } else { Form::Kprobe };
        let plan: Vec<(Hook, Vec<Candidate>)> =
            request.hooks.iter().map(|h| (*h, tracing(*h, form, &types, &has))).collect();
        let btf = attachable(&types)?;
        let (first, sampled) = (clock_sample(&mut ebpf)?, Instant::now());
        let command = request.command.map(process::opened).transpose()?;
        let Attachment { programs, attached, not_seen } =
            attach_all(&mut ebpf, plan, &btf, request)?;
        std::thread::sleep(HZ_SAMPLE.saturating_sub(sampled.elapsed()));
        let second = clock_sample(&mut ebpf)?;
        let existing = existing_wanted(request, &mut ebpf, &btf)?;
        let stacks =
            request.wants.contains(&Want::Stacks).then(|| stacks(&mut ebpf)).transpose()?;
        let before_all = Before::now(request);
        enable(&mut ebpf)?;
        let facts = Facts {
            hz: facts::hz(first, second),
            probes: programs.len(),
            attached,
            not_seen,
            absent: wanted.absent(),
            ..facts_of_this_moment()
        };
        #[cfg(feature = "bpf-log")]
        let logger = {
            env_logger::init();
            aya_log::EbpfLogger::init(&mut ebpf).ok()
        };
        let (ring, lost) = readers(&mut ebpf)?;
        let exchanges = Exchanges::of(&mut ebpf, &request.wants);
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
            missed_before: BTreeMap::new(),
            kprobes: BTreeMap::new(),
            before: BTreeMap::new(),
            exchanges,
            before_all,
            existing,
            unclosed: request.wants.contains(&Want::Closing).then(Unclosed::default),
            #[cfg(feature = "bpf-log")]
            logger,
        };
        live.forget_losses()?;
        Ok(live)
    }

    /// What was lost while only some of the probes were on concerns nobody.
    fn forget_losses(&mut self) -> Result<(), AttachError> {
        self.new_losses().map_err(|_unreadable| AttachError::Object("map LOST"))?;
        self.before = self.counted.clone();
        self.kprobes = program::kprobe_links(&self.kprobe_programs());
        self.new_misses();
        self.missed_before = self.missed.clone();
        Ok(())
    }

    /// The kernel's numbers of the programs that are kprobes.
    fn kprobe_programs(&self) -> Vec<u32> {
        let of = |name: &String| {
            let program = self.ebpf.as_ref()?.program(name)?;
            let counts = program::counts(program.fd().ok()?.as_fd()).ok()?;
            matches!(program, Program::KProbe(_)).then_some(counts.id)
        };
        self.programs.iter().filter_map(of).collect()
    }

    /// Hands over what did not come from the ring buffer. Its sockets are numbers that no socket has for an address.
    fn tell(&mut self, found: Vec<Raw>, on: &mut dyn FnMut(Item) -> Flow) -> Flow {
        let names = &mut self.names;
        let mut items = found.into_iter().flat_map(|raw| names.name(raw).collect::<Vec<_>>());
        if items.all(|item| on(item) == Flow::Continue) { Flow::Continue } else { Flow::Stop }
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
            self.before_all.iter_mut().for_each(|it| it.notice(&raw.event));
            let stack = stack_of(&mut self.stacks, &mut raw.event).map(Item::About);
            for item in stack.into_iter().chain(self.names.name(raw)) {
                if let (Some(unclosed), Item::Event(event)) = (&mut self.unclosed, &item) {
                    unclosed.notice(event);
                }
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

    /// Tells who has a socket open that its peer has closed; while the probes are on, so that one that is closed meanwhile
    /// is told as closed.
    fn tell_holders(&mut self, on: &mut dyn FnMut(Item) -> Flow) -> Result<(), SourceError> {
        if self.unclosed.is_none() || self.drain(u64::MAX, on)?.0 == Flow::Stop {
            return Ok(());
        }
        for item in self.unclosed.iter().flat_map(Unclosed::holders) {
            if on(item) == Flow::Stop {
                break;
            }
        }
        Ok(())
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
            let counts = self.counts_of(name);
            let Some(total) = counts.and_then(|c| c.recursion_misses) else { continue };
            let before = self.missed.insert(name.clone(), total).unwrap_or(0);
            let hook = hook_of(name);
            if let Some(hook) = hook.filter(|_| total > before) {
                missed.push((hook, total - before));
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
        if self.ebpf.is_none() {
            return (None, None);
        }
        let mut misses = Some(0);
        let mut cost = Cost { run_ns: 0, runs: 0 };
        for name in &self.programs {
            let counts = self.counts_of(name).unwrap_or_default();
            let before = self.missed_before.get(name).copied().unwrap_or(0);
            misses = misses
                .zip(counts.recursion_misses)
                .map(|(sum, n): (u64, u64)| sum + n.saturating_sub(before));
            cost.run_ns += counts.run_time_ns;
            cost.runs += counts.run_cnt;
        }
        self.kprobes.clear();
        self.ebpf = None;
        (misses, (cost.runs > 0).then_some(cost))
    }

    /// What the kernel counts of a program. Skipped runs are counted by nobody before 5.12, and of kprobes before 6.7: of
    /// these by the program, when another one was running on that CPU, and by its link, when another kprobe was.
    fn counts_of(&self, name: &str) -> Option<Counts> {
        let program = self.ebpf.as_ref()?.program(name)?;
        let mut counts = program::counts(program.fd().ok()?.as_fd()).ok()?;
        if matches!(program, Program::KProbe(_)) {
            let missed =
                self.kprobes.get(&counts.id).and_then(|l| program::kprobe_missed(l.as_fd()));
            counts.recursion_misses = counts.recursion_misses.zip(missed).map(|(own, of)| own + of);
        }
        Some(counts)
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
        let found = self.before_all.as_ref().map(|it| it.listeners(self.started_ns));
        let mut found = found.unwrap_or_default();
        if let (Some(ebpf), Some((filter, cgroups))) = (&mut self.ebpf, self.existing.take()) {
            found.extend(existing::read(ebpf, &filter, &cgroups)?);
        }
        if self.tell(found, on) == Flow::Continue {
            runtime.block_on(self.follow(on))?;
        }
        // From here on a second Ctrl-C ends the process at once, as it would have without us.
        // SAFETY: restores the default action of a signal.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
        self.tell_holders(on)?;
        let (misses, cost) = self.detach();
        let ended_ns = now_ns(libc::CLOCK_MONOTONIC);
        let (flow, _) = self.drain(u64::MAX, on)?;
        let risen = self.before_all.as_ref().map_or_else(Vec::new, |it| it.risen(ended_ns));
        if flow == Flow::Continue {
            let of = |(sk, event): (u64, Event)| Raw { sk, event };
            self.tell((1..).zip(risen).map(of).collect(), on);
        }
        Ok(Ending {
            started_ns: self.started_ns,
            ended_ns,
            lost: self.losses(),
            misses,
            cost,
            counted: self.exchanges.as_ref().map(|exchanges| exchanges.counted(self.started_ns)),
            reach: Reach::Whole,
        })
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }
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

/// Whether this process may load and attach programs.
fn has_rights() -> Result<(), AttachError> {
    let missing = privilege::missing_capabilities();
    if missing.is_empty() {
        return Ok(());
    }
    let missing = format!("{} {}", missing.join(" and "), is_or_are(&missing));
    Err(AttachError::Rights { missing })
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
