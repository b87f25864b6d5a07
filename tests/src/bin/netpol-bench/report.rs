//! The result, as a table for people and as JSON for programs.

use netpol_agent::datapath::ProgramSize;
use serde_json::{Value, json};

use crate::aimed::{Aim, Aimed, Name};
use crate::cluster;
use crate::compile::{self, Compiled, Cost};
use crate::machine::{Load, Machine};
use crate::measure::{Line, Outcome};
use crate::statistics::{Figure, TOO_NOISY};

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

/// What the kernel made of the programs.
pub(crate) fn programs(sizes: &[(&'static str, ProgramSize)]) {
    println!("{:14} {:>21} {:>14}", "program", "verified instructions", "machine bytes");
    for (name, size) in sizes {
        println!("{name:14} {:>21} {:>14}", size.verified, size.machine);
    }
    println!();
}

/// The tables.
pub(crate) fn text(packets: Option<&Outcome>, compiled: &[Compiled], running: &[Aimed], load: &Load) {
    if let Some(outcome) = packets {
        figures(outcome);
    }
    if !compiled.is_empty() {
        compiles(compiled);
    }
    if !running.is_empty() {
        agents(running);
    }
    println!(
        "The processor was busy with other programs for {:.0} % of the time, taken by the hypervisor for {:.0} %.",
        load.others * 100.0,
        load.stolen * 100.0
    );
    let ratios = packets.iter().flat_map(|outcome| &outcome.lines).map(|line| &line.ratio);
    let ratios = ratios.chain(compiled.iter().map(|line| &line.took));
    let all: Vec<&Figure> = ratios.chain(running.iter().map(|line| &line.figure)).collect();
    let noisy = all.iter().filter(|figure| figure.is_noisy()).count();
    if noisy > 0 {
        println!(
            "TOO NOISY to tell: {noisy} of {} figures, with a spread above {:.0} %.",
            all.len(),
            TOO_NOISY * 100.0
        );
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
    if !outcome.comparisons.is_empty() {
        println!("\n{:54} {:>7} {:>7}", "beside each other, without the empty classifier", "ratio", "spread");
        for (comparison, figure) in &outcome.comparisons {
            println!("{:54} {:>7.2} {:>7}{}", comparison.what, figure.median, percent(figure), note(figure));
        }
    }
    println!(
        "\nMedians of {} rounds; the spread is the distance between the quartiles. Packets at random differ in peer and\n\
         port, and what makes them so is taken off. Beyond 4096 new flows or 256 drops in 1.07 s, verdicts of a pod are\n\
         counted without an event: so it is in every line that does not say otherwise.\n",
        outcome.rounds
    );
}

/// What compiling costs, beside what is aimed at.
fn compiles(compiled: &[Compiled]) {
    let head = format!(
        "compiling {} pods, {} policies, {} of the pods here",
        cluster::PODS,
        cluster::POLICIES,
        cluster::LOCAL
    );
    println!(
        "{head:54} {:>10} {:>7} {:>10} {:>7} {:>11} {:>7}",
        "us", "spread", "aim", "writes", "generations", "aim"
    );
    for line in compiled {
        let (Cost { writes, generations }, compile::Aim { microseconds, writes: most }) =
            (line.cost, line.aim);
        println!(
            "{:54} {:>10.1} {:>7} {:>10} {writes:>7} {generations:>11} {:>7}{}{}",
            line.what,
            line.took.median,
            percent(&line.took),
            microseconds.map_or_else(String::new, |most| format!("< {most}")),
            most.map_or_else(String::new, |most| most.to_string()),
            if line.is_met() { "" } else { "  MISSED" },
            note(&line.took)
        );
    }
    println!();
}

/// What the running agent costs, beside what is aimed at.
fn agents(running: &[Aimed]) {
    println!("{:64} {:>10} {:>8} {:>7} {:>10}", "the running agent", "", "", "spread", "aim");
    for line in running {
        let Name { what, unit, aim, .. } = line.name;
        let aim = match aim {
            Aim::None => String::new(),
            Aim::AtMost(most) => format!("<= {most}"),
            Aim::AtLeast(least) => format!(">= {least}"),
        };
        println!(
            "{what:64} {:>10.3} {unit:>8} {:>7} {aim:>10}{}{}",
            line.figure.median,
            percent(&line.figure),
            if line.is_met() { "" } else { "  MISSED" },
            note(&line.figure)
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
pub(crate) fn json(
    machine: &Machine,
    load: &Load,
    packets: Option<&Outcome>,
    compiled: &[Compiled],
    running: &[Aimed],
) -> Value {
    let running: Vec<Value> = running
        .iter()
        .map(|line| {
            let (least, most) = match line.name.aim {
                Aim::None => (None, None),
                Aim::AtMost(most) => (None, Some(most)),
                Aim::AtLeast(least) => (Some(least), None),
            };
            json!({
                "name": line.name.name,
                "what": line.name.what,
                "unit": line.name.unit,
                "figure": number(&line.figure),
                "aim": { "least": least, "most": most },
                "met": line.is_met(),
            })
        })
        .collect();
    let compiled: Vec<Value> = compiled
        .iter()
        .map(|line| {
            json!({
                "name": line.name,
                "what": line.what,
                "microseconds": number(&line.took),
                "writes": line.cost.writes,
                "generations": line.cost.generations,
                "aim": { "microseconds": line.aim.microseconds, "writes": line.aim.writes },
                "met": line.is_met(),
            })
        })
        .collect();
    json!({
        "date": machine.date,
        "kernel": machine.kernel,
        "processor": machine.processor,
        "processors": machine.count,
        "jit": machine.jit,
        "othersBusy": load.others,
        "stolen": load.stolen,
        "packets": packets.map(figures_as_json),
        "compiles": compiled,
        "running": running,
    })
}

fn figures_as_json(outcome: &Outcome) -> Value {
    let lines: Vec<Value> = outcome.lines.iter().map(line).collect();
    let comparisons: Vec<Value> = outcome
        .comparisons
        .iter()
        .map(|(comparison, figure)| {
            json!({ "this": comparison.this, "that": comparison.that, "ratio": number(figure) })
        })
        .collect();
    let programs: Vec<Value> = outcome
        .sizes
        .iter()
        .map(|(name, size)| json!({ "name": name, "verified": size.verified, "machineBytes": size.machine }))
        .collect();
    json!({
        "rounds": outcome.rounds,
        "programs": programs,
        "emptyNanoseconds": number(&outcome.empty),
        "figures": lines,
        "comparisons": comparisons,
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
    json!({ "median": figure.median, "spread": figure.spread, "noisy": figure.is_noisy() })
}
