//! `netpol explain`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use netpol_policy::{
    model::{Object, SourceEvent},
    spec::Cluster,
    why::End,
};

use super::{Ask, Format, output};
use crate::{
    config,
    control::{
        client::{AskError, ask_one},
        protocol::{Explanation, MatrixQuestion, Question, Request, Response},
    },
    explain::{answer, matrix},
    sources,
};

/// What `explain` exits with when the flow does not pass.
const DENIED: u8 = 1;

#[derive(Args, Debug)]
#[command(after_long_help = format!("{ENDS}\n{HELP}"))]
pub(super) struct Arguments {
    #[command(flatten)]
    asked: Asked,
    /// Ask the manifests of this folder instead of a running agent
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
    /// With --manifests: the node that is meant by "this node" [default: the only Node of the folder, else the host's name]
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    node: Option<String>,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Args, Debug)]
pub(super) struct Asked {
    /// Who sends
    #[arg(value_name = "SRC", required_unless_present = "all")]
    source: Option<String>,
    /// Where to
    #[arg(value_name = "DST", required_unless_present = "all")]
    destination: Option<String>,
    /// PORT/TCP, PORT/UDP or PORT/SCTP (a Service's own port); ICMP, ICMPv6, proto/NUMBER
    #[arg(value_name = "PORT/PROTO", required_unless_present = "all")]
    port: Option<String>,
    /// Instead: who may begin a flow with which pod of this namespace
    #[arg(long, value_name = "NAMESPACE", conflicts_with_all = ["source", "destination", "port"])]
    all: Option<String>,
    /// With --all: the port that is asked for [default: the ports that the pods name and that Services lead to, else 80/TCP]
    #[arg(long = "port", value_name = "PORT/PROTO", requires = "all")]
    matrix_port: Option<String>,
}

/// How an end is written.
pub(super) const ENDS: &str = "An end is one of:\n  \
    production/api              a pod, else a Service of that name\n  \
    production/app=api,tier=x   a pod with these labels, which need not exist\n  \
    production/deployment/api   the pods that a workload will have\n  \
    svc/production/api          a Service: by everything that stands behind it\n  \
    10.0.0.7, fd00::7           whoever has this address: a pod, a Service, a NodePort, or nobody\n  \
    node, node/NAME             this node itself, another node\n  \
    world                       any address outside of the cluster\n";

const HELP: &str = "A name without a namespace is of `default`.\n\n\
    A running agent is also asked what the first packet of such a flow meets in the kernel's tables now. That is said \
    behind \"live:\", and at the top where it is not what the objects say (\"differs:\", with what may be the cause).\n\n\
    With -o json: `outcome` (allowed, denied, differs, nowhere), `notes`, and for each flow `source`, `destination`, \
    `payload`, `frontend`, `paths` (addresses), `allowed`, `egress` and `ingress`. A side has a `verdict`; `by` names the \
    rules that allow, `policies` those that isolate, with the `nearest` rule of each and its `miss`. From an agent also \
    `liveDiffers`, and for each flow `live`: by addresses, `egress` and `ingress` with their `state`, `verdict`, `reason`, \
    `policies`, `peer`, `ports`, `node` where another node judges, and the `differences`. With --all: `matrix` of \
    `columns` and `rows`, whose `cells` stand in the order of the columns.\n\n\
    Exit codes: 0 it passes, or --all; 1 it does not, or not with every backend of the Service; 2 the question cannot be \
    answered.";

impl Asked {
    /// What is asked. A name without a namespace is of `home`.
    ///
    /// # Errors
    /// When an end is not written as one.
    pub(super) fn request(&self, home: &str) -> anyhow::Result<Request> {
        let end = |text: &Option<String>| {
            let text = text.clone().unwrap_or_default().replacen("svc:", "svc/", 1);
            End::parse(&text, home).map(|end| end.to_string())
        };
        Ok(match &self.all {
            Some(namespace) => Request::Matrix(MatrixQuestion {
                namespace: namespace.clone(),
                port: self.matrix_port.clone(),
            }),
            None => Request::Explain(Question {
                source: end(&self.source)?,
                destination: end(&self.destination)?,
                port: self.port.clone().unwrap_or_default(),
            }),
        })
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let request = arguments.asked.request("default")?;
    let explanation = match &arguments.manifests {
        Some(folder) => from_folder(&cluster_of(folder, arguments.node.clone())?, &request)?,
        None => match ask_one(&arguments.ask.socket, &request)? {
            Response::Explanation(explanation) => *explanation,
            _ => return Err(AskError::Another.into()),
        },
    };
    show(&explanation, arguments.ask.output)
}

/// Writes an answer, and says by the exit code what it is.
pub(super) fn show(explanation: &Explanation, format: Format) -> anyhow::Result<ExitCode> {
    match format {
        Format::Json => output::json(&explanation.explanation)?,
        Format::Text => output::text(&explanation.text)?,
    }
    Ok(if explanation.passes { ExitCode::SUCCESS } else { ExitCode::from(DENIED) })
}

fn from_folder(cluster: &Cluster, request: &Request) -> anyhow::Result<Explanation> {
    match request {
        Request::Matrix(question) => matrix(cluster, None, question),
        Request::Explain(question) => answer(cluster, None, question),
        _ => anyhow::bail!("a folder answers no other question"),
    }
}

fn cluster_of(folder: &std::path::Path, node: Option<String>) -> anyhow::Result<Cluster> {
    let update = sources::manifests::read_once(folder)?;
    for problem in update.problems.iter() {
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
    Ok(Cluster::new(&objects, &node).with_templates(update.templates))
}

/// The node of a folder that has only one.
fn only_node(objects: &[Object]) -> Option<String> {
    let mut nodes = objects.iter().filter_map(|object| match object {
        Object::Node(node) => Some(node.name.to_string()),
        _ => None,
    });
    nodes.next().filter(|_| nodes.next().is_none())
}
