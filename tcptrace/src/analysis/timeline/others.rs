//! The machines of other questions inside: what they say of an event becomes lines of the stretch.

use tcptrace_common::hook::Hook;

use super::Fact;
use crate::{
    analysis::{Analysis as _, defer_accept, fastopen, sockopt},
    event::Event,
    finding::{Evidence, Finding},
};

/// Each is made when the first event comes that is its own: most sockets need none.
#[derive(Debug, Default)]
pub(super) struct Others {
    opening: Option<fastopen::Machine>,
    deferral: Option<defer_accept::Machine>,
    options: Option<sockopt::Machine>,
}

impl Others {
    /// What there is to say of the event.
    pub(super) fn on_event(&mut self, e: &Event) -> Vec<Fact> {
        let mut facts = Vec::new();
        if let Some(machine) = made(&mut self.options, changes(e.hook)) {
            let mut told = Vec::new();
            machine.on_event(e, &mut told);
            facts.extend(told.into_iter().filter_map(returned));
        }
        if let Some(machine) = made(&mut self.opening, opens(e.hook)) {
            let mut told = Vec::new();
            machine.on_event(e, &mut told);
            let new = added(e.n, &told, machine.kept());
            facts.extend(new.filter(|fact| is_new(fact)).cloned().map(Fact::Opening));
        }
        if let Some(machine) = made(&mut self.deferral, defers(e.hook)) {
            let mut told = Vec::new();
            machine.on_event(e, &mut told);
            let new = added(e.n, &told, machine.kept());
            facts.extend(new.filter(|fact| is_own(fact)).cloned().map(Fact::Deferral));
        }
        facts
    }

    pub(super) fn on_loss(&mut self, at_ns: u64) {
        self.options.iter_mut().for_each(|machine| machine.on_loss(at_ns));
    }
}

/// The machine, which comes to be when `begins` says so.
fn made<M: Default>(machine: &mut Option<M>, begins: bool) -> Option<&mut M> {
    if begins { Some(machine.get_or_insert_default()) } else { machine.as_mut() }
}

const fn changes(hook: Hook) -> bool {
    matches!(hook, Hook::option_before | Hook::option_after)
}

const fn opens(hook: Hook) -> bool {
    matches!(
        hook,
        Hook::tcp_fastopen_defer_connect
            | Hook::tcp_fastopen_cookie_check
            | Hook::fastopen_syn
            | Hook::tcp_fastopen_cache_set
            | Hook::tcp_try_fastopen
            | Hook::reqsk_fastopen_remove
            | Hook::inet_csk_reqsk_queue_add
            | Hook::tcp_fastopen_active_detect_blackhole
            | Hook::tcp_fastopen_active_disable
    )
}

const fn defers(hook: Hook) -> bool {
    matches!(
        hook,
        Hook::inet_csk_reqsk_queue_hash_add
            | Hook::tcp_check_req
            | Hook::inet_csk_reqsk_queue_add
            | Hook::inet_listen
            | Hook::tcp_finish_connect
    )
}

/// The lines that event `n` has added to what is told and to what is kept.
fn added<'a, C, F>(
    n: u64,
    told: &'a [Finding<C, F>],
    kept: &'a [Evidence<F>],
) -> impl Iterator<Item = &'a F> {
    let lines = told.iter().flat_map(|finding| &finding.evidence).chain(kept);
    lines.filter(move |line| line.n == n).map(|line| &line.fact)
}

/// Whether the timeline has no line of its own for it.
const fn is_new(fact: &fastopen::Fact) -> bool {
    use fastopen::Fact as Opening;
    !matches!(
        fact,
        Opening::OptionSet { .. }
            | Opening::Written { .. }
            | Opening::TimedOut { .. }
            | Opening::Over { .. }
            | Opening::Lost
    )
}

/// As [`is_new`].
const fn is_own(fact: &defer_accept::Fact) -> bool {
    use defer_accept::Fact as Deferral;
    !matches!(
        fact,
        Deferral::OptionSet { .. }
            | Deferral::AckPutOff
            | Deferral::AckSent { .. }
            | Deferral::Gone
            | Deferral::Lost
    )
}

fn returned(finding: Finding<sockopt::Told, sockopt::Fact>) -> Option<Fact> {
    let sockopt::Told::Change(change) = finding.cause else { return None };
    Some(Fact::OptionReturned {
        option: tcptrace_common::sockopt::name(change.level, change.optname),
        result: change.result,
        effect: change.effect,
        task: change.task,
        change: Box::new(change),
    })
}
