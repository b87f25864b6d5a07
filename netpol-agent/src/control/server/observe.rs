//! Verdicts for one client, as fast as it reads them. Nobody else waits for it.

use std::{io, time::Instant};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWriteExt as _},
    sync::broadcast::error::RecvError,
    task,
};

use super::Client;
use crate::{
    control::protocol::{Cause, Filter, Gap, Moment, Response, Verdict},
    verdicts::{
        kept::Kept,
        log::{Log, Record},
        pace::Pace,
    },
};

/// What a client wants to see.
pub(super) struct Wanted {
    pub(super) follow: bool,
    pub(super) last: usize,
    pub(super) each: bool,
    pub(super) filter: Filter,
}

impl Wanted {
    /// Of the past, oldest first: so many verdicts, and what is missing among them.
    fn of_the_past(&self, past: &[Record]) -> Vec<Response> {
        let mut left = self.last;
        let mut responses = Vec::new();
        for record in past.iter().rev() {
            if left == 0 {
                break;
            }
            match record {
                Record::Verdict(kept, _) => {
                    if let Some(response) = self.told(kept) {
                        left -= 1;
                        responses.push(response);
                    }
                }
                Record::Gap(gap) if self.filter.admits_gap(gap) => {
                    responses.push(Response::Gap(Box::new(Gap::clone(gap))));
                }
                Record::Gap(_) => {}
            }
        }
        responses.reverse();
        responses
    }

    /// A verdict with its names, if it is wanted. Who decided is not found out for it, unless that is asked.
    fn wanted(&self, kept: &Kept) -> Option<Verdict> {
        let mut verdict = kept.named();
        if self.filter.asks_who_decided() {
            kept.attribute(&mut verdict);
        }
        self.filter.admits(&verdict).then_some(verdict)
    }

    /// The whole of a verdict, if it is wanted.
    fn told(&self, kept: &Kept) -> Option<Response> {
        let mut verdict = self.wanted(kept)?;
        kept.attribute(&mut verdict);
        Some(Response::Verdict(Box::new(verdict)))
    }

    /// Of what comes: what is to be told now.
    fn coming(&self, record: Record, pace: &mut Pace) -> Option<Response> {
        match record {
            Record::Verdict(mut kept, Some(_)) if self.each => {
                (kept.count, kept.first, kept.at_least) = (1, None, false);
                self.told(&kept)
            }
            Record::Verdict(kept, Some(flow)) => {
                self.wanted(&kept)?;
                pace.take(flow, kept, Instant::now()).map(|now| whole(&now))
            }
            Record::Verdict(kept, None) => self.told(&kept),
            Record::Gap(gap) => {
                pace.doubt(&gap);
                self.filter.admits_gap(&gap).then(|| Response::Gap(Box::new(Gap::clone(&gap))))
            }
        }
    }
}

fn whole(kept: &Kept) -> Response {
    Response::Verdict(Box::new(kept.verdict()))
}

pub(super) async fn observe<R: AsyncBufRead + Unpin>(
    client: &mut Client,
    reader: &mut R,
    log: &Log,
    wanted: &Wanted,
) -> io::Result<()> {
    // Subscribed together with the look at the past: nothing is missed or told twice.
    let (past, mut coming) = log.follow();
    // To find out who decided can take seconds for a whole history: others are served meanwhile.
    for response in task::block_in_place(|| wanted.of_the_past(&past)) {
        client.say(&response).await?;
    }
    drop(past);
    client.writer.flush().await?;
    if !wanted.follow {
        return Ok(());
    }
    let mut rest = String::new();
    let mut pace = Pace::default();
    let mut heard = Moment::now();
    loop {
        let due = pace.due().map(tokio::time::Instant::from_std);
        tokio::select! {
            // The client says nothing more; when it goes, this ends.
            _ = reader.read_line(&mut rest) => break,
            () = async { tokio::time::sleep_until(due.unwrap_or_else(tokio::time::Instant::now)).await }, if due.is_some() => {
                for verdict in pace.ripe(Instant::now()) {
                    client.say(&whole(&verdict)).await?;
                }
                client.writer.flush().await?;
            }
            next = coming.recv() => match next {
                Ok(record) => {
                    if let Some(response) = wanted.coming(record, &mut pace) {
                        client.say(&response).await?;
                    }
                    if coming.is_empty() {
                        heard = Moment::now();
                        client.writer.flush().await?;
                    }
                }
                Err(RecvError::Lagged(count)) => {
                    let gap = Gap {
                        time: Moment::now(),
                        since: heard,
                        cause: Cause::SlowReader,
                        count,
                        endpoint: String::new(),
                    };
                    client.say(&Response::Gap(Box::new(gap))).await?;
                }
                Err(RecvError::Closed) => break,
            },
        }
    }
    Ok(())
}
