use std::{
    io::{BufRead as _, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    sync::mpsc::Receiver,
    thread,
};

use super::*;
use crate::control::{
    client::{AskError, ask, ask_one},
    protocol::{Cause, Filter, Outcome, Question, Status, Verdict},
};
use crate::verdicts::text::tests::denied;

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
        let request = Request::Observe { follow: false, last, each: false, filter };
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
    Verdict { endpoint: endpoint.to_owned(), verdict: outcome, ..denied() }
}

fn only(tests: &[&str]) -> Filter {
    Filter { wanted: tests.iter().map(|test| test.parse().unwrap()).collect(), ..Filter::default() }
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
        given.log.add(verdict(name, outcome).into(), None);
    }
    assert_eq!(given.observe(usize::MAX, Filter::default()), ["n/a", "n/b", "m/c"]);
    assert_eq!(given.observe(1, only(&["verdict=dropped"])), ["m/c"]);
    // The ends of all of them are of n.
    assert_eq!(given.observe(9, only(&["pod=m/"])), ["m/c"]);
    assert_eq!(given.observe(2, only(&["verdict=dropped", "namespace=n"])), ["n/a", "m/c"]);
}

#[test]
fn a_follower_hears_what_comes() {
    let given = Given::agent(|_| Response::End);
    given.log.add(verdict("n/past", Outcome::Dropped).into(), None);
    let mut names = Vec::new();
    let request = Request::Observe { follow: true, last: 1, each: false, filter: Filter::default() };
    ask(&given.socket(), &request, &mut |response| {
        let Response::Verdict(heard) = response else { return false };
        names.push(heard.endpoint);
        // Only after the first one is it certain that we are heard.
        if names.len() == 1 {
            given.log.add(verdict("n/coming", Outcome::Dropped).into(), None);
        }
        names.len() < 2
    })
    .unwrap();
    assert_eq!(names, ["n/past", "n/coming"]);
}

#[test]
fn a_client_that_does_not_read_holds_nobody_up_and_is_told_what_it_missed() {
    const ALL: u64 = 100_000;
    let given = Given::agent(|_| Response::End);
    let mut stream = std::os::unix::net::UnixStream::connect(given.socket()).unwrap();
    let request = Request::Observe { follow: true, last: 0, each: true, filter: Filter::default() };
    writeln!(stream, "{}", serde_json::to_string(&request).unwrap()).unwrap();
    let mut heard = 0;
    let mut lines = io::BufReader::new(stream).lines();
    let mut next = || serde_json::from_str::<Response>(&lines.next().unwrap().unwrap()).unwrap();
    // Only after the first one is it certain that it is heard.
    given.log.add(verdict("n/first", Outcome::Dropped).into(), None);
    let mut firsts = 1;
    let first = thread::scope(|scope| {
        let first = scope.spawn(&mut next);
        while !first.is_finished() {
            given.log.add(verdict("n/first", Outcome::Dropped).into(), None);
            firsts += 1;
            thread::sleep(Duration::from_millis(10));
        }
        first.join().unwrap()
    });
    assert!(matches!(first, Response::Verdict(_)));
    let start = std::time::Instant::now();
    for _ in 0..ALL {
        given.log.add(verdict("n/flood", Outcome::Dropped).into(), None);
    }
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    assert_eq!(given.log.kept().0, 3);
    // Another one is served meanwhile.
    assert_eq!(given.observe(1, Filter::default()), ["n/flood"]);
    while heard < ALL {
        match next() {
            Response::Verdict(verdict) => heard += u64::from(verdict.endpoint == "n/flood"),
            Response::Gap(gap) => {
                assert_eq!(gap.cause, Cause::SlowReader);
                heard += gap.count;
            }
            other => panic!("{other:?}"),
        }
    }
    // Every one was told of, or counted as missing; some of those from before the flood may be among these.
    assert!(heard <= ALL + firsts, "{heard}");
}

#[test]
fn status_says_how_many_verdicts_are_kept_and_since_when() {
    let given = Given::agent(|_| Response::Status(Box::default()));
    given.log.add(verdict("n/a", Outcome::Dropped).into(), None);
    let Ok(Response::Status(status)) = ask_one(&given.socket(), &Request::Status) else { panic!() };
    assert_eq!((status.verdicts_kept, status.verdicts_room), (1, 3));
    assert_eq!(status.verdicts_since, Some(denied().time));
}

#[test]
fn a_request_that_is_none_is_answered_with_an_error() {
    let given = Given::agent(|_| Response::End);
    let mut stream = std::os::unix::net::UnixStream::connect(given.socket()).unwrap();
    stream.write_all(b"{\"request\":\"dance\"}\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("does not understand"), "{text}");
}
