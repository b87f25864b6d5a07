//! The result, as a table for people and as JSON for programs.

use netpol_agent::datapath::ProgramSize;
use serde_json::{Value, json};

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

/// The table.
pub(crate) fn text(outcome: &Outcome, load: &Load) {
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
        "\nMedians of {} rounds; the spread is the distance between the quartiles. Packets at random differ in peer and \
         \nport, and what makes them so is taken off. Beyond 4096 new flows or 256 drops in 1.07 s, verdicts of a pod are \
         \ncounted without an event: so it is in every line that does not say otherwise.",
        outcome.rounds
    );
    println!(
        "The processor was busy with other programs for {:.0} % of the time, taken by the hypervisor for {:.0} %.",
        load.others * 100.0,
        load.stolen * 100.0
    );
    let noisy = outcome.lines.iter().filter(|line| line.ratio.is_noisy()).count();
    if noisy > 0 {
        println!(
            "TOO NOISY to tell: {noisy} of {} figures, with a spread above {:.0} %.",
            outcome.lines.len(),
            TOO_NOISY * 100.0
        );
    }
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
    sizes: &[(&'static str, ProgramSize)],
    outcome: &Outcome,
) -> Value {
    let lines: Vec<Value> = outcome.lines.iter().map(line).collect();
    let comparisons: Vec<Value> = outcome
        .comparisons
        .iter()
        .map(|(comparison, figure)| {
            json!({ "this": comparison.this, "that": comparison.that, "ratio": number(figure) })
        })
        .collect();
    let programs: Vec<Value> = sizes
        .iter()
        .map(|(name, size)| json!({ "name": name, "verified": size.verified, "machineBytes": size.machine }))
        .collect();
    json!({
        "date": machine.date,
        "kernel": machine.kernel,
        "processor": machine.processor,
        "processors": machine.count,
        "jit": machine.jit,
        "othersBusy": load.others,
        "stolen": load.stolen,
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
