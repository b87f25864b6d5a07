//! `netpol observe`.

use std::process::ExitCode;

use clap::Args;

use super::{Ask, Format, output};
use crate::{
    control::{
        client::ask,
        protocol::{Filter, Outcome, Request, Response},
    },
    verdicts::line,
};

#[derive(Args, Debug)]
#[command(
    after_long_help = "Allowed packets are told once for each flow, dropped ones up to a rate for each pod. With -o json each \
                       line is one verdict."
)]
pub(super) struct Arguments {
    /// Go on with the verdicts that come, until it is interrupted
    #[arg(short, long)]
    follow: bool,
    /// Past verdicts to show first [default: all that the agent keeps; none with --follow]
    #[arg(short = 'n', long, value_name = "COUNT")]
    last: Option<usize>,
    /// Only allowed or only dropped packets
    #[arg(long, value_name = "VERDICT", value_enum)]
    verdict: Option<Outcome>,
    /// Only with this pod at one end; NAMESPACE/ for all pods of a namespace
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = pod)]
    pod: Option<String>,
    #[command(flatten)]
    ask: Ask,
}

fn pod(text: &str) -> Result<String, String> {
    match text.matches('/').count() {
        0 => Ok(format!("default/{text}")),
        1 if !text.starts_with('/') => Ok(text.to_owned()),
        _ => Err("write NAMESPACE/NAME, or NAMESPACE/ for all pods of a namespace".to_owned()),
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let request = Request::Observe {
        follow: arguments.follow,
        last: arguments.last.unwrap_or(if arguments.follow { 0 } else { usize::MAX }),
        filter: Filter { verdict: arguments.verdict, pod: arguments.pod.clone() },
    };
    let mut failed = None;
    ask(&arguments.ask.socket, &request, &mut |response| {
        let written = match (response, arguments.ask.output) {
            (Response::Verdict(verdict), Format::Json) => output::json_line(&verdict),
            (Response::Verdict(verdict), Format::Text) => {
                output::text(&format!("{}\n", line::render(&verdict)))
            }
            (Response::Missed { count }, _) => {
                eprintln!(
                    "netpol: {count} verdicts came faster than they could be shown, and are missing here"
                );
                Ok(())
            }
            _ => Ok(()),
        };
        failed = written.err();
        failed.is_none()
    })?;
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}
