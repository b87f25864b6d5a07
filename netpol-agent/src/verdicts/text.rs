//! Verdicts as lines for people, compact or wide, in colour or not. Every name is escaped.

use anstyle::{AnsiColor, Style};
use netpol_common::Reason;

use crate::{
    control::protocol::{End, EndKind, Gap, Moment, Outcome, Verdict},
    text::escape,
};

const PLAIN: Style = Style::new();
const FAINT: Style = Style::new().dimmed();
const TITLE: Style = Style::new().bold();
const ALLOWED: Style = AnsiColor::Green.on_default();
const DROPPED: Style = AnsiColor::Red.on_default().bold();
const NOTICE: Style = AnsiColor::Yellow.on_default();

const TITLES: [&str; 7] = ["TIME (UTC)", "VERDICT", "DIR", "PROTO", "SOURCE", "DESTINATION", "WHY"];
/// The column of the node that says it, where several are asked, and where it stands.
const NODE: (&str, usize) = ("NODE", 1);
/// Columns that have been wider stay so wide, up to here; a wider cell pushes its line only.
const WIDEST: usize = 56;

/// Writes the lines of one answer.
#[derive(Clone, Debug)]
pub struct Lines {
    wide: bool,
    colour: bool,
    /// Of every column but the last.
    widths: Vec<usize>,
    begun: bool,
}

impl Lines {
    /// Compact ones, or wide ones: with addresses, and what there is to say of policies and rules below.
    #[must_use]
    pub fn new(wide: bool, colour: bool) -> Self {
        Self { wide, colour, widths: vec![if wide { 24 } else { 18 }, 7, 7, 6, 24, 24], begun: false }
    }

    /// The lines of a verdict, each with its end; before the first one the titles. With the node whose agent says it, or
    /// always without.
    #[must_use]
    pub fn verdict(&mut self, node: Option<&str>, verdict: &Verdict) -> String {
        let (outcome, style) = match verdict.verdict {
            Outcome::Allowed => ("ALLOWED", ALLOWED),
            Outcome::Dropped => ("DROPPED", DROPPED),
        };
        let mut cells = vec![
            self.time(verdict.time),
            outcome.to_owned(),
            verdict.direction.clone(),
            protocol(verdict),
            end(&verdict.source, self.wide),
            end(&verdict.destination, self.wide),
            if self.wide { reason(verdict) } else { why(verdict) },
        ];
        let mut styles = vec![FAINT, style, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN];
        let mut titles = TITLES.map(str::to_owned).to_vec();
        if let Some(node) = node {
            let (title, place) = NODE;
            cells.insert(place, node.to_owned());
            styles.insert(place, PLAIN);
            titles.insert(place, title.to_owned());
        }
        let mut out = String::new();
        if !self.begun {
            self.begun = true;
            if node.is_some() {
                self.widths.insert(NODE.1, NODE.0.len());
            }
            self.row(&mut out, &titles, &vec![TITLE; titles.len()]);
        }
        self.row(&mut out, &cells, &styles);
        if self.wide {
            for line in details(verdict) {
                out.push_str(&format!("    {}\n", escape(&line)));
            }
        }
        out
    }

    /// The line of a gap, with its end.
    #[must_use]
    pub fn gap(&self, node: Option<&str>, gap: &Gap) -> String {
        let whose = node.map(|node| format!("{node}: ")).unwrap_or_default();
        let of = if gap.endpoint.is_empty() { String::new() } else { format!(" of {}", gap.endpoint) };
        let line = format!(
            "-- {whose}{} verdicts{of} are missing here: between {} and {} they {}",
            gap.count,
            self.time(gap.since),
            self.time(gap.time),
            gap.cause.text()
        );
        format!("{}\n", self.paint(NOTICE, &escape(&line)))
    }

    /// In a compact line without the year: a terminal is narrow.
    fn time(&self, moment: Moment) -> String {
        let text = moment.to_string();
        match (self.wide, text.split_once('-')) {
            (false, Some((_, rest))) => rest.trim_end_matches('Z').replace('T', " "),
            _ => text,
        }
    }

    fn row(&mut self, out: &mut String, cells: &[String], styles: &[Style]) {
        for (index, (cell, style)) in cells.iter().zip(styles).enumerate() {
            let cell = escape(cell);
            let Some(width) = self.widths.get_mut(index) else {
                out.push_str(&self.paint(*style, &cell));
                continue;
            };
            let wanted = cell.chars().count();
            *width = (*width).max(wanted.min(WIDEST));
            let padding = width.saturating_sub(wanted) + 2;
            out.push_str(&self.paint(*style, &cell));
            out.extend(std::iter::repeat_n(' ', padding));
        }
        out.push('\n');
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

fn protocol(verdict: &Verdict) -> String {
    let more = if verdict.tcp_flags.is_empty() { &verdict.icmp } else { &verdict.tcp_flags };
    if more.is_empty() { verdict.protocol.clone() } else { format!("{} {more}", verdict.protocol) }
}

/// An end by its name; by its address too where that is all it has, or where there is room for it.
fn end(end: &End, wide: bool) -> String {
    let place = match (end.port, end.address.contains(':')) {
        (Some(port), true) => format!("[{}]:{port}", end.address),
        (Some(port), false) => format!("{}:{port}", end.address),
        (None, _) => end.address.clone(),
    };
    let name = match end.kind {
        EndKind::Pod => end.name.clone(),
        EndKind::Service => format!("svc/{}", end.name),
        EndKind::Node => format!("node/{}", end.name),
        EndKind::World => return format!("world {place}"),
    };
    match (wide, end.port) {
        (true, _) => format!("{name} ({place})"),
        (false, Some(port)) => format!("{name}:{port}"),
        (false, None) => name,
    }
}

/// The reason with who decided, in one line.
fn why(verdict: &Verdict) -> String {
    let mut why = verdict.reason.clone();
    let mut add = |text: &str| {
        why.push_str(", ");
        why.push_str(text);
    };
    if !verdict.allowed_by.is_empty() {
        let rule =
            |part: &crate::control::protocol::PolicyPart| format!("rule {} of {}", part.number, part.policy);
        let rules: Vec<String> = verdict.allowed_by.iter().map(rule).collect();
        add(&format!("allowed by {}", rules.join(" and ")));
    }
    if !verdict.isolated_by.is_empty() {
        add(&format!("isolated by {}", verdict.isolated_by.join(" and ")));
    }
    if verdict.closed {
        add("closed");
    }
    if verdict.changed_since && verdict.verdict == Outcome::Allowed {
        add("by what has changed since");
    }
    if verdict.reply {
        add("reply");
    }
    if let Some(count) = repeated(verdict) {
        add(&count);
    }
    why
}

/// How often, where it is not once.
fn repeated(verdict: &Verdict) -> Option<String> {
    let more = if verdict.at_least { "+" } else { "" };
    (verdict.count > 1 || verdict.at_least).then(|| format!("x{}{more}", verdict.count))
}

/// The reason with what it means.
fn reason(verdict: &Verdict) -> String {
    let known = Reason::ALL.iter().find(|reason| reason.name() == verdict.reason);
    known.map_or_else(|| verdict.reason.clone(), |known| format!("{}: {}", known.name(), known.text()))
}

/// What else there is to say, a line each.
fn details(verdict: &Verdict) -> Vec<String> {
    let mut lines: Vec<String> = verdict
        .allowed_by
        .iter()
        .map(|part| format!("allowed by rule {} of {} ({})", part.number, part.policy, part.rule))
        .collect();
    if !verdict.isolated_by.is_empty() {
        lines.push(format!("isolated by {}", verdict.isolated_by.join(" and ")));
    }
    lines.extend(verdict.nearest.iter().map(|nearest| nearest.text.clone()));
    if verdict.closed {
        lines.push(
            "closed: nothing is known of its pod, or its policies found no room; see `netpol status`"
                .to_owned(),
        );
    }
    if verdict.changed_since {
        lines.push(
            "a policy, a label or an address has changed since: which rule decided is not known".to_owned(),
        );
    }
    if !verdict.backends.is_empty() {
        lines.push(format!("judged by the backends {}", verdict.backends.join(", ")));
    }
    if verdict.reply {
        lines.push("a reply of its flow".to_owned());
    }
    if let Some(first) = verdict.first {
        let more = if verdict.at_least { "at least " } else { "" };
        lines.push(format!("{more}{} packets since {first}", verdict.count));
    }
    lines
}

#[cfg(test)]
pub(crate) mod tests;
