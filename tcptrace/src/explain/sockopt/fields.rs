//! A change's own fields, as `--json` has them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::shown::{Key, number, option, unit, wanted};
use crate::{
    analysis::{
        Cause, Fact as AnyFact,
        sockopt::{Change, Effect, Existing, Phase, Reason, Told, Value, Via},
    },
    explain::{Context, errno, name_of, printable},
    finding::Finding,
};

/// A value: a number in the option's unit, or a word.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
enum Scalar {
    /// A number, in the option's unit; 0 or 1 of a switch.
    Number(i64),
    /// `default` where a sysctl or the kernel decides, `unlimited`, `off`, or a name.
    Word(String),
}

/// The fields of a `sockopt`, in the order of the JSON.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Fields<'a> {
    /// The option's name; absent of a socket that was there at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    option: Option<String>,
    /// Level of the option: 6 is `SOL_TCP`, 1 `SOL_SOCKET`, 0 `SOL_IP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<u32>,
    /// Number of the option.
    #[serde(skip_serializing_if = "Option::is_none")]
    optname: Option<u32>,
    /// The value before, read from the socket; absent where no field tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Scalar")]
    old: Option<Scalar>,
    /// The value after, read from the socket; absent where no field tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Scalar")]
    new: Option<Scalar>,
    /// What the call asked for; absent where it was not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Scalar")]
    asked: Option<Scalar>,
    /// The unit of the three: `s`, `ms`, `us`, `bytes` or `bytes_per_s`; absent of a switch, a count and a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'static str>,
    /// What the call returned: 0, or a negative error number.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<i32>,
    /// The error's name; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Whether it changed anything; absent of a socket that was there at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Effect")]
    effect: Option<&'a Effect>,
    /// Why; absent where there is nothing to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Reason")]
    reason: Option<Reason>,
    /// The way it came by; absent of a socket that was there at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Via")]
    via: Option<Via>,
    /// What the socket was like at the call; absent where that was not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Phase")]
    phase: Option<Phase>,
    /// Bytes that waited before the call and had left when it returned; absent where others were written meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    released_bytes: Option<u32>,
    /// The options of a socket that was there at the start, by name; absent of a call. Times are in the option's unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "BTreeMap<String, Scalar>")]
    existing: Option<BTreeMap<String, Scalar>>,
}

/// The names of what it came to and why; nothing lets it go.
pub(in crate::explain) fn names(told: &Told) -> (Vec<String>, Vec<String>) {
    let Told::Change(change) = told else { return (vec!["existing".to_owned()], Vec::new()) };
    let reason = change.reason.map(|reason| name_of(&reason));
    ([name_of(&change.effect)].into_iter().chain(reason).collect(), Vec::new())
}

fn scalar(key: Key, value: &Value, hz: Option<u32>) -> Option<Scalar> {
    match value {
        Value::Default => Some(Scalar::Word("default".to_owned())),
        Value::Unlimited => Some(Scalar::Word("unlimited".to_owned())),
        Value::Linger { on: false, .. } => Some(Scalar::Word("off".to_owned())),
        Value::Name(name) => Some(Scalar::Word(printable(name))),
        value => number(key, value, hz).map(Scalar::Number),
    }
}

fn asked(key: Key, change: &Change) -> Option<Scalar> {
    match change.asked.as_ref().filter(|_| change.reason != Some(Reason::BadAddress))? {
        Value::Number(number) => Some(
            wanted(key, *number, change.asked_more)
                .map_or_else(|| Scalar::Word("off".to_owned()), Scalar::Number),
        ),
        Value::Name(name) => Some(Scalar::Word(printable(name))),
        _ => None,
    }
}

pub(in crate::explain) fn fields<'a>(
    _finding: &Finding<Cause, AnyFact>,
    told: &'a Told,
    context: &Context<'_>,
) -> (Fields<'a>, Vec<&'static str>) {
    let hz = context.facts.hz;
    match told {
        Told::Change(change) => of_change(change, hz),
        Told::Existing(existing) => (of_existing(existing, hz), Vec::new()),
    }
}

fn of_change(change: &Change, hz: Option<u32>) -> (Fields<'_>, Vec<&'static str>) {
    let key = (change.level, change.optname);
    let error = (change.result < 0).then(|| errno(change.result.unsigned_abs()));
    let old = change.old.as_ref().and_then(|value| scalar(key, value, hz));
    let new = change.new.as_ref().and_then(|value| scalar(key, value, hz));
    let not_seen = [(old.is_none(), "old"), (new.is_none(), "new")];
    let not_seen = not_seen.into_iter().filter(|(absent, _)| *absent).map(|(_, name)| name);
    let not_seen = not_seen.collect();
    let fields = Fields {
        option: Some(option(key)),
        level: Some(change.level),
        optname: Some(change.optname),
        old,
        new,
        asked: asked(key, change),
        unit: unit(key),
        result: Some(change.result),
        error,
        effect: Some(&change.effect),
        reason: change.reason,
        via: Some(change.via),
        phase: change.phase,
        released_bytes: change.released_bytes,
        existing: None,
    };
    (fields, not_seen)
}

fn of_existing(existing: &Existing, hz: Option<u32>) -> Fields<'_> {
    let one = |(level, optname, value): &(u32, u32, Value)| {
        let key = (*level, *optname);
        Some((option(key), scalar(key, value, hz)?))
    };
    Fields {
        option: None,
        level: None,
        optname: None,
        old: None,
        new: None,
        asked: None,
        unit: None,
        result: None,
        error: None,
        effect: None,
        reason: None,
        via: None,
        phase: existing.phase,
        released_bytes: None,
        existing: Some(existing.values.iter().filter_map(one).collect()),
    }
}
