//! `netpol observe`.

pub(super) mod help;

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, ValueEnum};

use super::output;
use crate::{
    control::{
        client::ask,
        protocol::{Filter, Flag, Gap, InvalidMoment, InvalidTest, Moment, Request, Response, Test, Verdict},
    },
    verdicts::text::Lines,
};

/// How verdicts look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// text on a terminal, else json
    #[default]
    Auto,
    /// Compact columns
    Text,
    /// With addresses, and how each policy and rule decided below
    Wide,
    /// One JSON object a line
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Colour {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What is read of a flag's value.
pub(super) fn test(flag: Flag) -> impl Fn(&str) -> Result<Test, InvalidTest> + Clone + Send + Sync {
    move |value| Test::new(flag, value)
}

#[derive(Args, Debug)]
#[command(after_help = help::SHORT, after_long_help = help::long())]
pub(super) struct Arguments {
    /// Past verdicts to show first [default: all that the agent keeps; with --follow none, or all with --since]
    #[arg(short = 'n', long, value_name = "COUNT")]
    last: Option<usize>,
    /// The agent's socket
    #[arg(long, value_name = "PATH", default_value = crate::config::SOCKET)]
    socket: PathBuf,
    /// A pod or Service of this namespace at either end
    #[arg(long, value_name = "NAMESPACE", value_parser = test(Flag::Namespace), help_heading = "Filters")]
    namespace: Vec<Test>,
    #[command(flatten)]
    wanted: Wanted,
}

#[derive(Args, Debug)]
pub(super) struct Wanted {
    /// Go on with the verdicts that come, until it is interrupted
    #[arg(short, long)]
    pub(super) follow: bool,
    /// Not older than this: how long ago, such as 30s, 5m, 2h or 1d, or an instant such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(super) since: Option<Moment>,
    /// Not younger than this
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Moment>,
    /// With --follow, show every denial of a flow, not only the first and then once a second their count
    #[arg(long)]
    no_fold: bool,
    /// How verdicts look
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
    /// When to use colours
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    color: Colour,
    /// Say what each reason means, and nothing else
    #[arg(long)]
    pub(super) reasons: bool,
    #[command(flatten)]
    tests: Tests,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Filters")]
struct Tests {
    /// A pod at either end; NAMESPACE/ for all pods of a namespace
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = test(Flag::Pod))]
    pod: Vec<Test>,
    /// A pod with this label at either end; NAMESPACE/KEY=VALUE in one namespace
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = test(Flag::Label))]
    label: Vec<Test>,
    /// An address at either end
    #[arg(long, value_name = "ADDRESS|CIDR", value_parser = test(Flag::Address))]
    address: Vec<Test>,
    /// A port at either end
    #[arg(long, value_name = "PORT|LOW-HIGH", value_parser = test(Flag::Port))]
    port: Vec<Test>,
    /// Who sends: NAMESPACE/NAME of a pod, NAMESPACE/, KEY=VALUE, svc/NAMESPACE/NAME, an address or CIDR, node, world
    #[arg(long, value_name = "END", value_parser = test(Flag::From))]
    from: Vec<Test>,
    /// Who is to receive, written like --from
    #[arg(long, value_name = "END", value_parser = test(Flag::To))]
    to: Vec<Test>,
    /// The port that is sent from
    #[arg(long, value_name = "PORT|LOW-HIGH", value_parser = test(Flag::FromPort))]
    from_port: Vec<Test>,
    /// The port that is sent to
    #[arg(long, value_name = "PORT|LOW-HIGH", value_parser = test(Flag::ToPort))]
    to_port: Vec<Test>,
    /// The protocol: tcp, udp, sctp, icmp, icmpv6, another name or a number
    #[arg(long, value_name = "PROTOCOL", value_parser = test(Flag::Protocol))]
    protocol: Vec<Test>,
    /// allowed or dropped
    #[arg(long, value_name = "VERDICT", value_parser = test(Flag::Verdict))]
    verdict: Vec<Test>,
    /// ingress or egress, as the pod that judged sees it
    #[arg(long, value_name = "DIRECTION", value_parser = test(Flag::Direction))]
    direction: Vec<Test>,
    /// The reason, such as policy-denied; --reasons lists them
    #[arg(long, value_name = "REASON", value_parser = test(Flag::Reason))]
    reason: Vec<Test>,
    /// A policy that allowed it, or that isolates the pod; NAMESPACE/ for all of a namespace
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = test(Flag::Policy))]
    policy: Vec<Test>,
    /// None that this filter would show, such as --not pod=production/api or --not to-port=53
    #[arg(long, value_name = "FLAG=VALUE", value_parser = str::parse::<Test>)]
    not: Vec<Test>,
}

impl Tests {
    fn wanted(&self) -> Vec<Test> {
        let Self {
            pod,
            label,
            address,
            port,
            from,
            to,
            from_port,
            to_port,
            protocol,
            verdict,
            direction,
            reason,
            policy,
            not: _,
        } = self;
        [
            pod, label, address, port, from, to, from_port, to_port, protocol, verdict, direction, reason,
            policy,
        ]
        .into_iter()
        .flatten()
        .cloned()
        .collect()
    }
}

fn moment(text: &str) -> Result<Moment, InvalidMoment> {
    Moment::at_or_ago(text, Moment::now())
}

impl Wanted {
    /// The question for so many of the past, all that there are without a number, in these namespaces. A name without a
    /// namespace is of `home`.
    ///
    /// # Errors
    /// When nothing could ever be shown.
    pub(super) fn request(
        &self,
        last: Option<usize>,
        namespaces: &[Test],
        home: &str,
    ) -> anyhow::Result<Request> {
        let Self { follow, since, until, no_fold, .. } = *self;
        if let (Some(since), Some(until)) = (since, until) {
            anyhow::ensure!(since <= until, "nothing can be since {since} and until {until}: exchange them");
        }
        let all = if follow && since.is_none() { 0 } else { usize::MAX };
        let at_home = |test: &Test| test.within(home);
        Ok(Request::Observe {
            follow,
            last: last.unwrap_or(all),
            each: no_fold,
            filter: Filter {
                wanted: namespaces.iter().chain(&self.tests.wanted()).map(at_home).collect(),
                unwanted: self.tests.not.iter().map(at_home).collect(),
                since,
                until,
            },
        })
    }

    /// Whether a filter says who the ends are, or whose policy decided.
    pub(super) fn names_ends(&self) -> bool {
        let Tests { pod, label, address, from, to, policy, .. } = &self.tests;
        [pod, label, address, from, to, policy].iter().any(|tests| !tests.is_empty())
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { last, socket, namespace, wanted } = arguments;
    if wanted.reasons {
        output::text(&help::reasons())?;
        return Ok(ExitCode::SUCCESS);
    }
    let request = wanted.request(*last, namespace, "default")?;
    let mut writer = Writer::new(wanted);
    let mut failed = None;
    ask(socket, &request, &mut |response| {
        let written = match response {
            Response::Verdict(verdict) => writer.verdict(None, &verdict),
            Response::Gap(gap) => writer.gap(None, &gap),
            _ => Ok(()),
        };
        failed = written.err();
        failed.is_none()
    })?;
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// A line of JSON.
#[derive(serde::Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    what: Content<'a>,
    /// Whose agent says so, where several are asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
}

/// What a line holds.
#[derive(serde::Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Content<'a> {
    Verdict(&'a Verdict),
    Gap(&'a Gap),
}

/// Writes what comes; `None`: as JSON.
pub(super) struct Writer(Option<Lines>);

impl Writer {
    pub(super) fn new(wanted: &Wanted) -> Self {
        let terminal = io::stdout().is_terminal();
        let unset = |name| std::env::var_os(name).is_none_or(|value| value.is_empty());
        let colour = match wanted.color {
            Colour::Auto => terminal && unset("NO_COLOR"),
            Colour::Always => true,
            Colour::Never => false,
        };
        Self(match wanted.output {
            Format::Json => None,
            Format::Auto if !terminal => None,
            Format::Auto | Format::Text => Some(Lines::new(false, colour)),
            Format::Wide => Some(Lines::new(true, colour)),
        })
    }

    /// Writes a verdict, of a node's agent where several are asked.
    pub(super) fn verdict(&mut self, node: Option<&str>, verdict: &Verdict) -> anyhow::Result<()> {
        match &mut self.0 {
            Some(lines) => output::text(&lines.verdict(node, verdict)),
            None => output::json_line(&Line { what: Content::Verdict(verdict), node }),
        }
    }

    /// Writes a gap.
    pub(super) fn gap(&mut self, node: Option<&str>, gap: &Gap) -> anyhow::Result<()> {
        match &self.0 {
            Some(lines) => output::text(&lines.gap(node, gap)),
            None => output::json_line(&Line { what: Content::Gap(gap), node }),
        }
    }
}
