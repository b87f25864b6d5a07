//! What is measured now beside what was measured earlier, of which there is a JSON document.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Deserializer};

use crate::goals::{Answer, Bound, Verdict};
use crate::report::{Report, markdown::digits};
use crate::statistics::Figure;

/// An earlier report.
pub(crate) struct Earlier {
    path: PathBuf,
    report: Document,
}

/// What is read of the document that `-o json` prints.
#[derive(Deserialize)]
struct Document {
    date: String,
    kernel: String,
    processor: String,
    packets: Option<Packets>,
    answers: Vec<Answered>,
}

#[derive(Deserialize)]
struct Packets {
    figures: Vec<Packet>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Packet {
    name: String,
    net_nanoseconds: Known,
}

#[derive(Deserialize)]
struct Answered {
    name: String,
    unit: String,
    figure: Known,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Known {
    #[serde(deserialize_with = "number")]
    median: f64,
    sure: (Number, Number),
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Number(#[serde(deserialize_with = "number")] f64);

/// JSON knows nothing but `null` for what is no number. What is missing altogether is an error all the same.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

impl Earlier {
    /// Reads what `-o json` printed.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let report = serde_json::from_slice(&text)
            .with_context(|| format!("{} is no report of netpol-bench", path.display()))?;
        Ok(Self { path: path.to_owned(), report })
    }

    /// Prints what both have a name of.
    pub(crate) fn print(&self, out: &mut dyn Write, now: &Report<'_>) -> Result<()> {
        let (path, report, machine) = (self.path.display(), &self.report, now.machine);
        writeln!(out, "\nBeside {path} of {}:", report.date)?;
        for (what, earlier, now) in [
            ("kernel", &report.kernel, &machine.kernel),
            ("processor", &report.processor, &machine.processor),
        ] {
            if earlier != now {
                writeln!(
                    out,
                    "WARNING: it was measured on another {what} ({earlier}, now {now}): the programs are not all that differs"
                )?;
            }
        }
        let rows = self.rows(now);
        if rows.is_empty() {
            writeln!(out, "nothing that was measured now is in it")?;
            return Ok(());
        }
        writeln!(out, "{:28} {:>12} {:>12} {:>12}", "", "earlier", "now", "now / earlier")?;
        for (name, unit, earlier, now) in rows {
            let ratio = now.median / earlier.median;
            let ratio = if ratio.is_finite() { format!("{ratio:.3}") } else { String::new() };
            writeln!(
                out,
                "{name:28} {:>12} {:>12} {ratio:>13} {unit:2}  {}",
                digits(earlier.median),
                digits(now.median),
                difference(&earlier, now)
            )?;
        }
        writeln!(
            out,
            "\nless, more: by more than what both medians are sure within; the same: not so. unsure: of single events, of\n\
             which nothing says how they would differ again."
        )?;
        Ok(())
    }

    /// Name, unit, and both figures.
    fn rows<'a>(&self, now: &Report<'a>) -> Vec<(&'static str, &'static str, Known, &'a Figure)> {
        let known = self.report.packets.iter().flat_map(|packets| &packets.figures);
        let lines = now.packets.iter().flat_map(|packets| &packets.lines).filter_map(|line| {
            let packet = known.clone().find(|packet| packet.name == line.name)?;
            Some((line.name, "ns", packet.net_nanoseconds, &line.net))
        });
        let answers = now.answers.iter().filter_map(|answer| {
            Some((answer.goal.name, answer.goal.unit, self.known(answer)?, &answer.figure))
        });
        lines.chain(answers).collect()
    }

    /// What it was then.
    fn known(&self, answer: &Answer) -> Option<Known> {
        let (name, unit) = (answer.goal.name, answer.goal.unit);
        self.report.answers.iter().find(|one| one.name == name && one.unit == unit).map(|one| one.figure)
    }
}

/// Of several runs, in their order and now last: whether a figure kept to what it has to be, and to what it would be at
/// best; by the bounds of now. `None` where it was not measured, or nothing is asked.
pub(crate) struct Verdicts {
    pub(crate) must: Vec<Option<Verdict>>,
    pub(crate) moonshot: Vec<Option<Verdict>>,
}

impl Verdicts {
    pub(crate) fn of(earlier: &[Earlier], answer: &Answer) -> Self {
        let then = earlier.iter().map(|one| {
            let Known { median, sure: (Number(low), Number(high)) } = one.known(answer)?;
            Some(Figure { median, spread: 0.0, sure: (low, high) })
        });
        let figures: Vec<Option<Figure>> = then.chain([Some(answer.figure)]).collect();
        let judged = |bound: Bound| {
            figures.iter().map(|figure| figure.as_ref().and_then(|figure| bound.judge(figure))).collect()
        };
        Self { must: judged(answer.goal.must), moonshot: judged(answer.goal.moonshot) }
    }

    /// Whether one run says yes and another one no, to either question.
    pub(crate) fn change(&self) -> bool {
        let change =
            |all: &[Option<Verdict>]| all.contains(&Some(Verdict::Yes)) && all.contains(&Some(Verdict::No));
        change(&self.must) || change(&self.moonshot)
    }
}

/// Verdicts of several runs in one cell.
pub(crate) fn said(verdicts: &[Option<Verdict>]) -> String {
    if verdicts.iter().all(Option::is_none) {
        return String::new();
    }
    let names = verdicts.iter().map(|one| one.map_or("-", Verdict::name));
    names.collect::<Vec<_>>().join(", ").to_lowercase()
}

/// What of the answers was yes in one run and no in another, in a sentence; nothing when there is one run only, or nothing
/// was asked.
pub(crate) fn changes(report: &Report<'_>) -> Option<String> {
    let all = report.answers.iter().map(|answer| (answer.goal.name, Verdicts::of(report.earlier, answer)));
    let (mut is_asked, mut changed) = (false, Vec::new());
    for (name, verdicts) in all {
        is_asked |= !said(&verdicts.must).is_empty() || !said(&verdicts.moonshot).is_empty();
        changed.extend(verdicts.change().then_some(name));
    }
    let which = if changed.is_empty() {
        "no line changes".to_owned()
    } else {
        format!("{} changes", changed.join(", "))
    };
    (is_asked && !report.earlier.is_empty())
        .then(|| format!("Of {} runs, in their order, {which} between yes and no.", report.earlier.len() + 1))
}

/// Prints whether it was so in each run, where that is asked.
pub(crate) fn print_verdicts(out: &mut dyn Write, report: &Report<'_>) -> Result<()> {
    let Some(changes) = changes(report) else { return Ok(()) };
    writeln!(out, "\n{:28} {:32} moonshot", "", "must")?;
    for answer in report.answers {
        let verdicts = Verdicts::of(report.earlier, answer);
        let (must, moonshot) = (said(&verdicts.must), said(&verdicts.moonshot));
        if !must.is_empty() || !moonshot.is_empty() {
            let mark = if verdicts.change() { "  CHANGES" } else { "" };
            writeln!(out, "{:28} {must:32} {moonshot}{mark}", answer.goal.name)?;
        }
    }
    writeln!(out, "\n{changes}")?;
    Ok(())
}

/// Whether now it is less or more, as far as that can be told.
fn difference(earlier: &Known, now: &Figure) -> &'static str {
    let (Number(low), Number(high)) = earlier.sure;
    let values = [low, earlier.median, high, now.sure.0, now.median, now.sure.1];
    // What is counted is the same in each round. A part of a number in the same place is a quantile of single events.
    let is_exact = low == high && now.sure.0 == now.sure.1;
    let is_counted = earlier.median.fract() == 0.0 && now.median.fract() == 0.0;
    if values.iter().any(|value| value.is_nan()) {
        "not measured"
    } else if is_exact && !is_counted && low != now.sure.0 {
        "unsure"
    } else if now.sure.1 < low {
        "less"
    } else if now.sure.0 > high {
        "more"
    } else {
        "the same"
    }
}

#[cfg(test)]
mod tests;
