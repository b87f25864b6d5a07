//! Sets of which there are many with one element each: a tree would take room for eleven.

use std::{ops::Deref, slice::Iter};

/// Up to how many elements room is taken for one at a time.
const FEW: usize = 4;

/// A sorted set.
#[derive(Clone, Debug)]
pub(super) struct Few<T>(Vec<T>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Ord> Few<T> {
    pub(super) fn insert(&mut self, one: T) {
        if let Err(at) = self.0.binary_search(&one) {
            if self.0.len() < FEW {
                self.0.reserve_exact(1);
            }
            self.0.insert(at, one);
        }
    }

    pub(super) fn remove(&mut self, one: &T) {
        if let Ok(at) = self.0.binary_search(one) {
            self.0.remove(at);
        }
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'a, T> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Few;

    #[test]
    fn it_holds_what_a_tree_would() {
        let (mut few, mut tree) = (Few::default(), BTreeSet::new());
        for turn in 0..500_u32 {
            let one = turn * 31 % 47;
            if turn % 3 == 0 {
                few.remove(&one);
                tree.remove(&one);
            } else {
                few.insert(one);
                tree.insert(one);
            }
            assert!(few.iter().eq(&tree), "{few:?} {tree:?}");
        }
    }

    #[test]
    fn one_element_takes_the_room_of_one() {
        let mut few = Few::default();
        few.insert(1_u32);
        assert_eq!(few.0.capacity(), 1);
    }
}
