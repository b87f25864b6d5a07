//! The incremental compiler: objects and local endpoints go in, [`TableOp`]s come out.
//!
//! The [`Engine`] owns the store of objects and a [`Mirror`] of the tables. [`Engine::apply`] and
//! [`Engine::set_endpoint`] only note what changed; [`Engine::compile`] works off what is noted and says which
//! operations bring the kernel there, in an order in which no packet is judged by half a change. What is replaced is
//! collected after a grace period, by a later call of `compile`:
//!
//! ```text
//! loop { engine.apply(event)...; let ops = engine.compile(now);
//!        let refused = datapath.apply(&ops); engine.applied(now, &refused);
//!        wait for an event or for engine.next_deadline() }
//! ```
//!
//! Nothing recompiles the world: each step starts from what changed and follows indices.
//!
//! From an object to a row:
//!
//! - `pods`: every pod of the cluster, in few bytes; what replicas have alike is held once (`contents`).
//! - `profiles`: what selectors see of a pod; replicas share one. `features`: the selectors, blocks and port names that
//!   policy sets of this node ask for. `blocks`: the trie of CIDRs. `addresses`: what each address is: its **class**
//!   (`classes`) is the set of features that it has.
//! - `endpoints`: local pods. The policies that select one (`policies`) are its **policy set** (`sets`), whose rows say
//!   what each class may; a row is a **port set** (`ports`).
//! - `services` and `backends`: which addresses and ports stand behind a frontend; a set of backends is read through
//!   the classes of its members.
//! - `compile` has the order in which things are found out and the order in which they are written; `collect` what
//!   waits for the grace period; `refusals` what the kernel did not take; `view` the names behind the numbers.
//!
//! A policy set that is replaced keeps asking for its features until it is collected: so an address has what the old
//! and the new policies ask for, until every endpoint has switched, and no packet falls in between. That is not known
//! of policies that changed while the agent was away: what they allow may be denied for the moment of the switch.
//!
//! All ids but those of features, profiles and pods are of the tables. They are given by the digest of what they stand
//! for, so that the same content has the same id after a restart.

mod addresses;
mod backends;
mod blocks;
mod by_addr;
mod cidr;
mod classes;
mod collect;
mod compile;
mod contents;
mod endpoints;
mod features;
mod few;
mod interner;
mod mirror;
mod names;
mod ops;
mod pods;
mod policies;
mod ports;
mod profiles;
mod refusals;
mod selectors;
mod services;
mod sets;
mod store;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod texts;
mod uid;
mod view;

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use netpol_common::tables::{
    INTERNED_BACKENDS, INTERNED_CLASS, INTERNED_PORT_SET, INTERNED_SET, INTERNED_SLOT, revision_of,
};

pub use cidr::Cidr;
pub use endpoints::slot_digest;
pub use mirror::{Entries, Mirror};
pub use ops::{HookLevel, LocalEndpoint, Recovered, Settings, TableOp};
pub use store::Store;
pub use view::{EndpointView, ServiceView};

use self::{
    addresses::Addresses, backends::Backends, blocks::Blocks, classes::Classes, collect::Graves,
    endpoints::Endpoints, features::Features, policies::Policies, ports::PortSets, profiles::Profiles,
    refusals::Refusals, services::Services, sets::Sets, store::Changes,
};
use crate::model::SourceEvent;

/// The incremental compiler.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    store: Store,
    changes: Changes,
    /// Counts the compiles.
    batch: u64,
    /// Nothing was compiled yet.
    fresh: bool,
    mirror: Mirror,
    profiles: Profiles,
    features: Features,
    blocks: Blocks,
    classes: Classes,
    addresses: Addresses,
    policies: Policies,
    sets: Sets,
    ports: PortSets,
    services: Services,
    backends: Backends,
    endpoints: Endpoints,
    graves: Graves,
    /// Sets of backends that are let go of with the next compile.
    released: Vec<u32>,
    /// What this host's interfaces have.
    host_addresses: BTreeSet<IpAddr>,
    refusals: Refusals,
}

impl Engine {
    /// An engine that starts from what the pinned tables hold. The first [`Engine::compile`] is to come when every
    /// source of objects has said all that is there, and every interface was found: it takes down what is missing.
    #[must_use]
    pub fn new(settings: Settings, recovered: Recovered) -> Self {
        let mut engine = Self {
            store: Store::default(),
            changes: Changes::default(),
            batch: 0,
            fresh: true,
            mirror: Mirror::default(),
            profiles: Profiles::default(),
            features: Features::default(),
            blocks: Blocks::new(&settings.service_cidrs, settings.prefixes),
            classes: Classes::new(),
            addresses: Addresses::default(),
            policies: Policies::default(),
            sets: Sets::new(settings.policy_sets),
            ports: PortSets::new(settings.port_sets),
            services: Services::default(),
            backends: Backends::new(),
            endpoints: Endpoints::new(settings.slots),
            graves: Graves::default(),
            released: Vec::new(),
            host_addresses: BTreeSet::new(),
            refusals: Refusals::default(),
            settings,
        };
        let Recovered(found) = recovered;
        for op in found {
            engine.recover(&op);
        }
        engine
    }

    fn recover(&mut self, op: &TableOp) {
        self.mirror.apply(op);
        match op {
            TableOp::Intern { kind, id, digest } => match *kind {
                INTERNED_CLASS => self.classes.ids.recover(*id, *digest),
                INTERNED_SET => self.sets.ids.recover(*id, *digest),
                INTERNED_PORT_SET => self.ports.ids.recover(*id, *digest),
                INTERNED_BACKENDS => self.backends.ids.recover(*id, *digest),
                INTERNED_SLOT => self.endpoints.ids.recover(*id, *digest),
                _ => {}
            },
            TableOp::Backends(set) => {
                self.backends.frozen.insert(set.id, **set);
            }
            TableOp::Judgement { judgement, .. } => {
                self.endpoints.revision = self.endpoints.revision.max(revision_of(*judgement));
            }
            _ => {}
        }
    }

    /// Takes in what a source of objects says. Cheap: the work is done by [`Engine::compile`].
    pub fn apply(&mut self, event: SourceEvent) {
        self.store.take(event, &mut self.changes);
    }

    /// A local pod's interface is there, or what is known of it has changed; it is known by its name. Returns its
    /// slot, `None` when there is none left (which [`Engine::problems`] says too).
    pub fn set_endpoint(&mut self, endpoint: LocalEndpoint) -> Option<u32> {
        let is_of_none = endpoint.pod.is_none();
        let (slot, pods) = self.endpoints.set(endpoint);
        if let Some(slot) = slot.filter(|_| is_of_none && !pods.is_empty()) {
            self.unbind_endpoint(slot);
        }
        self.changes.local.extend(pods);
        slot
    }

    /// A local pod's interface is gone.
    pub fn remove_endpoint(&mut self, ifname: &str) {
        self.changes.local.extend(self.endpoints.remove(ifname));
    }

    /// The operations that bring the tables up to date. `now` is any clock that only goes forward. Call
    /// [`Engine::applied`] when they are in the kernel, also when there were none.
    pub fn compile(&mut self, now: Duration) -> Vec<TableOp> {
        self.compile_changes(now)
    }

    /// The operations of the last [`Engine::compile`] are in the kernel, but for those that it refused. Starts the
    /// grace period after which what they replaced is collected; what was refused closes the endpoints that it
    /// concerns, and is tried again.
    pub fn applied(&mut self, now: Duration, refused: &[TableOp]) {
        self.graves.applied(now + self.settings.grace);
        self.refuse(now, refused);
    }

    /// When [`Engine::compile`] has something to do even if nothing happens; in the past: at once.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        if self.refusals.wake {
            return Some(Duration::ZERO);
        }
        let service = self.services.timers.first().map(|(at, _)| *at);
        let others = [self.addresses.next(), self.graves.next(), self.next_hook(), self.refusals.retry_at];
        others.into_iter().chain([service]).flatten().min()
    }

    /// Lets go of the sets of backends that no frontend leads to any more and no flow refers to. `in_use` says which
    /// ids the flows refer to, looked up after the last [`Engine::applied`].
    pub fn release_backends(&mut self, in_use: &dyn Fn(u32) -> bool) {
        self.released = self.backends.unused(self.graves.settled(), in_use);
    }

    /// The tables as the kernel holds them after the operations so far.
    #[must_use]
    pub const fn tables(&self) -> &Mirror {
        &self.mirror
    }
}
