//! The control port: a request a line, an answer a line.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use netpol_prober::{Answer, Request};

use crate::hold::Holds;
use crate::probe;
use crate::run;
use crate::send::Senders;
use crate::serve::{self, Servers};

/// Everything that can be asked about.
#[derive(Debug)]
pub(crate) struct Control {
    servers: Arc<Servers>,
    senders: Senders,
    holds: Holds,
}

impl Control {
    pub(crate) fn new(servers: Arc<Servers>, senders: Senders) -> Self {
        Self { servers, senders, holds: Holds::default() }
    }

    pub(crate) const fn senders(&self) -> &Senders {
        &self.senders
    }

    /// Takes requests on a port from now on.
    pub(crate) fn listen(self: &Arc<Self>, port: u16) -> Result<(), String> {
        let listener = serve::listener(port)
            .map_err(|error| format!("cannot listen on TCP {port} for requests: {error}"))?;
        let control = Arc::clone(self);
        serve::connections(listener, move |stream, _| {
            // A client that is gone needs no answer.
            drop(control.talk(&stream));
        });
        Ok(())
    }

    fn talk(&self, mut stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        for line in BufReader::new(stream).lines() {
            let answer = self.answer_text(&line?);
            stream.write_all(format!("{answer}\n").as_bytes())?;
        }
        Ok(())
    }

    /// The answer to a request, both as JSON.
    pub(crate) fn answer_text(&self, request: &str) -> String {
        let answer = match serde_json::from_str(request) {
            Ok(request) => self.answer(request),
            Err(error) => Answer::Error(format!("nobody understands this request: {error}")),
        };
        serde_json::to_string(&answer).unwrap_or_else(|error| format!(r#"{{"error":"{error}"}}"#))
    }

    fn answer(&self, request: Request) -> Answer {
        match request {
            Request::Probe(probes) => Answer::Probed(probe::all(&probes)),
            Request::Run(programs) => Answer::Ran(run::all(&programs)),
            Request::Heard { forget } => Answer::Heard(self.servers.heard(forget)),
            Request::Sent => Answer::Sent(self.senders.sent()),
            Request::Hold { to, every } => {
                self.holds.hold(&to, Duration::from_millis(every));
                Answer::Holding(self.holds.holding())
            }
            Request::Holding => Answer::Holding(self.holds.holding()),
            Request::Release => {
                self.holds.release();
                Answer::Holding(Vec::new())
            }
        }
    }
}

/// Passes requests from the standard input to the control port of the prober in the same network, and its answers back.
pub(crate) fn forward(port: u16) -> Result<(), String> {
    let talk = || -> io::Result<()> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        let mut answers = BufReader::new(stream.try_clone()?);
        for line in io::stdin().lock().lines() {
            stream.write_all(format!("{}\n", line?).as_bytes())?;
            let mut answer = String::new();
            answers.read_line(&mut answer)?;
            print!("{answer}");
        }
        Ok(())
    };
    talk().map_err(|error| format!("cannot ask the prober on port {port}: {error}"))
}
