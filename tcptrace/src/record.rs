//! Stores a trace while it is taken, in a thread of its own: whoever reads the ring buffer never waits for a disk. What
//! the disk cannot take in time is left out, counted, and told in the trace itself.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use tcptrace_common::{hook::Hook, loss::Loss};

use crate::{
    event::{About, Event, SocketId},
    trace::{Encoder, Ending, Header, Item, Reach, binary::Filled},
};

/// A frame is closed when it is as old as this, so that no more is lost when the process is killed.
const FRAME_NS: u64 = 500_000_000;
/// Ticks in which nothing happened are stored once in this time.
const IDLE_NS: u64 = 1_000_000_000;
/// Frames that may wait for the disk, of 64 KiB of text each; the next one is left out.
const QUEUE: usize = 512;
/// Most threads whose names the next file of a recording begins with.
const MAX_COMMS: usize = 65_536;
/// Most sockets and names that are told again after frames were left out; further ones stay unknown.
const MAX_AGAIN: usize = 65_536;
/// Level of compression: one more costs twice the time and saves a few percent.
const LEVEL: i32 = 1;

/// Where a trace goes.
#[derive(Clone, Debug)]
pub enum Target {
    /// A file; several with numbered names when it is rotated.
    File {
        /// Its name.
        path: PathBuf,
        /// Whether one that is there already is overwritten.
        force: bool,
    },
    /// Standard output.
    Stdout,
}

/// When another file is begun.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rotation {
    /// When one is this large, bytes.
    pub bytes: Option<u64>,
    /// When one spans this time, nanoseconds.
    pub every_ns: Option<u64>,
    /// How many are kept; the oldest is removed.
    pub keep: Option<usize>,
}

impl Rotation {
    const fn is_wanted(&self) -> bool {
        self.bytes.is_some() || self.every_ns.is_some()
    }
}

/// Why a trace could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Something has this name.
    #[error("{0} is there already\n  try: another name, or --force to overwrite it")]
    Exists(PathBuf),
    /// It cannot be created.
    #[error("cannot create {0}: {1}")]
    Create(PathBuf, io::Error),
    /// It could be created and not written on.
    #[error("cannot write {name}: {error}\n  the whole frames before that are kept")]
    Write {
        /// The file's name.
        name: String,
        /// What the system said.
        error: io::Error,
    },
}

impl RecordError {
    /// Whether the reader of a pipe has gone away.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Write { error, .. } if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// What was stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Events.
    pub events: u64,
    /// Events that the disk could not take in time.
    pub left_out: u64,
    /// Bytes, compressed, of all files.
    pub bytes: u64,
    /// Files.
    pub parts: u32,
    /// Files that were removed since [`Recorder::removed`] was last called.
    pub removed: Vec<PathBuf>,
}

/// Takes the items of a run, and its end.
#[derive(Debug)]
pub struct Recorder {
    encoder: Encoder,
    queue: Option<SyncSender<Job>>,
    disk: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    header: Header,
    rotation: Rotation,
    /// Sockets and threads that are known: the next file begins with them.
    sockets: BTreeMap<SocketId, Event>,
    comms: BTreeMap<u32, String>,
    about: BTreeMap<(u8, u32), About>,
    first_part: u32,
    /// When the file at hand began, nanoseconds, and its size.
    part_ns: u64,
    part_bytes: u64,
    last_ns: u64,
    /// The last tick that was stored, and a later one that was not.
    tick_ns: u64,
    skipped: Option<u64>,
    /// Something came since the last tick.
    news: bool,
    /// Losses that the frame at hand tells, and who it tells somebody is: told again when it is left out.
    in_frame: Vec<Item>,
    /// What is to be told again.
    again: Known,
    /// The run is over: the disk is waited for.
    patient: bool,
    /// The last frame found no room: the next that finds some tells what was left out.
    stuck: bool,
    /// Events left out and not told yet; all that were left out.
    untold: BTreeMap<Hook, u64>,
    left_out: BTreeMap<Hook, u64>,
    events: u64,
}

/// What the disk's thread tells.
#[derive(Debug, Default)]
struct Shared {
    bytes: AtomicU64,
    error: Mutex<Option<RecordError>>,
    removed: Mutex<Vec<PathBuf>>,
}

/// What the disk's thread is to do.
#[derive(Debug)]
enum Job {
    Frame(Vec<u8>),
    /// The file at hand ends with this frame, and another begins with this header.
    Next {
        end: Vec<u8>,
        header: Box<Header>,
    },
}

impl Recorder {
    /// Creates the file and writes the header.
    ///
    /// # Errors
    /// [`RecordError`]: it is there already, or cannot be created.
    pub fn start(target: &Target, header: Header, rotation: Rotation) -> Result<Self, RecordError> {
        let (path, force) = match target {
            Target::File { path, force } => (Some(path.clone()), *force),
            Target::Stdout => (None, true),
        };
        let kept = path.as_deref().filter(|_| rotation.is_wanted()).map(numbered_files);
        let part = kept.as_ref().map_or(0, |kept| kept.last().map_or(0, |(part, _)| *part) + 1);
        let header = Header { part, rows: Header::rows_of_this_version(), ..header };
        let mut disk = Disk {
            path,
            force,
            keep: rotation.keep,
            out: Box::new(io::sink()),
            file: None,
            name: String::new(),
            whole: 0,
            shared: Arc::default(),
            failed: false,
            kept: kept.into_iter().flatten().map(|(_, path)| path).collect(),
        };
        disk.open(header.part)?;
        disk.frame(header.to_string().as_bytes());
        disk.taken_error()?;
        Ok(Self::over(disk, header, rotation))
    }

    fn over(disk: Disk, header: Header, rotation: Rotation) -> Self {
        let (queue, jobs) = sync_channel(QUEUE);
        let shared = Arc::clone(&disk.shared);
        let started_ns = header.facts.mono_ns;
        Self {
            encoder: Encoder::default(),
            queue: Some(queue),
            disk: Some(std::thread::spawn(move || disk.work(&jobs))),
            shared,
            first_part: header.part,
            header,
            rotation,
            sockets: BTreeMap::new(),
            comms: BTreeMap::new(),
            about: BTreeMap::new(),
            part_ns: started_ns,
            part_bytes: 0,
            last_ns: started_ns,
            tick_ns: started_ns,
            skipped: None,
            news: false,
            in_frame: Vec::new(),
            again: Known::default(),
            patient: false,
            stuck: false,
            untold: BTreeMap::new(),
            left_out: BTreeMap::new(),
            events: 0,
        }
    }

    /// Stores an item; never waits.
    pub fn item(&mut self, item: &Item) {
        match item {
            Item::Tick { now_ns } => {
                self.last_ns = (*now_ns).max(self.last_ns);
                if !self.news && now_ns.saturating_sub(self.tick_ns) < IDLE_NS {
                    self.skipped = Some(*now_ns);
                    self.flush_what_is_due();
                    return;
                }
                (self.news, self.skipped, self.tick_ns) = (false, None, *now_ns);
            }
            Item::Loss { at_ns, .. } => {
                self.tell_skipped();
                self.last_ns = (*at_ns).max(self.last_ns);
                self.news = true;
            }
            Item::Event(event) => {
                self.tell_skipped();
                self.last_ns = event.at_ns.max(self.last_ns);
                self.events += 1;
                self.news = true;
                self.know(event);
            }
            Item::Comm { tid, comm } => {
                self.tell_skipped();
                self.news = true;
                if self.header.part > 0 {
                    if self.comms.len() >= MAX_COMMS {
                        self.comms.pop_first();
                    }
                    self.comms.insert(*tid, comm.clone());
                }
            }
            Item::About(about) => {
                self.tell_skipped();
                self.news = true;
                if self.header.part > 0 {
                    if self.about.len() >= MAX_COMMS {
                        self.about.pop_first();
                    }
                    self.about.insert(about.key(), about.clone());
                }
            }
        }
        self.tell_left_out();
        self.encode(item);
        self.flush_what_is_due();
    }

    /// Whether the disk has refused; what comes is not stored.
    pub fn has_failed(&self) -> bool {
        self.shared.error.lock().is_ok_and(|error| error.is_some())
    }

    /// Why the disk has refused, in words.
    pub fn failure(&self) -> Option<String> {
        self.shared.error.lock().ok()?.as_ref().map(RecordError::to_string)
    }

    /// Files that were removed since the last call, because newer ones are kept.
    pub fn removed(&self) -> Vec<PathBuf> {
        self.shared
            .removed
            .lock()
            .map(|mut removed| std::mem::take(&mut *removed))
            .unwrap_or_default()
    }

    /// So far: events, and bytes on the disk.
    pub fn so_far(&self) -> (u64, u64) {
        (self.events, self.shared.bytes.load(Ordering::Relaxed))
    }

    /// Stores the end and waits for the disk.
    ///
    /// # Errors
    /// [`RecordError::Write`]: the disk has refused, now or before.
    pub fn end(mut self, ending: &Ending) -> Result<Written, RecordError> {
        (self.patient, self.stuck) = (true, false);
        self.tell_skipped();
        self.tell_left_out();
        // Of a file that is not the first, the span is its own.
        let mut ending = Ending { started_ns: self.header.facts.mono_ns, ..ending.clone() };
        ending.lost.extend(self.left_out.iter().map(|(hook, n)| (*hook, Loss::DiskSlow, *n)));
        self.encoder.end(&ending);
        if let Some(filled) = self.encoder.take()
            && let Some(queue) = self.queue.take()
        {
            // The last frame may wait; a disk that has refused hangs up.
            let _ = queue.send(Job::Frame(filled.bytes));
        }
        self.queue = None;
        if let Some(disk) = self.disk.take() {
            // A thread that has panicked has said so.
            let _ = disk.join();
        }
        let first = self.first_part;
        match self.shared.error.lock().ok().and_then(|mut error| error.take()) {
            Some(error) => Err(error),
            None => Ok(Written {
                events: self.events - self.left_out.values().sum::<u64>().min(self.events),
                left_out: self.left_out.values().sum(),
                bytes: self.shared.bytes.load(Ordering::Relaxed),
                parts: self.header.part - first + 1,
                removed: self.removed(),
            }),
        }
    }

    /// Keeps what the next file has to begin with.
    fn know(&mut self, event: &Event) {
        if self.header.part == 0 {
            return;
        }
        match event.hook {
            Hook::socket => {
                self.sockets.insert(event.socket, event.clone());
            }
            Hook::tcp_v4_destroy_sock | Hook::socket_reused => {
                self.sockets.remove(&event.socket);
            }
            _ => {}
        }
    }

    fn flush_what_is_due(&mut self) {
        let old =
            self.encoder.first_ns().is_some_and(|at| self.last_ns.saturating_sub(at) >= FRAME_NS);
        if old || self.encoder.is_full() {
            self.flush();
            self.rotate();
        }
    }

    fn tell_skipped(&mut self) {
        if let Some(now_ns) = self.skipped.take() {
            self.encoder.item(&Item::Tick { now_ns });
        }
    }

    fn tell_left_out(&mut self) {
        if !self.stuck && !self.again.is_empty() {
            let again = std::mem::take(&mut self.again);
            self.announce(again);
        }
        for (hook, events) in std::mem::take(&mut self.untold) {
            self.encode(&Item::Loss { hook, at_ns: self.last_ns, events });
        }
    }

    /// Tells who threads and sockets are, in as many frames as that takes.
    fn announce(&mut self, known: Known) {
        let Known { sockets, comms, about } = known;
        let comms = comms.into_iter().map(|(tid, comm)| Item::Comm { tid, comm });
        let names = comms.chain(about.into_values().map(Item::About));
        for item in names.chain(sockets.into_values().map(Item::Event)) {
            self.encode(&item);
            if self.encoder.is_full() {
                self.flush();
            }
        }
    }

    fn leave_out(&mut self, hook: Hook, events: u64) {
        *self.untold.entry(hook).or_default() += events;
        *self.left_out.entry(hook).or_default() += events;
    }

    fn encode(&mut self, item: &Item) {
        let identity = match item {
            Item::Event(event) => event.hook == Hook::socket,
            Item::Loss { .. } | Item::Comm { .. } | Item::About(_) => true,
            Item::Tick { .. } => false,
        };
        if self.again.forget(item) {
            self.leave_out(Hook::socket, 1);
        }
        if identity {
            self.in_frame.push(item.clone());
        }
        self.encoder.item(item);
    }

    fn flush(&mut self) {
        let Some(Filled { bytes, events }) = self.encoder.take() else { return };
        let Some(queue) = &self.queue else { return };
        let sent = if self.patient {
            // A disk that has refused hangs up.
            queue.send(Job::Frame(bytes)).map_err(|error| TrySendError::Disconnected(error.0))
        } else {
            queue.try_send(Job::Frame(bytes))
        };
        match sent {
            Ok(()) => {
                self.in_frame.clear();
                self.stuck = false;
            }
            Err(TrySendError::Full(_)) => {
                self.stuck = true;
                for item in std::mem::take(&mut self.in_frame) {
                    if let Item::Loss { hook, events, .. } = item {
                        *self.untold.entry(hook).or_default() += events;
                    } else if !self.again.keep(item) {
                        self.leave_out(Hook::socket, 1);
                    }
                }
                // A socket is announced again: that record is not lost.
                for (hook, many) in events.into_iter().filter(|(hook, _)| *hook != Hook::socket) {
                    self.leave_out(hook, many);
                }
                // Before anything else: what the next frame concludes may rest on what was left out.
                self.tell_left_out();
            }
            // The disk has refused, which `has_failed` tells.
            Err(TrySendError::Disconnected(_)) => self.in_frame.clear(),
        }
    }

    /// Begins another file where the one at hand is large or old enough.
    fn rotate(&mut self) {
        let bytes = self.shared.bytes.load(Ordering::Relaxed);
        let full =
            self.rotation.bytes.is_some_and(|most| bytes.saturating_sub(self.part_bytes) >= most);
        let old = self
            .rotation
            .every_ns
            .is_some_and(|most| self.last_ns.saturating_sub(self.part_ns) >= most);
        if self.header.part == 0 || !(full || old) {
            return;
        }
        let mut end = Encoder::default();
        end.end(&Ending {
            started_ns: self.header.facts.mono_ns,
            ended_ns: self.last_ns,
            reach: Reach::Part,
            ..Ending::default()
        });
        // The same clock, at the moment at which the next file begins.
        let mut header = Header { part: self.header.part + 1, ..self.header.clone() };
        let later_ns = self.last_ns.saturating_sub(header.facts.mono_ns);
        header.facts.mono_ns += later_ns;
        header.facts.real_ns = header.facts.real_ns.saturating_add(later_ns);
        let Some((queue, end)) = self.queue.as_ref().zip(end.take()) else { return };
        let next = Job::Next { end: end.bytes, header: Box::new(header.clone()) };
        if queue.try_send(next).is_err() {
            // No room in the queue: the file at hand goes on until there is.
            return;
        }
        self.header = header;
        (self.part_ns, self.part_bytes) = (self.last_ns, bytes);
        let (sockets, comms, about) =
            (self.sockets.clone(), self.comms.clone(), self.about.clone());
        self.announce(Known { sockets, comms, about });
    }
}

/// Who sockets and threads are, as far as it has to be told again.
#[derive(Debug, Default)]
struct Known {
    sockets: BTreeMap<SocketId, Event>,
    comms: BTreeMap<u32, String>,
    about: BTreeMap<(u8, u32), About>,
}

impl Known {
    fn is_empty(&self) -> bool {
        self.sockets.is_empty() && self.comms.is_empty() && self.about.is_empty()
    }

    /// Keeps it to be told again; `false` when a socket's record is not: there is no room, or it takes another's place.
    fn keep(&mut self, item: Item) -> bool {
        match item {
            Item::Event(event) if self.sockets.len() < MAX_AGAIN => {
                self.sockets.insert(event.socket, event).is_none()
            }
            Item::Event(_) => false,
            Item::Comm { tid, comm } => {
                if self.comms.len() < MAX_AGAIN {
                    self.comms.insert(tid, comm);
                }
                true
            }
            Item::About(about) => {
                if self.about.len() < MAX_AGAIN {
                    self.about.insert(about.key(), about);
                }
                true
            }
            Item::Tick { .. } | Item::Loss { .. } => true,
        }
    }

    /// What a later item tells newly, or ends, is not told again; whether that was a socket's record.
    fn forget(&mut self, item: &Item) -> bool {
        match item {
            Item::Event(event)
                if matches!(
                    event.hook,
                    Hook::socket | Hook::tcp_v4_destroy_sock | Hook::socket_reused
                ) =>
            {
                self.sockets.remove(&event.socket).is_some()
            }
            Item::Comm { tid, .. } => {
                self.comms.remove(tid);
                false
            }
            Item::About(about) => {
                self.about.remove(&about.key());
                false
            }
            Item::Event(_) | Item::Tick { .. } | Item::Loss { .. } => false,
        }
    }
}

/// The thread that writes.
struct Disk {
    path: Option<PathBuf>,
    force: bool,
    keep: Option<usize>,
    out: Box<dyn Write + Send>,
    /// The file behind `out`, to be cut where a frame did not fit.
    file: Option<File>,
    name: String,
    /// Bytes of whole frames in it.
    whole: u64,
    shared: Arc<Shared>,
    failed: bool,
    /// Names of the files, the oldest first.
    kept: Vec<PathBuf>,
}

impl Disk {
    fn work(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Frame(contents) => self.frame(&contents),
                Job::Next { end, header } => {
                    self.frame(&end);
                    if let Err(error) = self.open(header.part) {
                        self.fail(error);
                    }
                    self.frame(header.to_string().as_bytes());
                }
            }
            if self.failed {
                // Whoever sends is told by the channel's end.
                return;
            }
        }
    }

    fn open(&mut self, part: u32) -> Result<(), RecordError> {
        let Some(path) = &self.path else {
            (self.out, self.name) = (Box::new(io::stdout()), "standard output".to_owned());
            return Ok(());
        };
        let path = if part == 0 { path.clone() } else { numbered(path, part) };
        // Before the next one is there, so that never more are than were allowed.
        while self.keep.is_some_and(|keep| part > 0 && self.kept.len() >= keep.max(1)) {
            let oldest = self.kept.remove(0);
            // One that somebody else has removed is gone as well.
            if fs::remove_file(&oldest).is_ok()
                && let Ok(mut removed) = self.shared.removed.lock()
            {
                removed.push(oldest);
            }
        }
        let mut options = OpenOptions::new();
        options.write(true);
        if self.force {
            options.create(true).truncate(true);
        } else {
            options.create_new(true);
        }
        let file = options.open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => RecordError::Exists(path.clone()),
            _ => RecordError::Create(path.clone(), error),
        })?;
        self.name = path.display().to_string();
        self.file = file.try_clone().ok();
        (self.out, self.whole) = (Box::new(file), 0);
        if part > 0 {
            self.kept.push(path);
        }
        Ok(())
    }

    fn frame(&mut self, contents: &[u8]) {
        if self.failed {
            return;
        }
        let written = compressed(contents).and_then(|frame| {
            self.out.write_all(&frame)?;
            self.out.flush()?;
            Ok(frame.len() as u64)
        });
        match written {
            Ok(bytes) => {
                self.whole += bytes;
                self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            Err(error) => {
                if let Some(file) = &self.file {
                    // What does not help does not harm: a frame that is cut off is recognised as such.
                    let _ = file.set_len(self.whole);
                }
                self.fail(RecordError::Write { name: self.name.clone(), error });
            }
        }
    }

    fn fail(&mut self, error: RecordError) {
        self.failed = true;
        if let Ok(mut first) = self.shared.error.lock() {
            first.get_or_insert(error);
        }
    }

    fn taken_error(&self) -> Result<(), RecordError> {
        let error = self.shared.error.lock().ok().and_then(|mut error| error.take());
        error.map_or(Ok(()), Err)
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("name", &self.name).finish_non_exhaustive()
    }
}

/// `stall-000002.tcptrace` of `stall.tcptrace`.
pub fn numbered(path: &Path, part: u32) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = match path.extension() {
        Some(extension) => format!("{stem}-{part:06}.{}", extension.to_string_lossy()),
        None => format!("{stem}-{part:06}"),
    };
    path.with_file_name(name)
}

/// The files of earlier recordings with this name, by number.
fn numbered_files(path: &Path) -> Vec<(u32, PathBuf)> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let entries = fs::read_dir(folder.unwrap_or(Path::new("."))).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let number = |name: &String| {
        let part = name.strip_prefix(&*stem)?.strip_prefix('-')?.get(..6)?.parse().ok()?;
        let whole = path.with_file_name(name);
        (numbered(path, part) == whole).then_some((part, whole))
    };
    let mut found: Vec<_> = names.filter_map(|name| number(&name)).collect();
    found.sort();
    found
}

/// One frame, with its length and its checksum.
fn compressed(contents: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.include_checksum(true)?;
    compressor.compress(contents)
}
