//! The tables by what their ids stand for, so that two of them can be compared.

use std::collections::BTreeSet;

use netpol_common::tables::{
    Digest, INTERNED_BACKENDS, INTERNED_CLASS, INTERNED_PORT_SET, INTERNED_SET, INTERNED_SLOT, set_of,
};

use super::Mirror;

impl Mirror {
    /// One line for each entry, with digests in the place of ids: two engines may give the same content other ids.
    /// Generations and revisions are left out, as they only say that something has moved.
    #[must_use]
    pub fn content(&self) -> BTreeSet<String> {
        let digest = |kind: u32, id: u32| self.interned.get(&(kind, id));
        let class = |id| digest(INTERNED_CLASS, id);
        let set = |id| digest(INTERNED_SET, id);
        let ports = |id| digest(INTERNED_PORT_SET, id);
        let backends = |id| digest(INTERNED_BACKENDS, id);
        let slot = |id| digest(INTERNED_SLOT, id);
        let mut all = BTreeSet::new();
        all.extend(self.interned.iter().map(|((kind, _), d)| format!("interned {kind} {d:?}")));
        all.extend(self.peers().map(|p| format!("peer {:?} {:?} {}", p.addr, class(p.class), p.flags)));
        all.extend(self.prefixes.iter().map(|(c, p)| format!("prefix {c} {:?} {}", class(p.class), p.flags)));
        all.extend(
            self.policy_sets
                .iter()
                .map(|(id, s)| format!("set {:?} {:?}", set(*id), or_itself(s.any_peer, ports(s.any_peer)))),
        );
        all.extend(self.rules.values().map(|r| {
            let of = (set(r.key.set), class(r.key.class));
            format!("rule {of:?} {:?}", or_itself(r.port_set, ports(r.port_set)))
        }));
        all.extend(self.port_sets.iter().map(|(id, p)| format!("ports {:?} {p:?}", ports(*id))));
        all.extend(self.port_chunks.values().map(|c| {
            let (proto, chunk) = (c.key.proto, c.key.chunk);
            format!("chunk {:?} {proto} {chunk} {:?}", ports(c.key.port_set), c.ports)
        }));
        all.extend(self.frontends.iter().map(|(key, id)| format!("frontend {key:?} {:?}", backends(*id))));
        all.extend(
            self.members.iter().map(|k| format!("member {:?} {:?}", backends(k.backends), slot(k.slot))),
        );
        for one in self.backends.values() {
            let kinds: BTreeSet<_> = one
                .backends
                .iter()
                .take(one.count as usize)
                .map(|b| (or_itself(b.class, class(b.class)), b.port, b.flags))
                .collect();
            all.insert(format!("backends {:?} {} {kinds:?}", backends(one.id), one.flags));
        }
        for (id, endpoint) in self.endpoints.iter().filter(|(_, endpoint)| endpoint.flags != 0) {
            let sets = endpoint.judgements.map(|word| or_itself(set_of(word), set(set_of(word))));
            let (v6, v4, flags) = (endpoint.v6, endpoint.v4, endpoint.flags);
            all.insert(format!("endpoint {:?} {v6:?} {v4} {flags} {sets:?}", slot(*id)));
        }
        for (id, sources) in &self.sources {
            let sources: BTreeSet<_> = sources.iter().collect();
            all.insert(format!("sources {:?} {sources:?}", slot(*id)));
        }
        all.extend(self.hooks.iter().map(|(id, hook)| format!("hook {:?} {hook:?}", slot(*id))));
        all
    }
}

/// Ids with a fixed meaning stand for themselves.
fn or_itself(id: u32, digest: Option<&Digest>) -> (Option<u32>, Option<&Digest>) {
    (digest.is_none().then_some(id), digest)
}
