use rtnetlink::packet_route::link::{LinkHeader, XdpAttached};

use super::*;

fn message(family: AddressFamily, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let header = LinkHeader { interface_family: family, index: 5, ..LinkHeader::default() };
    let mut message = LinkMessage::default();
    message.header = header;
    message.attributes = attributes;
    message
}

fn of_pod() -> Vec<LinkAttribute> {
    vec![
        LinkAttribute::IfName("veth1".to_owned()),
        LinkAttribute::Link(2),
        LinkAttribute::LinkNetNsId(7),
        LinkAttribute::Controller(3),
        LinkAttribute::Xdp(vec![LinkXdp::Attached(XdpAttached::SocketBuffer), LinkXdp::ProgId(9)]),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]),
    ]
}

fn link() -> Link {
    Link {
        ifindex: 5,
        name: "veth1".to_owned(),
        kind: LinkKind::Veth,
        master: Some(3),
        leads_to: Some(7),
        peer: Some(2),
        xdp: Some(9),
    }
}

#[test]
fn what_the_kernel_says_of_an_interface() {
    let new = RouteNetlinkMessage::NewLink(message(AddressFamily::Unspec, of_pod()));
    assert_eq!(event(&NetlinkMessage::from(new)), Event::There(link()));
    let gone = RouteNetlinkMessage::DelLink(message(AddressFamily::Unspec, of_pod()));
    assert_eq!(event(&NetlinkMessage::from(gone)), Event::Gone(5));
}

#[test]
fn a_port_that_leaves_its_bridge_is_not_gone() {
    let left = RouteNetlinkMessage::DelLink(message(AddressFamily::Bridge, of_pod()));
    assert_eq!(event(&NetlinkMessage::from(left)), Event::Nothing);
}

#[test]
fn lost_events_are_noticed() {
    let mut lost = NetlinkMessage::from(RouteNetlinkMessage::NewLink(LinkMessage::default()));
    lost.payload = NetlinkPayload::Overrun(Vec::new());
    assert_eq!(event(&lost), Event::Lost);
}

#[test]
fn kinds_that_we_cannot_hook_have_names() {
    let kind = |infos: Vec<LinkInfo>| {
        Link::from_message(&message(AddressFamily::Unspec, vec![LinkAttribute::LinkInfo(infos)])).kind
    };
    assert_eq!(kind(vec![LinkInfo::Kind(InfoKind::Netkit)]), LinkKind::Netkit);
    assert_eq!(kind(vec![LinkInfo::Kind(InfoKind::MacVlan)]), LinkKind::Other("macvlan".to_owned()));
    assert_eq!(kind(vec![]), LinkKind::Other(String::new()), "a device");
}

#[test]
fn the_kernel_says_what_is_there() {
    assert!(is_there(1), "the loopback");
    assert!(!is_there(i32::MAX.cast_unsigned()));
}

#[test]
fn one_that_is_hidden_in_a_list_is_not_gone() {
    let before = BTreeMap::from([(5, link()), (6, Link { ifindex: 6, ..link() })]);
    let completed = completed(BTreeMap::new(), before, |ifindex| ifindex == 5);
    assert_eq!(completed, BTreeMap::from([(5, link())]));
}

#[tokio::test]
async fn the_rest_is_all_that_whoever_reads_the_socket_still_finds_there() {
    let (told, mut messages) = futures::channel::mpsc::unbounded();
    tokio::spawn(async move {
        // It reads so many at a time, then others have their turn.
        for _ in 0..3 {
            for _ in 0..128 {
                let gone = RouteNetlinkMessage::DelLink(message(AddressFamily::Unspec, of_pod()));
                told.unbounded_send((NetlinkMessage::from(gone), SocketAddr::new(0, 0))).unwrap();
            }
            tokio::task::yield_now().await;
        }
        std::future::pending::<()>().await;
    });
    assert_eq!(rest(&mut messages).await.len(), 384);
    assert!(rest(&mut messages).await.is_empty());
}
