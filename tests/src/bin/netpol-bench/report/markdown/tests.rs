use std::fs;

use netpol_agent::datapath::Verified;

use super::{bound, digits, escaped, table, write};
use crate::goals::{Answer, Bound, Goal};
use crate::machine::{Load, Machine};
use crate::measure::{Line, Outcome};
use crate::programs::Programs;
use crate::report::Report;
use crate::statistics::Figure;

fn answers() -> Vec<Answer> {
    let goal = |name, what, unit| Goal::told(name, what, unit).of("M1").must(Bound::AtMost(0.35));
    let moonshot = goal("hot", "hot: ours | theirs", "").moonshot(Bound::AtMost(0.25));
    let time = goal("time", "how long it takes", "ms");
    let told = Goal::told("told", "what is told", "us");
    let noisy = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6];
    vec![
        Answer { goal: moonshot, figure: Figure::of(&[0.3; 9]) },
        Answer { goal: time, figure: Figure::of(&noisy) },
        Answer { goal: told, figure: Figure::of(&[]) },
    ]
}

fn outcome() -> Outcome {
    let figure = |value| Figure::of(&[value; 9]);
    let line = Line {
        name: "first-udp",
        what: "first packet, UDP",
        ratio: figure(4.5),
        absolute: figure(90.0),
        net: figure(70.0),
    };
    Outcome { rounds: 15, empty: figure(20.0), lines: vec![line], comparisons: Vec::new() }
}

#[test]
fn a_report_is_a_page_with_plots() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("docs/bench");
    let load = Load { others: 0.031, stolen: 0.0 };
    let machine = Machine::pin().unwrap();
    let egress =
        Verified { name: "egress".to_owned(), instructions: 99, stack: "8+16".to_owned(), machine: 4321 };
    let programs = [Programs { kernel: "5.10.1".to_owned(), all: vec![egress] }];
    let (outcome, answers) = (outcome(), answers());
    let whole = Report {
        machine: &machine,
        load: &load,
        programs: &programs,
        packets: Some(&outcome),
        answers: &answers,
        earlier: &[],
    };
    write(&inner, &whole).unwrap();
    let page = fs::read_to_string(inner.join("report.md")).unwrap();
    for part in [
        "| M1 | hot: ours \\| theirs | ≤ 0.35 | ≤ 0.25 | 0.300 | 0.0 % | yes | no |\n",
        "| M1 | how long it takes, ms | ≤ 0.35 |  | 0.350 | 71.4 % | too noisy |  |\n",
        "|  | what is told, us |  |  | not measured |  |  |  |\n",
        "| the empty classifier alone | 1.00 | 0.0 % | 20.0 | 0.0 |\n",
        "| first packet, UDP | 4.50 | 0.0 % | 90.0 | 70.0 |\n",
        "Linux 5.10.1:\n",
        "| egress | 99 | 8+16 | 4321 |\n",
        "](ratios.svg)\n",
        "](packets.svg)\n",
        "other programs for 3 % of the time, taken by the hypervisor for 0 %.",
        concat!("with netpol ", env!("CARGO_PKG_VERSION"), ": Linux "),
    ] {
        assert!(page.contains(part), "{part} is missing:\n{page}");
    }
    assert!(fs::read_to_string(inner.join("ratios.svg")).unwrap().contains("hot: ours | theirs"));
    assert_eq!(names(&inner), ["packets.svg", "ratios.svg", "report.md"]);
    // What is measured no more leaves nothing.
    write(&inner, &Report { packets: None, programs: &[], answers: &answers[2..], ..whole }).unwrap();
    assert_eq!(names(&inner), ["report.md"]);
    assert!(!fs::read_to_string(inner.join("report.md")).unwrap().contains(".svg"));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let load = Load { others: 0.0, stolen: 0.0 };
    let machine = Machine::pin().unwrap();
    let nothing =
        Report { machine: &machine, load: &load, programs: &[], packets: None, answers: &[], earlier: &[] };
    let error = write(&file, &nothing).unwrap_err();
    assert!(error.to_string().contains(&*file.to_string_lossy()), "{error}");
}

fn names(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn bounds_are_told_in_signs() {
    assert_eq!(bound(Bound::None), "");
    assert_eq!(bound(Bound::AtMost(0.35)), "≤ 0.35");
    assert_eq!(bound(Bound::AtLeast(0.98)), "≥ 0.98");
    assert_eq!(bound(Bound::Within(0.95, 1.05)), "0.95 – 1.05");
    assert_eq!(bound(Bound::AtMost(1e6)), "≤ 1000000");
}

#[test]
fn texts_end_no_cell_and_are_no_markup() {
    assert_eq!(escaped("a | b\n\\ <c> *d* `e`"), "a \\| b \\\\ \\<c> \\*d\\* \\`e\\`");
    let rows = [vec!["a|b".to_owned(), "1".to_owned()]];
    assert_eq!(table(&["what", ">x"], rows.into_iter()), "| what | x |\n| --- | ---: |\n| a\\|b | 1 |");
}

#[test]
fn figures_have_the_digits_that_say_something() {
    let values = [0.28349, 12.3456, 123.456, 98_765.4, -0.5, f64::NAN];
    let told = ["0.283", "12.35", "123.5", "98765", "-0.500", "not measured"];
    assert_eq!(values.map(digits), told);
}
