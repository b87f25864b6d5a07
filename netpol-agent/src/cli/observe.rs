//! `netpol observe`.

mod help;

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
fn test(flag: Flag) -> impl Fn(&str) -> Result<Test, InvalidTest> + Clone + Send + Sync {
    move |value| Test::new(flag, value)
}

#[derive(Args, Debug)]
#[command(after_help = help::SHORT, after_long_help = help::long())]
pub(super) struct Arguments {
    /// Go on with the verdicts that come, until it is interrupted
    #[arg(short, long)]
    follow: bool,
    /// Past verdicts to show first [default: all that the agent keeps; with --follow none, or all with --since]
    #[arg(short = 'n', long, value_name = "COUNT")]
    last: Option<usize>,
    /// Not older than this: how long ago, such as 30s, 5m, 2h or 1d, or an instant such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Moment>,
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
    reasons: bool,
    /// The agent's socket
    #[arg(long, value_name = "PATH", default_value = crate::config::SOCKET)]
    socket: PathBuf,
    #[command(flatten)]
    tests: Tests,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Filters")]
struct Tests {
    /// A pod at either end; NAMESPACE/ for all pods of a namespace
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = test(Flag::Pod))]
    pod: Vec<Test>,
    /// A pod or Service of this namespace at either end
    #[arg(long, value_name = "NAMESPACE", value_parser = test(Flag::Namespace))]
    namespace: Vec<Test>,
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
            namespace,
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
            pod, namespace, label, address, port, from, to, from_port, to_port, protocol, verdict, direction,
            reason, policy,
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

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.reasons {
        output::text(&help::reasons())?;
        return Ok(ExitCode::SUCCESS);
    }
    let Arguments { follow, last, since, until, no_fold, .. } = *arguments;
    if let (Some(since), Some(until)) = (since, until) {
        anyhow::ensure!(since <= until, "nothing can be since {since} and until {until}: exchange them");
    }
    let all = if follow && since.is_none() { 0 } else { usize::MAX };
    let request = Request::Observe {
        follow,
        last: last.unwrap_or(all),
        each: no_fold,
        filter: Filter {
            wanted: arguments.tests.wanted(),
            unwanted: arguments.tests.not.clone(),
            since,
            until,
        },
    };
    let mut writer = Writer::new(arguments);
    let mut failed = None;
    ask(&arguments.socket, &request, &mut |response| {
        let written = match response {
            Response::Verdict(verdict) => writer.verdict(&verdict),
            Response::Gap(gap) => writer.gap(&gap),
            _ => Ok(()),
        };
        failed = written.err();
        failed.is_none()
    })?;
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// A line of JSON.
#[derive(serde::Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Line<'a> {
    Verdict(&'a Verdict),
    Gap(&'a Gap),
}

/// Writes what comes; `None`: as JSON.
struct Writer(Option<Lines>);

impl Writer {
    fn new(arguments: &Arguments) -> Self {
        let terminal = io::stdout().is_terminal();
        let unset = |name| std::env::var_os(name).is_none_or(|value| value.is_empty());
        let colour = match arguments.color {
            Colour::Auto => terminal && unset("NO_COLOR"),
            Colour::Always => true,
            Colour::Never => false,
        };
        Self(match arguments.output {
            Format::Json => None,
            Format::Auto if !terminal => None,
            Format::Auto | Format::Text => Some(Lines::new(false, colour)),
            Format::Wide => Some(Lines::new(true, colour)),
        })
    }

    fn verdict(&mut self, verdict: &Verdict) -> anyhow::Result<()> {
        match &mut self.0 {
            Some(lines) => output::text(&lines.verdict(verdict)),
            None => output::json_line(&Line::Verdict(verdict)),
        }
    }

    fn gap(&mut self, gap: &Gap) -> anyhow::Result<()> {
        match &self.0 {
            Some(lines) => output::text(&lines.gap(gap)),
            None => output::json_line(&Line::Gap(gap)),
        }
    }
}
