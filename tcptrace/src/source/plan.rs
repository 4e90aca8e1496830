//! Which program goes on which kernel function: a list of candidates per hook, best first. Nothing is attached here.

use tcptrace_common::hook::{At, Hook, RET};

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

/// Every way to serve `hook` in this kernel, best first. `has` tells which programs the object carries.
pub fn candidates(
    hook: Hook,
    form: Form,
    types: &Types,
    symbols: &Symbols,
    has: &dyn Fn(&str) -> bool,
) -> Vec<Candidate> {
    let mut found = Vec::new();
    if form != Form::Kprobe {
        for function in hook.symbols().iter().filter(|f| fits(hook, f, types)) {
            let program = if has(function) { function } else { &hook.name() };
            found.push(Candidate::Tracing {
                program: (*program).to_owned(),
                function: (*function).to_owned(),
            });
        }
    }
    if form != Form::Fentry {
        let needs_arguments =
            !hook.args().is_empty() || hook.fields().iter().any(|f| f.of_segment());
        // A function with a tracing program of its own has other arguments than the hook: no kprobe can stand in there.
        for function in hook.symbols().iter().filter(|f| **f == hook.name() || !has(f)) {
            if let Some(symbol) = symbols.kprobe(function, needs_arguments) {
                found.push(Candidate::Kprobe {
                    program: format!("{}_kprobe", hook.name()),
                    at_return: (hook.at() == At::Exit)
                        .then(|| format!("{}_kretprobe", hook.name())),
                    symbol: symbol.to_owned(),
                });
            }
        }
    }
    found
}

/// Whether BTF describes `function` with the parameters that the hook's row names.
fn fits(hook: Hook, function: &str, types: &Types) -> bool {
    types.parameters(function).is_some_and(|found| {
        hook.args().iter().all(|(name, at)| match at.checked_sub(RET) {
            Some(arity) => found.len() == arity,
            None => found.get(*at).is_some_and(|f| f == name),
        })
    })
}
