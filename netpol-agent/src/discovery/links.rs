//! The interfaces of the agent's own network namespace, and what the kernel says of the namespaces that they lead to,
//! by netlink. Nobody's namespace is entered.

use std::collections::BTreeMap;

use anyhow::Context as _;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, channel::mpsc::UnboundedReceiver};
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use rtnetlink::{
    Handle, MulticastGroup, new_multicast_connection,
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage, LinkXdp},
        nsid::{NsidAttribute, NsidMessage},
    },
    sys::{AsyncSocket as _, SocketAddr},
};
use tracing::debug;

use super::addresses::{self, Own};

/// Room for the kernel's events: some thousand of them.
const EVENTS_BYTES: usize = 4 << 20;

/// What kind of interface, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// One end of a pair.
    Veth,
    /// A bridge.
    Bridge,
    /// One end of a pair that has programs of its own.
    Netkit,
    /// Anything else: its name, empty for a device.
    Other(String),
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
    /// The index of its other end, there.
    pub peer: Option<u32>,
    /// An XDP program that it carries, by its id.
    pub xdp: Option<u32>,
}

impl Link {
    fn from_message(message: &LinkMessage) -> Self {
        let mut link = Self {
            ifindex: message.header.index,
            name: String::new(),
            kind: LinkKind::Other(String::new()),
            master: None,
            leads_to: None,
            peer: None,
            xdp: None,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Controller(master) => link.master = Some(*master),
                LinkAttribute::LinkNetNsId(id) => link.leads_to = Some(*id),
                LinkAttribute::Link(peer) => link.peer = Some(*peer),
                LinkAttribute::Xdp(parts) => {
                    let id = |part: &LinkXdp| if let LinkXdp::ProgId(id) = part { Some(*id) } else { None };
                    link.xdp = parts.iter().find_map(id);
                }
                LinkAttribute::LinkInfo(infos) => {
                    let kind = |info: &LinkInfo| match info {
                        LinkInfo::Kind(InfoKind::Veth) => Some(LinkKind::Veth),
                        LinkInfo::Kind(InfoKind::Bridge) => Some(LinkKind::Bridge),
                        LinkInfo::Kind(InfoKind::Netkit) => Some(LinkKind::Netkit),
                        LinkInfo::Kind(other) => Some(LinkKind::Other(other.to_string())),
                        _ => None,
                    };
                    link.kind = infos.iter().find_map(kind).unwrap_or(link.kind);
                }
                _ => {}
            }
        }
        link
    }
}

/// What a message of the kernel says has become of the interfaces.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// One is there, or has changed.
    There(Link),
    /// One is gone, or has moved to another namespace.
    Gone(u32),
    /// This host has an address.
    Address(Own),
    /// It has it no more.
    NoAddress(Own),
    /// The kernel found no room for some events.
    Lost,
    /// Something else.
    Nothing,
}

/// Reads what the kernel says by itself.
#[must_use]
pub fn event(message: &NetlinkMessage<RouteNetlinkMessage>) -> Event {
    // A bridge tells of its ports in messages of its own, which do not say everything.
    let whole = |link: &LinkMessage| link.header.interface_family == AddressFamily::Unspec;
    match &message.payload {
        NetlinkPayload::Overrun(_) => Event::Lost,
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) if whole(link) => {
            Event::There(Link::from_message(link))
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) if whole(link) => {
            Event::Gone(link.header.index)
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(address)) => {
            addresses::own(address).map_or(Event::Nothing, Event::Address)
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(address)) => {
            addresses::own(address).map_or(Event::Nothing, Event::NoAddress)
        }
        _ => Event::Nothing,
    }
}

/// Messages of the kernel, in their order.
pub type Messages = UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

/// What the kernel says by itself, from now on.
///
/// # Errors
/// When there is no netlink.
pub fn listen(groups: &[MulticastGroup]) -> anyhow::Result<Messages> {
    let (mut connection, _, messages) = new_multicast_connection(groups).context("cannot open netlink")?;
    if let Err(error) = setsockopt(connection.socket_mut().socket_mut(), RcvBufForce, &EVENTS_BYTES) {
        debug!(%error, "the kernel's events find little room");
    }
    tokio::spawn(connection);
    Ok(messages)
}

/// What is still to be read when the kernel has lost events. It tells of the loss before what it had kept, and keeps nothing
/// new until all of that is read: only what is listed afterwards is newer, and misses nothing.
pub async fn rest(messages: &mut Messages) -> Vec<Event> {
    let mut rest = Vec::new();
    loop {
        // Whoever reads the socket does so in turns.
        tokio::task::yield_now().await;
        let before = rest.len();
        while let Some(Some((message, _))) = messages.next().now_or_never() {
            rest.push(event(&message));
        }
        if rest.len() == before {
            return rest;
        }
    }
}

/// Whether an interface is there. It may be although a list of all does not name it: that is made in parts, and on older
/// kernels one that goes in between can hide another.
#[must_use]
pub fn is_there(ifindex: u32) -> bool {
    // What is not there has an empty name with some C libraries.
    nix::net::if_::if_indextoname(ifindex).is_ok_and(|name| !name.is_empty())
}

/// A list of all interfaces with those that it left out of what was there `before`.
#[must_use]
pub fn completed(
    mut listed: BTreeMap<u32, Link>,
    before: BTreeMap<u32, Link>,
    is_there: impl Fn(u32) -> bool,
) -> BTreeMap<u32, Link> {
    for (ifindex, link) in before {
        if !listed.contains_key(&ifindex) && is_there(ifindex) {
            listed.insert(ifindex, link);
        }
    }
    listed
}

/// All interfaces, by index. Not to be believed of what it does not name: see [`is_there`].
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

/// The kernel's id of a network namespace, seen from ours: of an open file, or of a process. One that nothing of ours
/// leads to has none.
pub async fn namespace_id(handle: &Handle, which: NsidAttribute) -> Option<i32> {
    let mut question = NsidMessage::default();
    question.attributes.push(which);
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetNsId(question));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    let mut answers = handle.clone().request(request).ok()?;
    let mut found = None;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(answer)) = answer.payload {
            let id = |part: &NsidAttribute| if let NsidAttribute::Id(id) = part { Some(*id) } else { None };
            found = answer.attributes.iter().find_map(id).filter(|id| *id >= 0);
        }
    }
    found
}

#[cfg(test)]
mod tests;
