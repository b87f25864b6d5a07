//! The result, as a table for people, as JSON for programs, and as a page with plots ([`markdown`]).

pub(crate) mod markdown;
mod plot;

use serde_json::{Value, json};

use crate::compare::Earlier;
use crate::goals::{Answer, Bound, Verdict};
use crate::machine::{Load, Machine};
use crate::measure::{Line, Outcome};
use crate::programs::Programs;
use crate::statistics::Figure;

/// All that is told of a run.
#[derive(Clone, Copy)]
pub(crate) struct Report<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) load: &'a Load,
    /// By kernel.
    pub(crate) programs: &'a [Programs],
    pub(crate) packets: Option<&'a Outcome>,
    pub(crate) answers: &'a [Answer],
    /// Runs before this one, beside which it is set.
    pub(crate) earlier: &'a [Earlier],
}

/// On what, and when.
pub(crate) fn head(machine: &Machine) {
    println!(
        "netpol bench, {}: Linux {}, {} ({} processors, bound to number {})",
        machine.date, machine.kernel, machine.processor, machine.count, machine.pinned
    );
    if !machine.jit {
        println!(
            "WARNING: the kernel interprets eBPF (net.core.bpf_jit_enable is 0): the figures are of no use"
        );
    }
    println!();
}

/// What kernels make of the programs.
pub(crate) fn programs(programs: &[Programs]) {
    for Programs { kernel, all } in programs {
        println!(
            "{:24} {:>21} {:>14}  stack",
            format!("Linux {kernel}"),
            "verified instructions",
            "machine bytes"
        );
        for one in all {
            println!("{:24} {:>21} {:>14}  {}", one.name, one.instructions, one.machine, one.stack);
        }
        println!();
    }
}

/// The tables.
pub(crate) fn text(report: &Report<'_>) {
    let Report { packets, answers, load, .. } = *report;
    if let Some(outcome) = packets {
        figures(outcome);
    }
    if !answers.is_empty() {
        table(answers);
    }
    println!(
        "The processor was busy with other programs for {:.0} % of the time, taken by the hypervisor for {:.0} %.",
        load.others * 100.0,
        load.stolen * 100.0
    );
    let noisy: Vec<&str> = answers
        .iter()
        .filter(|answer| answer.verdict() == Some(Verdict::TooNoisy))
        .map(|answer| answer.goal.name)
        .collect();
    if !noisy.is_empty() {
        println!("TOO NOISY to tell: {}. Other work on the machine, or too few --rounds.", noisy.join(", "));
    }
}

fn figures(outcome: &Outcome) {
    println!(
        "{:54} {:>7} {:>7} {:>7} {:>7}",
        "through the endpoint's entry", "x empty", "spread", "ns", "net ns"
    );
    println!(
        "{:54} {:>7.2} {:>7} {:>7.1} {:>7.1}",
        "the empty classifier alone",
        1.0,
        percent(&outcome.empty),
        outcome.empty.median,
        0.0
    );
    for line in &outcome.lines {
        println!(
            "{:54} {:>7.2} {:>7} {:>7.1} {:>7.1}{}",
            line.what,
            line.ratio.median,
            percent(&line.ratio),
            line.absolute.median,
            line.net.median,
            note(&line.ratio)
        );
    }
    println!(
        "\nMedians of {} rounds; the spread is the distance between the quartiles. Packets at random differ in peer and\n\
         port, and what makes them so is taken off. Beyond 4096 new flows or 256 drops in 1.07 s, verdicts of a pod are\n\
         counted without an event: so it is in every line that does not say otherwise.\n",
        outcome.rounds
    );
}

/// What is asked, and whether it is so.
fn table(answers: &[Answer]) {
    println!(
        "{:4} {:84} {:>9} {:>9} {:>12} {:>7}  {:9}  moonshot",
        "", "", "must", "moonshot", "figure", "spread", "must"
    );
    for answer in answers {
        let (goal, figure) = (&answer.goal, &answer.figure);
        let what =
            if goal.unit.is_empty() { goal.what.to_owned() } else { format!("{}, {}", goal.what, goal.unit) };
        let said = |verdict: Option<Verdict>| verdict.map_or("", Verdict::name);
        let (median, spread) = if answer.is_measured() {
            (format!("{:.3}", figure.median), percent(figure))
        } else {
            ("not measured".to_owned(), String::new())
        };
        println!(
            "{:4} {what:84} {:>9} {:>9} {median:>12} {spread:>7}  {:9}  {}",
            goal.line,
            goal.must.text(),
            goal.moonshot.text(),
            said(answer.verdict()),
            said(goal.moonshot.judge(figure))
        );
    }
    println!();
}

fn percent(figure: &Figure) -> String {
    format!("{:.1} %", figure.spread * 100.0)
}

fn note(figure: &Figure) -> &'static str {
    if figure.is_noisy() { "  too noisy" } else { "" }
}

/// Everything.
pub(crate) fn json(report: &Report<'_>) -> Value {
    let Report { machine, load, packets, .. } = *report;
    let answers: Vec<Value> = report
        .answers
        .iter()
        .map(|answer| {
            let (goal, figure) = (&answer.goal, &answer.figure);
            let said = |verdict: Option<Verdict>| verdict.map(Verdict::name);
            json!({
                "line": goal.line,
                "name": goal.name,
                "what": goal.what,
                "unit": goal.unit,
                "figure": number(figure),
                "must": { "bound": bound(goal.must), "met": said(answer.verdict()) },
                "moonshot": { "bound": bound(goal.moonshot), "met": said(goal.moonshot.judge(figure)) },
            })
        })
        .collect();
    let programs = report.programs.iter().map(|Programs { kernel, all }| {
        let all = all.iter().map(|one| {
            json!({
                "name": one.name,
                "verified": one.instructions,
                "stack": one.stack,
                "machineBytes": one.machine,
            })
        });
        json!({ "kernel": kernel, "programs": all.collect::<Vec<_>>() })
    });
    json!({
        "date": machine.date,
        "kernel": machine.kernel,
        "processor": machine.processor,
        "processors": machine.count,
        "jit": machine.jit,
        "othersBusy": load.others,
        "stolen": load.stolen,
        "kernels": programs.collect::<Vec<_>>(),
        "packets": packets.map(figures_as_json),
        "answers": answers,
    })
}

fn figures_as_json(outcome: &Outcome) -> Value {
    let lines: Vec<Value> = outcome.lines.iter().map(line).collect();
    json!({
        "rounds": outcome.rounds,
        "emptyNanoseconds": number(&outcome.empty),
        "figures": lines,
    })
}

fn line(line: &Line) -> Value {
    json!({
        "name": line.name,
        "what": line.what,
        "ratio": number(&line.ratio),
        "nanoseconds": number(&line.absolute),
        "netNanoseconds": number(&line.net),
    })
}

fn number(figure: &Figure) -> Value {
    let (low, high) = figure.sure;
    json!({ "median": figure.median, "spread": figure.spread, "sure": [low, high], "noisy": figure.is_noisy() })
}

fn bound(bound: Bound) -> Value {
    match bound {
        Bound::None => Value::Null,
        Bound::AtMost(most) => json!({ "most": most }),
        Bound::AtLeast(least) => json!({ "least": least }),
        Bound::Within(least, most) => json!({ "least": least, "most": most }),
    }
}
