//! Plots: bars, as SVG that is readable on a light and on a dark page.

mod draw;
mod scale;

use crate::goals::{Answer, Bound, Verdict};
use crate::measure::Outcome;

use draw::{Bar, Key, draw, ends};
use scale::Scale;

/// The ratios of which something is asked; `None` where there are none.
pub(super) fn ratios(answers: &[Answer]) -> Option<String> {
    let bars: Vec<Bar> = answers.iter().filter_map(ratio).collect();
    let of = |bars: &[Bar], part: fn(&Bar) -> Vec<f64>| bars.iter().flat_map(part).collect::<Vec<_>>();
    let medians = of(&bars, |bar| vec![bar.value]);
    let others = of(&bars, |bar| [vec![bar.sure.0, bar.sure.1], ends(bar.must), ends(bar.moonshot)].concat());
    let keys = [("yes", "as it must be"), ("no", "not as it must be"), ("noisy", "too noisy to tell")];
    let keys = keys.into_iter().map(|(colour, text)| Key::Colour(colour, text));
    let keys: Vec<Key> = keys.chain([Key::Must, Key::Moonshot, Key::Sure]).collect();
    draw("Ratios, beside what is asked of them", &bars, &keys, &Scale::fitting(&medians, &others))
}

fn ratio(answer: &Answer) -> Option<Bar> {
    let (goal, figure) = (&answer.goal, &answer.figure);
    // Writes are counted: they have no unit, and are no ratio.
    if !goal.unit.is_empty() || goal.name.ends_with("-writes") {
        return None;
    }
    let (colour, note) = match answer.verdict()? {
        Verdict::Yes => ("yes", "yes"),
        Verdict::No => ("no", "no"),
        Verdict::TooNoisy => ("noisy", "too noisy"),
    };
    let (must, moonshot) = (goal.must, goal.moonshot);
    Some(Bar { label: goal.what, value: figure.median, sure: figure.sure, colour, note, must, moonshot })
}

/// What a packet costs; `None` where nothing was measured.
pub(super) fn packets(outcome: &Outcome) -> Option<String> {
    let bars = outcome.lines.iter().map(|line| Bar {
        label: line.what,
        value: line.net.median,
        sure: line.net.sure,
        colour: group(line.name),
        note: if line.ratio.is_noisy() { "too noisy" } else { "" },
        must: Bound::None,
        moonshot: Bound::None,
    });
    let bars: Vec<Bar> = bars.collect();
    let values: Vec<f64> = bars.iter().flat_map(|bar| [bar.value, bar.sure.1]).collect();
    let keys = [
        Key::Colour("established", "established"),
        Key::Colour("first", "first packet"),
        Key::Colour("denied", "denied"),
        Key::Colour("unselected", "not judged"),
        Key::Colour("common", "the common shape"),
        Key::Sure,
    ];
    let title = "Nanoseconds per packet, without the empty classifier's";
    draw(title, &bars, &keys, &Scale::linear(&values))
}

/// The group that a case belongs to, by its name.
fn group(name: &str) -> &'static str {
    let groups = ["common", "established", "first", "denied"];
    groups.into_iter().find(|group| name.starts_with(group)).unwrap_or("unselected")
}

#[cfg(test)]
mod tests {
    use super::{group, packets, ratios};
    use crate::goals::{Answer, Bound, Goal};
    use crate::measure::{Line, Outcome};
    use crate::statistics::Figure;

    fn answer(
        name: &'static str,
        what: &'static str,
        unit: &'static str,
        must: Bound,
        values: &[f64],
    ) -> Answer {
        Answer { goal: Goal::told(name, what, unit).must(must), figure: Figure::of(values) }
    }

    #[test]
    fn only_ratios_of_which_something_is_asked_have_bars() {
        let most = Bound::AtMost(0.35);
        let svg = ratios(&[
            answer("kept", "what is kept to", "", most, &[0.25; 9]),
            answer("missed", "what is missed", "", most, &[0.5; 9]),
            answer("told", "what is told", "", Bound::None, &[0.5; 9]),
            answer("time", "what takes time", "ms", most, &[0.5; 9]),
            answer("compile-join-writes", "what is written", "", most, &[0.5; 9]),
        ]);
        let svg = svg.unwrap();
        assert!(svg.contains(">what is kept to<") && svg.contains(">0.250 yes<"), "{svg}");
        assert!(svg.contains(">what is missed<") && svg.contains(">0.500 no<"), "{svg}");
        for absent in ["told", "takes time", "written"] {
            assert!(!svg.contains(absent), "{absent}: {svg}");
        }
        assert_eq!(ratios(&[answer("told", "", "", Bound::None, &[0.5; 9])]), None);
    }

    #[test]
    fn packets_have_the_colour_of_their_group() {
        let (figure, net) = (Figure::of(&[35.0; 9]), Figure::of(&[20.0; 9]));
        let line = |name, what| Line { name, what, ratio: figure, absolute: figure, net };
        let lines = vec![line("first-udp", "a"), line("common-first", "b"), line("source-check-v4", "c")];
        let outcome = Outcome { rounds: 9, empty: figure, lines, comparisons: Vec::new() };
        let svg = packets(&outcome).unwrap();
        for (group, bars) in [("first", 1), ("common", 1), ("unselected", 1), ("denied", 0)] {
            // One more is in the legend.
            assert_eq!(svg.matches(&format!(r#"<rect class="{group}""#)).count(), bars + 1, "{group}: {svg}");
        }
        assert!(svg.contains(">20.00<"), "{svg}");
        assert_eq!(group("established-64k-flows-v4"), "established");
        assert_eq!(packets(&Outcome { lines: Vec::new(), ..outcome }), None);
    }
}
