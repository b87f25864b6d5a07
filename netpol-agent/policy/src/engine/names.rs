//! Names that many pods have alike, by small numbers.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use super::table::Table;

/// Names, each for as long as it has users.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// With how many users each has.
    table: Table<(Arc<str>, u32)>,
    hasher: RandomState,
}

impl Names {
    /// The number of a name, for one more user.
    pub(super) fn acquire(&mut self, name: &Arc<str>) -> u32 {
        let id = self.table.find(self.hasher.hash_one(&**name), |(known, _)| known == name);
        let id = id.unwrap_or_else(|| {
            self.table.insert((name.clone(), 0), |(name, _)| self.hasher.hash_one(&**name))
        });
        if let Some((_, users)) = self.table.get_mut(id) {
            *users += 1;
        }
        id
    }

    /// One user less.
    pub(super) fn release(&mut self, id: u32) {
        let Some((name, users)) = self.table.get_mut(id) else { return };
        *users -= 1;
        if *users == 0 {
            let hash = self.hasher.hash_one(&**name);
            self.table.remove(id, hash);
        }
    }

    pub(super) fn get(&self, id: u32) -> Arc<str> {
        self.table.get(id).map(|(name, _)| name.clone()).unwrap_or_default()
    }
}
