//! Which program goes on which kernel function: a list of candidates per hook, best first. Nothing is attached here.

use tcptrace_common::hook::{At, Hook, OWN, RET};

use crate::kernel::{btf::Types, symbols::Symbols};

/// What kind of probes to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For each hook the cheapest that works here.
    Auto,
    /// Tracing programs only.
    Fentry,
    /// kprobes and kretprobes only.
    Kprobe,
}

/// One way to serve a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// A tracing program (fentry or fexit) on a function.
    Tracing {
        /// Name of the program in the object.
        program: String,
        /// Kernel function.
        function: String,
    },
    /// A tracing program on a tracepoint.
    Tracepoint {
        /// Name of the program in the object.
        program: String,
        /// The tracepoint.
        tracepoint: &'static str,
    },
    /// A program that reads by the helper, on a tracepoint.
    RawTracepoint {
        /// Name of the program in the object.
        program: String,
        /// The tracepoint.
        tracepoint: &'static str,
    },
    /// A kprobe, and the kretprobe that goes with it where the hook looks at the return.
    Kprobe {
        /// Name of the kprobe program in the object.
        program: String,
        /// Name of the kretprobe program in the object.
        at_return: Option<String>,
        /// Kernel symbol.
        symbol: String,
    },
}

/// The tracing programs that can serve `hook` in this kernel, best first. `has` tells which programs the object carries.
pub fn tracing(
    hook: Hook,
    form: Form,
    types: &Types,
    has: &dyn Fn(&str) -> bool,
) -> Vec<Candidate> {
    if form == Form::Kprobe {
        return Vec::new();
    }
    let tracepoint = hook.tracepoint().filter(|name| types.has_tracepoint(name));
    let at_tracepoint = tracepoint.map(|tracepoint| {
        let program = format!("{}_tracepoint", hook.name());
        Candidate::Tracepoint { program, tracepoint }
    });
    let functions = hook.symbols().iter().filter(|function| fits(hook, function, types));
    let at_function = functions.filter_map(|function| {
        let own = own_program(hook, function);
        let program = [own.as_str(), function, hook.name()].into_iter().find(|name| has(name))?;
        Some(Candidate::Tracing { program: program.to_owned(), function: (*function).to_owned() })
    });
    at_tracepoint.into_iter().chain(at_function).collect()
}

/// The programs that read by the helper and can serve `hook` in this kernel, best first: on a tracepoint that its function
/// passes, where there is one for that, and kprobes.
pub fn kprobes(hook: Hook, symbols: &Symbols, has: &dyn Fn(&str) -> bool) -> Vec<Candidate> {
    let needs_arguments = hook.args().iter().any(|(_, at)| *at != OWN)
        || hook.fields().iter().any(|field| field.of_segment());
    let raw = format!("{}_raw", hook.name());
    let at_tracepoint = hook.tracepoint().filter(|_| has(&raw)).map(|tracepoint| {
        let program = raw.clone();
        Candidate::RawTracepoint { program, tracepoint }
    });
    // A function with a tracing program of its own has other arguments than the hook: no kprobe can stand in there.
    let functions = hook.symbols().iter().filter(|function| {
        **function == hook.name() || !has(function) || has(&own_program(hook, function))
    });
    let at_function = functions
        .filter(|_| has(&format!("{}_kprobe", hook.name())))
        .filter_map(|function| symbols.kprobe(function, needs_arguments))
        .map(|symbol| Candidate::Kprobe {
            program: format!("{}_kprobe", hook.name()),
            at_return: (hook.at() == At::Exit).then(|| format!("{}_kretprobe", hook.name())),
            symbol: symbol.to_owned(),
        });
    at_tracepoint.into_iter().chain(at_function).collect()
}

/// Name of the program for `hook` on a function that another hook has a program for, or that has more arguments.
fn own_program(hook: Hook, function: &str) -> String {
    format!("{}_{function}", hook.name())
}

/// The hook that a program is for.
pub fn hook_of(program: &str) -> Option<Hook> {
    let stem = ["_tracepoint", "_raw", "_kprobe", "_kretprobe", "_entry"]
        .iter()
        .find_map(|suffix| program.strip_suffix(suffix))
        .unwrap_or(program);
    let own = |hook: &&Hook| {
        let stands_in = |function: &&str| own_program(**hook, function) == stem;
        hook.name() == stem || hook.symbols().iter().any(stands_in)
    };
    let stand_in = |hook: &&Hook| hook.symbols().contains(&stem);
    Hook::ALL.iter().find(own).or_else(|| Hook::ALL.iter().find(stand_in)).copied()
}

/// Whether BTF describes `function` with the parameters that the hook's row names.
fn fits(hook: Hook, function: &str, types: &Types) -> bool {
    types.parameters(function).is_some_and(|found| {
        hook.args().iter().all(|(name, at)| match at.checked_sub(RET) {
            Some(arity) => found.len() == arity,
            None if *at == OWN => true,
            None => found.get(*at).is_some_and(|f| f == name),
        })
    })
}
