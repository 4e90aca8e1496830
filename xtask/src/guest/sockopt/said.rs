//! What tcptrace says, against the calls that were made.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::Context as _;
use serde::Deserialize;

use super::{
    super::said::{Process, Socket},
    player::Call,
    setter::Answer,
};

/// What a socket says of an option that nobody has set.
const DEFAULTS: [((u32, u32), i64); 7] = [
    ((6, 2), 536),
    ((6, 4), 7_200),
    ((6, 5), 75),
    ((6, 6), 9),
    ((6, 7), 6),
    ((6, 8), 60),
    ((6, 25), 0),
];

/// Options whose value no field tells.
const WITHOUT_VALUE: [(u32, u32); 4] = [(6, 17), (6, 99), (1, 3), (0, 1)];

/// A value of its JSON.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Value {
    Number(i64),
    Word(String),
}

impl Value {
    fn shown(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Word(word) => word.clone(),
        }
    }
}

/// A finding of its JSON.
#[derive(Debug, Deserialize)]
pub(super) struct Found {
    socket: Socket,
    process: Option<Process>,
    level: Option<u32>,
    optname: Option<u32>,
    old: Option<Value>,
    new: Option<Value>,
    result: Option<i32>,
    effect: Option<String>,
    reason: Option<String>,
    via: Option<String>,
    phase: Option<String>,
    #[serde(default)]
    released_bytes: u32,
    existing: Option<BTreeMap<String, Value>>,
    certainty: String,
}

impl Found {
    pub(super) const fn netns(&self) -> Option<u64> {
        self.socket.netns
    }

    /// Whether it is about that socket.
    pub(super) fn is_of(&self, local: SocketAddr, remote: Option<SocketAddr>) -> bool {
        let other = self.socket.remote.filter(|remote| remote.port() != 0);
        self.socket.local == Some(local) && other == remote
    }

    /// Whether somebody has it open, or set the option.
    pub(super) const fn has_process(&self) -> bool {
        self.process.is_some()
    }

    /// An option of a socket that was there, as it is told.
    pub(super) fn existing_value(&self, name: &str) -> Option<String> {
        self.existing.as_ref()?.get(name).map(Value::shown)
    }

    /// Port of the other end; 0 while there is none.
    pub(super) fn remote_port(&self) -> u16 {
        self.socket.remote.map_or(0, |remote| remote.port())
    }

    /// What the socket was like at the call.
    pub(super) fn phase(&self) -> &str {
        self.phase.as_deref().unwrap_or("-")
    }

    /// Bytes that left by the call.
    pub(super) const fn released_bytes(&self) -> u32 {
        self.released_bytes
    }

    /// The option, its value before and after, the result, the way and the thread that set it, as one line.
    pub(super) fn line(&self) -> String {
        let shown =
            |value: &Option<Value>| value.as_ref().map_or_else(|| "-".to_owned(), Value::shown);
        let part = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |n| n.to_string());
        format!(
            "{}/{} {} to {} {} {} {}",
            part(self.level),
            part(self.optname),
            shown(&self.old),
            shown(&self.new),
            self.result.unwrap_or(-1),
            self.via.as_deref().unwrap_or("-"),
            part(self.process.as_ref().map(|process| process.tid)),
        )
    }

    /// Whether that process has it.
    pub(super) fn is_by(&self, pid: u32) -> bool {
        self.process.as_ref().is_some_and(|process| process.pid == pid)
    }

    /// What it says of a socket that was there, and the socket itself says otherwise.
    pub(super) fn differs(&self, answer: impl Fn(u32, u32) -> Option<Answer>) -> Vec<String> {
        let mut wrong = Vec::new();
        let named = [
            ("TCP_NODELAY", (6, 1)),
            ("TCP_CORK", (6, 3)),
            ("TCP_QUICKACK", (6, 12)),
            ("TCP_DEFER_ACCEPT", (6, 9)),
            ("TCP_FASTOPEN", (6, 23)),
            ("TCP_USER_TIMEOUT", (6, 18)),
            ("TCP_NOTSENT_LOWAT", (6, 25)),
            ("SO_KEEPALIVE", (1, 9)),
            ("TCP_KEEPIDLE", (6, 4)),
            ("TCP_KEEPINTVL", (6, 5)),
            ("TCP_KEEPCNT", (6, 6)),
            ("TCP_CONGESTION", (6, 13)),
            ("TCP_LINGER2", (6, 8)),
        ];
        for (name, key) in named {
            let said = self.existing.as_ref().and_then(|all| all.get(name));
            let own = answer(key.0, key.1);
            if !agree(key, said, own.as_ref()) {
                wrong.push(format!("--existing: {name} is {own:?}, told as {said:?}"));
            }
        }
        wrong
    }
}

/// Whether a value that is told is what the socket itself says.
fn agree(key: (u32, u32), told: Option<&Value>, own: Option<&Answer>) -> bool {
    match (told, own) {
        (Some(Value::Word(word)), Some(Answer::Number(number))) if word == "default" => {
            DEFAULTS.contains(&(key, *number)) || key == (6, 2)
        }
        (Some(Value::Word(told)), Some(Answer::Word(own))) => told == own,
        (Some(Value::Number(told)), Some(Answer::Number(own))) => told == own,
        _ => false,
    }
}

/// Its findings about calls.
pub(super) fn read(text: &str) -> anyhow::Result<Vec<Found>> {
    lines(text).map(|found| found.into_iter().filter(|one| one.existing.is_none()).collect())
}

/// Its findings about sockets that were there.
pub(super) fn existing(text: &str) -> anyhow::Result<Vec<Found>> {
    lines(text).map(|found| found.into_iter().filter(|one| one.existing.is_some()).collect())
}

fn lines(text: &str) -> anyhow::Result<Vec<Found>> {
    let mut found = Vec::new();
    for line in text.lines() {
        let value: serde_json::Value =
            serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
        match value.get("type").and_then(serde_json::Value::as_str) {
            Some("sockopt") => {
                found.push(serde_json::from_str(line).with_context(|| line.to_owned())?);
            }
            Some("gap") => anyhow::bail!("events were lost: {line}"),
            _ => {}
        }
    }
    Ok(found)
}

/// The calls in their order, and what is told of them.
pub(super) fn compared(calls: &[Call], found: &[&Found], form: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if calls.len() != found.len() {
        wrong.push(format!("{} calls were made, {} are told", calls.len(), found.len()));
    }
    for (n, (call, found)) in calls.iter().zip(found).enumerate() {
        let why = differs(call, found, form);
        if !why.is_empty() {
            wrong.push(format!(
                "{} call {n}: {}: {call:?} is told as {found:?}",
                call.case,
                why.join(", ")
            ));
            // What follows may only be out of step.
            if why.contains(&"option") {
                break;
            }
        }
    }
    wrong
}

fn differs(call: &Call, found: &Found, form: &str) -> Vec<&'static str> {
    let mut wrong = Vec::new();
    let mut must = |is_so: bool, what| {
        if !is_so {
            wrong.push(what);
        }
    };
    must(found.level.zip(found.optname) == Some(call.key), "option");
    must(found.result == Some(call.result), "result");
    must(found.via.as_deref() == Some(call.via), "via");
    must(found.is_by(call.pid), "process");
    must(found.certainty == "seen", "certainty");
    if !WITHOUT_VALUE.contains(&call.key) {
        // The kernel's MSS of a connection is another thing than what was set.
        let is_known = call.key != (6, 2);
        must(agree(call.key, found.old.as_ref(), call.before.as_ref()) || !is_known, "old");
        must(agree(call.key, found.new.as_ref(), call.after.as_ref()) || !is_known, "new");
    }
    must((found.effect.as_deref() == Some("refused")) == (call.result < 0), "refused");
    if let Some((effect, reason)) = call.wanted {
        must(found.effect.as_deref() == Some(effect), "effect");
        // The kprobes do not see what a ring asks for.
        let is_blind = form == "kprobe" && call.via == "io_uring";
        must(found.reason.as_deref() == reason || is_blind, "reason");
        must(found.released_bytes == call.left, "released");
    } else if call.result == 0 && call.key != (6, 12) && call.key != (6, 2) && call.key.0 != 0 {
        let is_same = call.before == call.after;
        let told_same = found.reason.as_deref() == Some("unchanged");
        // What comes too late, or at the wrong level, is told as that.
        let is_other = matches!(found.reason.as_deref(), Some("connected" | "wrong_level"));
        must(is_same == told_same || is_other, "unchanged");
    }
    wrong
}
