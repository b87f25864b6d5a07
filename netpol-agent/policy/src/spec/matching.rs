//! The smallest questions: a selector and labels, a block and an address.

use std::net::IpAddr;

use crate::model::{IpBlock, Labels, Requirement, Selector};

/// Whether a selector matches labels: all of its requirements hold.
#[must_use]
pub fn selects(selector: &Selector, labels: &Labels) -> bool {
    selector.0.iter().all(|requirement| holds(requirement, labels))
}

/// Whether a requirement holds for labels. A key that is missing is in no list of values, so `NotIn` holds.
#[must_use]
pub fn holds(requirement: &Requirement, labels: &Labels) -> bool {
    match requirement {
        Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
        Requirement::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
        Requirement::Exists(key) => labels.contains_key(key),
        Requirement::DoesNotExist(key) => !labels.contains_key(key),
    }
}

/// Whether an address is in a block and in none of its exceptions. An address is never in a block of the other
/// family.
#[must_use]
pub fn block_contains(block: &IpBlock, address: IpAddr) -> bool {
    block.cidr.contains(&address) && !block.except.iter().any(|except| except.contains(&address))
}

/// Whether an address is of a kind that no pod has: such traffic is never a pod's.
#[must_use]
pub fn never_a_pods(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.segments()[0] & 0xffc0 == 0xfe80,
    };
    link_local || address.is_unspecified() || address.is_loopback() || address.is_multicast()
}
