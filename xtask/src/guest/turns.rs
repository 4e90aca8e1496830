//! Workloads without and with a tool beside them, in turns, so that a base that moves is noticed.

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    ops::{Done, Mode},
    tool::Tool,
};
use crate::report::{FIGURE, Figure};

/// The port that the tools are told to watch.
pub(super) const WATCHED: u16 = 8080;

/// A workload at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) mode: Mode,
    pub(super) port: u16,
    /// Operations of each connection, where not as many as of the others.
    pub(super) ops: Option<u32>,
}

/// What is measured, and how often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turns<'a> {
    pub(super) rows: &'a [Row],
    /// How often the tool is started.
    pub(super) rounds: u32,
    /// Fresh connections of each start.
    pub(super) connections: u32,
    /// Operations of each connection.
    pub(super) ops: u32,
}

/// Out of a tool's text and complaints, and what was done of each row: what is wrong about each row.
type Judge<'a> = dyn Fn(&str, &[String], &[(Row, Done)]) -> Result<Vec<Option<String>>> + 'a;

impl Turns<'_> {
    /// Every row without the tool and with it, again and again.
    pub(super) fn measure(
        &self,
        name: &str,
        start: &dyn Fn() -> Result<Tool>,
        judge: &Judge<'_>,
    ) -> Result<Vec<Figure>> {
        let figure = |row: &Row| Figure {
            tool: name.to_owned(),
            mode: row.mode.name().to_owned(),
            port: row.port,
            ..Figure::default()
        };
        let mut figures: Vec<Figure> = self.rows.iter().map(figure).collect();
        for _ in 0..self.rounds {
            self.base(&mut figures)?;
            let tool = start().with_context(|| name.to_owned())?;
            self.beside(tool, judge, &mut figures).with_context(|| name.to_owned())?;
        }
        self.base(&mut figures)?;
        Ok(figures)
    }

    fn base(&self, figures: &mut [Figure]) -> Result<()> {
        for (row, figure) in self.rows.iter().zip(figures) {
            let done = ops(*row, self.connections, self.ops)?;
            figure.base.push(done.whole);
            figure.base_own.push(done.own);
        }
        Ok(())
    }

    /// Every row with the tool beside it, and whether it tells what has happened.
    fn beside(&self, mut tool: Tool, judge: &Judge<'_>, figures: &mut [Figure]) -> Result<()> {
        let mut all = Vec::new();
        for (row, figure) in self.rows.iter().zip(&mut *figures) {
            let done = ops(*row, self.connections, self.ops)?;
            figure.traced.push(done.whole.clone());
            figure.traced_own.push(done.own.clone());
            all.push((*row, done));
        }
        ensure!(!tool.has_ended()?, "it ended before it was asked to");
        let (text, complaints) = tool.stop()?;
        if let Some(failed) = complaints.iter().find(|line| line.starts_with("error:")) {
            bail!("{failed}");
        }
        for (wrong, figure) in judge(&text, &complaints, &all)?.into_iter().zip(figures) {
            figure.wrong.extend(wrong);
        }
        Ok(())
    }
}

/// The workload in a process of its own, which has one thread and nothing open.
pub(super) fn ops(row: Row, connections: u32, ops: u32) -> Result<Done> {
    let mut command = std::process::Command::new("/proc/self/exe");
    command.args(["guest", "ops", row.mode.name(), "--port", &row.port.to_string()]);
    let ops = row.ops.unwrap_or(ops).to_string();
    command.args(["--connections", &connections.to_string(), "--ops", &ops]);
    let said = crate::command::text(&mut command)?;
    serde_json::from_str(&said).with_context(|| format!("the workload says {said}"))
}

/// One line for each.
pub(super) fn print(figures: &[Figure]) -> Result<()> {
    for figure in figures {
        println!("{FIGURE}{}", serde_json::to_string(figure)?);
    }
    Ok(())
}
