//! Addresses of interfaces: of this host's own, and of those at the other ends of pairs, by netlink.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
};

use futures::TryStreamExt as _;
use rtnetlink::{
    Handle,
    packet_route::{
        AddressFamily,
        address::{AddressAttribute, AddressMessage, AddressScope},
    },
};

use super::links::Link;

/// Where kube-proxy in IPVS mode keeps the addresses of Services: no NodePort is translated there.
const SERVICES: &str = "kube-ipvs0";

/// An interface's index, and one of its addresses.
pub type Own = (u32, IpAddr);

/// What a message of the kernel speaks of.
#[must_use]
pub fn own(message: &AddressMessage) -> Option<Own> {
    // Between two ends, `Address` is the other one's.
    let local = message.attributes.iter().find_map(|one| match one {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let plain = message.attributes.iter().find_map(|one| match one {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    Some((message.header.index, local.or(plain)?))
}

/// All addresses of this host.
///
/// # Errors
/// When the kernel refuses to say.
pub async fn list(handle: &Handle) -> Result<BTreeSet<Own>, rtnetlink::Error> {
    let mut found = BTreeSet::new();
    let mut messages = handle.address().get().execute();
    while let Some(message) = messages.try_next().await? {
        found.extend(own(&message));
    }
    Ok(found)
}

/// Those of this host that a pod can send to: those of `lo` that stay on it are left out, and link-local ones of IPv6,
/// which each interface has for itself.
#[must_use]
pub fn of_host(all: &BTreeSet<Own>, links: &BTreeMap<u32, Link>) -> BTreeSet<IpAddr> {
    let services = links.values().find(|link| link.name == SERVICES).map(|link| link.ifindex);
    let all = all.iter().filter(|(ifindex, _)| Some(*ifindex) != services).map(|(_, address)| *address);
    all.filter(|address| match address {
        IpAddr::V4(address) => !address.is_loopback(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    })
    .collect()
}

/// The addresses of an interface in another network namespace that can be reached from elsewhere, as they are now.
///
/// # Errors
/// When the kernel refuses to say; the connection must check strictly, or it answers for our own namespace.
pub async fn behind(handle: &Handle, namespace: i32, ifindex: u32) -> io::Result<Vec<IpAddr>> {
    let mut found = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = handle.address().get();
        request.message_mut().header.family = family;
        request.message_mut().attributes.push(AddressAttribute::TargetNetNsId(namespace));
        let mut messages = Box::pin(request.execute());
        while let Some(message) = messages.try_next().await.map_err(io::Error::other)? {
            let of_there = message.attributes.contains(&AddressAttribute::TargetNetNsId(namespace));
            if of_there && message.header.scope == AddressScope::Universe {
                found.extend(own(&message).filter(|(at, _)| *at == ifindex).map(|(_, address)| address));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::links::LinkKind;

    #[test]
    fn services_and_what_stays_on_an_interface_are_not_the_hosts() {
        let link = |ifindex: u32, name: &str| Link {
            ifindex,
            name: name.to_owned(),
            kind: LinkKind::Other(String::new()),
            master: None,
            leads_to: None,
            peer: None,
            xdp: None,
        };
        let links = BTreeMap::from([(1, link(1, "lo")), (2, link(2, "eth0")), (3, link(3, "kube-ipvs0"))]);
        let all = [
            (1, "127.0.0.1"),
            (1, "::1"),
            (1, "192.0.2.1"),
            (2, "172.18.0.2"),
            (2, "fe80::1"),
            (3, "10.96.0.1"),
        ];
        let all = all.iter().map(|(ifindex, address)| (*ifindex, address.parse().unwrap())).collect();
        let expected: BTreeSet<IpAddr> =
            ["192.0.2.1", "172.18.0.2"].iter().map(|a| a.parse().unwrap()).collect();
        assert_eq!(of_host(&all, &links), expected);
    }

    #[test]
    fn between_two_ends_it_is_the_own_one() {
        let mut message = AddressMessage::default();
        message.header.index = 4;
        let [other, local]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|a| a.parse().unwrap());
        message.attributes.push(AddressAttribute::Address(other));
        assert_eq!(own(&message), Some((4, other)));
        message.attributes.push(AddressAttribute::Local(local));
        assert_eq!(own(&message), Some((4, local)));
    }
}
