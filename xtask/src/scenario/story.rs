//! The language in which the stories are told.

use crate::oracle::Call;

/// One story: a server under test on port 8080, and a peer.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    /// Its name in the table.
    pub(crate) name: String,
    /// The peer and its connections.
    pub(crate) link: Link,
    /// What is called on the listening socket before anyone connects.
    pub(crate) listener: Vec<Call>,
    /// What happens, in order.
    pub(crate) steps: Vec<Then>,
    /// A counter of `/proc/net/netstat` that must have moved in the program's namespace: the kernel took the way meant.
    pub(crate) counter: Option<&'static str>,
    /// What must follow, which says what tcptrace is asked.
    pub(crate) expect: Expect,
}

/// What must follow.
#[derive(Clone, Debug)]
pub(crate) enum Expect {
    /// These holds; nothing when only the oracle can know them.
    Holds(Option<Vec<Expected>>),
    /// These teardowns, one for each connection that is watched.
    Closes(Vec<ExpectedClose>),
}

/// What tcptrace is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Why bytes waited.
    Nagle,
    /// What shape the close had.
    Close,
}

impl Question {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::Nagle, Self::Close];

    /// The command, and the flag that leaves nothing out.
    pub(crate) const fn words(self) -> [&'static str; 2] {
        match self {
            Self::Nagle => ["nagle", "--min-hold"],
            Self::Close => ["close", "--min-duration"],
        }
    }
}

impl Story {
    /// What tcptrace is asked of it.
    pub(crate) const fn question(&self) -> Question {
        match self.expect {
            Expect::Holds(_) => Question::Nagle,
            Expect::Closes(_) => Question::Close,
        }
    }
}

/// One teardown that the story's construction makes certain, up to what kernels do differently.
#[derive(Clone, Debug)]
pub(crate) struct ExpectedClose {
    /// Side, shape, reason, segments: one of these.
    pub(crate) any_of: Vec<(&'static str, &'static str, &'static str, u32)>,
    /// What holds the FIN when it is queued, and what lets it go; where the story is about that.
    pub(crate) fin: Option<(&'static str, &'static str)>,
}

impl Story {
    /// Whether the program's device has a queue at some time.
    pub(crate) fn queues(&self) -> bool {
        self.steps.iter().any(|then| matches!(&then.step, Step::Do(call) if call.queues()))
    }

    /// How one of its connections ends, where it states that.
    pub(crate) fn close_of(&self, connection: usize) -> Option<&ExpectedClose> {
        match &self.expect {
            Expect::Closes(expect) => expect.get(connection),
            Expect::Holds(_) => None,
        }
    }
}

/// Who the peer is.
#[derive(Clone, Debug)]
pub(crate) enum Link {
    /// A peer in user space behind a TUN device: one connection for each SYN.
    Tun(Vec<Syn>),
    /// A real socket in another namespace, behind a veth pair; what it sends is so many microseconds late.
    Veth(u64),
    /// A real socket in the same namespace.
    Loopback,
    /// As `Loopback`, of two MPTCP sockets: what is seen is their first subflow.
    Mptcp,
    /// A peer in user space behind a TUN device, to which the program opens the connection.
    Active(Active),
}

/// How the program opens a connection.
#[derive(Clone, Debug)]
pub(crate) struct Active {
    /// What the peer answers with.
    pub(crate) syn: Syn,
    /// So many microseconds after the SYN.
    pub(crate) after_us: u64,
    /// What makes the SYN leave.
    pub(crate) by: Opener,
    /// What the peer says to the SYN.
    pub(crate) answer: Answer,
}

/// What makes a SYN leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opener {
    /// `connect`, which does not wait.
    Connect,
    /// The first write after a `connect` that sends nothing (`TCP_FASTOPEN_CONNECT`): the SYN carries data without a cookie.
    FirstWrite,
    /// `sendto` with `MSG_FASTOPEN`: the SYN asks for a cookie.
    Sendto,
    /// The same with `TCP_FASTOPEN_NO_COOKIE`: the SYN carries data.
    SendtoWithoutCookie,
}

/// What the peer says to a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A SYN of its own.
    Agrees,
    /// A SYN of its own, which does not acknowledge the data that the host's has carried.
    LeavesData,
    /// A reset.
    Refuses,
    /// Nothing.
    Nothing,
}

/// How the peer opens a connection. The handshake takes 20 ms, the window is shifted by 7.
#[derive(Clone, Debug)]
pub(crate) struct Syn {
    /// The MSS option.
    pub(crate) mss_bytes: u16,
    /// SACK permitted.
    pub(crate) sack: bool,
    /// The timestamps option.
    pub(crate) timestamps: bool,
    /// The window at first.
    pub(crate) window: u16,
}

/// A step and the connection it is about.
#[derive(Clone, Debug)]
pub(crate) struct Then {
    /// Index of the connection.
    pub(crate) connection: usize,
    /// What happens.
    pub(crate) step: Step,
}

/// What can happen.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Nothing, for so many microseconds.
    After(u64),
    /// The program under test calls.
    Do(Call),
    /// Another thread of the program calls.
    Elsewhere(Call),
    /// As `Do`, left out when the congestion window might be what holds the bytes.
    DoIfRoom(Call),
    /// The program at the other end calls, where there is one.
    Client(Call),
    /// The peer has got so many bytes of the stream.
    Arrived(u64),
    /// The peer has got a segment for the second time.
    Repeated,
    /// The peer acknowledges the stream up to this byte.
    Ack(u64),
    /// The peer announces a window, and keeps to it.
    Window(u16),
    /// The peer resets the connection.
    Reset,
    /// The peer sends so many bytes with its FIN. It acknowledges what came, and the host's FIN only where it has said so
    /// before. In a story of closes the peer does nothing of this by itself.
    PeerCloses(usize),
    /// The peer sends its FIN again.
    PeerClosesAgain,
    /// The peer acknowledges the host's FIN, when it has come, with all before it.
    AckFin,
    /// As [`Step::AckFin`], in one segment with its own FIN.
    AckFinAndClose,
    /// As [`Step::AckFin`], in one segment with so many bytes.
    AckFinWith(usize),
    /// The peer asks for a new connection from the same port, and says nothing more.
    PeerOpensAgain,
    /// tcptrace comes here: only in the stories that start one of their own.
    Attach,
    /// The peer sends so many bytes.
    PeerSends(usize),
    /// From here on the peer acknowledges each segment so many microseconds after it came.
    AckAfter(u64),
}

/// One hold that the story's construction makes certain.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    /// Waiting bytes.
    pub(crate) bytes: u64,
    /// Causes in order.
    pub(crate) causes: Vec<&'static str>,
    /// The release.
    pub(crate) release: &'static str,
    /// About how long.
    pub(crate) about_us: u64,
    /// How far from that it may be: the timer wheel's step, or next to nothing.
    pub(crate) slack_us: u64,
}

/// What most peers open with.
pub(crate) const SYN: Syn = Syn { mss_bytes: 1000, sack: true, timestamps: false, window: 257 };

/// Time of a hold that no timer ends: calls, page faults and the emulator take some of it, probes most of all. Far less
/// than the 20 ms between two things that a story lets happen.
const EXACT_US: u64 = 5_000;
/// One tick of 4 ms, twice: the timer's rounding up, and the wheel's step.
const TIMER_US: u64 = 8_000;

/// A hold that ends at a time the story sets.
pub(crate) fn held(
    bytes: u64,
    causes: &[&'static str],
    release: &'static str,
    about_us: u64,
) -> Expected {
    Expected { bytes, causes: causes.to_vec(), release, about_us, slack_us: EXACT_US }
}

/// A hold that a timer of the kernel ends.
pub(crate) fn timed(
    bytes: u64,
    causes: &[&'static str],
    release: &'static str,
    about_us: u64,
) -> Expected {
    Expected { bytes, causes: causes.to_vec(), release, about_us, slack_us: TIMER_US }
}

/// A story with one connection whose SYN offers SACK and an MSS of 1000.
pub(crate) fn story(name: &str, steps: Vec<Step>, expect: Vec<Expected>) -> Story {
    with(name, SYN, steps, expect)
}

/// A story with one connection that the peer opens in its own way.
pub(crate) fn with(name: &str, syn: Syn, steps: Vec<Step>, expect: Vec<Expected>) -> Story {
    told(name, Link::Tun(vec![syn]), steps, expect)
}

/// A story between two real sockets; what the client sends arrives so many microseconds late.
pub(crate) fn between_namespaces(
    name: &str,
    delay_us: u64,
    steps: Vec<Step>,
    expect: Vec<Expected>,
) -> Story {
    told(name, Link::Veth(delay_us), steps, expect)
}

/// A story between two real sockets of one namespace; the holds of both are expected.
pub(crate) fn over_loopback(name: &str, steps: Vec<Step>, expect: Vec<Expected>) -> Story {
    told(name, Link::Loopback, steps, expect)
}

/// A story in which the program opens the connection.
pub(crate) fn opened(name: &str, active: Active, steps: Vec<Step>, expect: Vec<Expected>) -> Story {
    told(name, Link::Active(active), steps, expect)
}

/// A story between two MPTCP sockets of one namespace.
pub(crate) fn over_mptcp(name: &str, steps: Vec<Step>, expect: Vec<Expected>) -> Story {
    Story { counter: Some("MPCapableACKRX"), ..told(name, Link::Mptcp, steps, expect) }
}

fn told(name: &str, link: Link, steps: Vec<Step>, expect: Vec<Expected>) -> Story {
    let steps = steps.into_iter().map(|step| Then { connection: 0, step }).collect();
    Story {
        name: name.to_owned(),
        link,
        listener: Vec::new(),
        steps,
        counter: None,
        expect: Expect::Holds(Some(expect)),
    }
}

/// A story of a close, with one connection to a peer in user space.
pub(crate) fn closes(
    name: &str,
    steps: Vec<Step>,
    any_of: &[(&'static str, &'static str, &'static str, u32)],
) -> Story {
    closes_with(name, Link::Tun(vec![SYN]), steps, &[any_of])
}

/// A story of a close; each connection that is watched has its own expectation.
pub(crate) fn closes_with(
    name: &str,
    link: Link,
    steps: Vec<Step>,
    expect: &[&[(&'static str, &'static str, &'static str, u32)]],
) -> Story {
    let steps = steps.into_iter().map(|step| Then { connection: 0, step }).collect();
    let expect =
        expect.iter().map(|any_of| ExpectedClose { any_of: any_of.to_vec(), fin: None }).collect();
    let name = name.to_owned();
    Story { name, link, listener: Vec::new(), steps, counter: None, expect: Expect::Closes(expect) }
}

/// The same story, in which the FIN of each connection is held by `cause` and goes by `release`.
pub(crate) fn fin_waits(mut story: Story, cause: &'static str, release: &'static str) -> Story {
    if let Expect::Closes(expect) = &mut story.expect {
        for one in expect {
            one.fin = Some((cause, release));
        }
    }
    story
}

/// Nothing for so many milliseconds.
pub(crate) fn ms(wait: u64) -> Step {
    Step::After(wait * 1000)
}

/// At 20 kB a second: the first ten segments, of 1000 bytes each, are not paced, and have left and been acknowledged before these
/// steps.
pub(crate) fn paced(then: Vec<Step>) -> Vec<Step> {
    let first =
        [Step::Do(Call::PacingRate(20_000)), write(10_000), ms(10), Step::Ack(10_000), ms(10)];
    first.into_iter().chain(then).collect()
}

/// The program writes.
pub(crate) fn write(bytes: usize) -> Step {
    Step::Do(Call::Write(bytes))
}

/// The program sends with `MSG_MORE`.
pub(crate) fn more(bytes: usize) -> Step {
    Step::Do(Call::SendMore(bytes))
}

/// The program sets or clears `TCP_CORK`.
pub(crate) fn cork(on: bool) -> Step {
    Step::Do(Call::Cork(on))
}

/// The program sets or clears `TCP_NODELAY`.
pub(crate) fn nodelay(on: bool) -> Step {
    Step::Do(Call::Nodelay(on))
}

/// The program closes.
pub(crate) fn close() -> Step {
    Step::Do(Call::Close)
}

/// Requests and answers in one write each, between two sockets: after these both ends delay their acknowledgements, as
/// after the first of a connection they do not.
pub(crate) fn quick_rounds(many: usize) -> Vec<Step> {
    let round = [
        Step::Client(Call::Write(10)),
        Step::Do(Call::Read(10)),
        write(10),
        Step::Client(Call::Read(10)),
    ];
    round.iter().cycle().take(many * round.len()).cloned().collect()
}
