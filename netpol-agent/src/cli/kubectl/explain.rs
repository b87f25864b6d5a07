//! `kubectl netpol explain`.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use futures::future::join_all;

use super::{Ask, INCOMPLETE, complain_of};
use crate::{
    cli::explain::{Asked, ENDS, show},
    control::{
        client::AskError,
        protocol::{Explanation, Request, Response},
    },
    nodes::{Agent, Answered, Nodes, Transport, explain::Account},
};

#[derive(Args, Debug)]
#[command(after_long_help = format!("{ENDS}\n{HELP}"))]
pub(super) struct Arguments {
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    ask: Ask,
}

const HELP: &str = "A name without a namespace is of the one that -n names. `node` alone would be the node of whichever agent \
    is asked: say which by node/NAME.\n\n\
    What the objects say is every agent's answer; what the kernel's tables say (\"live:\") is asked of the agents of the \
    nodes where the ends are. --all asks one agent, and is live for its own pods only (--node chooses it). `netpol explain \
    --help` says what -o json holds.\n\n\
    Exit codes: 0 it passes, or --all; 1 it does not, or not with every backend of the Service; 2 the question cannot be \
    answered; 3 as far as is known it passes, but an agent that judges it could not be asked.";

impl Arguments {
    /// What is asked, where the context's namespace is this one.
    ///
    /// # Errors
    /// When an end is not written as one.
    pub(super) fn request(&self, of_context: &str) -> anyhow::Result<Request> {
        self.asked.request(self.ask.home(of_context))
    }
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let client = arguments.ask.cluster.client().await?;
    let request = arguments.request(client.default_namespace())?;
    let nodes = arguments.ask.cluster.nodes(&client).await?;
    let (explanation, missing) = explain(&nodes, &request).await?;
    for Answered { agent, answer } in &missing {
        if let Err(error) = answer {
            complain_of(agent, error);
        }
    }
    let code = show(&explanation, arguments.ask.output)?;
    Ok(if explanation.passes && !missing.is_empty() { ExitCode::from(INCOMPLETE) } else { code })
}

/// One answer of those who judge the flow, and whoever of them has not answered.
pub(super) async fn explain<T: Transport>(
    nodes: &Nodes<T>,
    request: &Request,
) -> anyhow::Result<(Explanation, Vec<Answered>)> {
    let (first, agent, mut silent) = first(nodes, request).await?;
    if matches!(request, Request::Matrix(_)) {
        return Ok((first, Vec::new()));
    }
    let account = Account::read(&first)?;
    let elsewhere = account.elsewhere();
    let unasked = elsewhere.iter().filter(|node| silent.iter().all(|one| one.agent.node != **node));
    let asking = unasked.map(|node| async move {
        let Some(agent) = nodes.on(node) else {
            let agent = Agent { node: node.clone(), ..Agent::default() };
            let why = "it judges this flow, and no agent of it is among those that are asked";
            return Answered { agent, answer: Err(anyhow::Error::msg(why)) };
        };
        nodes.ask(agent, request).await
    });
    let mut others = Vec::new();
    for answered in join_all(asking).await {
        let Answered { agent, answer } = answered;
        match answer.and_then(explanation).and_then(|explanation| Account::read(&explanation)) {
            Ok(account) => others.push(account),
            Err(error) => silent.push(Answered { agent, answer: Err(error) }),
        }
    }
    // Those whose answers would change nothing are not missed.
    silent.retain(|one| one.agent.node != agent.node && elsewhere.contains(&one.agent.node));
    Ok((account.joined(&others)?, silent))
}

/// The first answer that there is, whose it is, and who has not answered before.
async fn first<'a, T: Transport>(
    nodes: &'a Nodes<T>,
    request: &Request,
) -> anyhow::Result<(Explanation, &'a Agent, Vec<Answered>)> {
    let mut agents: Vec<&Agent> = nodes.agents().iter().collect();
    if let Request::Explain(question) = request {
        let alone = [&question.source, &question.destination].contains(&&"node".to_owned());
        anyhow::ensure!(!alone || agents.len() == 1, "`node` may be any of the cluster's: write node/NAME");
        // A node knows its own traffic.
        let sender = question.source.strip_prefix("node/");
        agents.sort_by_key(|agent| sender != Some(agent.node.as_str()));
    }
    let mut silent = Vec::new();
    for agent in agents {
        let Answered { agent: whose, answer } = nodes.ask(agent, request).await;
        match answer.and_then(explanation) {
            Ok(explanation) => return Ok((explanation, agent, silent)),
            Err(error) if matches!(error.downcast_ref(), Some(AskError::Refused(_))) => return Err(error),
            Err(error) => silent.push(Answered { agent: whose, answer: Err(error) }),
        }
    }
    let why: Vec<String> = silent
        .iter()
        .filter_map(|one| Some(format!("node {}: {:#}", one.agent.node, one.answer.as_ref().err()?)))
        .collect();
    Err(anyhow::Error::msg(why.join("\n"))).context("no agent has answered")
}

fn explanation(response: Response) -> anyhow::Result<Explanation> {
    match response {
        Response::Explanation(explanation) => Ok(*explanation),
        _ => Err(AskError::Another.into()),
    }
}
