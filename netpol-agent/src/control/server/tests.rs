use std::{os::unix::fs::PermissionsExt as _, sync::mpsc::Receiver, thread};

use super::*;
use crate::control::{
    client::{AskError, ask, ask_one},
    protocol::{End, EndKind, Outcome, Question, Status, Verdict},
};

struct Given {
    dir: tempfile::TempDir,
    log: Arc<Log>,
    _server: Server,
    _runtime: tokio::runtime::Runtime,
}

impl Given {
    /// A server whose agent answers as the function says.
    fn agent(answer: impl Fn(Request) -> Response + Send + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (inputs, hears): (_, Receiver<Input>) = mpsc::channel();
        thread::spawn(move || {
            while let Ok(Input::Ask(request, reply)) = hears.recv() {
                let _gone = reply.send(answer(request));
            }
        });
        let log = Arc::new(Log::new(3));
        let server = Server::bind(&dir.path().join("sock")).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(server.serve(inputs, log.clone()).unwrap());
        Self { dir, log, _server: server, _runtime: runtime }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    fn observe(&self, last: usize, filter: Filter) -> Vec<String> {
        let mut names = Vec::new();
        let request = Request::Observe { follow: false, last, filter };
        ask(&self.socket(), &request, &mut |response| {
            if let Response::Verdict(verdict) = response {
                names.push(verdict.endpoint);
            }
            true
        })
        .unwrap();
        names
    }
}

fn verdict(endpoint: &str, outcome: Outcome) -> Verdict {
    let end = End { kind: EndKind::World, name: String::new(), address: "192.0.2.1".to_owned(), port: None };
    Verdict {
        time: String::new(),
        verdict: outcome,
        reason: String::new(),
        direction: String::new(),
        endpoint: endpoint.to_owned(),
        protocol: String::new(),
        source: end.clone(),
        destination: end,
        allowed_by: Vec::new(),
        isolated_by: Vec::new(),
        nearest: Vec::new(),
        backends: Vec::new(),
        reply: false,
        tcp_flags: String::new(),
        icmp: None,
        length: 0,
        slot: 0,
        revision: 0,
    }
}

#[test]
fn only_the_owner_may_ask() {
    let given = Given::agent(|_| Response::End);
    let mode = fs::metadata(given.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_question_gets_its_answer() {
    let given = Given::agent(|request| match request {
        Request::Status => Response::Status(Box::new(Status { node: "n".to_owned(), ..Status::default() })),
        _ => Response::Error { message: "no".to_owned() },
    });
    let answer = ask_one(&given.socket(), &Request::Status).unwrap();
    assert!(matches!(answer, Response::Status(status) if status.node == "n"));
    let question = Question { source: String::new(), destination: String::new(), port: String::new() };
    let refused = ask_one(&given.socket(), &Request::Explain(question));
    assert!(matches!(refused, Err(AskError::Refused(message)) if message == "no"));
}

#[test]
fn without_an_agent_it_says_how_to_start_one() {
    let error = ask_one(Path::new("/nowhere/sock"), &Request::Status).unwrap_err().to_string();
    assert!(error.contains("netpol agent --manifests"));
}

#[test]
fn a_second_agent_is_refused_and_a_stale_socket_is_replaced() {
    let given = Given::agent(|_| Response::End);
    assert!(Server::bind(&given.socket()).unwrap_err().to_string().contains("another agent"));
    let stale = given.dir.path().join("stale");
    drop(StdListener::bind(&stale).unwrap());
    assert!(stale.exists() && Server::bind(&stale).is_ok());
}

#[test]
fn the_past_is_bounded_and_filtered_before_it_is_counted() {
    let given = Given::agent(|_| Response::End);
    for (name, outcome) in [
        ("n/forgotten", Outcome::Dropped),
        ("n/a", Outcome::Dropped),
        ("n/b", Outcome::Allowed),
        ("m/c", Outcome::Dropped),
    ] {
        given.log.add(verdict(name, outcome));
    }
    assert_eq!(given.observe(usize::MAX, Filter::default()), ["n/a", "n/b", "m/c"]);
    let dropped = Filter { verdict: Some(Outcome::Dropped), pod: None };
    assert_eq!(given.observe(1, dropped), ["m/c"]);
    assert_eq!(given.observe(9, Filter { verdict: None, pod: Some("n/".to_owned()) }), ["n/a", "n/b"]);
    assert_eq!(given.observe(9, Filter { verdict: None, pod: Some("n/b".to_owned()) }), ["n/b"]);
}

#[test]
fn a_follower_hears_what_comes() {
    let given = Given::agent(|_| Response::End);
    given.log.add(verdict("n/past", Outcome::Dropped));
    let mut names = Vec::new();
    let request = Request::Observe { follow: true, last: 1, filter: Filter::default() };
    ask(&given.socket(), &request, &mut |response| {
        let Response::Verdict(heard) = response else { return false };
        names.push(heard.endpoint);
        // Only after the first one is it certain that we are heard.
        if names.len() == 1 {
            given.log.add(verdict("n/coming", Outcome::Dropped));
        }
        names.len() < 2
    })
    .unwrap();
    assert_eq!(names, ["n/past", "n/coming"]);
}

#[test]
fn a_slow_follower_holds_nobody_up_and_is_told_what_it_missed() {
    let log = Log::new(1);
    let (_, mut coming) = log.follow();
    for _ in 0..10_000 {
        log.add(verdict("n/a", Outcome::Dropped));
    }
    assert!(
        matches!(coming.try_recv(), Err(tokio::sync::broadcast::error::TryRecvError::Lagged(n)) if n > 5000)
    );
}

#[test]
fn a_request_that_is_none_is_answered_with_an_error() {
    use std::io::{Read as _, Write as _};
    let given = Given::agent(|_| Response::End);
    let mut stream = std::os::unix::net::UnixStream::connect(given.socket()).unwrap();
    stream.write_all(b"{\"request\":\"dance\"}\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("does not understand"), "{text}");
}
