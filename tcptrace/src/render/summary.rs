//! The end of a run: how many, whose, how long, and what was not seen.

use std::ops::Range;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::{
    Clock, Closing, Run,
    layout::{Layout, Tone},
    text::Detail,
};
use crate::{
    cost::Spent,
    explain::{
        counters, listeners, named,
        units::{bytes, count, counted, duration},
    },
    timeline::{Row, RowKey},
};

/// Most rows of the histogram.
const MAX_BARS: usize = 10;
/// First column of the histogram, where no name is longer.
const BARS: usize = 18;
/// Fewest columns of a decade.
const LEAST_PER_DECADE: usize = 7;
/// Decades of the histogram, from 0.1 ms on.
const DECADES: usize = 5;
const LABELS: [&str; DECADES] = ["0.1 ms", "1 ms", "10 ms", "100 ms", "1 s"];
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

pub(super) fn summary(
    layout: Layout,
    clock: &Clock,
    detail: Detail,
    run: &Run<'_>,
    closing: &Closing<'_>,
) -> String {
    let mut out = String::new();
    let lost = !closing.lost.is_empty() || closing.misses.unwrap_or(0) > 0;
    if lost {
        layout.wrap(&mut out, ("seen:", 6), &losses(clock, run, closing), Tone::Warning);
    }
    let span = duration(closing.ended_ns.saturating_sub(closing.started_ns));
    let headline = (run.words.headline)(&closing.totals);
    let only = only(run);
    layout.wrap(
        &mut out,
        ("", 0),
        &format!("{span}, {}{only}: {headline}", run.filter),
        Tone::Verdict,
    );
    let innocent =
        closing.slowest.and_then(|slowest| (run.words.innocent)(&closing.totals, &slowest));
    if let Some(innocent) = innocent {
        layout.wrap(&mut out, ("", 0), &innocent, Tone::Verdict);
    }
    let counted = closing.totals.findings > 0 && !run.words.columns.is_empty();
    if counted && detail != Detail::Verdicts {
        let by_listener = listeners(closing.listeners);
        if by_listener.is_empty() {
            table(&mut out, layout, run, closing);
            histogram(&mut out, layout, closing);
        } else {
            let shown: Vec<_> = by_listener.into_iter().take(closing.top + 1).collect();
            columns(&mut out, layout, &shown, 1);
        }
        patterns(&mut out, layout, closing);
    }
    if let Some(counters) = counters(closing.counters) {
        layout.wrap(&mut out, ("counters", 9), &counters, Tone::Plain);
    }
    if !lost {
        layout.wrap(&mut out, ("seen:", 6), &seen(closing), Tone::Plain);
    }
    if detail != Detail::Verdicts || lost {
        layout.wrap(&mut out, ("cost:", 6), &cost(closing), Tone::Plain);
    }
    if detail == Detail::Everything {
        let by_hook = by_hook(closing);
        if by_hook.len() > 1 {
            columns(&mut out, layout, &by_hook, 1);
        }
    }
    out
}

/// `, only cause nagle or cork, release ack`: what was asked for, where that was not all.
fn only(run: &Run<'_>) -> String {
    let of = |what: &str, names: &[String]| match names {
        [] => None,
        names => Some(format!("{what} {}", names.join(" or "))),
    };
    let parts: Vec<String> =
        [of("cause", run.only.0), of("release", run.only.1)].into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!(", only {}", parts.join(", ")) }
}

/// What the writes of a process have in common, and what to change.
fn patterns(out: &mut String, layout: Layout, closing: &Closing<'_>) {
    for told in closing.patterns.iter().take(closing.top) {
        let who = named(told.task, told.comm.as_deref());
        let site = told.site.first().map_or_else(String::new, |site| format!(" at {site}"));
        let change =
            told.change.as_ref().map_or_else(String::new, |change| format!(" change: {change}"));
        let text = format!("{who}{site}: {}{change}", told.text);
        layout.wrap(out, ("  pattern:", 11), &text, Tone::Plain);
    }
}

/// `NOT ALL. 1,920 of 84,113 events lost at tcp_push (buffer full), 14:03:09.1 to 14:03:09.4; ...`
fn losses(clock: &Clock, run: &Run<'_>, closing: &Closing<'_>) -> String {
    let all: u64 = closing.lost.iter().map(|lost| lost.events).sum();
    let total = count(closing.events.saturating_add(all));
    let each = |(i, lost): (usize, &super::Lost)| {
        let of = if i == 0 { format!(" of {total} events lost") } else { String::new() };
        format!("{}{of} at {} ({})", count(lost.events), lost.hook, lost.reason)
    };
    let each = closing.lost.iter().enumerate().map(each).collect::<Vec<_>>().join(", ");
    let span = closing.lost_span.map_or_else(String::new, |(from, until)| {
        format!(", {} to {}", clock.tenths(run.facts, from), clock.tenths(run.facts, until))
    });
    let may = match closing.tally.may() {
        0 => String::new(),
        1 => format!("; 1 {} says \"may\"", run.words.one),
        may => format!("; {} {} say \"may\"", count(may), run.words.many),
    };
    let again = match (&closing.larger_buffer, closing.lost) {
        (Some(size), _) => format!(" try: --buffer {size}, or a narrower filter"),
        (None, []) => String::new(),
        (None, _) if closing.sockets_full => {
            " try: a larger --max-sockets, or a narrower filter".to_owned()
        }
        (None, _) => " try: a narrower filter (--port, --pid)".to_owned(),
    };
    let lost = if closing.lost.is_empty() { String::new() } else { format!("{each}{span}{may}. ") };
    format!("NOT ALL. {lost}{}{again}", rest(closing))
}

/// `all events; 0 lost, 0 probe misses. 1 socket was open before the start (options read, not watched).`
fn seen(closing: &Closing<'_>) -> String {
    let all = if closing.complete { "all events" } else { "not to the end of the recording" };
    format!("{all}; 0 lost, {}", rest(closing))
}

fn rest(closing: &Closing<'_>) -> String {
    let misses = match closing.misses {
        Some(misses) => counted(misses, "probe miss", "probe misses"),
        None if !closing.complete => "probe misses not known".to_owned(),
        None => "probe misses not counted on this kernel".to_owned(),
    };
    let midlife = match closing.midlife {
        None | Some(0) => String::new(),
        Some(1) => " 1 socket was open before the start (options read, not watched).".to_owned(),
        Some(many) => format!(
            " {} sockets were open before the start (options read, not watched).",
            count(many)
        ),
    };
    format!("{misses}.{midlife}")
}

/// `0.4 % of one CPU inside the probes, 1,204 writes; sampled, 0.5 of 41.2 s.`
fn cost(closing: &Closing<'_>) -> String {
    let watched_ns = closing.ended_ns.saturating_sub(closing.started_ns);
    let writes = closing.totals.writes.map(|writes| counted(writes, "write", "writes"));
    let text = match (closing.cost, closing.estimated_ns) {
        (Some(cost), _) => {
            let over_ns = cost.over_ns(watched_ns);
            let what = match (writes, cost.sampled_ns) {
                (Some(writes), _) => writes,
                (None, Some(_)) => format!("{} a second", per_second(cost.runs, over_ns)),
                (None, None) => counted(cost.runs, "run", "runs"),
            };
            let sampled = cost.sampled_ns.map_or_else(String::new, |sampled_ns| {
                format!("; sampled, {} of {}", duration(sampled_ns), duration(watched_ns))
            });
            format!(
                "{} % of one CPU inside the probes, {what}{sampled}.",
                share(cost.run_ns, over_ns)
            )
        }
        (None, Some(estimated_ns)) => {
            let share = share(estimated_ns, watched_ns);
            let about = if share.starts_with(char::is_numeric) { "about " } else { "" };
            let events = counted(closing.events, "event", "events");
            let from =
                writes.map_or_else(|| events.clone(), |writes| format!("{writes} and {events}"));
            format!(
                "{about}{share} % of one CPU inside the probes, estimated from {from}; -v measures it."
            )
        }
        (None, None) => "not known (the end of the recording was not read)".to_owned(),
    };
    let shared = match closing.shared.as_slice() {
        [] => String::new(),
        shared => {
            format!(
                " A tracer of another kind sits on {} as well: there, each run costs two to eight times as much.",
                shared.join(", ")
            )
        }
    };
    format!("{text}{shared}")
}

/// Per cent of one CPU, with one decimal.
fn share(run_ns: u64, over_ns: u64) -> String {
    let over_ns = u128::from(over_ns).max(1);
    match (u128::from(run_ns) * 1000 + over_ns / 2) / over_ns {
        0 => "less than 0.1".to_owned(),
        permille => format!("{}.{}", permille / 10, permille % 10),
    }
}

fn per_second(runs: u64, over_ns: u64) -> String {
    let runs = u128::from(runs) * 1_000_000_000 / u128::from(over_ns).max(1);
    counted(u64::try_from(runs).unwrap_or(u64::MAX), "run", "runs")
}

/// The hooks, the dearest first.
fn by_hook(closing: &Closing<'_>) -> Vec<Vec<String>> {
    let heads = ["probe", "runs", "ns/run", "% of one CPU"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    let Some(cost) = closing.cost else { return rows };
    let over_ns = cost.over_ns(closing.ended_ns.saturating_sub(closing.started_ns));
    let mut by_hook: Vec<&Spent> = cost.by_hook.iter().filter(|spent| spent.runs > 0).collect();
    by_hook.sort_by_key(|spent| (std::cmp::Reverse(spent.run_ns), spent.hook));
    for Spent { hook, runs, run_ns } in by_hook {
        rows.push(vec![
            hook.name().to_owned(),
            count(*runs),
            count(run_ns / runs),
            share(*run_ns, over_ns),
        ]);
    }
    rows
}

/// Names and numbers are never cut: where they do not fit, the columns stand closer together, and where that does not
/// suffice, each row takes several lines.
fn table(out: &mut String, layout: Layout, run: &Run<'_>, closing: &Closing<'_>) {
    let numbers: &[&str] = if run.words.sized {
        &[run.words.many, "bytes", "p50", "p99", "max"]
    } else {
        &[run.words.many, "p50", "p99", "max"]
    };
    let mut heads = vec!["process", "remote"];
    heads.extend(run.words.columns);
    let texts = heads.len();
    heads.extend(numbers);
    let rows = closing.tally.rows();
    let mut cells: Vec<Vec<String>> = vec![heads.into_iter().map(str::to_owned).collect()];
    cells.extend(rows.iter().take(closing.top).map(|(key, row)| line(key, row, run.words.sized)));
    columns(out, layout, &cells, texts);
    let hidden: u64 = rows.iter().skip(closing.top).map(|(_, row)| row.durations.count()).sum();
    let hidden = hidden + closing.tally.others().durations.count();
    if hidden > 0 {
        let what = if hidden == 1 { run.words.one } else { run.words.many };
        out.extend(["  ", &count(hidden), " ", what, " in other rows\n"]);
    }
}

/// Rows of cells, of which the first `texts` are words and the others numbers; the first row has the headings.
fn columns(out: &mut String, layout: Layout, cells: &[Vec<String>], texts: usize) {
    let width = |column: usize| {
        cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max().unwrap_or(0)
    };
    let all = cells.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..all).map(width).collect();
    let wide = widths.iter().map(|width| width + 2).sum::<usize>();
    let gap = if wide > layout.width { " " } else { "  " };
    let lines = broken(&widths, texts, layout.width);
    for row in cells {
        for line in &lines {
            let mut text = if line.start == 0 { "  " } else { "    " }.to_owned();
            let own = row.iter().zip(&widths).enumerate();
            for (column, (cell, width)) in own.skip(line.start).take(line.len()) {
                let pad = std::iter::repeat_n(' ', width.saturating_sub(cell.width()));
                text.push_str(if column > line.start { gap } else { "" });
                if column < texts {
                    text.push_str(cell);
                    text.extend(pad);
                } else {
                    text.extend(pad);
                    text.push_str(cell);
                }
            }
            out.push_str(text.trim_end());
            out.push('\n');
        }
    }
}

/// The columns of each line of a row, next to each other with one space between them. The numbers, from column `numbers` on,
/// stay together where a line has room for them.
fn broken(widths: &[usize], numbers: usize, most: usize) -> Vec<Range<usize>> {
    let width = |columns: Range<usize>| {
        let indent = if columns.start == 0 { 2 } else { 4 };
        let gaps = columns.len().saturating_sub(1);
        indent + gaps + widths.get(columns).map_or(0, |widths| widths.iter().sum())
    };
    let fits = |columns: Range<usize>| columns.len() == 1 || width(columns) <= most;
    let (mut lines, mut start) = (Vec::new(), 0);
    while start < widths.len() {
        let mut end = (start + 1..=widths.len()).rev().find(|end| fits(start..*end));
        if end.is_some_and(|end| (numbers + 1..widths.len()).contains(&end))
            && start < numbers
            && fits(numbers..widths.len())
        {
            end = Some(numbers);
        }
        let end = end.unwrap_or(start + 1);
        lines.push(start..end);
        start = end;
    }
    lines
}

fn line(key: &RowKey, row: &Row, sized: bool) -> Vec<String> {
    let time = |ns: Option<u64>| ns.map_or_else(|| "-".to_owned(), duration);
    let remote =
        key.remote.map_or_else(|| "?".to_owned(), |remote| remote.to_canonical().to_string());
    let mut cells = vec![key.process.to_string(), remote];
    cells.extend(key.columns.iter().map(ToString::to_string));
    cells.push(count(row.durations.count()));
    cells.extend(sized.then(|| bytes(row.bytes)));
    cells.extend([
        time(row.durations.quantile(500)),
        time(row.durations.quantile(990)),
        time(Some(row.durations.longest_ns())),
    ]);
    cells
}

/// One line of blocks per name of the first column; each column is a tenth of a decade where the width allows it. All begin
/// at one place, or the scale would be wrong for some.
fn histogram(out: &mut String, layout: Layout, closing: &Closing<'_>) {
    let rows = closing.tally.rows();
    let mut names: Vec<&str> = Vec::new();
    for (key, _) in &rows {
        let name = name_of(key);
        if names.len() < MAX_BARS && !names.contains(&name) {
            names.push(name);
        }
    }
    let widest = names.iter().map(|name| name.width()).max().unwrap_or(0);
    let most = layout.width.saturating_sub(LEAST_PER_DECADE * DECADES).max(BARS);
    let first = (widest + 3).clamp(BARS, most);
    let per_decade = (layout.width.saturating_sub(first) / DECADES).clamp(LEAST_PER_DECADE, 10);
    let mut axis = String::new();
    padded(&mut axis, "how long", first);
    for label in LABELS {
        axis.push_str(label);
        axis.extend(std::iter::repeat_n(' ', per_decade.saturating_sub(label.width())));
    }
    out.push_str(axis.trim_end());
    out.push('\n');
    for name in names {
        let mut bars = vec![0_u64; per_decade * DECADES];
        for (_, row) in rows.iter().filter(|(key, _)| name_of(key) == name) {
            for (ns, seen) in row.durations.sorted() {
                if let Some(bar) = bars.get_mut(column(ns, per_decade)) {
                    *bar += seen;
                }
            }
        }
        let highest = bars.iter().copied().max().unwrap_or(0).max(1);
        let mut text = String::new();
        padded(&mut text, name, first);
        text.extend(bars.iter().map(|bar| match bar {
            0 => ' ',
            bar => {
                let height = usize::try_from((bar * 8).div_ceil(highest)).unwrap_or(8);
                BLOCKS.get(height.saturating_sub(1)).copied().unwrap_or('█')
            }
        }));
        out.push_str(text.trim_end());
        out.push('\n');
    }
}

/// The name under which a row stands in the histogram.
fn name_of(key: &RowKey) -> &str {
    key.columns.first().map_or("", |column| column)
}

/// A name behind two columns, before the column `first`; one that is too long is cut.
fn padded(out: &mut String, name: &str, first: usize) {
    out.push_str("  ");
    let room = first.saturating_sub(3);
    if name.width() <= room {
        out.push_str(name);
        out.extend(std::iter::repeat_n(' ', first.saturating_sub(2 + name.width())));
        return;
    }
    let mut left = room;
    for letter in name.chars() {
        let width = letter.width().unwrap_or(0);
        if width >= left {
            break;
        }
        out.push(letter);
        left -= width;
    }
    out.push('…');
    out.extend(std::iter::repeat_n(' ', left));
}

/// The column of a duration: a logarithmic scale, what lies outside at its ends.
fn column(ns: u64, per_decade: usize) -> usize {
    let mut edge = 100_000_u64;
    for decade in 0..DECADES {
        let next = edge * 10;
        if ns < next {
            #[expect(clippy::cast_precision_loss, reason = "a column on the screen")]
            let share = (ns.max(edge) as f64 / edge as f64).log10();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "between 0 and a decade's columns"
            )]
            let within = (share * per_decade as f64) as usize;
            return decade * per_decade + within.min(per_decade - 1);
        }
        edge = next;
    }
    DECADES * per_decade - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_histogram_begins_at_one_place() {
        for name in ["", "cork", "client: asked, got none", "五五五五五五五五五五五", "ü"]
        {
            let mut text = String::new();
            padded(&mut text, name, 20);
            assert_eq!(text.width(), 20, "{text}");
            assert!(text.starts_with("  ") && text.ends_with(' '), "{text}");
        }
    }

    #[test]
    fn columns_are_a_logarithmic_scale() {
        let shown =
            [0, 100_000, 999_999, 1_000_000, 20_000_000, 999_999_999, 1_000_000_000, u64::MAX];
        assert_eq!(shown.map(|ns| column(ns, 10)), [0, 0, 9, 10, 23, 39, 40, 49]);
    }
}
