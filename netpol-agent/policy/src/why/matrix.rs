//! Who may begin a flow with whom, for a whole namespace.
//!
//! Pods of which policies cannot tell one from another (same labels, port names, node and blocks) are one row, so a
//! cell is exact for all of them.

mod groups;
mod text;

use std::collections::BTreeMap;

use serde::Serialize;

use self::groups::{Group, groups};
use super::{
    FlowExplanation, Unanswerable,
    escape::escaped,
    flow,
    party::{self, Parties},
    text::payload as payload_text,
};
use crate::{
    model::Protocol,
    spec::{Cluster, Payload},
};

/// The port that is asked for of pods that name none and that no Service leads to.
const DEFAULT_PORT: Payload = Payload::Port(Protocol::Tcp, 80);

/// Namespaces beside the first that are named in a row; of more there is a list below.
const SHOWN: usize = 3;

/// Who may begin a flow with whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Matrix {
    /// The namespace, safe to print.
    pub namespace: String,
    /// Who receives: pods of the namespace, at each port.
    pub columns: Vec<Column>,
    /// Who sends: pods of the namespace, the world, this node, and pods of other namespaces.
    pub rows: Vec<Row>,
}

/// Pods that receive on a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Column {
    /// The first of them.
    pub name: String,
    /// All of them.
    pub pods: Vec<String>,
    /// What is sent, such as `8080/TCP`.
    pub payload: String,
}

/// Pods, or others, that send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The first of them, or what they are.
    pub name: String,
    /// All pods among them.
    pub pods: Vec<String>,
    /// The namespaces that are treated alike, when it stands for pods of other ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// By column.
    pub cells: Vec<Cell>,
}

/// What becomes of the flows from a row's senders to a column's receivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cell {
    /// The verdict.
    pub verdict: CellVerdict,
    /// Whether the live tables differ.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub live_differs: bool,
}

/// The verdict of a [`Cell`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellVerdict {
    /// They pass.
    Allowed,
    /// The receiver's policies deny them.
    DeniedByIngress,
    /// The sender's policies deny them.
    DeniedByEgress,
    /// Both deny them.
    DeniedByBoth,
    /// Not the same for both families, or for all senders of the row.
    Differs,
    /// The same single pod at both ends.
    Itself,
    /// No family of addresses in common.
    Nowhere,
}

impl CellVerdict {
    fn of(flow: &FlowExplanation) -> Self {
        match (flow.egress.allows(), flow.ingress.allows()) {
            (true, true) => Self::Allowed,
            (true, false) => Self::DeniedByIngress,
            (false, true) => Self::DeniedByEgress,
            (false, false) => Self::DeniedByBoth,
        }
    }
}

impl Cell {
    const fn new(verdict: CellVerdict) -> Self {
        Self { verdict, live_differs: false }
    }

    /// Both in one.
    fn merged(self, other: Self) -> Self {
        let verdict = match (self.verdict, other.verdict) {
            (a, b) if a == b => a,
            (CellVerdict::Nowhere, one) | (one, CellVerdict::Nowhere) => one,
            _ => CellVerdict::Differs,
        };
        Self { verdict, live_differs: self.live_differs || other.live_differs }
    }
}

/// A column before it is named.
struct Receivers<'g> {
    group: &'g Group,
    payload: Payload,
}

/// Asks for every pair in a namespace, at a port, or at the ports that the receivers are known to have: those that
/// they name and those that Services lead to. `differs` says of a flow whether something else happens to it than is
/// explained.
///
/// # Errors
///
/// When there are no pods in the namespace.
pub fn matrix(
    cluster: &Cluster,
    namespace: &str,
    port: Option<Payload>,
    differs: &mut dyn FnMut(&FlowExplanation) -> bool,
) -> Result<Matrix, Unanswerable> {
    let mut all = groups(cluster);
    let own = all.remove(namespace).ok_or_else(|| Unanswerable::NoPods(escaped(namespace)))?;
    let receivers: Vec<Receivers<'_>> = own
        .iter()
        .flat_map(|group| {
            let payloads = port.map_or_else(|| group.payloads(DEFAULT_PORT), |port| vec![port]);
            payloads.into_iter().map(move |payload| Receivers { group, payload })
        })
        .collect();

    let mut rows = Vec::new();
    for group in &own {
        let cells =
            receivers.iter().map(|to| cell(cluster, &group.first, Some(group), to, differs)).collect();
        rows.push(Row {
            name: group.first.name.clone(),
            pods: group.pods.clone(),
            namespaces: Vec::new(),
            cells,
        });
    }
    for parties in [Parties::world(), Parties::own_node(cluster)] {
        let cells = receivers.iter().map(|to| cell(cluster, &parties, None, to, differs)).collect();
        rows.push(Row { name: parties.name, pods: Vec::new(), namespaces: Vec::new(), cells });
    }
    rows.extend(others(cluster, &all, &receivers, differs));

    let column = |to: &Receivers<'_>| Column {
        name: to.group.first.name.clone(),
        pods: to.group.pods.clone(),
        payload: payload_text(to.payload),
    };
    Ok(Matrix { namespace: escaped(namespace), columns: receivers.iter().map(column).collect(), rows })
}

/// A row for all namespaces that are treated alike.
fn others(
    cluster: &Cluster,
    namespaces: &BTreeMap<String, Vec<Group>>,
    receivers: &[Receivers<'_>],
    differs: &mut dyn FnMut(&FlowExplanation) -> bool,
) -> Vec<Row> {
    let mut alike: Vec<(Vec<Cell>, Vec<String>, Vec<String>)> = Vec::new();
    for (namespace, groups) in namespaces {
        let merged = |to: &Receivers<'_>| {
            let mut cells = groups.iter().map(|group| cell(cluster, &group.first, None, to, differs));
            let first = cells.next().unwrap_or(Cell::new(CellVerdict::Nowhere));
            cells.fold(first, Cell::merged)
        };
        let cells: Vec<Cell> = receivers.iter().map(merged).collect();
        let pods = groups.iter().flat_map(|group| group.pods.iter().cloned());
        match alike.iter_mut().find(|(known, ..)| *known == cells) {
            Some((_, names, of)) => {
                names.push(escaped(namespace));
                of.extend(pods);
            }
            None => alike.push((cells, vec![escaped(namespace)], pods.collect())),
        }
    }
    let row = |(cells, names, pods): (Vec<Cell>, Vec<String>, Vec<String>)| Row {
        name: match &*names {
            [first, rest @ ..] if rest.len() > SHOWN => {
                format!("pods of {first} and {} other namespaces", rest.len())
            }
            all => format!("pods of {}", all.join(", ")),
        },
        pods,
        namespaces: names,
        cells,
    };
    alike.into_iter().map(row).collect()
}

fn cell(
    cluster: &Cluster,
    from: &Parties,
    group: Option<&Group>,
    to: &Receivers<'_>,
    differs: &mut dyn FnMut(&FlowExplanation) -> bool,
) -> Cell {
    let mut receiver = &to.group.first;
    if group.is_some_and(|group| std::ptr::eq(group, to.group)) {
        // Among replicas, one reaches another.
        match &to.group.second {
            Some(second) => receiver = second,
            None => return Cell::new(CellVerdict::Itself),
        }
    }
    let judged = |(from, to_party): (party::Party, party::Party)| {
        let flow = flow::explain_flow(cluster, &from, &to_party, to.payload);
        Cell { verdict: CellVerdict::of(&flow), live_differs: differs(&flow) }
    };
    let pairs = party::pairs(from, receiver).into_iter().map(judged);
    pairs.reduce(Cell::merged).unwrap_or(Cell::new(CellVerdict::Nowhere))
}
