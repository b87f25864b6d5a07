//! Every question in every scenario, and the table of what was expected beside what was seen.

use anyhow::{Context as _, Result};
use netpol_tests::Outcome;

use crate::scenarios::{ALL, ROWS, Scenario};
use crate::stage::{Family, Stage};

/// What was seen in one scenario: for each row what came of it by each family.
pub(crate) struct Seen {
    outcomes: Vec<Vec<Outcome>>,
}

impl Seen {
    /// How many probes that were.
    pub(crate) fn len(&self) -> usize {
        self.outcomes.iter().map(Vec::len).sum()
    }
}

/// Asks every row's question by every family, all at the same time.
pub(crate) fn look(stage: &dyn Stage, scenario: &Scenario) -> Result<Seen> {
    let outcomes = stage.ask(ROWS).with_context(|| scenario.column)?;
    Ok(Seen { outcomes })
}

/// What must come of a row in a scenario.
fn expected(row: usize, scenario: usize, families: &[Family]) -> Vec<Outcome> {
    let by = |family: &Family| match (ROWS[row].expected.as_bytes().get(scenario), family) {
        (Some(b'+'), _) | (Some(b'4'), Family::V4) => Outcome::Reached,
        _ => Outcome::TimedOut,
    };
    families.iter().map(by).collect()
}

/// Prints the table; whether everything was as expected.
pub(crate) fn print(families: &[Family], seen: &[Seen]) -> bool {
    let shown = match families {
        [Family::V4] => "by IPv4",
        [Family::V6] => "by IPv6",
        _ => "first IPv4, then IPv6",
    };
    println!("expected|seen, {shown}:  + arrives   - is dropped (the client times out)   ! is refused\n");
    let from = ROWS.iter().map(|row| row.from.len()).max().unwrap_or(0);
    let what = ROWS.iter().map(|row| row.what.len()).max().unwrap_or(0);
    print!("{:from$}  {:what$}", "from", "asks");
    for scenario in &ALL[..seen.len()] {
        print!("  {:^5}", scenario.column);
    }
    println!();
    let mut wrong = Vec::new();
    for (number, row) in ROWS.iter().enumerate() {
        print!("{:from$}  {:what$}", row.from, row.what);
        for (scenario, Seen { outcomes }) in seen.iter().enumerate() {
            let expected = expected(number, scenario, families);
            let seen = &outcomes[number];
            print!("  {}|{}", marks(&expected), marks(seen));
            if expected != *seen {
                wrong.push(format!(
                    "{} {} in scenario {}: expected {expected:?}, seen {seen:?}",
                    row.from, row.what, ALL[scenario].column
                ));
            }
        }
        println!();
    }
    for line in &wrong {
        println!("DIFFERENT: {line}");
    }
    wrong.is_empty()
}

fn marks(outcomes: &[Outcome]) -> String {
    outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Reached => '+',
            Outcome::TimedOut => '-',
            Outcome::Refused => '!',
            Outcome::Failed(_) => '?',
        })
        .collect()
}
