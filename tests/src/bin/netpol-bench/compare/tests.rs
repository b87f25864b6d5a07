use std::fs;

use serde_json::{Value, json};

use super::{Earlier, Known, Number, Verdicts, changes, difference, print_verdicts, said as cell};
use crate::goals::{Answer, Bound, Goal};
use crate::machine::{Load, Machine};
use crate::measure::{Line, Outcome};
use crate::report::{self, Report};
use crate::statistics::Figure;

fn figure(median: f64, low: f64, high: f64) -> Figure {
    Figure { median, spread: 0.01, sure: (low, high) }
}

fn outcome(net: Figure) -> Outcome {
    let line = |name| Line { name, what: "", ratio: net, absolute: net, net };
    let lines = vec![line("first-udp"), line("first-new")];
    Outcome { rounds: 9, empty: net, lines, comparisons: Vec::new() }
}

fn answer(name: &'static str, unit: &'static str, figure: Figure) -> Answer {
    Answer { goal: Goal::told(name, "", unit), figure }
}

const LOAD: Load = Load { others: 0.0, stolen: 0.0 };

fn now<'a>(machine: &'a Machine, packets: Option<&'a Outcome>, answers: &'a [Answer]) -> Report<'a> {
    Report { machine, load: &LOAD, programs: &[], packets, answers, earlier: &[] }
}

/// Reads a document.
fn read(document: &str) -> anyhow::Result<Earlier> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("earlier.json");
    fs::write(&path, document).unwrap();
    Earlier::read(&path)
}

/// What is said beside a document.
fn said(document: &Value, machine: &Machine, packets: Option<&Outcome>, answers: &[Answer]) -> String {
    let mut out = Vec::new();
    read(&document.to_string()).unwrap().print(&mut out, &now(machine, packets, answers)).unwrap();
    String::from_utf8(out).unwrap()
}

/// The words of a line.
fn words<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_whitespace().skip(1).collect()
}

#[test]
fn what_json_prints_is_read_again() {
    let machine = Machine::pin().unwrap();
    let before = [
        answer("hot", "", figure(0.4, 0.39, 0.41)),
        answer("wall", "s", Figure::of(&[])),
        answer("join", "us", figure(50.0, 49.0, 51.0)),
        answer("gone", "us", figure(50.0, 49.0, 51.0)),
    ];
    let mut document = report::json(&now(&machine, Some(&outcome(figure(80.0, 78.0, 82.0))), &before));
    document["packets"]["figures"].as_array_mut().unwrap().pop();
    let after = [
        answer("hot", "", figure(0.42, 0.405, 0.43)),
        answer("wall", "s", figure(1.0, 0.9, 1.1)),
        answer("join", "ms", figure(0.05, 0.05, 0.05)),
    ];
    let text = said(&document, &machine, Some(&outcome(figure(60.0, 59.0, 61.0))), &after);
    assert_eq!(words(&text, "first-udp"), ["80.00", "60.00", "0.750", "ns", "less"]);
    assert_eq!(words(&text, "hot"), ["0.400", "0.420", "1.050", "the", "same"]);
    assert_eq!(words(&text, "wall"), ["not", "measured", "1.000", "s", "not", "measured"]);
    // What only one of them has, or has in another unit, is not beside anything.
    for absent in ["first-new", "gone", "join", "WARNING"] {
        assert!(!text.contains(absent), "{absent}:\n{text}");
    }
    for part in ["kernel", "processor"] {
        let mut other = document.clone();
        other[part] = json!("another one");
        let text = said(&other, &machine, None, &after);
        let warning = format!("WARNING: it was measured on another {part} (another one");
        assert_eq!((text.matches("WARNING").count(), text.contains(&warning)), (1, true), "{text}");
    }
    assert!(said(&document, &machine, None, &[]).contains("nothing that was measured now"));
}

#[test]
fn figures_differ_when_what_they_are_sure_within_does() {
    let known = |median, low, high| Known { median, sure: (Number(low), Number(high)) };
    let earlier = known(10.0, 9.0, 11.0);
    for (now, word) in [
        (figure(7.0, 6.0, 8.9), "less"),
        (figure(8.0, 7.0, 9.0), "the same"),
        (figure(10.5, 9.5, 10.7), "the same"),
        (figure(12.0, 11.0, 13.0), "the same"),
        (figure(12.0, 11.1, 13.0), "more"),
        (Figure::exact(11.5), "more"),
        (Figure::of(&[]), "not measured"),
    ] {
        assert_eq!(difference(&earlier, &now), word, "{now:?}");
    }
    // Counted, or a quantile.
    assert_eq!(difference(&known(2.0, 2.0, 2.0), &Figure::exact(3.0)), "more");
    assert_eq!(difference(&known(2.0, 2.0, 2.0), &Figure::exact(2.0)), "the same");
    assert_eq!(difference(&known(31.2, 31.2, 31.2), &Figure::exact(31.3)), "unsure");
    assert_eq!(difference(&known(f64::NAN, 1.0, 2.0), &Figure::exact(3.0)), "not measured");
}

#[test]
fn what_is_no_report_is_named_with_what_is_missing() {
    let report = |answers: Value| {
        json!({ "date": "", "kernel": "", "processor": "", "packets": null, "answers": answers }).to_string()
    };
    let figure = json!({ "sure": [null, 1.0] });
    for (document, missing) in [
        ("", "EOF"),
        ("[]", "invalid length 0"),
        (r#"{"date": "today"}"#, "missing field `kernel`"),
        (&report(json!([{ "name": "a", "unit": "" }])), "missing field `figure`"),
        (&report(json!([{ "name": "a", "unit": "", "figure": figure }])), "missing field `median`"),
    ] {
        let error = format!("{:#}", read(document).err().unwrap());
        assert!(error.contains("/earlier.json is no report of netpol-bench: "), "{document}: {error}");
        assert!(error.contains(missing), "{document}: {error}");
    }
    read(&report(json!([]))).unwrap();
    let error = format!("{:#}", Earlier::read("/nowhere/earlier.json".as_ref()).err().unwrap());
    assert!(error.starts_with("cannot read /nowhere/earlier.json: "), "{error}");
}

#[test]
fn what_is_yes_in_one_run_and_no_in_another_is_said() {
    let machine = Machine::pin().unwrap();
    let goal = |name| Goal::told(name, "", "").must(Bound::AtMost(0.5));
    let run = |steady: f64, fickle: f64| {
        let known = [("steady", steady), ("fickle", fickle)];
        known.map(|(name, value)| Answer { goal: goal(name), figure: Figure::exact(value) })
    };
    let earlier = [(0.4, 0.4), (0.3, 0.6)].map(|(steady, fickle)| {
        let answers = run(steady, fickle);
        read(&report::json(&now(&machine, None, &answers)).to_string()).unwrap()
    });
    let answers = run(0.45, 0.4);
    let report = Report { earlier: &earlier, ..now(&machine, None, &answers) };
    let cells = answers.map(|answer| cell(&Verdicts::of(&earlier, &answer).must));
    assert_eq!(cells, ["yes, yes, yes", "yes, no, yes"]);
    assert_eq!(changes(&report).unwrap(), "Of 3 runs, in their order, fickle changes between yes and no.");
    let mut out = Vec::new();
    print_verdicts(&mut out, &report).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(words(&text, "fickle").last(), Some(&"CHANGES"), "{text}");
    assert_eq!(words(&text, "steady"), ["yes,", "yes,", "yes"], "{text}");
    // One run alone is beside nothing; what an earlier one has not measured is no change.
    assert_eq!(changes(&now(&machine, None, &answers)), None);
    let new = [Answer { goal: goal("new"), figure: Figure::exact(9.0) }];
    assert_eq!(cell(&Verdicts::of(&earlier, &new[0]).must), "-, -, no");
}
