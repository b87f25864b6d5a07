//! Answers to questions about the state.

use std::{collections::BTreeMap, time::Duration};

use netpol_common::{
    Direction,
    tables::{SET_CLOSED, SET_NONE},
};
use netpol_policy::{
    engine::{EndpointView, HookLevel, TableOp},
    model::{Key, Policy},
    spec::Cluster,
};

use super::{Datapath, Reconciler, lives::Doubt, usage};
use crate::{
    control::protocol::{
        BridgeLine, CounterLine, EndpointLine, Explanation, PolicyDetail, PolicyLine, RefusedLine, Request,
        Response, Status, TakenOverLine, UnenforcedLine,
    },
    discovery::{Owner, Unenforced},
    explain,
    policy_text::{rule_text, selector_text},
    sources::Located,
};

/// How a direction is where the break-glass switch keeps policies from being enforced.
pub(crate) const BREAK_GLASS: &str = "break-glass";

/// An operation's name, for people.
pub(super) fn name_of(operation: &TableOp) -> String {
    let text = format!("{operation:?}");
    text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}

const fn hook_name(level: HookLevel) -> &'static str {
    match level {
        HookLevel::None => "none",
        HookLevel::SourceCheck => "source-check",
        HookLevel::Full => "full",
    }
}

const fn set_name(set: u32, released: bool) -> &'static str {
    match set {
        SET_NONE if released => BREAK_GLASS,
        SET_NONE => "open",
        SET_CLOSED => "closed",
        _ => "isolated",
    }
}

impl<D: Datapath> Reconciler<D> {
    /// Answers a question; those about verdicts are not ours.
    pub fn answer(&self, request: &Request, uptime: Duration) -> Response {
        match request {
            Request::Status => Response::Status(Box::new(self.status(uptime))),
            Request::Policies => Response::Policies { policies: self.policy_lines() },
            Request::Policy { name } => self.policy(name),
            Request::Explain(question) => {
                self.explained(|cluster| explain::answer(cluster, Some(&|flow| self.live(flow)), question))
            }
            Request::Matrix(question) => {
                self.explained(|cluster| explain::matrix(cluster, Some(&|flow| self.live(flow)), question))
            }
            Request::Observe { .. } => {
                Response::Error { message: "verdicts are not asked for here".to_owned() }
            }
        }
    }

    fn explained(&self, answer: impl Fn(&Cluster) -> anyhow::Result<Explanation>) -> Response {
        if !self.report.synced {
            return Response::Error {
                message: "the objects are not all listed yet; see `netpol status`".to_owned(),
            };
        }
        let given = self
            .engine
            .endpoints()
            .filter_map(|endpoint| Some((endpoint.pod?.key.clone(), endpoint.local.addresses.clone())));
        let cluster = Cluster::new(&self.engine.store().objects(), &self.options.node)
            .with_given_addresses(given)
            .with_templates(self.report.templates.clone())
            .with_service_ranges(self.engine.service_ranges().to_vec())
            .with_host_addresses(self.engine.host_addresses().iter().copied().collect());
        match answer(&cluster) {
            Ok(explanation) => Response::Explanation(Box::new(explanation)),
            Err(error) => Response::Error { message: format!("{error:#}") },
        }
    }

    /// Whether everything is as it should be, and why not.
    fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.report.synced {
            let broken = self.report.problems.iter().filter(|p| p.kind.is_empty()).map(ToString::to_string);
            reasons.push("the objects are not all listed yet".to_owned());
            reasons.extend(broken);
            reasons.extend(self.report.watches.iter().filter(|watch| !watch.listed).map(|watch| {
                let why = watch.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
                format!("{} is not listed{why}", watch.kind)
            }));
        }
        if self.discovered.is_none() {
            reasons.push("the interfaces are not all listed yet".to_owned());
        }
        if !self.settled {
            reasons.push("nothing is written yet".to_owned());
        }
        for (slot, reason) in &self.failed_hooks {
            reasons.push(format!("{} is not hooked: {reason}", self.endpoint_name(*slot)));
        }
        // Hooks are named above.
        let mut unwritten: BTreeMap<String, usize> = BTreeMap::new();
        for operation in self.engine.refused().iter().filter(|op| !matches!(op, TableOp::Hook { .. })) {
            *unwritten.entry(name_of(operation)).or_default() += 1;
        }
        reasons.extend(
            unwritten.into_iter().map(|(name, count)| format!("the kernel has refused {count} times {name}")),
        );
        for (interface, reason) in &self.closed {
            reasons.push(format!(
                "nothing passes from the interface {interface}, which cannot be opened: {reason}"
            ));
        }
        for told in self.endpoints.values().filter(|told| told.homeless) {
            let outcome = if self.datapath.is_gated(told.local.ifindex) {
                "nothing passes from its pod, and what it receives is not judged"
            } else {
                "it is not enforced"
            };
            reasons.push(format!("no slot is left for the interface {}: {outcome}", told.local.ifname));
        }
        reasons
    }

    pub(super) fn endpoint_name(&self, slot: u32) -> String {
        self.engine.endpoint(slot).map_or_else(
            || format!("slot {slot}"),
            |e| {
                format!(
                    "{} ({})",
                    e.local.pod.as_ref().map(ToString::to_string).unwrap_or_default(),
                    e.local.ifname
                )
            },
        )
    }

    /// How the agent is.
    pub fn status(&self, uptime: Duration) -> Status {
        let not_ready = self.not_ready();
        let store = self.engine.store();
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.options.node.clone(),
            ready: not_ready.is_empty(),
            not_ready,
            source: self.options.source.clone(),
            discovery: self.options.discovery.clone(),
            uptime_seconds: uptime.as_secs(),
            revision: self.revision,
            objects: BTreeMap::from([
                ("Namespace".to_owned(), store.namespaces().count()),
                ("Node".to_owned(), store.nodes().count()),
                ("Pod".to_owned(), store.pods()),
                ("Service".to_owned(), store.services().count()),
                ("EndpointSlice".to_owned(), store.slices().count()),
                ("NetworkPolicy".to_owned(), store.policies().count()),
            ]),
            newest: self
                .report
                .newest
                .iter()
                .map(|(kind, version)| (kind.name().to_owned(), *version))
                .collect(),
            skipped: self.report.skipped.clone(),
            watches: self.report.watches.clone(),
            endpoints: self.engine.endpoints().map(|e| self.endpoint_line(&e)).collect(),
            unhooked: self.unhooked(),
            unenforced: self.unenforced().map(unenforced_line).collect(),
            refused: self.refused_lines(),
            synced: self.report.synced,
            heard_seconds_ago: self.heard.map(|heard| heard.elapsed().as_secs()),
            absence: self.absence.clone(),
            break_glass: self.break_glass(),
            enforcers: self.enforcers(),
            bridges: self.bridges(),
            policies: self.policy_lines(),
            problems: self.problems(),
            faults: self.faults.iter().cloned().collect(),
            tables: usage::lines(&self.engine, &self.options.sizes),
            ..Status::default()
        };
        for doubt in self.lives.said() {
            match doubt {
                Doubt::Closed(what) | Doubt::Programs(what) => status.faults.push(what.clone()),
                Doubt::Object(what) => status.problems.push(what.clone()),
                Doubt::Unenforced(_) => {}
            }
        }
        status.faults.extend(self.broken_hooks());
        status.faults.extend(self.blind().cloned());
        (status.repaired, status.hooks_repaired) = self.repaired();
        status.faults.extend(self.datapath.takeover_fault());
        if let Some(discovered) = &self.discovered {
            status.faults.extend(discovered.problems.iter().cloned());
        }
        match self.datapath.counters() {
            Ok(counters) => {
                status.lost_events = counters.lost;
                status.limited_events = counters.limited;
                status.flows_refused = counters.flow_full;
                let line =
                    |(direction, reason, packets): (Direction, netpol_common::Reason, u64)| CounterLine {
                        direction: direction.name().to_owned(),
                        reason: reason.name().to_owned(),
                        packets,
                    };
                status.counters = counters.verdicts.into_iter().map(line).collect();
            }
            Err(error) => status.faults.push(format!("cannot read the counters: {error}")),
        }
        status
    }

    fn endpoint_line(&self, endpoint: &EndpointView<'_>) -> EndpointLine {
        let local = self.discovered.as_ref().and_then(|d| d.pods.get(&endpoint.local.ifindex));
        let judged = |direction: Direction| {
            set_name(endpoint.sets[direction.index()], endpoint.released[direction.index()]).to_owned()
        };
        EndpointLine {
            pod: endpoint.local.pod.as_ref().map(ToString::to_string).unwrap_or_default(),
            interface: endpoint.local.ifname.to_string(),
            found_by: local.map(|local| local.owner.said_by().to_owned()).unwrap_or_default(),
            slot: endpoint.slot,
            addresses: endpoint.local.addresses.iter().map(ToString::to_string).collect(),
            hook: hook_name(endpoint.hook).to_owned(),
            ingress: judged(Direction::Ingress),
            egress: judged(Direction::Egress),
            tag_trusted: endpoint.local.tag_trusted,
            taken_over: self.datapath.taken_over(endpoint.slot).map(|taken| TakenOverLine {
                table: taken.table,
                conntrack: taken.conntrack,
                sockets: taken.sockets,
                refused: taken.refused,
                unknown: taken.unknown.unwrap_or_default(),
            }),
        }
    }

    fn problems(&self) -> Vec<Located> {
        let mut problems = self.report.problems.to_vec();
        problems.extend(self.engine.problems().iter().map(|p| Located::of(p, None, None)));
        problems
    }

    fn unhooked(&self) -> Vec<String> {
        let Some(discovered) = &self.discovered else { return Vec::new() };
        let reason = |ifindex: &u32| match (discovered.pods.get(ifindex), discovered.waiting.get(ifindex)) {
            (Some(local), _) => {
                let pod = match &local.owner {
                    Owner::Named { pod, .. } => pod.to_string(),
                    Owner::Uids(uids) => format!("with the UID {}", uids.join(" or ")),
                };
                Some(format!(
                    "{}: the pod {pod} is not among the objects, and was there before the agent",
                    local.interface
                ))
            }
            (None, Some(name)) => {
                Some(format!("{name}: nobody says whose it is, and it was there before the agent"))
            }
            (None, None) => None,
        };
        self.strangers.iter().filter_map(reason).collect()
    }

    fn bridges(&self) -> Vec<BridgeLine> {
        let Some(discovered) = &self.discovered else { return Vec::new() };
        let used: std::collections::BTreeSet<u32> =
            discovered.pods.values().filter_map(|local| local.bridge).collect();
        let line = |ifindex: u32| {
            let bridge = discovered.bridges.get(&ifindex)?;
            let trusted = self.trusted.contains(&ifindex);
            let reason = if trusted { None } else { self.distrust(discovered, ifindex) };
            Some(BridgeLine { name: bridge.name.clone(), trusted, reason: reason.unwrap_or_default() })
        };
        used.into_iter().filter_map(line).collect()
    }

    fn refused_lines(&self) -> Vec<RefusedLine> {
        let line = |(slot, reason): (&u32, &String)| {
            let endpoint = self.engine.endpoint(*slot)?;
            Some(RefusedLine {
                pod: endpoint.local.pod.as_ref().map(ToString::to_string).unwrap_or_default(),
                interface: endpoint.local.ifname.to_string(),
                reason: reason.clone(),
            })
        };
        self.failed_hooks.iter().filter_map(line).collect()
    }

    fn policy_lines(&self) -> Vec<PolicyLine> {
        let problems = self.problems();
        self.sorted_policies().into_iter().map(|policy| self.policy_line(policy, &problems)).collect()
    }

    fn sorted_policies(&self) -> Vec<&Policy> {
        let mut policies: Vec<&Policy> = self.engine.store().policies().map(AsRef::as_ref).collect();
        policies.sort_by(|a, b| a.key.cmp(&b.key));
        policies
    }

    fn policy_line(&self, policy: &Policy, problems: &[Located]) -> PolicyLine {
        let name = policy.key.to_string();
        let problems: Vec<Located> =
            problems.iter().filter(|p| p.kind == "NetworkPolicy" && p.object == name).cloned().collect();
        let stopped_by = self.stopped_by(&policy.key.namespace);
        let isolates = [(Direction::Ingress, "Ingress"), (Direction::Egress, "Egress")];
        PolicyLine {
            policy: name,
            isolates: isolates
                .iter()
                .filter(|(direction, _)| policy.rules(*direction).is_some())
                .map(|(_, text)| (*text).to_owned())
                .collect(),
            selects: selector_text(&policy.pod_selector),
            local_pods: self.engine.isolated_by(&policy.key).len(),
            realized: problems.is_empty() && stopped_by.is_empty() && self.settled && !self.dirty,
            stopped_by,
            problems,
        }
    }

    fn policy(&self, name: &str) -> Response {
        let (namespace, short) = name.split_once('/').unwrap_or(("default", name));
        let Some(policy) = self.engine.store().policy(&Key::new(namespace, short)) else {
            return Response::Error {
                message: format!("there is no policy {namespace}/{short}; `netpol policy list` names them"),
            };
        };
        let slots = self.engine.isolated_by(&policy.key);
        let mut pods: Vec<String> = slots.into_iter().map(|slot| self.endpoint_name(slot)).collect();
        pods.sort();
        let mut rules = BTreeMap::new();
        for direction in Direction::ALL {
            if let Some(list) = policy.rules(direction) {
                rules.insert(
                    direction.name().to_owned(),
                    list.iter().map(|r| rule_text(r, direction)).collect(),
                );
            }
        }
        Response::Policy(Box::new(PolicyDetail {
            line: self.policy_line(policy, &self.problems()),
            pods,
            rules,
        }))
    }
}

fn unenforced_line(what: &Unenforced) -> UnenforcedLine {
    let detail = if what.detail.is_empty() { String::new() } else { format!(": {}", what.detail) };
    UnenforcedLine {
        pod: what.pod.as_ref().map(ToString::to_string).unwrap_or_default(),
        interface: what.interface.clone(),
        cause: what.cause.name().to_owned(),
        message: format!("{}{detail}", what.cause.meaning()),
        remedy: what.cause.remedy().to_owned(),
    }
}
