//! The agents of a cluster's nodes, asked side by side.
//!
//! Each is asked over a connection of its own in the protocol of [`control`](crate::control), with a time limit. One that
//! cannot be asked is an answer, too, and holds up no other.

pub mod exec;
pub mod explain;
pub mod find;
pub mod order;

use std::{fmt, time::Duration};

use anyhow::{Context as _, bail};
use futures::{
    Stream, StreamExt as _,
    future::BoxFuture,
    stream::{self, SelectAll},
};
use tokio::io::{AsyncRead, AsyncWrite};

pub use self::find::Agent;
use crate::control::{
    client::{Answers, AskError},
    protocol::{Request, Response},
};

/// Agents that are asked at the same time.
const AT_ONCE: usize = 64;

/// A way to agents.
pub trait Transport {
    /// Connects with the socket of an agent.
    ///
    /// # Errors
    /// When there is no way to it.
    fn open(&self, agent: &Agent) -> impl Future<Output = anyhow::Result<Connection>>;
}

/// A connection with an agent.
pub struct Connection {
    /// What it says.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// What it is told.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// Why it broke off, where the way to the agent knows; asked only then.
    pub last_words: BoxFuture<'static, Option<String>>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

/// The agents that are asked, and the way to them.
#[derive(Debug)]
pub struct Nodes<T> {
    transport: T,
    agents: Vec<Agent>,
    patience: Duration,
}

/// What an agent has answered, or why not.
#[derive(Debug)]
pub struct Answered {
    /// Whose answer it is.
    pub agent: Agent,
    /// The answer.
    pub answer: anyhow::Result<Response>,
}

/// What comes of an agent that answers in parts.
#[derive(Debug)]
pub struct Heard<'a> {
    /// Whose it is.
    pub agent: &'a Agent,
    /// What.
    pub what: What,
}

/// What comes.
#[derive(Debug)]
pub enum What {
    /// It was asked.
    Begun,
    /// A part of its answer.
    Said(Response),
    /// Nothing more comes of it; an error where that is not the end of its answer.
    Ended(anyhow::Result<()>),
}

impl<T: Transport> Nodes<T> {
    /// These agents, each of which has so long for an answer.
    #[must_use]
    pub const fn new(transport: T, agents: Vec<Agent>, patience: Duration) -> Self {
        Self { transport, agents, patience }
    }

    /// The agents, by node.
    #[must_use]
    pub fn agents(&self) -> &[Agent] {
        &self.agents
    }

    /// The agent of a node.
    #[must_use]
    pub fn on(&self, node: &str) -> Option<&Agent> {
        self.agents.iter().find(|agent| agent.node == node)
    }

    /// Asks one agent for a single answer.
    pub async fn ask(&self, agent: &Agent, request: &Request) -> Answered {
        let asking = async {
            let mut conversation = self.begin(agent, request).await?;
            let answer = conversation.next().await?.context("the agent answered nothing")?;
            while conversation.next().await?.is_some() {}
            Ok(answer)
        };
        Answered { agent: agent.clone(), answer: self.in_time(asking).await }
    }

    /// Asks all of them for a single answer, which stand in the order of the agents.
    pub async fn ask_all(&self, request: &Request) -> Vec<Answered> {
        stream::iter(&self.agents).map(|agent| self.ask(agent, request)).buffered(AT_ONCE).collect().await
    }

    /// Asks all of them for an answer in parts, and gives each as it comes. Whoever reads slowly makes the agents wait.
    pub fn listen<'a>(&'a self, request: &'a Request) -> impl Stream<Item = Heard<'a>> + 'a {
        let all: SelectAll<_> =
            self.agents.iter().map(|agent| Box::pin(self.listen_to(agent, request))).collect();
        all
    }

    fn listen_to<'a>(&'a self, agent: &'a Agent, request: &'a Request) -> impl Stream<Item = Heard<'a>> + 'a {
        let endless = matches!(request, Request::Observe { follow: true, .. });
        stream::unfold(Some(None::<Conversation>), move |state| async move {
            let (what, next) = match state? {
                None => match self.in_time(self.begin(agent, request)).await {
                    Ok(conversation) => (What::Begun, Some(Some(conversation))),
                    Err(error) => (What::Ended(Err(error)), None),
                },
                Some(mut conversation) => {
                    let part = if endless {
                        conversation.next().await
                    } else {
                        self.in_time(conversation.next()).await
                    };
                    match part {
                        Ok(Some(response)) => (What::Said(response), Some(Some(conversation))),
                        Ok(None) => (What::Ended(Ok(())), None),
                        Err(error) => (What::Ended(Err(error)), None),
                    }
                }
            };
            Some((Heard { agent, what }, next))
        })
    }

    async fn begin(&self, agent: &Agent, request: &Request) -> anyhow::Result<Conversation> {
        if let Some(fault) = &agent.fault {
            bail!("{fault}");
        }
        let Connection { reader, writer, last_words } = self.transport.open(agent).await?;
        match Answers::ask(reader, writer, request).await {
            Ok(answers) => Ok(Conversation { answers, last_words: Some(last_words) }),
            Err(error) => Err(explained(error, Some(last_words)).await),
        }
    }

    async fn in_time<O>(&self, asking: impl Future<Output = anyhow::Result<O>>) -> anyhow::Result<O> {
        tokio::time::timeout(self.patience, asking).await.unwrap_or_else(|_late| {
            bail!("no answer within {} s (--timeout gives it longer)", self.patience.as_secs_f32())
        })
    }
}

/// A question that an agent is answering.
struct Conversation {
    answers: Answers<Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>>,
    last_words: Option<BoxFuture<'static, Option<String>>>,
}

impl Conversation {
    async fn next(&mut self) -> anyhow::Result<Option<Response>> {
        match self.answers.next().await {
            Ok(part) => Ok(part),
            Err(error) => Err(explained(error, self.last_words.take()).await),
        }
    }
}

/// Why an agent cannot be spoken with: where the connection broke off, what the way to it says of that.
async fn explained(error: AskError, last_words: Option<BoxFuture<'static, Option<String>>>) -> anyhow::Error {
    if let (AskError::Gone | AskError::Io(_), Some(last_words)) = (&error, last_words)
        && let Some(words) = last_words.await
    {
        return anyhow::Error::msg(words);
    }
    error.into()
}

#[cfg(test)]
pub(crate) mod tests;
