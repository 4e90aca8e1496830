//! Names of user stacks: a function and its place in the source, looked up while the process lives.

use std::collections::BTreeMap;

use blazesym::{
    Pid,
    symbolize::{CodeInfo, Input, Symbolized, Symbolizer, source},
};

use crate::event::{About, Frame, MAX_FRAMES};

/// Most stacks that are told; further ones are not.
const MAX_STACKS: usize = 65_536;

/// The stacks that were met.
pub(super) struct Stacks {
    symbolizer: Symbolizer,
    /// By process and by the kernel's number: the number in the trace.
    known: BTreeMap<(u32, u32), u32>,
}

impl Stacks {
    pub(super) fn new() -> Self {
        Self { symbolizer: Symbolizer::new(), known: BTreeMap::new() }
    }

    /// The number that a stack has in the trace, and its names where it is met for the first time; 0 when there is no
    /// room for it. `addresses` are asked for only then, the innermost first.
    pub(super) fn number(
        &mut self,
        pid: u32,
        kernel: u32,
        addresses: impl FnOnce() -> Vec<u64>,
    ) -> (u32, Option<About>) {
        if let Some(number) = self.known.get(&(pid, kernel)) {
            return (*number, None);
        }
        if self.known.len() >= MAX_STACKS {
            return (0, None);
        }
        let number = u32::try_from(self.known.len() + 1).unwrap_or(0);
        self.known.insert((pid, kernel), number);
        let frames = self.frames(pid, &addresses());
        (number, Some(About::Stack { number, frames }))
    }

    /// Nothing when the process has gone, or none of the addresses has a name.
    fn frames(&self, pid: u32, addresses: &[u64]) -> Vec<Frame> {
        // What an outer frame holds is where it goes on: behind the call.
        let calls = addresses.iter().take(MAX_FRAMES).enumerate();
        let calls: Vec<u64> =
            calls.map(|(at, address)| address.saturating_sub(u64::from(at > 0))).collect();
        let process = source::Source::Process(source::Process::new(Pid::from(pid)));
        let Ok(found) = self.symbolizer.symbolize(&process, Input::AbsAddr(&calls)) else {
            return Vec::new();
        };
        let mut frames: Vec<Frame> = found.iter().flat_map(frames_of).take(MAX_FRAMES).collect();
        while frames.last().is_some_and(|last| last.function == UNKNOWN) {
            frames.pop();
        }
        frames
    }
}

/// In place of a function's name.
const UNKNOWN: &str = "?";

/// The function at an address, after those that were inlined into it there, the innermost first.
fn frames_of(of: &Symbolized<'_>) -> Vec<Frame> {
    let Some(symbol) = of.as_sym() else {
        return vec![Frame { function: UNKNOWN.to_owned(), ..Frame::default() }];
    };
    let frame = |name: &str, code: Option<&CodeInfo<'_>>| Frame {
        function: name.to_owned(),
        file: code.map(|code| code.to_path().display().to_string()),
        line: code.and_then(|code| code.line),
    };
    let inlined = symbol.inlined.iter().rev();
    let inlined = inlined.map(|each| frame(&each.name, each.code_info.as_ref()));
    inlined.chain([frame(&symbol.name, symbol.code_info.as_deref())]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn a_function_of_ours() -> u64 {
        std::hint::black_box(u64::from(std::hint::black_box(line!())))
    }

    #[test]
    fn a_stack_is_named_once_and_one_without_process_is_not() {
        let mut stacks = Stacks::new();
        let address = a_function_of_ours as *const () as u64;
        let (number, about) = stacks.number(std::process::id(), 7, || vec![address + 1, 1]);
        let Some(About::Stack { frames, .. }) = about else { panic!("it is not told") };
        // What has no name at the end is left out; what was inlined comes first.
        let Some(last) = frames.last() else { panic!("no frame") };
        assert!(last.function.contains("a_function_of_ours"), "{frames:?}");
        assert!(last.file.as_ref().is_some_and(|file| file.ends_with("stacks.rs")), "{frames:?}");
        assert_eq!(number, 1);
        assert_eq!(stacks.number(std::process::id(), 7, Vec::new), (1, None));
        let gone = stacks.number(u32::MAX >> 1, 7, || vec![address]);
        assert_eq!(gone, (2, Some(About::Stack { number: 2, frames: Vec::new() })));
    }
}
