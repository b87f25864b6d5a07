//! The interfaces of the agent's own network namespace, by netlink.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
};

use futures::TryStreamExt as _;
use globset::GlobSet;
use rtnetlink::{
    Handle,
    packet_route::{
        address::AddressAttribute,
        link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage},
    },
};

/// Where named network namespaces are; CNI plugins are given one of these.
const NAMESPACES: &str = "/run/netns";

/// Where kube-proxy in IPVS mode keeps the addresses of Services: no NodePort is translated there.
const SERVICES: &str = "kube-ipvs0";

/// What kind of interface, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// One end of a pair.
    Veth,
    /// A bridge.
    Bridge,
    /// Anything else.
    Other,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: LinkKind,
    /// The interface that it is a port of.
    pub master: Option<u32>,
    /// The kernel's id of the network namespace where its other end is, when that is another one.
    pub leads_to: Option<i32>,
}

impl Link {
    fn from_message(message: &LinkMessage) -> Self {
        let mut link = Self {
            ifindex: message.header.index,
            name: String::new(),
            kind: LinkKind::Other,
            master: None,
            leads_to: None,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Controller(master) => link.master = Some(*master),
                LinkAttribute::LinkNetNsId(id) => link.leads_to = Some(*id),
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        match info {
                            LinkInfo::Kind(InfoKind::Veth) => link.kind = LinkKind::Veth,
                            LinkInfo::Kind(InfoKind::Bridge) => link.kind = LinkKind::Bridge,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        link
    }
}

/// All interfaces, by index.
///
/// # Errors
/// When the kernel refuses to say.
pub async fn list(handle: &Handle) -> Result<BTreeMap<u32, Link>, rtnetlink::Error> {
    let mut links = BTreeMap::new();
    let mut messages = handle.link().get().execute();
    while let Some(message) = messages.try_next().await? {
        let link = Link::from_message(&message);
        links.insert(link.ifindex, link);
    }
    Ok(links)
}

/// The addresses of this host that a pod can send to: those of `lo` that stay on it are left out, and link-local ones of
/// IPv6, which each interface has for itself.
///
/// # Errors
/// When the kernel refuses to say.
pub async fn addresses(
    handle: &Handle,
    links: &BTreeMap<u32, Link>,
) -> Result<BTreeSet<IpAddr>, rtnetlink::Error> {
    let mut found = BTreeSet::new();
    let mut messages = handle.address().get().execute();
    while let Some(message) = messages.try_next().await? {
        if links.get(&message.header.index).is_some_and(|link| link.name == SERVICES) {
            continue;
        }
        // Between two ends, `Address` is the other one's.
        let local = message.attributes.iter().find_map(|one| match one {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        let plain = message.attributes.iter().find_map(|one| match one {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
        found.extend(local.or(plain).filter(|address| match address {
            IpAddr::V4(address) => !address.is_loopback(),
            IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
        }));
    }
    Ok(found)
}

/// The kernel's ids of the named network namespaces whose name matches: pods' sandboxes. A namespace that nothing of
/// ours leads to has no id.
pub async fn sandboxes(handle: &Handle, names: &GlobSet) -> BTreeSet<i32> {
    let mut ids = BTreeSet::new();
    let Ok(entries) = fs::read_dir(NAMESPACES) else { return ids };
    for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        if !names.is_match(&name) {
            continue;
        }
        // One that has just gone is no sandbox any more.
        if let Ok(Some(id)) = handle.link().get_netns_id(name).execute().await {
            ids.insert(id);
        }
    }
    ids
}
