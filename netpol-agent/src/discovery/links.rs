//! The interfaces of the agent's own network namespace, by netlink.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use rtnetlink::{
    Handle,
    packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage},
};

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
    /// Whether its other end is in another network namespace.
    pub leads_away: bool,
}

impl Link {
    fn from_message(message: &LinkMessage) -> Self {
        let mut link = Self {
            ifindex: message.header.index,
            name: String::new(),
            kind: LinkKind::Other,
            master: None,
            leads_away: false,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Controller(master) => link.master = Some(*master),
                LinkAttribute::LinkNetNsId(_) => link.leads_away = true,
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
