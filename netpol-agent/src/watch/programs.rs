//! Programs in filters of clsact, by netlink.

use std::collections::BTreeSet;

use futures::TryStreamExt as _;
use rtnetlink::{
    Error, Handle,
    packet_route::tc::{TcAttribute, TcFilterBpf, TcFilterBpfOption, TcMessage, TcOption},
};

use crate::datapath::Side;

/// The queueing disciplines that have filters at ingress and egress.
const WITH_FILTERS: [&str; 2] = ["clsact", "ingress"];

fn kind(message: &TcMessage) -> Option<&str> {
    message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Kind(kind) => Some(kind.as_str()),
        _ => None,
    })
}

/// The program of a filter; those of other kinds have none.
pub(super) fn program(message: &TcMessage) -> Option<u32> {
    if kind(message) != Some(TcFilterBpf::KIND) {
        return None;
    }
    let options = message.attributes.iter().filter_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    });
    options.flatten().find_map(|option| match option {
        TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
        _ => None,
    })
}

/// The programs in the filters of one side of an interface, in the order in which they run.
pub(super) async fn filters(handle: &Handle, ifindex: u32, side: Side) -> Result<Vec<u32>, Error> {
    let Ok(index) = i32::try_from(ifindex) else { return Ok(Vec::new()) };
    let request = handle.traffic_filter(index).get();
    let request = match side {
        Side::Ingress => request.ingress(),
        Side::Egress => request.egress(),
    };
    let mut found = Vec::new();
    let mut messages = std::pin::pin!(request.execute());
    while let Some(message) = messages.try_next().await? {
        found.extend(program(&message));
    }
    Ok(found)
}

/// The interfaces that may have filters.
pub(super) async fn with_filters(handle: &Handle) -> Result<BTreeSet<u32>, Error> {
    let mut found = BTreeSet::new();
    let mut messages = std::pin::pin!(handle.qdisc().get().execute());
    while let Some(message) = messages.try_next().await? {
        if kind(&message).is_some_and(|kind| WITH_FILTERS.contains(&kind)) {
            found.extend(u32::try_from(message.header.index));
        }
    }
    Ok(found)
}
