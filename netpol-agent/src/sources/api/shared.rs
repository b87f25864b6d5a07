//! What many objects have alike is held once.
//!
//! The pods of a workload have the same labels and ports, those of a node its name, and all of a namespace the
//! namespace's. Of ten thousand pods that is most of what is kept.

use std::{collections::HashSet, hash::Hash, sync::Arc};

use netpol_policy::model::{Key, Labels, NamedPort, Object};

/// How many parts of a kind are held before it is looked first whether objects still have them.
const FIRST_LOOK: usize = 1024;

/// The parts of objects that others may have, too.
#[derive(Debug, Default)]
pub(super) struct Shared {
    names: Pool<str>,
    labels: Pool<Labels>,
    ports: Pool<[NamedPort]>,
}

impl Shared {
    /// Puts in place of an object's parts those that others have already.
    pub(super) fn share(&mut self, object: &mut Object) {
        match object {
            Object::Pod(pod) => {
                self.share_key(&mut pod.key);
                self.names.share(&mut pod.node);
                self.labels.share(&mut pod.labels);
                for port in Arc::get_mut(&mut pod.named_ports).into_iter().flatten() {
                    self.names.share(&mut port.name);
                }
                self.ports.share(&mut pod.named_ports);
            }
            Object::Service(service) => self.share_key(&mut service.key),
            Object::EndpointSlice(slice) => {
                self.share_key(&mut slice.key);
                for endpoint in &mut slice.endpoints {
                    self.names.share(&mut endpoint.node);
                }
            }
            Object::Policy(policy) => self.share_key(&mut policy.key),
            Object::Namespace(_) | Object::Node(_) => {}
        }
    }

    /// Names of objects are their own.
    fn share_key(&mut self, key: &mut Key) {
        self.names.share(&mut key.namespace);
    }
}

/// Parts of one kind.
#[derive(Debug)]
struct Pool<T: ?Sized> {
    parts: HashSet<Arc<T>>,
    /// At how many parts it is looked next whether objects still have them.
    look_at: usize,
}

impl<T: ?Sized> Default for Pool<T> {
    fn default() -> Self {
        Self { parts: HashSet::new(), look_at: FIRST_LOOK }
    }
}

impl<T: Eq + Hash + ?Sized> Pool<T> {
    fn share(&mut self, part: &mut Arc<T>) {
        if let Some(known) = self.parts.get(&**part) {
            part.clone_from(known);
            return;
        }
        if self.parts.len() >= self.look_at {
            // What nobody else holds nobody can come to hold meanwhile.
            self.parts.retain(|part| Arc::strong_count(part) > 1);
            self.look_at = FIRST_LOOK.max(2 * self.parts.len());
        }
        self.parts.insert(Arc::clone(part));
    }
}

#[cfg(test)]
mod tests;
