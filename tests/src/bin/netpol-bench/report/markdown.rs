//! The result as a page, with plots beside it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::compare::{Verdicts, changes, said};
use crate::goals::{Answer, Bound};
use crate::machine::{Load, Machine};
use crate::measure::Outcome;
use crate::programs::Programs;
use crate::statistics::Figure;

use super::{Report, percent, plot};

/// Of what is asked, and how it is.
const RATIOS: &str = "ratios.svg";
/// What a packet costs.
const PACKETS: &str = "packets.svg";

/// Writes the page and its plots into the folder, which is made where it is missing.
pub(crate) fn write(folder: &Path, report: &Report<'_>) -> Result<()> {
    let Report { packets, answers, .. } = *report;
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    // The page comes last: it names the plots.
    for (name, svg) in [(RATIOS, plot::ratios(answers)), (PACKETS, packets.and_then(plot::packets))] {
        match svg {
            Some(svg) => place(folder, name, &svg)?,
            None => remove(folder, name)?,
        }
    }
    place(folder, "report.md", &page(report))
}

/// Writes a file beside its place and moves it there: no reader sees half of it.
fn place(folder: &Path, name: &str, content: &str) -> Result<()> {
    let (path, draft) = (folder.join(name), folder.join(format!(".{name}.draft")));
    let written = fs::write(&draft, content).and_then(|()| fs::rename(&draft, &path));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// A plot of an earlier report says nothing about this one.
fn remove(folder: &Path, name: &str) -> Result<()> {
    match fs::remove_file(folder.join(name)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.join(name).display()))
        }
        _ => Ok(()),
    }
}

fn page(report: &Report<'_>) -> String {
    let Report { machine, load, packets, answers, .. } = *report;
    let mut parts = vec!["# What netpol costs".to_owned(), measured_on(machine, load)];
    if !answers.is_empty() {
        parts.push("## What is asked, and whether it is so".to_owned());
        parts.push(asked(report));
        parts.push(
            "The figures are medians; the spread is the distance between the quartiles. It is *too noisy* where the \
             bound lies within what the median is sure to lie in."
                .to_owned(),
        );
        parts.extend(changes(report));
    }
    if plot::ratios(answers).is_some() {
        parts.push(format!("![The ratios, beside what is asked of them]({RATIOS})"));
    }
    if let Some(outcome) = packets {
        parts.push("## What a packet costs".to_owned());
        parts.push(costs(outcome));
        parts.push(format!(
            "Through the endpoint's entry, in {} rounds; *net* is without what the empty classifier costs.",
            outcome.rounds
        ));
        if plot::packets(outcome).is_some() {
            parts.push(format!("![Nanoseconds per packet]({PACKETS})"));
        }
    }
    if !report.programs.is_empty() {
        parts.push("## What the kernel makes of the programs".to_owned());
        parts.extend(
            report
                .programs
                .iter()
                .flat_map(|one| [format!("Linux {}:", escaped(&one.kernel)), programs(one)]),
        );
        parts.push(
            "Instructions are those that the verifier walks, a million at most. The stack is that of the program and of each of \
             its functions; those that call each other have 512 bytes together."
                .to_owned(),
        );
    }
    parts.join("\n\n") + "\n"
}

fn measured_on(machine: &Machine, load: &Load) -> String {
    let mut text = format!(
        "Measured on {} with netpol {}: Linux {}, {}, {} {}. The processor was busy with other programs for {:.0} % of \
         the time, taken by the hypervisor for {:.0} %.",
        machine.date,
        env!("CARGO_PKG_VERSION"),
        escaped(&machine.kernel),
        escaped(&machine.processor),
        machine.count,
        if machine.count == 1 { "processor" } else { "processors" },
        load.others * 100.0,
        load.stolen * 100.0
    );
    if !machine.jit {
        text +=
            " **The kernel interprets eBPF (`net.core.bpf_jit_enable` is 0): the figures are of no use.**";
    }
    text
}

fn asked(report: &Report<'_>) -> String {
    let rows = report.answers.iter().map(|answer| {
        let Answer { goal, figure } = answer;
        let verdicts = Verdicts::of(report.earlier, answer);
        vec![
            goal.line.to_owned(),
            if goal.unit.is_empty() { goal.what.to_owned() } else { format!("{}, {}", goal.what, goal.unit) },
            bound(goal.must),
            bound(goal.moonshot),
            digits(figure.median),
            spread(figure),
            said(&verdicts.must),
            said(&verdicts.moonshot),
        ]
    });
    let heads = ["line", "what", ">must", ">moonshot", ">figure", ">spread", "meets must", "meets moonshot"];
    table(&heads, rows)
}

fn costs(outcome: &Outcome) -> String {
    let row = |what: &str, ratio: String, spread: String, absolute: f64, net: f64| {
        vec![what.to_owned(), ratio, spread, format!("{absolute:.1}"), format!("{net:.1}")]
    };
    let empty = &outcome.empty;
    let first = row("the empty classifier alone", "1.00".to_owned(), percent(empty), empty.median, 0.0);
    let rows = outcome.lines.iter().map(|line| {
        let noisy = if line.ratio.is_noisy() { ", too noisy" } else { "" };
        let (ratio, spread) = (format!("{:.2}", line.ratio.median), spread(&line.ratio) + noisy);
        row(line.what, ratio, spread, line.absolute.median, line.net.median)
    });
    table(&["what", ">x empty", ">spread", ">ns", ">net ns"], std::iter::once(first).chain(rows))
}

fn programs(programs: &Programs) -> String {
    let rows = programs.all.iter().map(|one| {
        vec![one.name.clone(), one.instructions.to_string(), one.stack.clone(), one.machine.to_string()]
    });
    table(&["program", ">verified instructions", ">stack", ">machine bytes"], rows)
}

/// A table; a head with `>` before it is that of numbers.
fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = String::new();
    for head in heads {
        text += &format!("| {} ", head.trim_start_matches('>'));
    }
    text += "|\n";
    for head in heads {
        text += if head.starts_with('>') { "| ---: " } else { "| --- " };
    }
    text.push('|');
    for row in rows {
        text.push('\n');
        for cell in row {
            text += &format!("| {} ", escaped(&cell));
        }
        text.push('|');
    }
    text
}

/// As it stands in the table.
fn bound(bound: Bound) -> String {
    match bound {
        Bound::None => String::new(),
        Bound::AtMost(most) => format!("≤ {most}"),
        Bound::AtLeast(least) => format!("≥ {least}"),
        Bound::Within(least, most) => format!("{least} – {most}"),
    }
}

/// What was not measured has no spread; neither has zero.
fn spread(figure: &Figure) -> String {
    if figure.spread.is_finite() { percent(figure) } else { String::new() }
}

/// A figure with as many digits as say something.
pub(crate) fn digits(value: f64) -> String {
    match value.abs() {
        size if size.is_nan() => "not measured".to_owned(),
        1000.0.. => format!("{value:.0}"),
        100.0.. => format!("{value:.1}"),
        10.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// As text that is no markup, and ends no cell.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '\\' | '|' | '`' | '*' | '_' | '[' | '<' | '&' => escaped.extend(['\\', letter]),
            letter if letter.is_control() => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
