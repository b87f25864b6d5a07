//! `kubectl netpol observe`.

use std::{collections::BTreeSet, pin::pin, process::ExitCode, time::Instant};

use clap::Args;
use futures::StreamExt as _;

use super::{Cluster, code, complain_of};
use crate::{
    cli::{
        observe::{Wanted, Writer, help, test},
        output,
    },
    control::protocol::{Flag, Request, Response, Test},
    nodes::{
        Agent, Heard, Nodes, Transport, What,
        order::{Order, Tale, Told},
    },
};

/// Past verdicts that are shown where nothing else is said.
const LAST: usize = 1000;

#[derive(Args, Debug)]
#[command(after_help = help::SHORT, after_long_help = help::long())]
pub(super) struct Arguments {
    /// Past verdicts to show first, of all nodes together [default: 1000; with --follow none; all with --since]
    #[arg(long, value_name = "COUNT")]
    last: Option<usize>,
    #[command(flatten)]
    cluster: Cluster,
    /// A pod or Service of this namespace at either end; may be repeated [default: the namespace of the kubeconfig's context,
    /// unless a filter says who the ends are]
    #[arg(
        short,
        long,
        value_name = "NAMESPACE",
        value_parser = test(Flag::Namespace),
        help_heading = "Filters"
    )]
    namespace: Vec<Test>,
    /// Of all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace", help_heading = "Filters")]
    all_namespaces: bool,
    #[command(flatten)]
    wanted: Wanted,
}

impl Arguments {
    /// What is asked, where the context's namespace is this one.
    pub(super) fn request(&self, of_context: &str) -> anyhow::Result<Request> {
        let Self { last, namespace, all_namespaces, wanted, .. } = self;
        let home = namespace.first().map_or(of_context, Test::value);
        let unsaid = namespace.is_empty() && !all_namespaces && !wanted.names_ends();
        let of_home = unsaid.then(|| Test::new(Flag::Namespace, home)).transpose()?;
        let namespaces: Vec<Test> = namespace.iter().cloned().chain(of_home).collect();
        let of_past = (!wanted.follow && wanted.since.is_none()).then_some(LAST);
        wanted.request(last.or(of_past), &namespaces, home)
    }
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.wanted.reasons {
        output::text(&help::reasons())?;
        return Ok(ExitCode::SUCCESS);
    }
    let client = arguments.cluster.client().await?;
    let request = arguments.request(client.default_namespace())?;
    let nodes = arguments.cluster.nodes(&client).await?;
    let mut writer = Writer::new(&arguments.wanted);
    observe(&nodes, &request, &mut |Told { node, tale }| match tale {
        Tale::Verdict(verdict) => writer.verdict(Some(&node), &verdict),
        Tale::Gap(gap) => writer.gap(Some(&node), &gap),
    })
    .await
}

/// Hands what the agents tell to `write` in the order of its time, until all have ended.
pub(super) async fn observe<T: Transport>(
    nodes: &Nodes<T>,
    request: &Request,
    write: &mut impl FnMut(Told) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let (follow, last) = match request {
        Request::Observe { follow, last, .. } => (*follow, *last),
        _ => (false, 0),
    };
    // None of the past was asked for: whatever comes is to be told.
    let mut order = Order::new(if follow && last == 0 { usize::MAX } else { last });
    let name = |agent: &Agent| (agent.node.clone(), agent.pod.clone());
    let mut silent: BTreeSet<(String, String)> = nodes.agents().iter().map(name).collect();
    let mut broken = 0;
    let mut heard = pin!(nodes.listen(request));
    loop {
        if follow && silent.is_empty() {
            order.open(Instant::now());
        }
        let due = order.due().map(tokio::time::Instant::from_std);
        tokio::select! {
            () = async { tokio::time::sleep_until(due.unwrap_or_else(tokio::time::Instant::now)).await }, if due.is_some() => {
                order.ripe(Instant::now()).into_iter().try_for_each(&mut *write)?;
            }
            next = heard.next() => {
                let Some(Heard { agent, what }) = next else { break };
                silent.remove(&name(agent));
                let tale = match what {
                    What::Said(Response::Verdict(verdict)) => Tale::Verdict(verdict),
                    What::Said(Response::Gap(gap)) => Tale::Gap(gap),
                    What::Ended(Err(error)) => {
                        complain_of(agent, &error);
                        broken += 1;
                        continue;
                    }
                    What::Begun | What::Said(_) | What::Ended(Ok(())) => continue,
                };
                order.take(Told { node: agent.node.clone(), tale }, Instant::now());
            }
        }
    }
    order.rest().into_iter().try_for_each(write)?;
    Ok(code(broken, nodes.agents().len()))
}
