//! Medians and how far the rounds lie apart.

use std::ops::Deref;

/// Some rounds' figures, as one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figure {
    /// The median.
    pub(crate) median: f64,
    /// The distance between the quartiles, as a part of the median.
    pub(crate) spread: f64,
    /// Where the median of many more rounds lies, at nineteen to one: the notch of a box plot (McGill, Tukey and Larsen,
    /// "Variations of Box Plots", 1978).
    pub(crate) sure: (f64, f64),
}

/// Beyond this spread a figure says little.
pub(crate) const TOO_NOISY: f64 = 0.10;

/// Distances between quartiles, over the root of the number of rounds, that the median is sure within.
const NOTCH: f64 = 1.58;

impl Figure {
    /// Of rounds that have nothing in common.
    pub(crate) fn of(values: &[f64]) -> Self {
        let (median, quartiles) = middle(values);
        Self::within(median, quartiles, quartiles, values.len())
    }

    /// Of rounds in groups. Those of one group are as much or as little because of the same thing, so that only another group
    /// says anew where the median lies: it is as sure as the groups' medians are near each other.
    pub(crate) fn of_groups<G: Deref<Target = [f64]>>(groups: &[G]) -> Self {
        let all: Vec<f64> = groups.iter().flat_map(|group| group.iter().copied()).collect();
        let medians: Vec<f64> = groups.iter().map(|group| middle(group).0).collect();
        let (median, quartiles) = middle(&all);
        Self::within(median, quartiles, middle(&medians).1, groups.len())
    }

    /// `independent` is the distance between the quartiles of so many values that have nothing in common.
    fn within(median: f64, quartiles: f64, independent: f64, count: usize) -> Self {
        let notch = NOTCH * independent / (count as f64).sqrt();
        Self { median, spread: (quartiles / median).abs(), sure: (median - notch, median + notch) }
    }

    /// A quantile of single events, in the place of the median. The spread is not that of rounds: there is none.
    pub(crate) fn quantile_of(values: &[f64], at: f64) -> Self {
        Self::exact(quantile(&sorted(values), at))
    }

    /// What is counted, and is the same in each round.
    pub(crate) const fn exact(value: f64) -> Self {
        Self { median: value, spread: 0.0, sure: (value, value) }
    }

    /// Whether the rounds lie too far apart to tell.
    pub(crate) fn is_noisy(&self) -> bool {
        // Not a number: nothing was measured.
        self.spread.is_nan() || self.spread > TOO_NOISY
    }
}

/// The median, and the distance between the quartiles.
fn middle(values: &[f64]) -> (f64, f64) {
    let sorted = sorted(values);
    (quantile(&sorted, 0.5), quantile(&sorted, 0.75) - quantile(&sorted, 0.25))
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// A quantile of sorted values, between two of them in proportion.
fn quantile(sorted: &[f64], at: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = at * last as f64;
    let below = place.floor() as usize;
    let above = place.ceil() as usize;
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

#[cfg(test)]
mod tests {
    use super::Figure;

    #[test]
    fn one_bad_round_moves_neither_median_nor_spread() {
        let figure = Figure::of(&[1.0, 1.0, 1.05, 1.0, 50.0, 1.0, 1.0, 1.05, 1.0]);
        assert!((figure.median - 1.0).abs() < 1e-9);
        assert!(!figure.is_noisy());
    }

    #[test]
    fn rounds_of_a_group_make_the_median_no_surer() {
        let groups = [[1.0; 3], [1.2; 3], [1.4; 3], [1.6; 3]];
        let figure = Figure::of_groups(&groups.each_ref().map(<[f64; 3]>::as_slice));
        let each = Figure::of(&[1.0, 1.2, 1.4, 1.6]);
        assert_eq!((figure.median, figure.sure), (each.median, each.sure));
        // As rounds that have nothing in common they would be.
        assert!(Figure::of(groups.as_flattened()).sure.1 < figure.sure.1);
    }

    #[test]
    fn rounds_that_differ_within_each_group_alone_leave_the_median_sure() {
        let figure = Figure::of_groups(&[&[1.0, 2.0, 3.0][..], &[3.0, 2.0, 1.0]]);
        assert_eq!((figure.median, figure.sure), (2.0, (2.0, 2.0)));
        assert!(figure.is_noisy());
        assert!(Figure::of_groups::<&[f64]>(&[]).is_noisy());
    }

    #[test]
    fn rounds_that_disagree_are_noisy() {
        assert!(Figure::of(&[1.0, 1.2, 1.4, 1.6, 1.8]).is_noisy());
        assert!(Figure::of(&[]).is_noisy());
    }
}
