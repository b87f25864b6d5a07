//! Attaches again what somebody has taken off.

use std::collections::BTreeMap;

use netpol_policy::engine::HookLevel;

use super::{Attached, Attachment, Datapath, Error, Hold};

impl Datapath {
    /// The entries that are attached, as they are at any time from now on.
    #[must_use]
    pub fn attached(&self) -> Attached {
        self.attached.clone()
    }

    /// Attaches entries again that were seen to be off, with the programs that they were; says what became of those that are
    /// still wanted. What has opened in the meantime is taken over, to be judged by who has opened it.
    pub fn mend(&mut self, lost: &BTreeMap<Attachment, Hold>) -> Vec<(Attachment, Result<(), Error>)> {
        let mut done = Vec::new();
        let mut judged = BTreeMap::new();
        for (place, held) in lost {
            // Taken off or replaced by ourselves since.
            if self.attached.at(*place) != Some(*held) {
                continue;
            }
            self.attached.remove(*place);
            let result = self.attach(place.slot, place.ifindex, place.direction);
            if result.is_err() {
                // It stays wanted, and is found missing once more.
                self.attached.insert(*place, *held);
            } else if let Some((ifindex, HookLevel::Full)) = self.hooks.get(&place.slot) {
                judged.insert(place.slot, *ifindex);
            }
            done.push((*place, result));
        }
        if !judged.is_empty() {
            self.finish_takeover(&judged, &[]);
        }
        done
    }
}
