//! The running kernel as a source: loads, attaches, reads the ring buffer, gives sockets their names.
//!
//! Only this folder names aya and tokio, and no kernel address gets past `source`.

mod attach;
mod elf;
mod exchanges;
mod existing;
mod fold;
mod listeners;
mod load;
mod meter;
mod object;
mod pace;
mod pulse;
mod spare;
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
};
use tcptrace_common::{
    filter::Filter,
    hook::Hook,
    loss::{COUNTERS, Loss},
};
use tokio::{
    io::unix::AsyncFd,
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep_until},
};

pub use self::load::object_hash;
use self::{
    attach::{Attachment, On, attach_all},
    exchanges::Exchanges,
    listeners::Before,
    load::{Wanted, attachable, clock_sample, enable, loaded, readers},
    meter::{Measured, Meter},
    pace::Pace,
    pulse::Pulse,
    unclosed::Unclosed,
};
use crate::{
    event::{About, Attached, Event, Facts, Raw},
    kernel::{
        btf::Types,
        facts, ftrace, netns, privilege, process,
        program::{self, Counts},
        signals,
    },
    source::{
        Cost, Ending, Flow, Item, Reach, Source, SourceError, Spent,
        names::Names,
        plan::{Candidate, Form, hook_of, tracing},
        refusal::AttachError,
        stacks::Stacks,
    },
};

/// How often the ring buffer is looked at when nothing wakes the reader: a finding is told so long after its end at most.
const POLL: Duration = Duration::from_millis(125);
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
    /// What the programs themselves cost, by samples.
    Cost,
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
    /// Most sockets that are followed at once; `None` as many as is usual on this kernel.
    pub max_sockets: Option<u32>,
    /// Ends by itself after this time.
    pub duration: Option<Duration>,
}

/// Counters of lost events, by [`Loss::index`].
type LostCounters = PerCpuArray<MapData, [u64; COUNTERS as usize]>;
/// User stacks, by the kernel's number.
type StackMap = StackTraceMap<MapData>;

/// The programs are attached while this lives.
pub struct Live {
    /// The object, while a program of it has not been run.
    ebpf: Option<Ebpf>,
    programs: Vec<Probe>,
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
    /// What the programs count of every exchange, where that is wanted.
    exchanges: Option<Exchanges>,
    /// What was there before the first event, where that is wanted.
    before_all: Option<Before>,
    /// Which sockets that are there at the start are told, where they are.
    existing: Option<(Filter, Vec<PathBuf>)>,
    /// Sockets that their peer has closed, where the question is about such.
    unclosed: Option<Unclosed>,
    /// Takes the time of the programs.
    meter: Meter,
    /// `counted` when the last probe was on.
    before: BTreeMap<(Hook, u8), u64>,
    #[cfg(feature = "bpf-log")]
    logger: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
}

/// An attached program, and the runs of it that the kernel has skipped.
struct Probe {
    on: On,
    hook: Option<Hook>,
    /// Of a kprobe, where the kernel has links for them.
    link: Option<OwnedFd>,
    /// Runs skipped, when last asked.
    missed: u64,
    /// The same when the last probe was on.
    missed_before: u64,
}

impl Probe {
    fn new(on: On) -> Self {
        Self { hook: hook_of(&on.name), on, link: None, missed: 0, missed_before: 0 }
    }

    /// What the kernel counts of it. Skipped runs are counted by nobody before 5.12, and of kprobes before 6.7: of these by
    /// the program, when another one was running on that CPU, and by its link, when another kprobe was.
    fn counts(&self) -> Option<Counts> {
        let mut counts = program::counts(self.on.program.as_fd()).ok()?;
        if self.on.is_kprobe {
            let missed = self.link.as_ref().and_then(|link| program::kprobe_missed(link.as_fd()));
            counts.recursion_misses = counts.recursion_misses.zip(missed).map(|(own, of)| own + of);
        }
        Some(counts)
    }
}

/// What is known of the programs at the end.
#[derive(Default)]
struct AtEnd {
    /// Runs that the kernel has skipped, where it counts them.
    misses: Option<u64>,
    cost: Option<Cost>,
    /// Runs that were skipped since the last look.
    missed: Vec<(Hook, u64)>,
    /// Hooks at which somebody else sat too.
    shared: Vec<Hook>,
}

/// What a look into the ring buffer has come to.
struct Taken {
    flow: Flow,
    /// Nothing was left that had been there before.
    is_all: bool,
    events: u64,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live")
            .field(
                "programs",
                &self.programs.iter().map(|probe| &probe.on.name).collect::<Vec<_>>(),
            )
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
        spare::give_back();
        Ok(live)
    }

    fn attached(request: &Request) -> Result<Self, AttachError> {
        has_rights()?;
        let types = Types::of_running_kernel()?;
        let wanted = Wanted::of(request, &types);
        let mut ebpf = loaded(request, &wanted, &types)?;
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
        // From here on an end has a summary.
        signals::put_off(true);
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
        let programs = programs.into_iter().map(Probe::new).collect();
        let exchanges = Exchanges::of(&mut ebpf, &request.wants);
        let mut live = Self {
            ebpf: existing.is_some().then_some(ebpf),
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
            before: BTreeMap::new(),
            exchanges,
            before_all,
            existing,
            unclosed: request.wants.contains(&Want::Closing).then(Unclosed::default),
            meter: Meter::new(request.wants.contains(&Want::Cost)),
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
        let kprobes = self.kprobe_programs();
        let numbers: Vec<u32> = kprobes.iter().map(|(_, id)| *id).collect();
        let mut links = program::kprobe_links(&numbers);
        for (at, id) in kprobes {
            if let Some(probe) = self.programs.get_mut(at) {
                probe.link = links.remove(&id);
            }
        }
        self.new_misses();
        for probe in &mut self.programs {
            probe.missed_before = probe.missed;
        }
        Ok(())
    }

    /// The programs that are kprobes, and the kernel's numbers of them.
    fn kprobe_programs(&self) -> Vec<(usize, u32)> {
        let of = |(at, probe): (usize, &Probe)| {
            let counts = program::counts(probe.on.program.as_fd()).ok()?;
            probe.on.is_kprobe.then_some((at, counts.id))
        };
        self.programs.iter().enumerate().filter_map(of).collect()
    }

    /// Hands over what did not come from the ring buffer. Its sockets are numbers that no socket has for an address.
    fn tell(&mut self, found: Vec<Raw>, on: &mut dyn FnMut(Item) -> Flow) -> Flow {
        let all = found.into_iter().all(|raw| self.names.name(raw, on) == Flow::Continue);
        if all { Flow::Continue } else { Flow::Stop }
    }

    /// Hands over what is in the ring buffer, up to the first event that is later than `until_ns`.
    fn drain(
        &mut self,
        until_ns: u64,
        on: &mut dyn FnMut(Item) -> Flow,
    ) -> Result<Taken, SourceError> {
        let mut taken = Taken { flow: Flow::Continue, is_all: true, events: 0 };
        while let Some(record) = self.ring.next() {
            let mut raw = Raw::decode(&record)
                .map_err(|e| SourceError(format!("the ring buffer holds no event: {e}")))?;
            drop(record);
            taken.is_all = raw.event.at_ns <= until_ns;
            taken.events += 1;
            self.before_all.iter_mut().for_each(|it| it.notice(&raw.event));
            if let Some(stack) = stack_of(&mut self.stacks, &mut raw.event) {
                taken.flow = on(Item::About(stack));
            }
            if taken.flow == Flow::Continue {
                let unclosed = &mut self.unclosed;
                taken.flow = self.names.name(raw, &mut |item| {
                    if let (Some(unclosed), Item::Event(event)) = (&mut *unclosed, &item) {
                        unclosed.notice(event);
                    }
                    on(item)
                });
            }
            if taken.flow == Flow::Stop {
                taken.is_all = false;
            }
            if !taken.is_all {
                break;
            }
        }
        #[cfg(feature = "bpf-log")]
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        Ok(taken)
    }

    /// As [`Self::drain`], and then what was lost until it began.
    fn drain_and_tell_losses(
        &mut self,
        on: &mut dyn FnMut(Item) -> Flow,
    ) -> Result<Taken, SourceError> {
        // Asked for first and told last: every event from before a loss has been told then.
        let mut lost = self.new_losses()?;
        lost.extend(self.new_misses());
        let at_ns = now_ns(libc::CLOCK_MONOTONIC);
        let mut taken = self.drain(at_ns + ORDER_NS, on)?;
        taken.flow = tell_losses(taken.flow, lost, at_ns, on);
        Ok(taken)
    }

    /// What came up to the end, and what was lost until then, `missed` among it. The programs still run: what they write after
    /// the end is left.
    fn drain_to_the_end(
        &mut self,
        ended_ns: u64,
        missed: Vec<(Hook, u64)>,
        on: &mut dyn FnMut(Item) -> Flow,
    ) -> Result<Flow, SourceError> {
        // One that had begun by then has written its event when this is over.
        std::thread::sleep(Duration::from_nanos(ORDER_NS));
        let mut lost = self.new_losses()?;
        lost.extend(missed);
        lost.extend(self.new_misses());
        let flow = self.drain(ended_ns + ORDER_NS, &mut |item| match &item {
            Item::Event(event) if event.at_ns > ended_ns => Flow::Continue,
            _ => on(item),
        })?;
        Ok(tell_losses(flow.flow, lost, ended_ns, on))
    }

    /// Tells who has a socket open that its peer has closed; while the probes are on, so that one that is closed meanwhile
    /// is told as closed.
    fn tell_holders(&mut self, on: &mut dyn FnMut(Item) -> Flow) -> Result<(), SourceError> {
        let until_ns = now_ns(libc::CLOCK_MONOTONIC) + ORDER_NS;
        if self.unclosed.is_none() || self.drain(until_ns, on)?.flow == Flow::Stop {
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
                // Nearly all of them, in nearly every run, and they are looked at with every poll.
                if total == 0 {
                    continue;
                }
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
        for probe in &mut self.programs {
            let Some(total) = probe.counts().and_then(|c| c.recursion_misses) else { continue };
            let before = std::mem::replace(&mut probe.missed, total);
            if let Some(hook) = probe.hook.filter(|_| total > before) {
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
        signals::put_off(false);
        let pulse = Pulse::new(POLL).map_err(fails)?;
        let mut pace = Pace::from(now_ns(libc::CLOCK_MONOTONIC));
        let mut behind = false;
        self.look_at_cost(now_ns(libc::CLOCK_MONOTONIC));
        loop {
            tokio::select! {
                () = stop.asked() => return Ok(()),
                () = tokio::task::yield_now(), if behind => {}
                guard = ready.readable() => guard.map_err(fails)?.clear_ready(),
                beat = pulse.beat() => beat.map_err(fails)?,
            }
            // Where events come faster than they are taken the buffer is never empty: time goes on all the same.
            let began_ns = now_ns(libc::CLOCK_MONOTONIC);
            self.look_at_cost(began_ns);
            let mut taken = self.drain(began_ns + ORDER_NS, on)?;
            pace.took(began_ns, taken.events);
            if taken.flow == Flow::Continue && pace.is_due(began_ns) {
                // What is lost from here on, the next tick tells.
                let asked_ns = now_ns(libc::CLOCK_MONOTONIC);
                taken = self.drain_and_tell_losses(on)?;
                if taken.flow == Flow::Continue {
                    taken.flow = on(Item::Tick { now_ns: asked_ns });
                }
                pace.ticked(asked_ns, taken.events);
            }
            behind = !taken.is_all;
            if taken.flow == Flow::Stop {
                return Ok(());
            }
        }
    }

    /// What the programs have cost and missed: all the runs that were skipped, and those since the last look.
    fn at_end(&mut self) -> AtEnd {
        let mut told = AtEnd { missed: self.new_misses(), ..AtEnd::default() };
        let counts: Vec<Counts> =
            self.programs.iter().map(|probe| probe.counts().unwrap_or_default()).collect();
        told.misses = Some(0);
        for (probe, counts) in self.programs.iter().zip(&counts) {
            told.misses = told
                .misses
                .zip(counts.recursion_misses)
                .map(|(sum, n): (u64, u64)| sum + n.saturating_sub(probe.missed_before));
        }
        let measured = std::mem::take(&mut self.meter).end(now_ns(libc::CLOCK_MONOTONIC), &counts);
        told.cost = measured.map(|measured| self.cost(measured));
        let mixed = ftrace::mixed();
        let is_shared = |at: &&Attached| mixed.contains(&at.function);
        told.shared = self.facts.attached.iter().filter(is_shared).map(|at| at.hook).collect();
        told
    }

    /// What the programs have cost, from their runs and times.
    fn cost(&self, measured: Measured) -> Cost {
        let mut cost = Cost { sampled_ns: measured.sampled_ns, ..Cost::default() };
        let mut by_hook: BTreeMap<Hook, (u64, u64)> = BTreeMap::new();
        for (probe, (runs, run_ns)) in self.programs.iter().zip(measured.by_program) {
            cost.runs += runs;
            cost.run_ns += run_ns;
            if let Some(hook) = probe.hook {
                let of = by_hook.entry(hook).or_default();
                *of = (of.0 + runs, of.1 + run_ns);
            }
        }
        cost.by_hook = by_hook
            .into_iter()
            .map(|(hook, (runs, run_ns))| Spent { hook, runs, run_ns })
            .collect();
        cost
    }

    /// Takes the time of the programs, where that is wanted and it is time to.
    fn look_at_cost(&mut self, now_ns: u64) {
        let counts = |probe: &Probe| probe.counts().unwrap_or_default();
        self.meter.look(now_ns, || self.programs.iter().map(counts).collect());
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
        if let (Some(mut ebpf), Some((filter, cgroups))) = (self.ebpf.take(), self.existing.take())
        {
            found.extend(existing::read(&mut ebpf, &filter, &cgroups)?);
        }
        if self.tell(found, on) == Flow::Continue {
            runtime.block_on(self.follow(on))?;
        }
        // From here on a second Ctrl-C ends the process at once, as it would have without us.
        // SAFETY: restores the default action of a signal.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
        self.tell_holders(on)?;
        // The programs stay on until whoever called has told the answers: taking them off can last for seconds.
        let ended_ns = now_ns(libc::CLOCK_MONOTONIC);
        let risen = self.before_all.as_ref().map(|it| it.risen(ended_ns)).unwrap_or_default();
        let AtEnd { misses, cost, missed, shared } = self.at_end();
        let flow = self.drain_to_the_end(ended_ns, missed, on)?;
        let risen = self.before_all.as_ref().map(|it| it.telling(risen)).unwrap_or_default();
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
            shared,
            counted: self.exchanges.as_ref().map(|exchanges| exchanges.counted(self.started_ns)),
            reach: Reach::Whole,
        })
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }
}

/// Hands over what was lost, unless nothing is wanted any more.
fn tell_losses(
    mut flow: Flow,
    lost: Vec<(Hook, u64)>,
    at_ns: u64,
    on: &mut dyn FnMut(Item) -> Flow,
) -> Flow {
    for (hook, events) in lost {
        if flow == Flow::Continue {
            flow = on(Item::Loss { hook, at_ns, events });
        }
    }
    flow
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
