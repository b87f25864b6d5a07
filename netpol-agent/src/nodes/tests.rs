use std::{collections::BTreeMap, sync::Mutex};

use futures::FutureExt as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, duplex};

use super::*;
use crate::control::protocol::Status;

/// How a fake agent behaves.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    /// It says these lines, the end after them.
    Says(Vec<String>),
    /// It says these lines, and goes on.
    Tells(Vec<String>),
    /// It is never heard of.
    Silent,
    /// It is gone before it has said anything; the way to it knows why, or does not.
    Breaks(Option<&'static str>),
    /// There is no way to it.
    Unreached(&'static str),
}

impl Manner {
    pub(crate) fn says(responses: &[Response]) -> Self {
        Self::Says(lines(responses))
    }

    pub(crate) fn tells(responses: &[Response]) -> Self {
        Self::Tells(lines(responses))
    }
}

fn lines(responses: &[Response]) -> Vec<String> {
    responses.iter().map(|response| serde_json::to_string(response).unwrap()).collect()
}

/// The way to fake agents, by node.
pub(crate) struct Fakes {
    manners: BTreeMap<String, Manner>,
    asked: Mutex<Vec<String>>,
}

impl Transport for Fakes {
    async fn open(&self, agent: &Agent) -> anyhow::Result<Connection> {
        let manner = self.manners[&agent.node].clone();
        if let Manner::Unreached(why) = manner {
            bail!(why);
        }
        let (here, there) = duplex(1 << 20);
        let (from_client, mut to_client) = tokio::io::split(there);
        let mut question = String::new();
        let mut from_client = BufReader::new(from_client);
        let (reader, writer) = tokio::io::split(here);
        let last_words = match manner {
            Manner::Breaks(words) => words.map(str::to_owned),
            _ => None,
        };
        tokio::spawn(async move {
            from_client.read_line(&mut question).await.unwrap();
            let (lines, ends) = match manner {
                Manner::Says(lines) => (lines, true),
                Manner::Tells(lines) => (lines, false),
                Manner::Silent => (Vec::new(), false),
                Manner::Breaks(_) | Manner::Unreached(_) => return,
            };
            for line in lines {
                to_client.write_all(format!("{line}\n").as_bytes()).await.unwrap();
            }
            if ends {
                to_client.write_all(b"{\"response\":\"end\"}\n").await.unwrap();
            }
            // Open until the client goes.
            let mut rest = String::new();
            let _gone = from_client.read_line(&mut rest).await;
            drop(to_client);
        });
        self.asked.lock().unwrap().push(agent.node.clone());
        Ok(Connection {
            reader: Box::new(reader),
            writer: Box::new(writer),
            last_words: async move { last_words }.boxed(),
        })
    }
}

pub(crate) fn agents(manners: &[(&str, Manner)]) -> Nodes<Fakes> {
    let agent = |(node, _): &(&str, Manner)| Agent {
        node: (*node).to_owned(),
        pod: format!("netpol-{node}"),
        fault: None,
    };
    let all = manners.iter().map(agent).collect();
    let manners = manners.iter().map(|(node, manner)| ((*node).to_owned(), manner.clone())).collect();
    Nodes::new(Fakes { manners, asked: Mutex::default() }, all, Duration::from_millis(200))
}

impl Nodes<Fakes> {
    /// The nodes that were asked, in this order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.transport.asked.lock().unwrap().clone()
    }
}

fn status(node: &str) -> Response {
    Response::Status(Box::new(Status { node: node.to_owned(), ..Status::default() }))
}

fn said(answered: &Answered) -> String {
    match &answered.answer {
        Ok(Response::Status(status)) => status.node.clone(),
        Ok(other) => panic!("{other:?}"),
        Err(error) => format!("{error:#}"),
    }
}

#[tokio::test]
async fn an_agent_that_cannot_be_asked_holds_up_no_other_and_says_why() {
    let newer = r#"{"response":"status","version":"9"}"#.to_owned();
    let nodes = agents(&[
        ("a", Manner::says(&[status("a")])),
        ("b", Manner::Silent),
        ("c", Manner::Says(vec![newer])),
        ("d", Manner::Breaks(Some("no agent is running: nobody listens"))),
        ("e", Manner::Breaks(None)),
        ("f", Manner::Unreached("pods/exec is forbidden")),
        ("g", Manner::says(&[Response::Error { message: "not so".to_owned() }])),
        ("h", Manner::says(&[status("h")])),
    ]);
    let all = nodes.ask_all(&Request::Status).await;
    let said: Vec<String> = all.iter().map(said).collect();
    assert_eq!((said[0].as_str(), said[7].as_str()), ("a", "h"));
    assert!(said[1].contains("no answer within 0.2 s") && said[1].contains("--timeout"), "{}", said[1]);
    assert!(said[2].contains("does not understand") && said[2].contains("another version"), "{}", said[2]);
    assert_eq!(said[3], "no agent is running: nobody listens");
    assert_eq!(said[4], "the agent has gone");
    assert_eq!(said[5], "pods/exec is forbidden");
    assert_eq!(said[6], "not so");
}

#[tokio::test]
async fn an_agent_whose_pod_does_not_run_is_not_asked() {
    let mut nodes = agents(&[("a", Manner::says(&[status("a")]))]);
    nodes.agents[0].fault = Some("its pod netpol-a is Pending".to_owned());
    let all = nodes.ask_all(&Request::Status).await;
    assert_eq!(said(&all[0]), "its pod netpol-a is Pending");
    assert!(nodes.asked().is_empty());
}

#[tokio::test]
async fn a_part_that_lets_wait_counts_as_no_answer_unless_whatever_comes_is_asked_for() {
    let nodes = agents(&[("a", Manner::tells(&[status("a")]))]);
    let heard: Vec<Heard<'_>> = nodes.listen(&Request::Status).collect().await;
    assert!(
        matches!(
            heard.iter().map(|heard| &heard.what).collect::<Vec<_>>().as_slice(),
            [What::Begun, What::Said(_), What::Ended(Err(_))]
        ),
        "{heard:?}"
    );
    let follow = Request::Observe { follow: true, last: 0, each: false, filter: Default::default() };
    let listening = nodes.listen(&follow).collect::<Vec<_>>();
    assert!(tokio::time::timeout(Duration::from_millis(500), listening).await.is_err());
}
