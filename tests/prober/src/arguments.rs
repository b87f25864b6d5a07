//! What is written on the command line. By hand: a library for this would be larger than the program.

use std::net::SocketAddr;
use std::time::Duration;

use netpol_prober::{CONTROL_PORT, Protocol};

const USAGE: &str = "usage:
  netpol-prober serve [--name NAME] [--tcp PORT,...] [--udp PORT,...] [--control PORT]
  netpol-prober send [--name NAME] [--every MILLISECONDS] [--for MILLISECONDS] [--control PORT] tcp/ADDRESS:PORT|udp/ADDRESS:PORT ...
  netpol-prober ask [--control PORT]

serve answers on the ports with its name and takes requests on the control port (9999; 0: none).
send does the same, and sends to the places from its first instruction on; with --for it ends with a report.
ask passes requests, one JSON value a line, from its standard input to the control port, and the answers back.";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Serve, or send, or both.
    Run(Arguments),
    /// Pass requests on to this port.
    Ask(u16),
}

/// How to serve and send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// What it calls itself.
    pub(crate) name: String,
    pub(crate) tcp: Vec<u16>,
    pub(crate) udp: Vec<u16>,
    /// 0: no control port.
    pub(crate) control: u16,
    pub(crate) places: Vec<(Protocol, SocketAddr)>,
    /// Between two packets to a place.
    pub(crate) every: Duration,
    /// How long it sends.
    pub(crate) limit: Option<Duration>,
    /// Whether it stays when it has done everything.
    pub(crate) stays: bool,
}

/// Reads a command line without the program's name.
pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Mode, String> {
    let mut words = words.into_iter();
    let mode = words.next().ok_or(USAGE)?;
    let is_known = matches!(mode.as_str(), "serve" | "send" | "ask");
    if !is_known {
        return Err(USAGE.to_owned());
    }
    let mut arguments = Arguments {
        name: String::new(),
        tcp: Vec::new(),
        udp: Vec::new(),
        control: CONTROL_PORT,
        places: Vec::new(),
        every: Duration::from_millis(1),
        limit: None,
        stays: true,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value\n{USAGE}"));
        match word.as_str() {
            "--name" => arguments.name = value()?,
            "--tcp" => arguments.tcp = ports(&value()?)?,
            "--udp" => arguments.udp = ports(&value()?)?,
            "--control" => arguments.control = number(&value()?)?,
            "--every" => arguments.every = Duration::from_millis(number(&value()?)?),
            "--for" => {
                arguments.limit = Some(Duration::from_millis(number(&value()?)?));
                arguments.stays = false;
            }
            place if mode == "send" => arguments.places.push(read_place(place)?),
            other => return Err(format!("nobody knows {other:?}\n{USAGE}")),
        }
    }
    if mode == "ask" {
        return Ok(Mode::Ask(arguments.control));
    }
    if arguments.name.is_empty() {
        arguments.name = host_name();
    }
    Ok(Mode::Run(arguments))
}

/// Of a pod: its name.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

fn ports(list: &str) -> Result<Vec<u16>, String> {
    list.split(',').map(number).collect()
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no number that fits\n{USAGE}"))
}

/// `udp/10.0.0.1:53`.
fn read_place(text: &str) -> Result<(Protocol, SocketAddr), String> {
    let wrong = || format!("{text:?} is no place, such as tcp/10.0.0.1:80 or udp/[fd00::1]:53\n{USAGE}");
    let (protocol, to) = text.split_once('/').ok_or_else(wrong)?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return Err(wrong()),
    };
    Ok((protocol, to.parse().map_err(|_| wrong())?))
}
