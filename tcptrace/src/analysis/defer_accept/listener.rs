//! A listener's option: who set it, and what the kernel has made of it.

use tcptrace_common::{
    field::Field,
    tcp::{SOL_TCP, TCP_DEFER_ACCEPT, TCP_LISTEN},
};

use super::{
    Deferral, Fact, Outcome, Setting, Side,
    deferral::periods_of,
    machine::{AnyDeferral, State},
};
use crate::{
    event::Event,
    finding::{Evidence, Task},
};

/// What is known of a socket's option.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Set before the socket listened, and not told yet.
    waiting: Option<Evidence<Fact>>,
    /// What was told last.
    told: Option<u32>,
    /// `net.ipv4.tcp_synack_retries` when it began to listen.
    synack_retries: Option<u32>,
}

/// The fields of a record that tell what the option amounts to.
pub(super) fn setting(e: &Event) -> Setting {
    Setting {
        periods: e.u32(Field::rskq_defer_accept).unwrap_or(0),
        syncnt: e.u32(Field::icsk_syn_retries),
        synack_retries: e.u32(Field::sysctl_tcp_synack_retries),
        rto_max_ticks: e.u32(Field::icsk_rto_max),
        rto_max_ms: None,
    }
}

impl State {
    /// An option was set: this one, on a socket that listens or is going to.
    pub(super) fn on_option(&mut self, e: &Event, out: &mut Vec<AnyDeferral>) {
        let (Some(how), Some(option)) = (e.arg("how"), e.arg("option")) else { return };
        if (how & 0xffff, option & 0xffff) != (SOL_TCP, TCP_DEFER_ACCEPT) {
            return;
        }
        let (Some(0), Some(state)) = (e.arg("ret"), e.u32(Field::skc_state)) else { return };
        // The length of the value stands above the option's number.
        let asked = e.arg("value0").filter(|_| option >> 16 >= 4);
        let setting = Setting { synack_retries: self.option.synack_retries, ..setting(e) };
        let line = Evidence {
            n: e.n,
            at_ns: e.at_ns,
            fact: Fact::OptionSet {
                seconds: asked,
                periods: setting.periods,
                task: Task::at_work(e),
            },
        };
        if state == TCP_LISTEN {
            let before = self.option.told.replace(setting.periods);
            let it = Deferral {
                other_periods: before.filter(|before| *before != setting.periods),
                seconds: asked,
                ..of_listener(e, Outcome::Set, setting)
            };
            out.push(self.told(e.at_ns, e.at_ns, it, vec![line]));
        } else {
            self.option.waiting = Some(line);
        }
    }

    /// A socket with the option listens.
    pub(super) fn on_listen(&mut self, e: &Event, out: &mut Vec<AnyDeferral>) {
        let setting = setting(e);
        self.option.synack_retries = setting.synack_retries;
        if e.arg("ret") != Some(0) || self.option.told == Some(setting.periods) {
            return;
        }
        self.option.told = Some(setting.periods);
        let waiting = self.option.waiting.take();
        let (seconds, setter): (Option<u32>, Option<Task>) =
            match waiting.as_ref().map(|line| &line.fact) {
                Some(Fact::OptionSet { seconds, task, .. }) => (*seconds, Some(*task)),
                _ => (None, None),
            };
        let listens = Fact::Listens { backlog: e.arg("backlog"), task: Task::at_work(e) };
        let from_ns = waiting.as_ref().map_or(e.at_ns, |line| line.at_ns);
        let lines = waiting
            .into_iter()
            .chain([Evidence { n: e.n, at_ns: e.at_ns, fact: listens }])
            .collect();
        let it = Deferral {
            seconds,
            task: setter.or_else(|| Some(Task::at_work(e))),
            ..of_listener(e, Outcome::Set, setting)
        };
        out.push(self.told(from_ns, e.at_ns, it, lines));
    }

    /// A socket that listened at the start.
    pub(super) fn on_listener(&mut self, e: &Event, out: &mut Vec<AnyDeferral>) {
        let Some(seconds @ 1..) = e.arg("defer_accept_s") else { return };
        let setting = Setting {
            periods: periods_of(seconds),
            syncnt: e.arg("syncnt"),
            synack_retries: None,
            rto_max_ticks: None,
            rto_max_ms: e.arg("rto_max_ms").filter(|ms| *ms > 0),
        };
        let listens = Fact::Listens { backlog: None, task: Task::at_work(e) };
        let it = Deferral { seconds: Some(seconds), ..of_listener(e, Outcome::Found, setting) };
        let line = Evidence { n: e.n, at_ns: e.at_ns, fact: listens };
        out.push(self.told(e.at_ns, e.at_ns, it, vec![line]));
    }
}

fn of_listener(e: &Event, outcome: Outcome, setting: Setting) -> Deferral {
    Deferral { task: Some(Task::at_work(e)), setting, ..Deferral::new(Side::Listener, outcome) }
}
