//! Which of all interfaces has an index. The kernel gives an index again, where a pair is made within a pod and its host's
//! end is moved out even most of the time, and plugins may give the name again: only the order of events tells a new
//! interface from the one before.

use std::collections::BTreeMap;

/// A number for each interface that is there, which no other one has had.
#[derive(Debug, Default)]
pub(super) struct Incarnations {
    of: BTreeMap<u32, u64>,
    last: u64,
}

impl Incarnations {
    /// An interface is gone; whatever has its index from now on is another one.
    pub(super) fn gone(&mut self, ifindex: u32) {
        self.of.remove(&ifindex);
    }

    /// These are there, and no others.
    pub(super) fn are(&mut self, there: impl Iterator<Item = u32>) {
        let mut before = std::mem::take(&mut self.of);
        for ifindex in there {
            let incarnation = before.remove(&ifindex).unwrap_or_else(|| {
                self.last += 1;
                self.last
            });
            self.of.insert(ifindex, incarnation);
        }
    }

    /// Of these interfaces.
    pub(super) fn of(&self, interfaces: impl Iterator<Item = u32>) -> BTreeMap<u32, u64> {
        interfaces.filter_map(|ifindex| Some((ifindex, *self.of.get(&ifindex)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_another_one_after_it_was_gone_and_as_long_as_it_is_there_the_same() {
        let mut incarnations = Incarnations::default();
        let all = [2, 3];
        incarnations.are(all.into_iter());
        let first = incarnations.of(all.into_iter());
        assert_ne!(first[&2], first[&3]);
        incarnations.are(all.into_iter());
        assert_eq!(incarnations.of(all.into_iter()), first);
        // An event says so, or a list lacks it.
        incarnations.gone(2);
        incarnations.are(all.into_iter());
        let second = incarnations.of(all.into_iter());
        assert!(second[&2] > first[&3] && second[&3] == first[&3]);
        incarnations.are([2].into_iter());
        assert_eq!(incarnations.of(all.into_iter()).len(), 1);
        incarnations.are(all.into_iter());
        let third = incarnations.of(all.into_iter());
        assert!(third[&3] > second[&2] && third[&2] == second[&2]);
    }
}
