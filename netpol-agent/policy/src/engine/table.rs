//! Things of which there is one for each pod of the cluster: each has a small number, and is found by its content.
//!
//! A hash map doubles when it is full, so that on average a third of its room holds nothing. Here only the numbers are
//! hashed, four bytes and one each; the things themselves lie in pieces that never move and are never made larger.

use hashbrown::HashTable;

/// Things of one piece.
const PIECE: usize = 1024;

/// Things by number, and the index of the numbers. Who uses it hashes: what a thing is found by need not be in it alone.
#[derive(Debug)]
pub(super) struct Table<T> {
    pieces: Vec<Vec<Option<T>>>,
    /// Numbers that nothing has any more.
    free: Vec<u32>,
    index: HashTable<u32>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { pieces: Vec::new(), free: Vec::new(), index: HashTable::new() }
    }
}

const fn place(id: u32) -> (usize, usize) {
    (id as usize / PIECE, id as usize % PIECE)
}

impl<T> Table<T> {
    pub(super) fn get(&self, id: u32) -> Option<&T> {
        let (piece, at) = place(id);
        self.pieces.get(piece)?.get(at)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        let (piece, at) = place(id);
        self.pieces.get_mut(piece)?.get_mut(at)?.as_mut()
    }

    /// All of them, in the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(self.pieces.iter().flatten()).filter_map(|(id, one)| Some((id, one.as_ref()?)))
    }

    /// The one with this hash that is meant.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<u32> {
        self.index.find(hash, |id| self.get(*id).is_some_and(&is_it)).copied()
    }

    /// Adds one that is not there yet, and gives it a number.
    pub(super) fn insert(&mut self, one: T, hash_of: impl Fn(&T) -> u64) -> u32 {
        let hash = hash_of(&one);
        let id = match self.free.pop() {
            Some(id) => {
                let (piece, at) = place(id);
                self.pieces[piece][at] = Some(one);
                id
            }
            None => {
                if self.pieces.last().is_none_or(|piece| piece.len() == PIECE) {
                    self.pieces.push(Vec::with_capacity(PIECE));
                }
                let before = (self.pieces.len() - 1) * PIECE;
                let piece = &mut self.pieces[before / PIECE];
                piece.push(Some(one));
                (before + piece.len() - 1) as u32
            }
        };
        let pieces = &self.pieces;
        self.index.insert_unique(hash, id, |id| {
            let (piece, at) = place(*id);
            pieces[piece][at].as_ref().map_or(0, &hash_of)
        });
        id
    }

    /// Takes one out, which has this hash.
    pub(super) fn remove(&mut self, id: u32, hash: u64) -> Option<T> {
        if let Ok(entry) = self.index.find_entry(hash, |one| *one == id) {
            entry.remove();
        }
        let (piece, at) = place(id);
        let one = self.pieces.get_mut(piece)?.get_mut(at)?.take()?;
        self.free.push(id);
        Some(one)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::Table;

    #[test]
    fn it_holds_what_a_map_would() {
        // Hashes that meet: what is meant decides.
        let hash = |one: &(u32, u32)| u64::from(one.0 % 7);
        let mut table: Table<(u32, u32)> = Table::default();
        let mut map: HashMap<u32, u32> = HashMap::new();
        for turn in 0..5_000_u32 {
            let key = turn * 31 % 2_741;
            let found = table.find(u64::from(key % 7), |one| one.0 == key);
            assert_eq!(found.and_then(|id| table.get(id)).map(|one| one.1), map.get(&key).copied());
            match found {
                Some(id) => {
                    assert_eq!(table.remove(id, hash(&(key, 0))).map(|one| one.1), map.remove(&key));
                    assert!(table.get(id).is_none());
                }
                None => {
                    let id = table.insert((key, turn), hash);
                    map.insert(key, turn);
                    assert_eq!(table.get(id), Some(&(key, turn)));
                }
            }
            assert_eq!(table.index.len(), map.len());
        }
        assert_eq!(table.iter().map(|(_, one)| *one).collect::<HashMap<_, _>>(), map);
    }

    #[test]
    fn a_number_is_given_again() {
        let mut table = Table::default();
        let (one, _) = (table.insert(1_u64, |one| *one), table.insert(2, |one| *one));
        table.remove(one, 1);
        assert_eq!(table.insert(3, |one| *one), one);
    }
}
