//! What a packet costs: the real classifiers in the kernel, run on bytes (`BPF_PROG_TEST_RUN`), as ratios to an empty
//! classifier that is measured between them in the same run.
//!
//! Beside it, what two processors cost each other ([`flood`]), what the kernel keeps in memory ([`memory`]), what compiling a
//! large cluster costs ([`compile`]), what kernels make of the programs ([`programs`]), and what the running agent costs: the
//! traffic between two pods ([`path`]), also beside the kernel's own firewalls ([`firewall`]), its work on verdicts ([`drain`]),
//! its start in a large cluster ([`start`]), a change's way from the API server to the kernel ([`event`]), and the start of a pod
//! ([`pod_start`]); what living connections feel of a flood ([`living`]), and what an hour of churn leaves ([`churn`]).
//!
//! [`cases`] says what is measured, over which tables ([`world`]) and on which [`frames`]; [`measure`] does it, round by
//! round; [`report`] prints it. Nothing is pinned once the programs are loaded ([`pins`]).

mod api;
mod cases;
mod churn;
mod cluster;
mod compare;
mod compile;
mod drain;
mod event;
mod firewall;
mod flood;
mod frames;
mod goals;
mod judgements;
mod living;
mod machine;
mod measure;
mod memory;
mod path;
mod pins;
mod pod_start;
mod programs;
mod report;
mod start;
mod statistics;
mod world;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser as _;

use compare::Earlier;
use goals::{Answer, Goal, Only};
use machine::Machine;
use measure::Effort;
use programs::Programs;
use report::Report;
use statistics::Figure;

/// Measure what a packet costs, as ratios to an empty classifier in the same run
///
/// Every figure is the median of rounds in which everything is measured in turn, so that what disturbs the machine
/// disturbs all alike. Exits with 0 when everything could be measured, also where it was too noisy to tell, which is
/// said; with 1 when something missed what is aimed at; with 2 when something could not be measured. Needs root.
#[derive(Debug, clap::Parser)]
struct Arguments {
    /// Fewer and shorter rounds
    #[arg(long)]
    quick: bool,
    /// Only what has one of these words in its name, or belongs to one of these lines of the table (M1, M2, ...)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds, at least 9; what is noisy gets up to three times as many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(9..=1000))]
    rounds: Option<u32>,
    /// How the result is printed
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Print what is measured beside what `-o json` printed earlier, after the result (on the standard error with `-o json`);
    /// given several times, in their order, it also says which answers change from run to run
    #[arg(long, value_name = "FILE")]
    compare: Vec<PathBuf>,
    /// Tell also what another kernel makes of the programs: what `netpol verify-programs` printed there, in a file
    /// programs-RELEASE (`cargo xtask bench --kernel 5.10` makes it)
    #[arg(long, value_name = "FILE")]
    programs: Vec<PathBuf>,
    /// Write the report there (Markdown, plots as SVG); by default to docs/bench when everything was measured, that is
    /// with neither --only nor --quick
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
    /// List the names and end
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// A table
    Text,
    /// One JSON document
    Json,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("netpol-bench: something missed what is aimed at, or was not measured");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("netpol-bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

impl Arguments {
    /// Where the report is written.
    fn report(&self) -> Option<&Path> {
        let is_complete = self.only.is_empty() && !self.quick;
        self.report.as_deref().or(is_complete.then_some(Path::new("docs/bench")))
    }
}

/// Says whether every aim is met.
fn run(arguments: &Arguments) -> Result<bool> {
    let only = Only(arguments.only.clone());
    let compared: Vec<_> = cases::COMPARISONS.iter().filter(|one| only.wants_goal(&one.goal)).collect();
    let is_compared = |name| compared.iter().any(|one| one.this == name || one.that == name);
    let cases: Vec<_> =
        cases::all().into_iter().filter(|case| only.wants(case.name) || is_compared(case.name)).collect();
    let compiles = compile::all().filter(|goal| only.wants_goal(goal)).count();
    let in_kernel = flood::all().chain(memory::all()).any(|goal| only.wants_goal(&goal));
    let running = running().any(|goal| only.wants_goal(&goal));
    if arguments.list {
        return list(&only);
    }
    let verifies = only.wants(programs::NAME) || !cases.is_empty();
    if cases.is_empty() && compiles == 0 && !in_kernel && !running && !verifies {
        bail!("nothing has a name with {} in it: --list shows the names", arguments.only.join(" or "));
    }
    // Measuring takes minutes: what cannot be read is said before.
    let earlier: Vec<Earlier> =
        arguments.compare.iter().map(|path| Earlier::read(path)).collect::<Result<_>>()?;
    let mut programs: Vec<Programs> =
        arguments.programs.iter().map(|path| Programs::read(path)).collect::<Result<_>>()?;
    pins::catch_signals()?;
    let machine = Machine::pin()?;
    let text = arguments.output == Output::Text;
    let effort = if arguments.quick { Effort::QUICK } else { Effort::FULL };
    let effort = Effort { rounds: arguments.rounds.unwrap_or(effort.rounds), ..effort };
    if text {
        report::head(&machine);
    }
    if verifies {
        programs.insert(0, Programs::here(&machine)?);
    }
    if text {
        report::programs(&programs);
    }
    let packets = if cases.is_empty() { None } else { Some(packets(&cases, effort, text)?) };
    if text && compiles > 0 {
        eprintln!("compiling {} pods and {} policies ...", cluster::PODS, cluster::POLICIES);
    }
    let mut answers = Vec::new();
    let mut tell = |goals: &mut dyn Iterator<Item = Goal>, measured| {
        answers.extend(or_not_measured(goals.filter(|goal| only.wants_goal(goal)), measured));
    };
    tell(&mut compile::all(), compile::run(&only, effort.rounds.max(compile::ROUNDS)));
    tell(&mut flood::all(), flood::run(&machine, &only, effort.rounds));
    tell(&mut memory::all(), memory::run(&only));
    let load = machine.load()?;
    pins::release_signals()?;
    if text && running {
        eprintln!("the agent on a node ...");
    }
    tell(&mut path::all(), path::run(&machine, &only, effort.rounds.max(path::ROUNDS)));
    tell(&mut drain::all(), drain::run(&machine, &only, effort.rounds));
    tell(&mut living::all(), living::run(&machine, &only, effort.rounds));
    tell(&mut churn::all(), churn::run(&machine, &only));
    tell(&mut firewall::all(), firewall::run(&machine, &only, effort.rounds.max(path::ROUNDS)));
    machine.unpinned(|| {
        tell(&mut start::all(), start::run(&only));
        tell(&mut event::all(), event::run(&only));
        tell(&mut pod_start::all(), pod_start::run(&only));
        Ok(())
    })?;
    if let Some(packets) = &packets {
        answers.extend(packets.comparisons.iter().filter(|answer| only.wants_goal(&answer.goal)));
    }
    answers.sort_by_key(|answer| answer.goal.order());
    let (packets, answers, earlier) = (packets.as_ref(), &*answers, &*earlier);
    let report = Report { machine: &machine, load: &load, programs: &programs, packets, answers, earlier };
    match arguments.output {
        Output::Text => report::text(&report),
        Output::Json => println!("{:#}", report::json(&report)),
    }
    let mut out: Box<dyn Write> =
        if text { Box::new(std::io::stdout()) } else { Box::new(std::io::stderr()) };
    for one in earlier {
        one.print(&mut out, &report)?;
    }
    compare::print_verdicts(&mut out, &report)?;
    if let Some(folder) = arguments.report() {
        report::markdown::write(folder, &report)?;
        eprintln!("the report is in {}", folder.join("report.md").display());
    }
    Ok(!answers.iter().any(|answer| answer.is_missed() || !answer.is_measured()))
}

/// What was measured. Where that failed it is said why, and each of its lines is told as not measured: the others count all
/// the same.
fn or_not_measured(goals: impl Iterator<Item = Goal>, measured: Result<Vec<Answer>>) -> Vec<Answer> {
    measured.unwrap_or_else(|error| {
        let answers: Vec<_> = goals.map(|goal| Answer { goal, figure: Figure::of(&[]) }).collect();
        let names: Vec<_> = answers.iter().map(|answer| answer.goal.name).collect();
        eprintln!("not measured: {}: {error:#}", names.join(", "));
        answers
    })
}

/// What the agent is run for.
fn running() -> impl Iterator<Item = Goal> {
    path::all()
        .chain(drain::all())
        .chain(living::all())
        .chain(churn::all())
        .chain(firewall::all())
        .chain(start::all())
        .chain(event::all())
        .chain(pod_start::all())
}

/// All that is measured beside what a packet costs.
fn beside() -> impl Iterator<Item = Goal> {
    compile::all().chain(flood::all()).chain(memory::all()).chain(running())
}

/// Lists what is wanted.
fn list(only: &Only) -> Result<bool> {
    let compared = cases::COMPARISONS.iter().map(|one| one.goal);
    let mut goals: Vec<_> = compared.chain(beside()).filter(|goal| only.wants_goal(goal)).collect();
    goals.sort_by_key(Goal::order);
    let mut out = std::io::stdout().lock();
    let programs = only.wants(programs::NAME).then_some(("", programs::NAME, programs::WHAT));
    let cases = cases::all().into_iter().filter(|case| only.wants(case.name));
    let lines = programs.into_iter().chain(cases.map(|case| ("", case.name, case.what)));
    for (line, name, what) in lines.chain(goals.iter().map(|goal| (goal.line, goal.name, goal.what))) {
        match writeln!(out, "{line:4}{name:28} {what}") {
            // Who reads has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
            result => result?,
        }
    }
    Ok(true)
}

/// Runs packets through the programs.
fn packets(cases: &[cases::Case], effort: Effort, text: bool) -> Result<measure::Outcome> {
    if text {
        eprintln!("filling tables, {} figures in at least {} rounds ...", cases.len(), effort.rounds);
    }
    measure::measure(cases, effort)
}
