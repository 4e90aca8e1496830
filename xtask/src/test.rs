//! `cargo xtask test`: the host's tests, then all scenarios in guests of all kernels.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Mutex,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::{
    again, bench,
    binaries::{self, Program},
    command, debian, ebpf,
    guest::{
        closers, defer_accept, deferrers, fastopen, filters, openers, refusals, rows, servers,
        setters, sockopt, spending, stack, trace, tree, verdicts,
    },
    hooks, host_tests,
    kernels::{self, Series},
    mutate,
    report::{MARK, Outcome},
    scenario, setup, table,
    totals::Totals,
    vm,
};

/// `cargo xtask test`.
#[derive(Clone, Debug, clap::Parser)]
pub(crate) struct Args {
    /// Only these kernels
    #[arg(long, value_delimiter = ',')]
    pub(crate) kernel: Vec<String>,
    /// Only this scenario, with the guest's console shown
    #[arg(long)]
    pub(crate) scenario: Option<String>,
    /// Build deliberate mistakes into tcptrace and want the scenarios to find each of them
    #[arg(long, conflicts_with = "scenario")]
    pub(crate) mutate: bool,
    /// So many random schedules besides the scenarios, on each kernel others
    #[arg(long, default_value_t = 40, conflicts_with = "mutate")]
    pub(crate) random: u64,
    /// Seed of the first random schedule; the next ones count up, from one kernel to the next
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Guests side by side
    #[arg(long, default_value_t = 3)]
    pub(crate) jobs: usize,
}

/// The kernels that are locked down in a guest of their own: which kinds of programs they take differs most from the oldest
/// to the newest.
const LOCKED_DOWN: [&str; 3] = ["5.10", "6.12", "7.3"];
/// The kernel whose guest runs the long rows about disks and signals.
const STORING: &str = "6.1";
/// The scenario that a seed makes.
const RANDOM: &str = "random";
/// What a run without random schedules does not have.
const DRAWN: [&str; 3] = [RANDOM, scenario::RANDOM_WAYS, scenario::MANY_CLOSES];

/// Everything that was asked for.
pub(crate) fn task(args: &Args) -> Result<ExitCode> {
    Ok(run(args)?.end())
}

/// As [`task`], for a task that goes on counting.
pub(crate) fn run(args: &Args) -> Result<Totals> {
    if args.mutate {
        return mutate::run(args);
    }
    let wanted = kernels::chosen(&args.kernel)?;
    if let Some(scenario) = &args.scenario {
        let names = names();
        ensure!(
            names.contains(scenario),
            "no scenario '{scenario}'; there are: {}",
            names.join(" ")
        );
    }
    setup::ensure(&wanted)?;
    let mut totals = Totals::default();
    if args.scenario.is_none() {
        totals.add(host_tests::run()?);
        totals.add(Totals::of("the benchmark", &bench::smoke()));
    }
    let programs = Programs::build(Program::Tcptrace, args.scenario.is_none())?;
    let jobs = jobs(&wanted, args);
    if jobs.iter().any(Job::has_servers) {
        // Before the guests, two of which would fetch it at a time.
        debian::tree(&tree::PACKAGES)?;
    }
    let (answers, results) = thread::scope(|scope| {
        // Its guest is one of them.
        let answers = args.scenario.is_none().then(|| scope.spawn(bench::answers));
        let mut results = in_guests(&jobs, &programs, args.jobs);
        if args.scenario.is_none() {
            again::run(&mut results, &programs, args.jobs);
        }
        let panicked = |_panic| Err(anyhow!("it panicked"));
        (answers.map(|answers| answers.join().unwrap_or_else(panicked)), results)
    });
    if let Some(answers) = answers {
        totals.add(Totals::of("bench cost", &answers));
    }
    totals.add(table::print(&results));
    Ok(totals)
}

/// The names of all rows that a guest's run has.
fn names() -> Vec<String> {
    let stories = scenario::all().into_iter().map(|story| story.name);
    let others = [
        RANDOM,
        scenario::RANDOM_WAYS,
        scenario::MANY_CLOSES,
        refusals::NAME,
        filters::NAME,
        stack::NAME,
        servers::NAME,
        closers::NAME,
        fastopen::NAME,
        defer_accept::NAME,
        deferrers::NAME,
        openers::NAME,
        sockopt::NAME,
        setters::NAME,
        spending::NAME,
        verdicts::NAME,
    ];
    let others = scenario::APART.into_iter().chain(others).chain(trace::NAMES);
    stories.chain(others.map(str::to_owned)).collect()
}

/// The long ones first, so that none is left alone at the end.
fn jobs(wanted: &[&'static Series], args: &Args) -> Vec<Job> {
    let random = match args.scenario.as_deref() {
        // One alone, which its seed names.
        Some(
            RANDOM
            | scenario::RANDOM_WAYS
            | scenario::MANY_CLOSES
            | scenario::LOSSES_RANDOM
            | scenario::UNDER_LOAD,
        ) => Some((1, args.seed)),
        Some(_) => None,
        None => Some((args.random, args.seed)),
    };
    let job = |series: &'static Series, part, lockdown| Job {
        series,
        part,
        lockdown,
        scenario: args.scenario.clone(),
        random: random.filter(|_| !lockdown),
        mutation: None,
        again: 0,
    };
    if args.scenario.is_some() {
        return wanted.iter().map(|series| job(series, Part::Whole, false)).collect();
    }
    let parts = [Part::Rows, Part::Stories];
    // The newest kernels take longest but for the long rows.
    let newest_first = wanted.iter().rev();
    let mut jobs: Vec<Job> =
        newest_first.flat_map(|series| parts.map(|part| job(series, part, false))).collect();
    // Each kernel has schedules of its own.
    for (at, series) in (0..).zip(wanted) {
        for job in jobs.iter_mut().filter(|job| job.series.name == series.name) {
            job.random = job.random.map(|(many, seed)| (many, seed.saturating_add(at * many)));
        }
    }
    jobs.sort_by_key(|job| (!job.stores(), !job.filters()));
    let locked_down = wanted.iter().filter(|series| LOCKED_DOWN.contains(&series.name));
    jobs.extend(locked_down.map(|series| job(series, Part::Whole, true)));
    jobs
}

/// What of a kernel's rows one guest has: two guests share them, so that none is alone at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// All that is asked for
    #[default]
    Whole,
    /// What starts and judges its own tcptrace, and the hooks by themselves
    Rows,
    /// The stories in front of one tcptrace
    Stories,
}

impl Part {
    /// Whether the rows that are no stories belong to it.
    pub(crate) fn has_rows(self) -> bool {
        self != Self::Stories
    }

    /// Whether the stories belong to it.
    pub(crate) fn has_stories(self) -> bool {
        self != Self::Rows
    }

    /// The word of the command line.
    fn word(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Rows => "rows",
            Self::Stories => "stories",
        }
    }
}

/// What one guest is to do.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) series: &'static Series,
    pub(crate) part: Part,
    pub(crate) lockdown: bool,
    pub(crate) scenario: Option<String>,
    /// How many random schedules, and the seed of the first.
    pub(crate) random: Option<(u64, u64)>,
    pub(crate) mutation: Option<&'static str>,
    /// Which time it is run again; zero at first.
    pub(crate) again: u8,
}

impl Job {
    /// For a column and for progress.
    pub(crate) fn name(&self) -> String {
        let mut name = self.series.name.to_owned();
        if self.part != Part::Whole {
            name += " ";
            name += self.part.word();
        }
        if self.lockdown {
            name += " lockdown";
        }
        if let Some(mutation) = self.mutation {
            name += " ";
            name += mutation;
        }
        if self.again > 0 {
            let scenario = self.scenario.iter().map(|scenario| format!(" {scenario}"));
            name.extend(scenario.chain([format!(" again {}", self.again)]));
        }
        name
    }

    /// Whether the long rows about disks and signals run here: no kernel has a part in them but by being attached to.
    pub(crate) fn stores(&self) -> bool {
        self.has_all_rows() && self.series.name == STORING
    }

    /// Whether each row that is no story is asked for here, unless it runs on some kernels only.
    fn has_all_rows(&self) -> bool {
        self.scenario.is_none() && self.mutation.is_none() && self.part.has_rows()
    }

    /// Whether the rows that are about the program more than about the kernel run here: on the oldest one, whose verifier
    /// takes least. They attach again and again.
    pub(crate) fn filters(&self) -> bool {
        let oldest = kernels::MATRIX.first().is_some_and(|oldest| oldest.name == self.series.name);
        self.has_all_rows() && oldest
    }

    /// What is asked of the hooks by themselves; the filters decide what is seen while no byte waits.
    fn fires(&self) -> hooks::Asked {
        hooks::Asked { lockdown: self.lockdown, unheld: self.filters() }
    }

    /// Whether a row is asked for here that does not run everywhere.
    pub(crate) fn is_asked(&self, row: &str) -> bool {
        let of_the_program = [filters::NAME, refusals::NAME, stack::NAME].contains(&row);
        let here = if row == hooks::SCENARIO || rows::is_alone(row) {
            self.part.has_rows()
        } else {
            self.part.has_stories()
        };
        here && (self.stores() || !trace::is_alone(row)) && (self.filters() || !of_the_program)
    }

    /// Whether a row runs here in this form too: attaching thirty kprobes takes an emulator a minute.
    pub(crate) fn has_form(&self, row: &str, form: &str) -> bool {
        row != sockopt::NAME || form != "kprobe" || self.filters()
    }

    /// Whether the hooks are made to fire by themselves.
    fn has_hooks(&self, programs: &Programs) -> bool {
        programs.fire_hooks.is_some() && self.mutation.is_none() && self.part.has_rows()
    }

    /// Whether real servers run here.
    fn has_servers(&self) -> bool {
        let rows = [servers::NAME, closers::NAME, openers::NAME, deferrers::NAME, setters::NAME];
        let named = |only: &String| rows.contains(&only.as_str());
        let wanted = self.scenario.as_ref().is_none_or(named);
        wanted && self.part.has_rows() && !self.lockdown && self.mutation.is_none()
    }

    /// What a person types to see it again.
    pub(crate) fn reproduce(&self, scenario: &str) -> String {
        let kernel = self.series.name;
        if self.lockdown || scenario == hooks::SCENARIO {
            return format!("cargo xtask test --kernel {kernel}");
        }
        format!("cargo xtask test --kernel {kernel} --scenario {scenario}")
    }

    fn command(&self, programs: &Programs) -> Vec<String> {
        let mut words = vec!["/xtask".to_owned(), "guest".to_owned(), "run".to_owned()];
        if let Some(scenario) = &self.scenario {
            words.extend(["--scenario".to_owned(), command::quoted(scenario)]);
        }
        if self.part != Part::Whole {
            words.extend(["--part".to_owned(), self.part.word().to_owned()]);
        }
        if let Some((many, seed)) = self.random {
            words.extend([
                "--random".to_owned(),
                many.to_string(),
                "--seed".to_owned(),
                seed.to_string(),
            ]);
        }
        if let Some(mutation) = self.mutation {
            words.extend(["--mutate".to_owned(), mutation.to_owned()]);
        }
        if self.lockdown {
            words.push("--lockdown".to_owned());
        } else if self.stores() {
            words.push("--storing".to_owned());
        }
        if self.filters() && !self.lockdown {
            words.push("--filtering".to_owned());
        }
        let mut harness = words.join(" ");
        if self.has_hooks(programs) {
            harness = format!("{}; {harness}", self.fires().command());
        }
        vec!["sh".to_owned(), "-c".to_owned(), harness]
    }
}

/// How a guest's run ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) job: Job,
    /// The kernel that ran.
    pub(crate) release: String,
    pub(crate) took: Duration,
    pub(crate) outcomes: Vec<Outcome>,
    /// What went wrong beside the outcomes.
    pub(crate) failures: Vec<String>,
    /// Worth saying, and no failure.
    pub(crate) remarks: Vec<String>,
}

impl Done {
    /// Whether a row was run here and passed each time.
    pub(crate) fn has_passed(&self, row: &Outcome) -> bool {
        let mut same = self
            .outcomes
            .iter()
            .filter(|it| {
                it.scenario == row.scenario && it.family == row.family && it.form == row.form
            })
            .peekable();
        same.peek().is_some() && same.all(Outcome::passed)
    }
}

/// The programs a guest gets.
#[derive(Debug)]
pub(crate) struct Programs {
    xtask: PathBuf,
    tcptrace: PathBuf,
    fire_hooks: Option<PathBuf>,
}

impl Programs {
    /// Builds them; `tcptrace` says in which form.
    pub(crate) fn build(tcptrace: Program, with_hooks: bool) -> Result<Self> {
        let object = ebpf::object()?;
        let hooks = with_hooks && binaries::has_fire_hooks();
        Ok(Self {
            xtask: binaries::build(Program::Xtask, None)?,
            tcptrace: binaries::build(tcptrace, Some(&object))?,
            fire_hooks: hooks
                .then(|| binaries::build(Program::FireHooks, Some(&object)))
                .transpose()?,
        })
    }

    /// This program, static.
    pub(crate) fn xtask(&self) -> &Path {
        &self.xtask
    }

    /// The program under test.
    pub(crate) fn tcptrace(&self) -> &Path {
        &self.tcptrace
    }

    /// Puts them into a guest.
    pub(crate) fn add_to(&self, guest: &mut vm::Guest) -> Result<()> {
        guest.add(&self.xtask, "/xtask")?;
        guest.add(&self.tcptrace, "/tcptrace")?;
        self.fire_hooks.as_deref().map_or(Ok(()), |file| guest.add(file, "/fire_hooks"))
    }
}

/// Runs the jobs, some of them side by side; the results stand in the order of the jobs.
pub(crate) fn in_guests(jobs: &[Job], programs: &Programs, side_by_side: usize) -> Vec<Done> {
    let next = Mutex::new(0..jobs.len());
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..side_by_side.clamp(1, jobs.len().max(1)) {
            scope.spawn(|| {
                while let Some((number, job)) =
                    take(&next).and_then(|number| Some((number, jobs.get(number)?)))
                {
                    let done = in_guest(job, programs);
                    if let Ok(mut results) = results.lock() {
                        results.push((number, done));
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, done)| done).collect()
}

fn take(next: &Mutex<std::ops::Range<usize>>) -> Option<usize> {
    next.lock().ok()?.next()
}

fn in_guest(job: &Job, programs: &Programs) -> Done {
    let mut done = Done {
        job: job.clone(),
        release: String::new(),
        took: Duration::ZERO,
        outcomes: Vec::new(),
        failures: Vec::new(),
        remarks: Vec::new(),
    };
    let mut console = Vec::new();
    let run = boot(job, programs, &mut console);
    for line in &console {
        if let Some(text) = line.strip_prefix(MARK) {
            match serde_json::from_str(text) {
                Ok(outcome) => done.outcomes.push(outcome),
                Err(error) => done.failures.push(format!("unreadable outcome ({error}): {text}")),
            }
        }
    }
    if job.has_hooks(programs) {
        done.outcomes.extend(hooks::outcomes(&console, job.fires()));
    }
    match run {
        Ok(run) => end(&mut done, run),
        Err(error) => done.failures.push(format!("{error:#}")),
    }
    eprintln!(
        "xtask: kernel {}: {} outcomes in {:.0} s",
        job.name(),
        done.outcomes.len(),
        done.took.as_secs_f64()
    );
    done
}

fn boot(job: &Job, programs: &Programs, console: &mut Vec<String>) -> Result<vm::Run> {
    let mut guest = vm::Guest::new(job.series.ready()?, job.command(programs));
    guest.lockdown = job.lockdown;
    guest.limit = Duration::from_mins(30);
    programs.add_to(&mut guest)?;
    if job.part.has_rows() && !job.lockdown {
        guest.carried = &sockopt::MODULES;
    }
    if job.has_servers() {
        guest.append(debian::tree(&tree::PACKAGES)?);
    }
    let shown = job.scenario.is_some() && job.again == 0;
    let mut kept = kept(job)?;
    let began = vm::now();
    guest.run(&mut |line| {
        // A console that cannot be kept is no reason to stop.
        let _ = writeln!(kept, "{:7.1} {line}", began.elapsed().as_secs_f64());
        if shown && !line.starts_with(MARK) {
            println!("{} | {line}", job.name());
        }
        console.push(line.to_owned());
    })
}

fn end(done: &mut Done, run: vm::Run) {
    if let Some(why) = run.first_try {
        // What the first try printed was counted too; a second set of outcomes must not hide that.
        done.remarks.push(format!("started twice: {}", why.lines().next().unwrap_or_default()));
    }
    done.release = run.release;
    done.took = run.took;
    let told = done.outcomes.iter().any(|outcome| !outcome.passed());
    if run.exit != 0 && !told {
        done.failures.push(format!("the guest's run ended with {}", run.exit));
    }
    let scenarios =
        done.outcomes.iter().filter(|outcome| outcome.scenario != hooks::SCENARIO).count();
    if scenarios == 0 {
        done.failures.push("no scenario reported an outcome".to_owned());
    } else if !done.job.lockdown && done.job.scenario.is_none() {
        let silent = |name: &String| !done.outcomes.iter().any(|outcome| outcome.scenario == *name);
        let no_random = done.job.random.is_none_or(|(many, _)| many == 0);
        let names = names()
            .into_iter()
            .filter(|name| !(no_random && DRAWN.contains(&name.as_str())))
            .filter(|name| done.job.is_asked(name))
            .filter(silent);
        let failures: Vec<String> =
            names.map(|name| format!("scenario {name} reported nothing")).collect();
        done.failures.extend(failures);
    }
}

/// Where the console of the job's last run is kept.
pub(crate) fn console_file(job: &Job) -> PathBuf {
    command::target().join("guests").join(format!("{}.txt", job.name().replace(' ', "-")))
}

/// The file of the job's console; each line is written as it comes, behind the seconds since the start.
fn kept(job: &Job) -> Result<File> {
    let file = console_file(job);
    fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
    File::create(&file).with_context(|| format!("cannot write {}", file.display()))
}
