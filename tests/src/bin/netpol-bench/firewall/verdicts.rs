//! Whether a firewall gives the verdicts that follow from the policies: real connections to the server, from the client and
//! from the addresses of pods elsewhere, which the world takes on for that.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;

use anyhow::{Result, bail};
use netpol_tests::probe::DROP_PATIENCE;
use netpol_tests::{Namespace, Outcome};
use socket2::{Domain, Socket, Type};

use super::rules::{LOCAL, Question};

/// Asks everything at the same time.
pub(super) fn expect(questions: &[Question], client: &Namespace, outside: &Namespace) -> Result<()> {
    let elsewhere = questions.iter().map(|question| question.from).filter(|from| !LOCAL.contains(from));
    let lines: String = elsewhere.map(|from| format!("address replace {from}/32 dev lo\n")).collect();
    outside.batch(&lines)?;
    let ask = |question: &Question| {
        let there = if LOCAL.contains(&question.from) { client } else { outside };
        let to = SocketAddr::from((LOCAL[0], question.port));
        match there.run(|| connect(question.from, to)) {
            Ok(Ok(())) => Outcome::Reached,
            Ok(Err(error)) => error.into(),
            Err(_) => Outcome::Failed(ErrorKind::Other),
        }
    };
    let answers: Vec<Outcome> = thread::scope(|scope| {
        let asked: Vec<_> = questions.iter().map(|question| scope.spawn(|| ask(question))).collect();
        asked.into_iter().map(|answer| answer.join().unwrap_or(Outcome::Failed(ErrorKind::Other))).collect()
    });
    let wrong = questions.iter().zip(answers).filter(|(question, answer)| match answer {
        // What nobody listens on is refused by the pod itself.
        Outcome::Reached | Outcome::Refused => !question.arrives,
        Outcome::TimedOut => question.arrives,
        Outcome::Failed(_) => true,
    });
    let wrong: Vec<String> = wrong.map(|(question, answer)| format!("{question:?}: {answer:?}")).collect();
    if !wrong.is_empty() {
        bail!("other verdicts than the policies': {}", wrong.join("; "));
    }
    Ok(())
}

/// Opens a connection from one of several addresses.
fn connect(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect_timeout(&to.into(), DROP_PATIENCE)
}
