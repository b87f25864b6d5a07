//! Values that can be lent for as long as the place where they are kept.

use std::cell::OnceCell;

/// A chain of values to which one can be added while others are lent.
pub(super) struct Kept<T>(OnceCell<Box<Link<T>>>);

struct Link<T> {
    value: T,
    next: Kept<T>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(OnceCell::new())
    }
}

impl<T> Kept<T> {
    /// Keeps a value.
    pub(super) fn keep(&self, value: T) -> &T {
        let mut end = self;
        while let Some(link) = end.0.get() {
            end = &link.next;
        }
        &end.0.get_or_init(|| Box::new(Link { value, next: Self::default() })).value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lent_stays_while_more_is_kept() {
        let kept = Kept::default();
        let lent: Vec<&String> = (0..3).map(|number: u8| kept.keep(number.to_string())).collect();
        assert_eq!(lent, ["0", "1", "2"]);
    }
}
