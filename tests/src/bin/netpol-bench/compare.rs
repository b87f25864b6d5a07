//! What is measured now beside what was measured earlier, of which there is a JSON document.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Deserializer};

use crate::goals::Answer;
use crate::machine::Machine;
use crate::measure::Outcome;
use crate::report::markdown::digits;
use crate::statistics::Figure;

/// An earlier report.
pub(crate) struct Earlier {
    path: PathBuf,
    report: Report,
}

/// What is read of the document that `-o json` prints.
#[derive(Deserialize)]
struct Report {
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
    pub(crate) fn print(
        &self,
        out: &mut dyn Write,
        machine: &Machine,
        packets: Option<&Outcome>,
        answers: &[Answer],
    ) -> Result<()> {
        let (path, report) = (self.path.display(), &self.report);
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
        let rows = self.rows(packets, answers);
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
    fn rows<'a>(
        &self,
        packets: Option<&'a Outcome>,
        answers: &'a [Answer],
    ) -> Vec<(&'static str, &'static str, Known, &'a Figure)> {
        let known = self.report.packets.iter().flat_map(|packets| &packets.figures);
        let lines = packets.iter().flat_map(|packets| &packets.lines).filter_map(|line| {
            let packet = known.clone().find(|packet| packet.name == line.name)?;
            Some((line.name, "ns", packet.net_nanoseconds, &line.net))
        });
        let answers = answers.iter().filter_map(|answer| {
            let (name, unit) = (answer.goal.name, answer.goal.unit);
            let earlier = self.report.answers.iter().find(|one| one.name == name && one.unit == unit)?;
            Some((name, unit, earlier.figure, &answer.figure))
        });
        lines.chain(answers).collect()
    }
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
