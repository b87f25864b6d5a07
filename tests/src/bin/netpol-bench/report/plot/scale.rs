//! The axis of a plot: which part of its width a value is at.

/// Beyond so many times the smallest value, the largest one leaves nothing of it to see on a linear axis.
const TOO_FAR_APART: f64 = 20.0;
/// Marks on the axis at most.
const MARKS: f64 = 8.0;

/// Beyond so many powers of ten, only these are marked.
const LONG: f64 = 3.0;

/// An axis from one value to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    /// The distance of two marks; `None` on a logarithmic axis.
    step: Option<f64>,
}

impl Scale {
    /// From zero to at least the largest one. What is no number has no place on any axis.
    pub(super) fn linear(values: &[f64]) -> Self {
        let most = finite(values).fold(0.0, f64::max);
        let most = if most > 0.0 { most } else { 1.0 };
        let step = round_up(most / MARKS);
        Self { from: 0.0, to: (most / step).ceil() * step, step: Some(step) }
    }

    /// Linear unless the values lie too far apart. The others shall be on the axis as well.
    pub(super) fn fitting(values: &[f64], others: &[f64]) -> Self {
        let all = [values, others].concat();
        let positive = |values: &[f64]| {
            let positive = finite(values).filter(|value| *value > 0.0);
            positive.fold((f64::INFINITY, 0.0), |(least, most), value| (value.min(least), value.max(most)))
        };
        let (least, most) = positive(values);
        if most <= least * TOO_FAR_APART {
            return Self::linear(&all);
        }
        let (least, most) = positive(&all);
        // The largest round number below is the next below the smallest one above its inverse.
        Self { from: 1.0 / round_up(1.0 / least), to: round_up(most), step: None }
    }

    /// Which part of the width a value is at; what is beyond an end is at that end.
    pub(super) fn part(&self, value: f64) -> f64 {
        let part = match self.step {
            Some(_) => (value - self.from) / (self.to - self.from),
            None => (value / self.from).ln() / (self.to / self.from).ln(),
        };
        // Neither is the logarithm of what is below zero a number.
        if part.is_nan() { 0.0 } else { part.clamp(0.0, 1.0) }
    }

    /// Where bars begin: at nothing. A logarithmic axis has none; there they begin at one, to either side.
    pub(super) fn foot(&self) -> f64 {
        match self.step {
            Some(_) => 0.0,
            None => 1_f64.clamp(self.from, self.to),
        }
    }

    pub(super) const fn is_logarithmic(&self) -> bool {
        self.step.is_none()
    }

    /// What is written along the axis.
    pub(super) fn marks(&self) -> Vec<f64> {
        // The last digits of a sum of fractions are none.
        let rounded = |mark: f64| (mark * 1e9).round() / 1e9;
        if let Some(step) = self.step {
            let count = (self.to / step).round() as u32;
            return (0..=count).map(|number| rounded(f64::from(number) * step)).collect();
        }
        let decades = (self.to / self.from).log10();
        let parts: &[f64] = if decades > LONG { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let powers =
            (self.from.log10().floor() as i32..=self.to.log10().ceil() as i32).map(|at| 10_f64.powi(at));
        let marks = powers.flat_map(|power| parts.iter().map(move |part| part * power));
        let is_inside = |mark: &f64| *mark >= self.from * 0.999 && *mark <= self.to * 1.001;
        marks.filter(is_inside).map(rounded).collect()
    }
}

fn finite(values: &[f64]) -> impl Iterator<Item = f64> {
    values.iter().copied().filter(|value| value.is_finite())
}

/// The smallest of 1, 2 and 5 times a power of ten that is not below the value.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let part = [1.0, 2.0, 5.0].into_iter().find(|part| part * power >= value * (1.0 - 1e-9));
    part.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::Scale;

    fn is_at(scale: &Scale, value: f64, part: f64) {
        let found = scale.part(value);
        assert!((found - part).abs() < 1e-9, "{value} is at {found} instead of {part} of {scale:?}");
    }

    #[test]
    fn a_linear_axis_begins_at_zero_and_ends_at_a_round_number() {
        let scale = Scale::fitting(&[0.3, 1.4], &[3.9]);
        assert!(!scale.is_logarithmic());
        assert_eq!(scale.marks(), [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]);
        is_at(&scale, scale.foot(), 0.0);
        is_at(&scale, 1.0, 0.25);
        is_at(&scale, 4.0, 1.0);
        assert_eq!(Scale::linear(&[0.7]).marks()[..4], [0.0, 0.1, 0.2, 0.3]);
    }

    #[test]
    fn values_far_apart_are_on_a_logarithmic_axis_with_bars_from_one() {
        let scale = Scale::fitting(&[0.2, 4.1], &[8.0]);
        assert!(scale.is_logarithmic());
        assert_eq!(scale.marks(), [0.2, 0.5, 1.0, 2.0, 5.0, 10.0]);
        is_at(&scale, 0.2, 0.0);
        is_at(&scale, 2_f64.sqrt(), 0.5);
        is_at(&scale, 10.0, 1.0);
        assert!((scale.foot() - 1.0).abs() < 1e-9);
        // Twenty times as much is not more than that, however far away a bound is.
        assert!(!Scale::fitting(&[0.2, 4.0], &[100.0]).is_logarithmic());
    }

    #[test]
    fn only_powers_of_ten_are_marked_on_a_long_axis() {
        assert_eq!(
            Scale::fitting(&[0.001, 900.0], &[]).marks(),
            [0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]
        );
    }

    #[test]
    fn what_has_no_place_is_at_an_end() {
        for scale in [Scale::linear(&[f64::NAN, 2.0]), Scale::fitting(&[0.01, 2.0, 0.0], &[f64::NAN])] {
            is_at(&scale, f64::NAN, 0.0);
            is_at(&scale, -1.0, 0.0);
            is_at(&scale, 0.0, 0.0);
            is_at(&scale, 3.0, 1.0);
        }
        for nothing in [Scale::linear(&[]), Scale::fitting(&[], &[]), Scale::fitting(&[0.0], &[])] {
            is_at(&nothing, 0.5, 0.5);
        }
    }
}
