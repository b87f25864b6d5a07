//! The order of a compile: what depends on what, and in which order it is written.
//!
//! Whatever is written, a packet is judged as before or as after: by objects that are whole, and so, when several have
//! changed at once, as after some of them. A verdict is made of what its endpoint is judged by and of what its peer is.
//! Where one of both changes, one write changes it:
//!
//! - An address moves to its class when the class has its row in every policy set, old or new, and an endpoint switches
//!   to its policy set when all addresses have the class that this set asks for. What is left goes after its grace.
//! - Where both change, there is a verdict in between. A policy changes what an endpoint is judged by, and only adds to
//!   what its peers are: the old set judges them as before. A pod is never its own peer. But a namespace can lose its labels
//!   and have its break-glass switch set at once. An endpoint that nothing isolates asks for nobody's class: so it opens
//!   first, and is isolated again last.
//! - A frontend leaves a set of backends as it was, and comes to one as it is.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use netpol_common::{
    Addr,
    tables::{BackendSet, Digest, Frontend, Peer},
};

use super::{
    Engine,
    addresses::Bytes,
    blocks::PrefixMoves,
    collect::Grave,
    features::Feature,
    mirror::frontend,
    ops::TableOp,
    profiles::LabelsOf,
    services::{Front, front_key},
};

/// What one compile finds, by the place of its operations in the order of writes.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) now: Duration,
    pub(super) batch: u64,

    // What has been found to be different.
    pub(super) endpoints: BTreeSet<u32>,
    /// Endpoints whose own address has another class: their senders are judged anew.
    pub(super) own_moved: BTreeSet<u32>,
    /// Some endpoint is judged by another set in egress.
    pub(super) egress_moved: bool,
    /// Some endpoint may need other classifiers.
    pub(super) hooks: bool,
    /// Endpoints whose interface is another one of the same name and index: it carries nothing yet.
    pub(super) replaced: BTreeSet<u32>,
    /// Frontends that may lead somewhere else.
    pub(super) touched: BTreeSet<Front>,
    pub(super) changed_backends: BTreeSet<u32>,
    /// Endpoints that begin or cease to carry all classifiers.
    pub(super) full_moved: BTreeSet<u32>,
    /// Addresses that are something else now.
    pub(super) moved: BTreeSet<Bytes>,
    pub(super) moved_fronts: BTreeSet<Bytes>,
    pub(super) late_fronts: BTreeSet<Bytes>,
    /// Something moved whose addresses cannot be counted.
    pub(super) all_moved: bool,
    /// Ids that are free after this compile.
    pub(super) freed: Vec<(u32, u32, Digest)>,
    pub(super) graves: Vec<Grave>,

    // Operations, in the order in which they are written.
    /// Endpoints that nothing isolates any more.
    pub(super) opens: Vec<TableOp>,
    pub(super) rules: Vec<TableOp>,
    pub(super) backends: Vec<TableOp>,
    pub(super) members: Vec<TableOp>,
    /// What each frontend leads to; `None`: it goes.
    pub(super) fronts: BTreeMap<Front, Option<u32>>,
    /// Sets of backends that are there already.
    pub(super) changed: Vec<BackendSet>,
    pub(super) peers: Vec<Peer>,
    pub(super) prefixes: PrefixMoves,
    pub(super) peers_gone: Vec<Addr>,
    /// Generations that move a second time.
    pub(super) again: Vec<TableOp>,
    pub(super) entries: Vec<TableOp>,
    pub(super) switches: Vec<TableOp>,
    pub(super) hook_ops: Vec<TableOp>,
    pub(super) late_backends: Vec<TableOp>,
    pub(super) late: Vec<TableOp>,
    pub(super) members_gone: Vec<TableOp>,
    pub(super) collected: Vec<TableOp>,
}

impl Engine {
    pub(super) fn compile_changes(&mut self, now: Duration) -> Vec<TableOp> {
        self.batch += 1;
        let mut work = Work { now, batch: self.batch, ..Work::default() };
        let mut due: VecDeque<(u64, Grave)> = self.graves.due(now).into();
        let mut out = self.resend(now);

        self.read_changes(&mut work);
        self.collect_sets(&mut due, &mut work);
        self.refresh_features();
        self.refresh_services(&mut work);
        self.refresh_prefixes(&mut work);
        self.refresh_profiles();
        self.refresh_addresses(&mut work);
        self.profiles.drop_empty(&mut self.features);
        self.store.pods.contents.drop_empty(|id| self.profiles.has(id));
        self.sets.rows(&self.features, &mut self.classes, &mut self.ports, &mut work.rules);
        self.refresh_backends(&mut work);
        self.refresh_hooks(&mut work);
        self.write_backends(&mut work);
        self.write_endpoints(&mut work);
        self.collect_rest(due, &mut work);
        self.move_generations(&mut work);
        self.dig_graves(&mut work);
        self.write(work, &mut out);
        self.fresh = false;
        out
    }

    /// From objects and interfaces to profiles, claims and policy sets.
    fn read_changes(&mut self, work: &mut Work) {
        let changes = std::mem::take(&mut self.changes);
        self.bury_endpoints(work);
        for namespace in &changes.namespaces {
            let mut labels_of = LabelsOf::new(&self.store.namespaces);
            self.profiles.namespace_changed(namespace, &self.features, &mut labels_of);
            for profile in self.profiles.of_namespace(namespace) {
                // Their prefixes, or the break-glass switch, may be others.
                self.endpoints.dirty.extend(self.profiles.get(profile).into_iter().flat_map(|p| &p.slots));
            }
        }
        for pod in &changes.pods {
            self.refresh_pod(*pod);
        }
        for key in &changes.local {
            self.refresh_pod_of(key);
        }
        for key in &changes.policies {
            self.refresh_policy(key);
        }
        for key in changes.services {
            self.refresh_selection(&key);
            self.services.dirty.insert(key);
        }
        if changes.nodes.contains(&self.settings.node) {
            // Its break-glass switch may be another.
            let all: Vec<u32> = self.endpoints.iter().map(|(slot, _)| slot).collect();
            self.endpoints.dirty.extend(all);
            let with_node_ports =
                self.store.services.values().filter(|s| s.ports.iter().any(|p| p.node_port != 0));
            self.services.dirty.extend(with_node_ports.map(|s| s.key.clone()));
            self.refresh_host_ports();
        }
        self.refresh_endpoints(work);
    }

    /// From the features that policy sets ask for to what matches them.
    fn refresh_features(&mut self) {
        self.blocks.retry();
        let mut labels_of = LabelsOf::new(&self.store.namespaces);
        for id in std::mem::take(&mut self.features.born) {
            let Some(content) = self.features.get(id).map(|s| s.content.clone()) else { continue };
            match &*content {
                Feature::Block(block) => self.blocks.add(id, block),
                feature => self.profiles.feature_born(id, feature, &mut labels_of),
            }
        }
        for (id, content) in self.features.bury() {
            match &*content {
                Feature::Block(block) => self.blocks.remove(id, block),
                feature => self.profiles.feature_died(id, feature),
            }
        }
        for name in std::mem::take(&mut self.features.changed_names) {
            self.profiles.name_changed(&name);
        }
    }

    fn refresh_services(&mut self, work: &mut Work) {
        while let Some((at, _)) = self.services.timers.first()
            && *at <= work.now
        {
            if let Some((_, key)) = self.services.timers.pop_first() {
                self.services.dirty.insert(key);
            }
        }
        for key in std::mem::take(&mut self.services.dirty) {
            self.refresh_service(&key, work);
        }
        for bytes in std::mem::take(&mut self.addresses.claims_moved) {
            work.touched.extend(self.services.fronts_at(&bytes));
        }
        for front in std::mem::take(&mut work.touched) {
            self.refresh_front(front, work);
        }
    }

    fn refresh_prefixes(&mut self, work: &mut Work) {
        let ranges = self.blocks.refresh(
            &mut self.features,
            &mut self.classes,
            work.batch,
            &mut work.prefixes,
            &mut work.rules,
        );
        for range in &ranges {
            self.addresses.mark_within(range);
        }
        if self.fresh {
            let left = self.mirror.prefixes.keys().filter(|c| !self.blocks.has(c)).copied();
            work.prefixes.gone.extend(left);
            for peer in self.mirror.peers() {
                self.addresses.mark(&peer.addr);
            }
            let left = self.mirror.frontends.keys().filter(|f| !self.services.has(f));
            work.fronts.extend(left.map(|f| ((f.addr.to_bytes(), f.port, f.proto), None)));
        }
        let moves = &work.prefixes;
        work.all_moved |= moves.changed.iter().any(|(c, v)| self.mirror.prefixes.get(c) != Some(v))
            || moves.gone.iter().any(|c| self.mirror.prefixes.contains_key(c))
            || moves.added.iter().any(|(c, v)| self.mirror.prefix_around(c) != *v);
    }

    fn refresh_profiles(&mut self) {
        for id in std::mem::take(&mut self.profiles.dirty) {
            if !self.profiles.refresh(id, &mut self.features) {
                continue;
            }
            let pods = &self.store.pods;
            for pod in pods.contents.pods(id).iter().filter(|pod| pods.profile(**pod) == Some(id)) {
                for addr in pods.claims(*pod) {
                    self.addresses.mark(&addr);
                }
            }
        }
    }

    /// Which generations move, now and once more after the grace period.
    fn move_generations(&self, work: &mut Work) {
        work.moved.append(&mut work.moved_fronts);
        for (front, set) in &work.fronts {
            if self.mirror.frontends.contains_key(&front_key(*front)) != set.is_some() {
                work.moved.insert(front.0);
            }
        }
        if work.all_moved {
            work.graves.push(Grave::AllGenerations);
        } else {
            let all = work.moved.union(&work.late_fronts);
            work.graves.extend(all.map(|b| Grave::Generation(*b)));
        }
    }

    /// What frontends lead to, and the sets of backends that were there already: a frontend leaves one as it was, and comes
    /// to one as it is.
    fn lead(&self, fronts: Vec<Frontend>, changed: Vec<BackendSet>) -> impl Iterator<Item = TableOp> + use<> {
        let led_to: BTreeSet<u32> = fronts.iter().map(|front| front.backends).collect();
        let is_another = |set: &BackendSet| self.mirror.backends.get(&set.id) != Some(set);
        let (awaited, changed): (Vec<_>, Vec<_>) =
            changed.into_iter().partition(|set| led_to.contains(&set.id) && is_another(set));
        let waits_for: BTreeSet<u32> = awaited.iter().map(|set| set.id).collect();
        let (last, first): (Vec<_>, Vec<_>) =
            fronts.into_iter().partition(|front| waits_for.contains(&front.backends));
        let written = |sets: Vec<BackendSet>| sets.into_iter().map(|set| TableOp::Backends(Box::new(set)));
        let lead = |fronts: Vec<Frontend>| fronts.into_iter().map(TableOp::Frontend);
        lead(first).chain(written(awaited)).chain(lead(last)).chain(written(changed))
    }

    fn write(&mut self, work: Work, out: &mut Vec<TableOp>) {
        let bump = |bytes: Bytes| TableOp::Generation(Addr::from_bytes(bytes));
        let generations: Vec<TableOp> = if work.all_moved {
            vec![TableOp::AllGenerations]
        } else {
            work.moved.into_iter().map(bump).chain(work.again).collect()
        };
        let mut gone = Vec::new();
        let mut there = Vec::new();
        for (front, set) in work.fronts {
            let key = front_key(front);
            match set {
                Some(set) => there.push(frontend(key, set)),
                None => gone.push(TableOp::RemoveFrontend(key)),
            }
        }
        let led = self.lead(there, work.changed);
        let ordered = work
            .opens
            .into_iter()
            .chain(work.rules)
            .chain(work.backends)
            .chain(work.members)
            .chain(led)
            .chain(work.peers.into_iter().map(TableOp::Peer))
            .chain(work.prefixes.ops())
            .chain(work.peers_gone.into_iter().map(TableOp::RemovePeer))
            .chain(gone)
            .chain(generations)
            .chain(work.entries)
            .chain(work.switches)
            .chain(work.hook_ops)
            .chain(work.late_backends)
            .chain(work.late_fronts.into_iter().map(bump))
            .chain(work.members_gone)
            .chain(work.late)
            .chain(work.collected);
        for op in ordered {
            if self.mirror.apply(&op) {
                out.push(op);
            }
        }
        for (kind, id, digest) in work.freed {
            self.free(kind, id, &digest);
        }
    }
}
