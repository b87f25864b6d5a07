//! Every question in every scenario, and the table of what was expected beside what was seen.

use std::thread;

use anyhow::{Result, anyhow};
use netpol_tests::Outcome;

use crate::clients;
use crate::cluster::Cluster;
use crate::scenarios::{ALL, ROWS, Scenario};

/// What was seen in one scenario: for each row IPv4 and IPv6.
pub(crate) struct Seen {
    outcomes: Vec<[Outcome; 2]>,
}

impl Seen {
    /// How many probes that were.
    pub(crate) fn len(&self) -> usize {
        self.outcomes.len() * 2
    }
}

/// Asks every row's question by both families, all at the same time.
pub(crate) fn look(cluster: &Cluster, scenario: &Scenario) -> Result<Seen> {
    let ask = |row, v4| clients::ask(cluster, row, v4).map_err(|error| error.context(scenario.column));
    thread::scope(|scope| {
        let asked: Vec<_> =
            ROWS.iter().map(|row| [true, false].map(|v4| scope.spawn(move || ask(row, v4)))).collect();
        let mut outcomes = Vec::new();
        for [v4, v6] in asked {
            let answer = |thread: thread::ScopedJoinHandle<'_, Result<Outcome>>| {
                thread.join().map_err(|_| anyhow!("a probe panicked"))?
            };
            outcomes.push([answer(v4)?, answer(v6)?]);
        }
        Ok(Seen { outcomes })
    })
}

/// What must come of a row in a scenario, by IPv4 and by IPv6.
fn expected(row: usize, scenario: usize) -> [Outcome; 2] {
    match ROWS[row].expected.as_bytes().get(scenario) {
        Some(b'+') => [Outcome::Reached; 2],
        Some(b'4') => [Outcome::Reached, Outcome::TimedOut],
        _ => [Outcome::TimedOut; 2],
    }
}

/// Prints the table; whether everything was as expected.
pub(crate) fn print(seen: &[Seen]) -> bool {
    println!(
        "expected|seen, first IPv4, then IPv6:  + arrives   - is dropped (the client times out)   ! is refused\n"
    );
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
            let expected = expected(number, scenario);
            let seen = outcomes[number];
            print!("  {}|{}", marks(expected), marks(seen));
            if expected != seen {
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

fn marks(outcomes: [Outcome; 2]) -> String {
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
