//! How the agent is, as it crosses the socket.

use std::collections::BTreeMap;

use netpol_common::Reason;
use serde::{Deserialize, Serialize};

use super::Moment;
use crate::sources::{Located, Watched};

/// How the agent is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// The node's name.
    pub node: String,
    /// Synced, every known local pod hooked, everything written.
    pub ready: bool,
    /// Why not, when it is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_ready: Vec<String>,
    /// Where objects come from.
    pub source: String,
    /// How local pods are found.
    pub discovery: String,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// How often the tables were brought up to date.
    pub revision: u64,
    /// Objects by kind.
    pub objects: BTreeMap<String, usize>,
    /// Of each kind the newest version that was taken in, as the API server counts them: when the agent is ready, what was
    /// written up to there is enforced. Nothing for a folder.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub newest: BTreeMap<String, u64>,
    /// Objects of kinds that are not read, by kind.
    pub skipped: BTreeMap<String, usize>,
    /// How far the watch of each kind has got, where objects come from an API server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watches: Vec<Watched>,
    /// Local pods.
    pub endpoints: Vec<EndpointLine>,
    /// Interfaces of pods that are not hooked, and why.
    pub unhooked: Vec<String>,
    /// What cannot be enforced on this node.
    #[serde(default)]
    pub unenforced: Vec<UnenforcedLine>,
    /// Pods whose interfaces the kernel refused to hook.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedLine>,
    /// Hooks that somebody had taken off in the last ten minutes, and that were attached again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repaired: Vec<RepairedLine>,
    /// How many were since the agent started.
    #[serde(default)]
    pub hooks_repaired: u64,
    /// Objects whose break-glass switch is set: this node, and namespaces of the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub break_glass: Vec<BreakGlassLine>,
    /// Other engines that seem to enforce policies on this node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enforcers: Vec<EnforcerLine>,
    /// Whether all objects were listed once.
    #[serde(default)]
    pub synced: bool,
    /// For how many seconds the source has said nothing; nothing before it has said something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_seconds_ago: Option<u64>,
    /// The time without an agent before this one was ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absence: Option<Absence>,
    /// Bridges, and whether the tag is believed of what comes in by them.
    pub bridges: Vec<BridgeLine>,
    /// Policies, and whether they are realized as they are written.
    pub policies: Vec<PolicyLine>,
    /// What is wrong with objects and files.
    pub problems: Vec<Located>,
    /// What is wrong with interfaces and the kernel.
    pub faults: Vec<String>,
    /// Packets by direction and reason.
    pub counters: Vec<CounterLine>,
    /// Verdicts that found no room in the kernel's rings.
    pub lost_events: u64,
    /// Verdicts beyond a pod's rate, not sent.
    pub limited_events: u64,
    /// Verdicts that the agent keeps, repeated denials as one, and where some are missing.
    #[serde(default)]
    pub verdicts_kept: usize,
    /// How many it can keep.
    #[serde(default)]
    pub verdicts_room: usize,
    /// Flows among these that are closed since the backends of their Service are judged differently.
    #[serde(default)]
    pub undecided: Vec<UndecidedLine>,
    /// Of when the oldest of them is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdicts_since: Option<Moment>,
    /// Flows that found no room.
    pub flows_refused: u64,
    /// Entries of the tables, and how many fit.
    pub tables: BTreeMap<String, TableLine>,
}

/// Flows from a pod to a Service some of whose backends it may reach and others not, where only translation could tell
/// which: closed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UndecidedLine {
    /// `NAMESPACE/NAME` of the pod.
    pub pod: String,
    /// `NAMESPACE/NAME` of the Service, or its address where it has no name any more.
    pub service: String,
    /// The Service's port.
    pub port: Option<u16>,
    /// Packets that were told of.
    pub packets: u64,
    /// When the last one was.
    pub last: Moment,
}

/// A pod that was to be hooked and is not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedLine {
    /// `NAMESPACE/NAME`; empty while it is not known.
    pub pod: String,
    /// The host's interface.
    pub interface: String,
    /// What the kernel said.
    pub reason: String,
}

/// A hook that somebody had taken off: its pod was not enforced in that direction until it was attached again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepairedLine {
    /// `NAMESPACE/NAME`; empty while it is not known.
    pub pod: String,
    /// The host's interface.
    pub interface: String,
    /// `ingress` or `egress`, of the pod.
    pub direction: String,
    /// When it was attached again.
    pub time: Moment,
}

/// An object whose break-glass switch is set: no policy is enforced for its pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakGlassLine {
    /// `Namespace` or `Node`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Local pods that policies would isolate.
    pub pods: Vec<String>,
}

/// Another engine that seems to enforce policies on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnforcerLine {
    /// Its name.
    pub engine: String,
    /// What of it was found.
    pub traces: Vec<String>,
}

impl EnforcerLine {
    /// What it means, and what to do.
    pub const MEANING: &str = "a packet must pass both engines, and netpol cannot explain what the other one drops; let one of them \
                               enforce, and remove what the other has left";
}

/// A time without an agent: pods that were hooked before stayed enforced, pods that started were open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Absence {
    /// When an agent was last alive; the node's boot where none has run since.
    pub since: Moment,
    /// When this one had written everything.
    pub until: Moment,
    /// Pods that an earlier agent did not know: they started in this time.
    pub pods: Vec<String>,
}

impl Absence {
    /// How long it was.
    #[must_use]
    pub const fn milliseconds(&self) -> i64 {
        self.until.milliseconds().saturating_sub(self.since.milliseconds())
    }
}

/// A local pod's interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointLine {
    /// `NAMESPACE/NAME`; empty while it is not known.
    pub pod: String,
    /// The host's interface.
    pub interface: String,
    /// What says whose the interface is: `cni-cache` or `cgroup`; empty while nothing does.
    #[serde(default)]
    pub found_by: String,
    /// The slot.
    pub slot: u32,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// `none`, `source-check` or `full`.
    pub hook: String,
    /// `open`, `isolated`, `closed`, or `break-glass` where policies isolate it and are not enforced.
    pub ingress: String,
    /// The same.
    pub egress: String,
    /// Whether its packets are recognised at other pods of the node.
    pub tag_trusted: bool,
    /// What became of the connections that it had open when it was hooked first; nothing when an earlier agent did so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_over: Option<TakenOverLine>,
}

/// Something that cannot be enforced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnenforcedLine {
    /// `NAMESPACE/NAME`; empty when it is of no known pod.
    pub pod: String,
    /// The interface; empty when there is none.
    pub interface: String,
    /// Why, under a stable name.
    pub cause: String,
    /// What it means, and what exactly was found.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// Connections that were open before their pod was hooked. They live on as far as the policies allow them, by who has
/// opened them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TakenOverLine {
    /// Taken from the table of an agent whose tables had another layout.
    #[serde(default)]
    pub table: usize,
    /// Taken from the kernel's conntrack.
    pub conntrack: usize,
    /// Taken from the pod's sockets.
    pub sockets: usize,
    /// Beyond the pod's quota: these must reopen.
    pub refused: usize,
    /// Why there may be others, which are judged by whoever speaks first until they reopen.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unknown: String,
}

/// A bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BridgeLine {
    /// Its name.
    pub name: String,
    /// Whether the tag is believed.
    pub trusted: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Packets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CounterLine {
    /// `ingress` or `egress`.
    pub direction: String,
    /// The reason's stable name.
    pub reason: String,
    /// How many.
    pub packets: u64,
}

impl CounterLine {
    /// Whether these packets were dropped.
    #[must_use]
    pub fn is_drop(&self) -> bool {
        Reason::ALL.iter().any(|reason| reason.name() == self.reason && reason.is_drop())
    }
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableLine {
    /// Entries.
    pub used: usize,
    /// Entries that fit.
    pub size: usize,
}

/// A policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyLine {
    /// `NAMESPACE/NAME`.
    pub policy: String,
    /// `Ingress`, `Egress`.
    pub isolates: Vec<String>,
    /// Its podSelector as text.
    pub selects: String,
    /// Local pods that it selects.
    pub local_pods: usize,
    /// Whether it is in force as it is written.
    pub realized: bool,
    /// The object whose break-glass switch keeps it from being enforced here, such as `Namespace shop`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stopped_by: String,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Located>,
}

/// A policy with its rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyDetail {
    /// The policy.
    pub line: PolicyLine,
    /// Local pods that it selects.
    pub pods: Vec<String>,
    /// Its rules as text, by direction.
    pub rules: BTreeMap<String, Vec<String>>,
}
