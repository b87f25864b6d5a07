//! What many objects have alike is held once.
//!
//! All objects of a namespace have its name, and all endpoints on a node the node's. Pods the engine puts into few bytes
//! anyway.

use std::{collections::HashSet, sync::Arc};

use netpol_policy::model::{Key, Object};

/// How many names are held before it is looked first whether objects still have them.
const FIRST_LOOK: usize = 1024;

/// The names that others may have, too.
#[derive(Debug)]
pub(super) struct Shared {
    names: HashSet<Arc<str>>,
    /// At how many names it is looked next whether objects still have them.
    look_at: usize,
}

impl Default for Shared {
    fn default() -> Self {
        Self { names: HashSet::new(), look_at: FIRST_LOOK }
    }
}

impl Shared {
    /// Puts in place of an object's names those that others have already.
    pub(super) fn share(&mut self, object: &mut Object) {
        match object {
            Object::Service(service) => self.share_key(&mut service.key),
            Object::EndpointSlice(slice) => {
                self.share_key(&mut slice.key);
                for endpoint in &mut slice.endpoints {
                    self.share_name(&mut endpoint.node);
                }
            }
            Object::Policy(policy) => self.share_key(&mut policy.key),
            Object::Pod(_) | Object::Namespace(_) | Object::Node(_) => {}
        }
    }

    /// Names of objects are their own.
    fn share_key(&mut self, key: &mut Key) {
        self.share_name(&mut key.namespace);
    }

    fn share_name(&mut self, name: &mut Arc<str>) {
        if let Some(known) = self.names.get(&**name) {
            name.clone_from(known);
            return;
        }
        if self.names.len() >= self.look_at {
            // What nobody else holds nobody can come to hold meanwhile.
            self.names.retain(|name| Arc::strong_count(name) > 1);
            self.look_at = FIRST_LOOK.max(2 * self.names.len());
        }
        self.names.insert(Arc::clone(name));
    }
}

#[cfg(test)]
mod tests;
