//! Figures of the running agent, each beside what is aimed at.

use crate::statistics::Figure;

/// What is measured by name, before it is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) aim: Aim,
}

/// What is aimed at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Aim {
    /// Nothing: it is told for information.
    None,
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

/// One line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aimed {
    pub(crate) name: Name,
    pub(crate) figure: Figure,
}

impl Aimed {
    /// Whether it is within its aim.
    pub(crate) fn is_met(&self) -> bool {
        match self.name.aim {
            Aim::None => true,
            Aim::AtMost(most) => self.figure.median <= most,
            Aim::AtLeast(least) => self.figure.median >= least,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Aim, Aimed, Name};
    use crate::statistics::Figure;

    fn line(aim: Aim, values: &[f64]) -> Aimed {
        Aimed { name: Name { name: "n", what: "w", unit: "u", aim }, figure: Figure::of(values) }
    }

    #[test]
    fn an_aim_is_compared_with_the_median_in_its_own_sense() {
        assert!(line(Aim::AtMost(2.0), &[1.0, 2.0, 9.0]).is_met());
        assert!(!line(Aim::AtMost(2.0), &[1.0, 3.0, 9.0]).is_met());
        assert!(line(Aim::AtLeast(2.0), &[1.0, 2.0, 9.0]).is_met());
        assert!(!line(Aim::AtLeast(2.0), &[1.0, 1.9, 9.0]).is_met());
    }

    #[test]
    fn what_could_not_be_measured_is_not_met() {
        assert!(!line(Aim::AtMost(2.0), &[]).is_met());
        assert!(!line(Aim::AtLeast(2.0), &[]).is_met());
    }
}
