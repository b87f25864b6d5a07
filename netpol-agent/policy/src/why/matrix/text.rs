//! The matrix as text for a terminal: letters for columns, and what they stand for below.

use std::fmt;

use super::{Cell, CellVerdict, Column, Matrix, Row, SHOWN};

/// What marks stand for.
const LEGEND: [(CellVerdict, &str); 7] = [
    (CellVerdict::Allowed, "allowed"),
    (CellVerdict::DeniedByIngress, "denied by ingress of the receiver"),
    (CellVerdict::DeniedByEgress, "denied by egress of the sender"),
    (CellVerdict::DeniedByBoth, "denied by both"),
    (CellVerdict::Differs, "not the same for both families or all these senders"),
    (CellVerdict::Itself, "the pod itself"),
    (CellVerdict::Nowhere, "no family of addresses in common"),
];

const fn mark(verdict: CellVerdict) -> char {
    match verdict {
        CellVerdict::Allowed => '+',
        CellVerdict::DeniedByIngress => 'i',
        CellVerdict::DeniedByEgress => 'e',
        CellVerdict::DeniedByBoth => 'b',
        CellVerdict::Differs => '~',
        CellVerdict::Itself => '.',
        CellVerdict::Nowhere => '/',
    }
}

/// A to Z, then AA, AB, and so on.
fn letters(index: usize) -> String {
    let last = char::from(b'A' + (index % 26) as u8);
    if index < 26 { last.to_string() } else { format!("{}{last}", letters(index / 26 - 1)) }
}

fn cell_text(cell: &Cell) -> String {
    let mark = mark(cell.verdict);
    if cell.live_differs { format!("{mark}!") } else { mark.to_string() }
}

/// A name, with how many pods it stands for.
fn counted(name: &str, pods: usize) -> String {
    match pods {
        0 | 1 => name.to_owned(),
        pods if name.starts_with("pods of ") => format!("{name} ({pods} pods)"),
        pods => format!("{name} and {} like it", pods - 1),
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, columns, rows } = self;
        writeln!(f, "who may begin a flow with the pods of {namespace}")?;
        writeln!(f)?;
        let name_of = |row: &Row| counted(&row.name, row.pods.len());
        let width = rows.iter().map(|row| name_of(row).chars().count()).max().unwrap_or(0);
        let titles: Vec<String> = (0..columns.len()).map(letters).collect();
        let cell_width = titles.iter().map(String::len).max().unwrap_or(1).max(2);
        let line = |name: &str, cells: &mut dyn Iterator<Item = String>| {
            let cells: String = cells.map(|cell| format!(" {cell:<cell_width$}")).collect();
            let pad = width.saturating_sub(name.chars().count());
            format!("{name}{}  {cells}", " ".repeat(pad)).trim_end().to_owned()
        };
        writeln!(f, "{}", line("", &mut titles.iter().cloned()))?;
        for row in rows {
            writeln!(f, "{}", line(&name_of(row), &mut row.cells.iter().map(cell_text)))?;
        }
        writeln!(f)?;
        for (title, column) in titles.iter().zip(columns) {
            let Column { name, pods, payload } = column;
            writeln!(f, "  {title:<cell_width$}  {} {payload}", counted(name, pods.len()))?;
        }
        for row in rows.iter().filter(|row| row.namespaces.len() > SHOWN + 1) {
            writeln!(f, "\n  {}: {}", row.name, row.namespaces.join(", "))?;
        }
        writeln!(f)?;
        let all = || rows.iter().flat_map(|row| &row.cells);
        for (verdict, text) in LEGEND {
            if all().any(|cell| cell.verdict == verdict) {
                writeln!(f, "  {:<cell_width$}  {text}", mark(verdict))?;
            }
        }
        if all().any(|cell| cell.live_differs) {
            let text = "the live tables differ: `netpol explain SRC DST PORT/PROTO` says how";
            writeln!(f, "  {:<cell_width$}  {text}", "!")?;
        }
        Ok(())
    }
}
