//! `netpol explain`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use netpol_policy::{
    model::{Object, SourceEvent},
    spec::Cluster,
};

use super::{Ask, Format, output};
use crate::{
    config,
    control::{
        client::ask_one,
        protocol::{Explanation, Question, Request, Response},
    },
    explain, sources,
};

/// What `explain` exits with when the flow does not pass.
const DENIED: u8 = 1;

#[derive(Args, Debug)]
#[command(after_long_help = "An end is one of:\n  \
        production/api              a pod, else a Service of that name (`default/` is meant without a namespace)\n  \
        production/app=api,tier=x   a pod with these labels, which need not exist\n  \
        production/deployment/api   the pods that a workload will have\n  \
        svc/production/api          a Service: by everything that stands behind it\n  \
        10.0.0.7, fd00::7           whoever has this address\n  \
        node                        this node itself\n  \
        world                       any address outside of the cluster\n\n\
        Exit codes: 0 it passes; 1 it does not, or not with every backend of the Service; 2 the question cannot be answered.")]
pub(super) struct Arguments {
    /// Who sends
    #[arg(value_name = "SRC")]
    source: String,
    /// Where to
    #[arg(value_name = "DST")]
    destination: String,
    /// PORT/TCP, PORT/UDP or PORT/SCTP (a Service's own port); ICMP, ICMPv6, proto/NUMBER
    #[arg(value_name = "PORT/PROTO")]
    port: String,
    /// Ask the manifests of this folder instead of a running agent
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
    /// With --manifests: the node that is meant by "this node" [default: the only Node of the folder, else the host's name]
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    node: Option<String>,
    #[command(flatten)]
    ask: Ask,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let question = Question {
        source: arguments.source.replacen("svc:", "svc/", 1),
        destination: arguments.destination.replacen("svc:", "svc/", 1),
        port: arguments.port.clone(),
    };
    let explanation = match &arguments.manifests {
        Some(folder) => from_folder(folder, arguments.node.clone(), &question)?,
        None => match ask_one(&arguments.ask.socket, &Request::Explain(question))? {
            Response::Explanation(explanation) => *explanation,
            _ => anyhow::bail!("the agent answered another question"),
        },
    };
    match arguments.ask.output {
        Format::Json => output::json(&explanation.explanation)?,
        Format::Text => output::text(&explanation.text)?,
    }
    Ok(if explanation.passes { ExitCode::SUCCESS } else { ExitCode::from(DENIED) })
}

fn from_folder(
    folder: &std::path::Path,
    node: Option<String>,
    question: &Question,
) -> anyhow::Result<Explanation> {
    let update = sources::manifests::read_once(folder)?;
    for problem in &update.problems {
        eprintln!("netpol: {problem}");
    }
    anyhow::ensure!(update.synced, "a file of {} cannot be read, so nothing can be said", folder.display());
    let mut objects = Vec::new();
    for event in update.events {
        if let SourceEvent::Reset(all) = event {
            objects = all;
        }
    }
    let node = match node {
        Some(node) => node,
        None => only_node(&objects).map_or_else(config::hostname, Ok)?,
    };
    explain::answer(&Cluster::new(&objects, &node).with_templates(update.templates), question)
}

/// The node of a folder that has only one.
fn only_node(objects: &[Object]) -> Option<String> {
    let mut nodes = objects.iter().filter_map(|object| match object {
        Object::Node(node) => Some(node.name.to_string()),
        _ => None,
    });
    nodes.next().filter(|_| nodes.next().is_none())
}
