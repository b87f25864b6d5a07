//! What is asked of each figure, and whether it is so.

use crate::statistics::Figure;

/// What is measured under a name, before it is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    /// The line of the table that it belongs to, such as `M1`; empty for what is in none.
    pub(crate) line: &'static str,
    /// What it is chosen and compared by.
    pub(crate) name: &'static str,
    /// What it is, for people.
    pub(crate) what: &'static str,
    /// Its unit; empty for a ratio.
    pub(crate) unit: &'static str,
    /// What it has to be.
    pub(crate) must: Bound,
    /// What it would be if all went well.
    pub(crate) moonshot: Bound,
}

/// What a figure is to keep to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    /// Nothing: it is told for information.
    None,
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
    /// Between these.
    Within(f64, f64),
}

/// Whether a figure keeps to a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Yes,
    No,
    /// The bound lies where the median may be as well: the rounds differ by more than what would decide.
    TooNoisy,
}

impl Verdict {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "NO",
            Self::TooNoisy => "too noisy",
        }
    }
}

impl Bound {
    /// Whether the figure keeps to it; `None` where nothing is asked.
    pub(crate) fn judge(self, figure: &Figure) -> Option<Verdict> {
        let (low, high) = figure.sure;
        let (yes, no) = match self {
            Self::None => return None,
            // Nothing could be measured.
            _ if low.is_nan() || high.is_nan() => (false, true),
            Self::AtMost(most) => (high <= most, low > most),
            Self::AtLeast(least) => (low >= least, high < least),
            Self::Within(least, most) => (low >= least && high <= most, high < least || low > most),
        };
        Some(match (yes, no) {
            (true, _) => Verdict::Yes,
            (_, true) => Verdict::No,
            _ => Verdict::TooNoisy,
        })
    }

    /// As it stands in the table.
    pub(crate) fn text(self) -> String {
        match self {
            Self::None => String::new(),
            Self::AtMost(most) => format!("<= {most}"),
            Self::AtLeast(least) => format!(">= {least}"),
            Self::Within(least, most) => format!("{least}..{most}"),
        }
    }
}

impl Goal {
    /// Nothing is asked of it.
    pub(crate) const fn told(name: &'static str, what: &'static str, unit: &'static str) -> Self {
        Self { line: "", name, what, unit, must: Bound::None, moonshot: Bound::None }
    }

    /// The same as a part of a line of the table.
    pub(crate) const fn of(self, line: &'static str) -> Self {
        Self { line, ..self }
    }

    /// By what the table is in order: the number of its line, and last of all what is in none.
    pub(crate) fn order(&self) -> u32 {
        self.line.get(1..).and_then(|number| number.parse().ok()).unwrap_or(u32::MAX)
    }

    /// The same with what it has to be.
    pub(crate) const fn must(self, must: Bound) -> Self {
        Self { must, ..self }
    }

    /// The same with what it would be at best.
    pub(crate) const fn moonshot(self, moonshot: Bound) -> Self {
        Self { moonshot, ..self }
    }
}

/// A goal with its figure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) goal: Goal,
    pub(crate) figure: Figure,
}

impl Answer {
    /// Whether it is what it has to be; `None` where nothing is asked.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.goal.must.judge(&self.figure)
    }

    /// Whether there is a figure.
    pub(crate) fn is_measured(&self) -> bool {
        !self.figure.median.is_nan()
    }

    /// Whether it certainly misses what it has to be.
    pub(crate) fn is_missed(&self) -> bool {
        self.verdict() == Some(Verdict::No)
    }
}

/// What was asked for on the command line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Only(pub(crate) Vec<String>);

impl Only {
    /// Whether something of that name is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|word| name.contains(word.as_str()))
    }

    /// Whether a goal is wanted: by its name or by its line.
    pub(crate) fn wants_goal(&self, goal: &Goal) -> bool {
        self.wants(goal.name) || self.0.iter().any(|word| word.eq_ignore_ascii_case(goal.line))
    }
}

#[cfg(test)]
mod tests {
    use super::{Bound, Goal, Only, Verdict};
    use crate::statistics::Figure;

    fn judge(bound: Bound, values: &[f64]) -> Option<Verdict> {
        bound.judge(&Figure::of(values))
    }

    #[test]
    fn a_figure_keeps_to_its_bound_when_all_that_the_median_may_be_does() {
        let values = [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 9.0];
        assert_eq!(judge(Bound::AtMost(2.0), &values), Some(Verdict::Yes));
        assert_eq!(judge(Bound::AtMost(1.9), &values), Some(Verdict::No));
        assert_eq!(judge(Bound::AtLeast(2.0), &values), Some(Verdict::Yes));
        assert_eq!(judge(Bound::AtLeast(2.1), &values), Some(Verdict::No));
        assert_eq!(judge(Bound::Within(1.0, 3.0), &values), Some(Verdict::Yes));
        assert_eq!(judge(Bound::Within(2.1, 3.0), &values), Some(Verdict::No));
        assert_eq!(judge(Bound::None, &values), None);
    }

    #[test]
    fn a_bound_inside_of_what_the_median_may_be_is_not_decided() {
        let values = [1.0, 1.5, 2.0, 2.5, 3.0];
        for bound in [Bound::AtMost(2.1), Bound::AtLeast(1.9), Bound::Within(1.9, 9.0)] {
            assert_eq!(judge(bound, &values), Some(Verdict::TooNoisy), "{bound:?}");
        }
    }

    #[test]
    fn what_could_not_be_measured_keeps_to_nothing() {
        for bound in [Bound::AtMost(2.0), Bound::AtLeast(2.0), Bound::Within(1.0, 2.0)] {
            assert_eq!(judge(bound, &[]), Some(Verdict::No), "{bound:?}");
        }
    }

    #[test]
    fn goals_are_chosen_by_name_or_line() {
        let goal = Goal::told("event-label-p50", "", "ms").of("M1");
        let wants = |word: &str| Only(vec![word.to_owned()]).wants_goal(&goal);
        assert!(wants("m1") && wants("M1") && wants("label"));
        assert!(!wants("M10") && !wants("policy"));
        assert!(Only::default().wants_goal(&goal));
    }
}
