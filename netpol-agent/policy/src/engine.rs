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

mod cidr;
mod mirror;
mod ops;
mod store;
mod view;

use std::time::Duration;

pub use cidr::Cidr;
pub use mirror::Mirror;
pub use ops::{HookLevel, LocalEndpoint, Recovered, Settings, TableOp};
pub use store::Store;
pub use view::{EndpointView, ServiceView};

use self::store::Changes;
use crate::model::SourceEvent;

/// The incremental compiler.
pub struct Engine {
    store: Store,
    changes: Changes,
    mirror: Mirror,
}

impl Engine {
    /// An engine that starts from what the pinned tables hold.
    #[must_use]
    pub fn new(_settings: Settings, _recovered: Recovered) -> Self {
        Self { mirror: Mirror::default(), store: Store::default(), changes: Changes::default() }
    }

    /// Takes in what a source of objects says. Cheap: the work is done by [`Engine::compile`].
    pub fn apply(&mut self, event: SourceEvent) {
        self.store.take(event, &mut self.changes);
    }

    /// A local pod's interface is there, or what is known of it has changed; known by its name. Returns its slot,
    /// `None` when there is none left (which [`Engine::problems`] says too: such a pod must be closed otherwise).
    pub fn set_endpoint(&mut self, _endpoint: LocalEndpoint) -> Option<u32> {
        None
    }

    /// A local pod's interface is gone.
    pub fn remove_endpoint(&mut self, _ifname: &str) {}

    /// The operations that bring the tables up to date. `now` is any clock that only goes forward.
    pub fn compile(&mut self, _now: Duration) -> Vec<TableOp> {
        Vec::new()
    }

    /// The operations of the last [`Engine::compile`] are in the kernel, but for those that it refused. Starts the
    /// grace period after which what they replaced is collected; what was refused closes the endpoints that it
    /// concerns.
    pub fn applied(&mut self, _now: Duration, _refused: &[TableOp]) {}

    /// When [`Engine::compile`] has something to do even if nothing happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        None
    }

    /// Lets go of the sets of backends that no frontend uses any more, once no flow refers to them either.
    pub fn release_backends(&mut self, _in_use: &dyn Fn(u32) -> bool) {}

    /// The tables as the kernel holds them after the operations so far.
    #[must_use]
    pub const fn tables(&self) -> &Mirror {
        &self.mirror
    }
}
