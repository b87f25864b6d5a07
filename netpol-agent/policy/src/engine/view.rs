//! Read access: the names behind the numbers.

use std::{net::IpAddr, sync::Arc};

use netpol_common::{Direction, tables::FrontendKey};

use super::{Engine, HookLevel, LocalEndpoint, store::Store};
use crate::model::{Key, Pod, Policy, Problem};

/// What is known of a local endpoint.
#[derive(Clone, Debug)]
pub struct EndpointView<'a> {
    /// Its slot.
    pub slot: u32,
    /// As it was discovered.
    pub local: &'a LocalEndpoint,
    /// The pod's object; `None`: not known (yet), so both directions are closed.
    pub pod: Option<&'a Arc<Pod>>,
    /// The policy sets, by [`Direction::index`].
    pub sets: [u32; 2],
    /// Which classifiers it carries.
    pub hook: HookLevel,
}

/// What stands behind an address that a Service uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView {
    /// The Service.
    pub service: Key,
    /// The name of its port.
    pub port: Arc<str>,
    /// It is gone, and counts for a grace period only.
    pub gone: bool,
}

impl Engine {
    /// The objects.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The pod that owns an address.
    #[must_use]
    pub fn pod_at(&self, _addr: IpAddr) -> Option<&Arc<Pod>> {
        None
    }

    /// The Service of a frontend.
    #[must_use]
    pub fn service_at(&self, _frontend: &FrontendKey) -> Option<ServiceView> {
        None
    }

    /// The Service that has an address, on whatever port.
    #[must_use]
    pub fn service_of(&self, _addr: IpAddr) -> Option<Key> {
        None
    }

    /// The Services whose frontends use or used a set of backends.
    #[must_use]
    pub fn services_of_backends(&self, _id: u32) -> Vec<Key> {
        Vec::new()
    }

    /// Address and port of each backend of a set, dead ones included.
    #[must_use]
    pub fn backends(&self, _id: u32) -> Vec<(IpAddr, u16)> {
        Vec::new()
    }

    /// The endpoint in a slot.
    #[must_use]
    pub fn endpoint(&self, _slot: u32) -> Option<EndpointView<'_>> {
        None
    }

    /// Every endpoint, in the order of its slot.
    pub fn endpoints(&self) -> impl Iterator<Item = EndpointView<'_>> {
        std::iter::empty()
    }

    /// The policies that isolate the pod in a slot in a direction, in the order of their keys.
    #[must_use]
    pub fn policies_of(&self, _slot: u32, _direction: Direction) -> Vec<Arc<Policy>> {
        Vec::new()
    }

    /// The policies that a revision of an endpoint stood for; revisions are never used twice, and the last
    /// thousand are known. `None`: not known any more; empty: not isolated, or closed.
    #[must_use]
    pub fn policies_at(&self, _revision: u32) -> Option<&[Arc<Policy>]> {
        None
    }

    /// The policies of a policy set.
    #[must_use]
    pub fn policies_of_set(&self, _set: u32) -> Vec<Arc<Policy>> {
        Vec::new()
    }

    /// How many local pods a policy selects.
    #[must_use]
    pub fn selected_by(&self, _policy: &Key) -> usize {
        0
    }

    /// What an address must be to have this class, a line for each selector, block and port name.
    #[must_use]
    pub fn class_text(&self, _class: u32) -> Vec<String> {
        Vec::new()
    }

    /// A port set as text, such as `TCP 80, UDP 53-54`.
    #[must_use]
    pub fn ports_text(&self, _port_set: u32) -> String {
        String::new()
    }

    /// What cannot be realized as it is written, and what was done instead.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        Vec::new()
    }
}
