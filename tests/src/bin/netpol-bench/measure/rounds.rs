//! What the rounds say, over all loads.

use std::ops::Deref;

use crate::cases::{ALONE, COMPARISONS, Case, Comparison};
use crate::goals::Answer;
use crate::statistics::Figure;

/// One line of the result.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) ratio: Figure,
    pub(crate) absolute: Figure,
    pub(crate) net: Figure,
}

/// What was measured.
pub(crate) struct Outcome {
    pub(crate) rounds: u32,
    pub(crate) empty: Figure,
    pub(crate) lines: Vec<Line>,
    pub(crate) comparisons: Vec<Answer>,
}

/// What was measured of a case over one load, by round.
#[derive(Default)]
pub(super) struct Series {
    /// Nanoseconds as they are.
    pub(super) absolute: Vec<f64>,
    /// Nanoseconds without the empty classifier.
    pub(super) net: Vec<f64>,
    /// Times the empty classifier.
    pub(super) ratio: Vec<f64>,
}

/// What the rounds over one load have said.
pub(super) struct Load {
    pub(super) count: u32,
    pub(super) empties: Vec<f64>,
    /// One for each case.
    pub(super) series: Vec<Series>,
}

/// What all rounds have said so far.
pub(super) struct Rounds<'a> {
    pub(super) cases: &'a [Case],
    pub(super) loads: Vec<Load>,
}

impl Load {
    /// Without a round.
    pub(super) fn of(cases: &[Case]) -> Self {
        Self { count: 0, empties: Vec::new(), series: cases.iter().map(|_| Series::default()).collect() }
    }
}

impl Rounds<'_> {
    /// Whether a figure of a case is noisy, over all loads so far.
    pub(super) fn is_noisy(&self) -> bool {
        (0..self.cases.len()).any(|case| self.figure(case, |series| &series.ratio).is_noisy())
    }

    /// Of the case in this place.
    fn figure(&self, case: usize, values: impl Fn(&Series) -> &[f64]) -> Figure {
        self.of_loads(|load| values(&load.series[case]))
    }

    /// Rounds over one load have in common where in memory everything lies.
    fn of_loads<'a, G: Deref<Target = [f64]>>(&'a self, values: impl Fn(&'a Load) -> G) -> Figure {
        Figure::of_groups(&self.loads.iter().map(values).collect::<Vec<_>>())
    }

    /// Two figures of each round beside each other.
    fn compare(&self, comparison: &Comparison) -> Option<Answer> {
        let place = |name| self.cases.iter().position(|case| case.name == name);
        let this = place(comparison.this)?;
        let figure = if comparison.that == ALONE {
            self.figure(this, |series| &series.ratio)
        } else {
            let that = place(comparison.that)?;
            self.of_loads(|load| -> Vec<f64> {
                let pairs = load.series[this].net.iter().zip(&load.series[that].net);
                pairs.map(|(this, that)| this / that).collect()
            })
        };
        Some(Answer { goal: comparison.goal, figure })
    }

    /// All figures.
    pub(super) fn outcome(&self) -> Outcome {
        let line = |(place, case): (usize, &Case)| Line {
            name: case.name,
            what: case.what,
            ratio: self.figure(place, |series| &series.ratio),
            absolute: self.figure(place, |series| &series.absolute),
            net: self.figure(place, |series| &series.net),
        };
        let comparisons = COMPARISONS.iter().filter_map(|comparison| self.compare(comparison)).collect();
        Outcome {
            rounds: self.loads.iter().map(|load| load.count).sum(),
            empty: self.of_loads(|load| load.empties.as_slice()),
            lines: self.cases.iter().enumerate().map(line).collect(),
            comparisons,
        }
    }
}
