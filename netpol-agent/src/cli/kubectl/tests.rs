use clap::Parser as _;

use super::{complete::choices, *};
use crate::{
    control::protocol::{
        CounterLine, EndpointLine, Explanation, LivePath, LiveSide, LiveVerdict, Moment, Outcome,
        PolicyDetail, PolicyLine, Request, Status, Verdict,
    },
    nodes::{
        Nodes,
        order::{Tale, Told},
        tests::{Fakes, Manner, agents},
    },
    verdicts::text::tests::denied,
};

fn parsed(line: &str) -> Command {
    Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{error}")).command
}

fn observed(line: &str) -> (usize, Vec<String>) {
    let Command::Observe(arguments) = parsed(line) else { panic!("{line}") };
    let Request::Observe { last, filter, .. } = arguments.request("of-context").unwrap() else { panic!() };
    (last, filter.wanted.iter().map(ToString::to_string).collect())
}

#[test]
fn help_speaks_of_kubectl() {
    for line in ["--help", "observe --help", "explain -h"] {
        let words = ["kubectl-netpol"].into_iter().chain(line.split_whitespace());
        let help = Cli::try_parse_from(words).unwrap_err().to_string();
        assert!(help.contains("Usage: kubectl netpol"), "{help}");
    }
}

#[test]
fn verdicts_are_of_the_contexts_namespace_unless_something_else_is_said() {
    for (line, wanted) in [
        ("k observe", &["namespace=of-context"][..]),
        ("k observe -n production", &["namespace=production"]),
        ("k observe -n a --namespace b", &["namespace=a", "namespace=b"]),
        ("k observe -A", &[]),
        ("k observe --to-port 80", &["namespace=of-context", "to-port=80"]),
        ("k observe --from production/api", &["from=production/api"]),
        ("k observe --from api", &["from=of-context/api"]),
        ("k observe -n production --from api", &["namespace=production", "from=production/api"]),
        ("k observe -A --verdict dropped", &["verdict=dropped"]),
    ] {
        assert_eq!(observed(line).1, wanted, "{line}");
    }
    assert!(Cli::try_parse_from(["k", "observe", "-A", "-n", "a"]).is_err());
}

#[test]
fn without_a_number_the_last_thousand_are_shown_and_none_with_follow() {
    for (line, last) in [
        ("k observe", 1000),
        ("k observe --last 5", 5),
        ("k observe --since 1h", usize::MAX),
        ("k observe -f", 0),
        ("k observe -f --since 1h", usize::MAX),
    ] {
        assert_eq!(observed(line).0, last, "{line}");
    }
}

fn verdict(milliseconds: i64) -> Response {
    Response::Verdict(Box::new(Verdict { time: Moment::from_milliseconds(milliseconds), ..denied() }))
}

async fn written(nodes: &Nodes<Fakes>, follow: bool, last: usize) -> (Vec<(String, i64)>, ExitCode) {
    let request = Request::Observe { follow, last, each: false, filter: Default::default() };
    let mut written = Vec::new();
    let code = observe::observe(nodes, &request, &mut |Told { node, tale }| {
        let Tale::Verdict(verdict) = tale else { panic!() };
        written.push((node, verdict.time.milliseconds()));
        // A follower goes when it has seen enough.
        anyhow::ensure!(!follow || written.len() < 4, "enough");
        Ok(())
    })
    .await;
    (written, code.unwrap_or(ExitCode::SUCCESS))
}

fn pairs(written: &[(String, i64)]) -> Vec<(&str, i64)> {
    written.iter().map(|(node, time)| (node.as_str(), *time)).collect()
}

#[tokio::test]
async fn verdicts_of_all_nodes_stand_in_the_order_of_their_time() {
    let nodes = agents(&[
        ("a", Manner::says(&[verdict(100), verdict(400)])),
        ("b", Manner::says(&[verdict(200), verdict(300)])),
    ]);
    let (all, code) = written(&nodes, false, 1000).await;
    assert_eq!(pairs(&all), [("a", 100), ("b", 200), ("b", 300), ("a", 400)]);
    assert_eq!(code, ExitCode::SUCCESS);
    let (last, _) = written(&nodes, false, 2).await;
    assert_eq!(pairs(&last), [("b", 300), ("a", 400)]);
}

#[tokio::test]
async fn the_others_verdicts_are_shown_when_an_agent_is_broken_and_the_exit_code_says_so() {
    let garbled = Manner::Says(vec!["{\"response\":\"verdict\"}".to_owned()]);
    let good = Manner::says(&[verdict(100)]);
    for broken in [garbled, Manner::Silent, Manner::Breaks(None), Manner::Unreached("forbidden")] {
        let nodes = agents(&[("a", good.clone()), ("b", broken.clone())]);
        let (all, code) = written(&nodes, false, 1000).await;
        assert_eq!((pairs(&all), code), (vec![("a", 100)], ExitCode::from(INCOMPLETE)), "{broken:?}");
        let (all, code) = written(&agents(&[("b", broken.clone())]), false, 1000).await;
        assert_eq!((pairs(&all), code), (vec![], ExitCode::from(FAILURE)), "{broken:?}");
    }
}

#[tokio::test]
async fn whoever_follows_sees_the_nodes_merged_though_one_of_them_is_broken() {
    let nodes = agents(&[
        ("a", Manner::tells(&[verdict(100), verdict(400)])),
        ("b", Manner::tells(&[verdict(200), verdict(300)])),
        ("c", Manner::Unreached("forbidden")),
    ]);
    let (all, _) = written(&nodes, true, 0).await;
    assert_eq!(pairs(&all), [("a", 100), ("b", 200), ("b", 300), ("a", 400)]);
}

/// What an agent says of the flow from n/b on `n1` to n/a on `n2`.
fn explained(by: &str) -> Response {
    let documents = serde_json::json!([
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "n"},
            "spec": {"nodeName": "n2"}, "status": {"podIPs": [{"ip": "10.0.0.5"}]}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b", "namespace": "n"},
            "spec": {"nodeName": "n1"}, "status": {"podIPs": [{"ip": "10.0.0.6"}]}},
    ]);
    let reads = documents.as_array().unwrap().iter().flat_map(netpol_policy::read::read_document);
    let objects: Vec<_> = reads
        .filter_map(|read| match read {
            netpol_policy::read::Read::Object { object, .. } => Some(object),
            _ => None,
        })
        .collect();
    let side = |node: &str| {
        if node != by {
            return LiveSide::Elsewhere { why: "on its own node".to_owned(), node: Some(node.to_owned()) };
        }
        LiveSide::Judged(Box::new(LiveVerdict {
            verdict: Outcome::Allowed,
            reason: "not-isolated".to_owned(),
            meaning: format!("{by} lets it pass"),
            policies: Vec::new(),
            peer: Vec::new(),
            ports: String::new(),
            backends: Vec::new(),
            known_flows: 0,
            denied_flows: 0,
        }))
    };
    let live = |flow: &netpol_policy::why::FlowExplanation| {
        let path = |path: &netpol_policy::why::Path| LivePath {
            source: path.source,
            destination: path.destination,
            egress: side("n1"),
            ingress: side("n2"),
            differences: Vec::new(),
        };
        flow.paths.iter().map(path).collect()
    };
    let cluster = netpol_policy::spec::Cluster::new(&objects, by);
    let Request::Explain(question) = question("n/b") else { panic!() };
    Response::Explanation(Box::new(crate::explain::answer(&cluster, Some(&live), &question).unwrap()))
}

fn question(source: &str) -> Request {
    let Command::Explain(arguments) = parsed(&format!("k explain {source} n/a 80/TCP")) else { panic!() };
    arguments.request("of-context").unwrap()
}

async fn explain_from(nodes: &Nodes<Fakes>, source: &str) -> anyhow::Result<(Explanation, Vec<Answered>)> {
    explain::explain(nodes, &question(source)).await
}

#[tokio::test]
async fn a_flow_is_explained_by_the_nodes_of_its_ends_and_no_other_is_asked() {
    let answers = |by: &str| Manner::says(&[explained(by)]);
    let nodes = agents(&[
        ("n0", answers("n0")),
        ("n1", answers("n1")),
        ("n2", answers("n2")),
        ("n3", Manner::Silent),
    ]);
    let (explanation, missing) = explain_from(&nodes, "n/b").await.unwrap();
    assert!(missing.is_empty() && explanation.passes);
    for word in ["n1 lets it pass", "n2 lets it pass", "(live: the same)"] {
        assert!(explanation.text.contains(word), "{}", explanation.text);
    }
    assert_eq!(nodes.asked(), ["n0", "n1", "n2"]);
}

#[tokio::test]
async fn a_node_that_judges_and_does_not_answer_is_missed_and_one_that_does_not_judge_is_not() {
    let answers = |by: &str| Manner::says(&[explained(by)]);
    let nodes = agents(&[("n0", Manner::Silent), ("n1", answers("n1")), ("n2", Manner::Breaks(None))]);
    let (explanation, missing) = explain_from(&nodes, "n/b").await.unwrap();
    assert!(explanation.passes && explanation.text.contains("not judged here"), "{}", explanation.text);
    assert_eq!(missing.iter().map(|one| one.agent.node.as_str()).collect::<Vec<_>>(), ["n2"]);
    let nodes = agents(&[("n1", answers("n1"))]);
    let (_, missing) = explain_from(&nodes, "n/b").await.unwrap();
    assert!(missing[0].agent.node == "n2" && missing[0].answer.is_err());
}

#[tokio::test]
async fn a_question_that_an_agent_refuses_is_put_to_no_other() {
    let refusal = Response::Error { message: "there is no pod n/b".to_owned() };
    let nodes = agents(&[("n1", Manner::says(&[refusal])), ("n2", Manner::Silent)]);
    assert_eq!(explain_from(&nodes, "n/b").await.unwrap_err().to_string(), "there is no pod n/b");
    assert_eq!(nodes.asked(), ["n1"]);
    let error = explain_from(&nodes, "node").await.unwrap_err().to_string();
    assert!(error.contains("node/NAME"), "{error}");
    let nodes = agents(&[("n1", Manner::Silent), ("n2", Manner::Unreached("forbidden"))]);
    let error = format!("{:#}", explain_from(&nodes, "n/b").await.unwrap_err());
    assert!(error.contains("node n1: no answer") && error.contains("node n2: forbidden"), "{error}");
}

fn answers<T>(all: Vec<(&str, anyhow::Result<T>)>) -> Answers<T> {
    let answer = |(node, answer): (&str, anyhow::Result<T>)| Answer {
        agent: Agent { node: node.to_owned(), pod: format!("netpol-{node}"), fault: None },
        answer,
    };
    Answers(all.into_iter().map(answer).collect())
}

#[test]
fn a_status_has_a_line_for_each_node_also_for_those_without_an_agent_and_their_sum() {
    let counter = |reason: &str, packets| CounterLine {
        direction: "ingress".to_owned(),
        reason: reason.to_owned(),
        packets,
    };
    let status = |ready, denied| Status {
        version: "1".to_owned(),
        ready,
        not_ready: if ready { Vec::new() } else { vec!["nothing is written yet".to_owned()] },
        endpoints: vec![EndpointLine::default(); 2],
        counters: vec![counter("policy-denied", denied), counter("policy", 1000)],
        ..Status::default()
    };
    let all = answers(vec![
        ("n1", Ok(status(true, 5))),
        ("n2", Ok(status(false, 7))),
        ("n3", Err(anyhow::anyhow!("forbidden"))),
    ]);
    let text = status::summary(&all, &["n1", "n2", "n3", "n4"].map(str::to_owned));
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<Vec<String>> = text.lines().map(words).collect();
    assert_eq!(lines[1], ["n1", "yes", "1", "0", "s", "2", "0", "5", "0", "0"]);
    assert_eq!(lines[2][..2], ["n2", "NO"]);
    assert_eq!(lines[3], ["n3", "NO", "ANSWER"]);
    assert_eq!(lines[4], ["n4", "NO", "AGENT"]);
    assert_eq!(lines[5], ["all", "1", "of", "4", "4", "0", "12", "0", "0"]);
    assert!(text.contains("n2: not ready: nothing is written yet"), "{text}");
    let json = serde_json::to_value(all.json()).unwrap();
    assert_eq!(json[0]["answer"]["version"], "1");
    assert!(json[2]["answer"].is_null() && json[2]["error"] == "forbidden", "{json}");
}

fn policy(name: &str, local_pods: usize, realized: bool) -> PolicyLine {
    PolicyLine { policy: name.to_owned(), local_pods, realized, ..PolicyLine::default() }
}

#[test]
fn a_policy_is_listed_once_with_its_pods_by_node_and_where_it_is_not_in_force() {
    let all = answers(vec![
        ("n1", Ok(vec![policy("n/a", 2, true), policy("n/b", 0, true)])),
        ("n2", Ok(vec![policy("n/a", 1, false), policy("n/b", 0, true)])),
        ("n3", Err(anyhow::anyhow!("forbidden"))),
    ]);
    let text = policy::list(&all);
    assert_eq!(text.lines().count(), 3, "{text}");
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("n/a").contains("3     n1: 2, n2: 1  NOT AS WRITTEN on n2"), "{text}");
    assert!(line("n/b").contains("0     -             yes"), "{text}");
}

#[test]
fn one_policy_has_the_pods_of_all_nodes() {
    let detail = |pods: &[&str], realized| PolicyDetail {
        line: policy("n/a", pods.len(), realized),
        pods: pods.iter().map(|pod| (*pod).to_owned()).collect(),
        ..PolicyDetail::default()
    };
    let all = answers(vec![("n1", Ok(detail(&["n/x"], true))), ("n2", Ok(detail(&["n/y"], false)))]);
    let text = policy::one(&all);
    assert!(text.contains("Pods:       n/x on n1, n/y on n2\n"), "{text}");
    assert!(text.contains("In force:   NOT AS WRITTEN"), "{text}");
}

#[test]
fn kubectl_hears_how_a_line_may_go_on() {
    let of = |words: &[&str]| choices(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    assert!(of(&[""]).contains("observe\tShow verdicts") && !of(&[""]).contains("__complete"));
    assert_eq!(of(&["policy", "sh"]).lines().count(), 2);
    assert!(of(&["observe", "--fol"]).starts_with("--follow\t"));
    assert!(of(&["status", "-o", ""]).contains("json\t"));
    assert!(of(&["observe", "--last", ""]).starts_with(":4"));
}
