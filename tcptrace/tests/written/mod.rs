//! Written traces: each below its name, one event in each line, `lost` where events were lost.

use std::{collections::BTreeMap, fmt::Debug};

use tcptrace::{
    analysis::{Analysis, Cause, Fact},
    event::{Facts, SocketId},
    explain::{Context, Explanation, explain},
    finding::Finding,
    trace::parse,
};

/// Those of a file, by name.
pub(crate) fn stories(file: &'static str) -> BTreeMap<&'static str, &'static str> {
    file.split("## ")
        .filter_map(|story| story.split_once('\n'))
        .map(|(name, lines)| (name.trim(), lines))
        .collect()
}

/// What is found on the first socket.
pub(crate) fn run<M: Analysis>(story: &str) -> Vec<Finding<M::Cause, M::Fact>> {
    let (mut machine, mut out, mut last_ns) = (M::default(), Vec::new(), 0);
    for (n, line) in (1..).zip(story.lines()) {
        if line == "lost" {
            machine.on_loss(last_ns);
            continue;
        }
        let mut event = parse(line).expect(line);
        event.n = n;
        last_ns = event.at_ns;
        while machine.due_ns().is_some_and(|due| due <= last_ns) {
            machine.on_due(&mut out);
        }
        if event.socket == SocketId(1) {
            machine.on_event(&event, &mut out);
        }
    }
    machine.on_end(SocketId(1), last_ns, &mut out);
    out
}

/// Every line of evidence must have the number of an event of the story.
pub(crate) fn every_line_names_an_event<M: Analysis>(file: &'static str)
where
    M::Fact: Debug,
{
    for (name, story) in stories(file) {
        let lines: Vec<&str> = story.lines().collect();
        for line in run::<M>(story).iter().flat_map(|finding| &finding.evidence) {
            let n = usize::try_from(line.n).expect("a line of a short story");
            let event = n.checked_sub(1).and_then(|n| lines.get(n));
            assert!(event.is_some_and(|event| *event != "lost"), "{name}: {line:?}");
        }
    }
}

/// In words, where thread 7 is called app.
pub(crate) fn explained(finding: &Finding<Cause, Fact>) -> Explanation {
    let facts = Facts { hz: Some(250), ..Facts::default() };
    let comms = [(7, "app")].into();
    let context = Context {
        facts: &facts,
        comms: &comms,
        stacks: &BTreeMap::new(),
        all_tasks: true,
        meets_all: true,
    };
    explain(finding, &context)
}
