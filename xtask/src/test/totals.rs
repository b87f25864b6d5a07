//! Counts what ran, from the lines that Rust's test harness and cargo write.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use anyhow::{Result, bail};

/// What one test binary, or one kernel, came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Part {
    name: String,
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// The sum over everything that ran.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    parts: Vec<Part>,
    /// The binary whose output is being read.
    current: String,
    /// What is said of every part behind its name.
    on: String,
    broken: Vec<String>,
    /// How many of what the tests say that they have done.
    counted: BTreeMap<String, u64>,
    /// What they say that they have measured, and what they have left out.
    said: BTreeSet<String>,
}

impl Totals {
    /// Takes one line of `cargo test`.
    pub(crate) fn take_line(&mut self, line: &str) {
        let line = line.trim();
        if let Some(name) = line.strip_prefix("Running ") {
            // "unittests src/lib.rs (target/debug/deps/name-0123)": the file's name tells which crate it is.
            self.current = binary_name(name) + &self.on;
        } else if let Some(name) = line.strip_prefix("Doc-tests ") {
            self.current = format!("{name} (examples in the documentation)");
        } else if let Some(result) = line.strip_prefix("test result: ") {
            let mut part = Part { name: self.current.clone(), ..Part::default() };
            part.passed = count(result, "passed");
            part.failed = count(result, "failed");
            part.skipped = count(result, "ignored");
            self.parts.push(part);
        } else if let Some(all) = line.strip_prefix("counted: ") {
            for (number, what) in all.split(", ").filter_map(|one| one.split_once(' ')) {
                *self.counted.entry(what.to_owned()).or_default() += number.parse::<u64>().unwrap_or(0);
            }
        } else if line.starts_with("figure: ") || line.starts_with("not run: ") {
            self.said.insert(format!("{line}{}", self.on));
        }
    }

    /// One test that is not Rust's harness's.
    pub(crate) fn one(&mut self, name: &str, passed: bool) {
        let part =
            Part { name: name.to_owned(), passed: passed.into(), failed: (!passed).into(), skipped: 0 };
        self.parts.push(part);
    }

    /// `what` failed as a whole, whatever its tests said.
    pub(crate) fn broken(&mut self, what: &str) {
        self.broken.push(what.to_owned());
    }

    /// Where the binaries that follow run; said behind their names.
    pub(crate) fn on(&mut self, place: &str) {
        place.clone_into(&mut self.on);
    }

    /// What follows belongs to `name`.
    pub(crate) fn now(&mut self, name: &str) {
        self.current = name.to_owned();
    }

    /// A line for each part in which something ran, and for each thing that tests have counted, measured or left out.
    pub(crate) fn print_what_ran(&self) {
        for Part { name, passed, failed, skipped } in &self.parts {
            if passed + failed + skipped > 0 {
                println!("{passed:>6} passed {failed:>4} failed {skipped:>4} skipped  {name}");
            }
        }
        for (what, number) in &self.counted {
            println!("{number:>9} {what}");
        }
        for line in &self.said {
            println!("{line}");
        }
    }

    /// Whether the whole counts as passed.
    pub(crate) fn verdict(&self) -> Result<()> {
        let sum = self.sum();
        if sum.failed > 0 || !self.broken.is_empty() {
            bail!("tests failed: {}", self.failures().join(", "));
        }
        if sum.skipped > 0 {
            bail!("{} tests were skipped, and a skip is not a pass", sum.skipped);
        }
        if sum.passed == 0 {
            bail!("no test ran: does the filter match one?");
        }
        Ok(())
    }

    fn failures(&self) -> Vec<String> {
        let failed = self.parts.iter().filter(|part| part.failed > 0).map(|part| &part.name);
        let mut names: Vec<String> = failed.chain(&self.broken).cloned().collect();
        names.dedup();
        names
    }

    fn sum(&self) -> Part {
        let mut sum = Part::default();
        for part in &self.parts {
            sum.passed += part.passed;
            sum.failed += part.failed;
            sum.skipped += part.skipped;
        }
        sum
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Part { passed, failed, skipped, .. } = self.sum();
        write!(formatter, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// The number before `word` in "ok. 3 passed; 0 failed; 1 ignored; ...".
fn count(result: &str, word: &str) -> u64 {
    let words: Vec<&str> = result.split([' ', ';']).collect();
    words.windows(2).find(|pair| pair[1] == word).and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
}

/// "src/lib.rs (target/debug/deps/netpol_policy-0123abcd)" to "netpol_policy, src/lib.rs".
fn binary_name(text: &str) -> String {
    let Some((source, path)) = text.split_once(" (") else { return text.to_owned() };
    let file = path.trim_end_matches(')').rsplit('/').next().unwrap_or(path);
    let name = file.rsplit_once('-').map_or(file, |(name, _)| name);
    format!("{name}, {}", source.trim_start_matches("unittests "))
}

#[cfg(test)]
mod tests {
    use super::Totals;

    fn of(lines: &[&str]) -> Totals {
        let mut totals = Totals::default();
        for line in lines {
            totals.take_line(line);
        }
        totals
    }

    #[test]
    fn results_are_summed_over_binaries() {
        let totals = of(&[
            "     Running unittests src/lib.rs (target/debug/deps/netpol_policy-0123abcd)",
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.01s",
            "   Doc-tests netpol_policy",
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ]);
        assert_eq!(totals.to_string(), "14 passed, 0 failed, 0 skipped");
        assert_eq!(totals.parts[0].name, "netpol_policy, src/lib.rs");
        assert!(totals.verdict().is_ok());
    }

    #[test]
    fn what_tests_count_is_added_up() {
        let totals = of(&["counted: 10 cases, 2 histories", "", "counted: 5 cases"]);
        assert_eq!(
            totals.counted.into_iter().collect::<Vec<_>>(),
            [("cases".into(), 15), ("histories".into(), 2)]
        );
    }

    #[test]
    fn what_tests_measure_and_leave_out_is_said_again() {
        let mut totals = of(&["figure: 3 ms", "not run: no suite", "some line"]);
        totals.on(", CNI ptp");
        totals.take_line("not run: no suite");
        assert_eq!(
            totals.said.into_iter().collect::<Vec<_>>(),
            ["figure: 3 ms", "not run: no suite", "not run: no suite, CNI ptp"]
        );
    }

    #[test]
    fn a_skip_is_no_pass() {
        let totals = of(&["test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out"]);
        assert_eq!(totals.to_string(), "2 passed, 0 failed, 1 skipped");
        assert!(totals.verdict().is_err());
    }

    #[test]
    fn nothing_that_ran_is_no_pass() {
        assert!(of(&[]).verdict().is_err());
        assert!(of(&["test result: ok. 0 passed; 0 failed; 0 ignored"]).verdict().is_err());
    }

    #[test]
    fn a_binary_that_did_not_compile_fails_the_whole() {
        let mut totals = of(&["test result: ok. 2 passed; 0 failed; 0 ignored"]);
        totals.broken("cargo test");
        assert_eq!(totals.failures(), ["cargo test"]);
        assert!(totals.verdict().is_err());
    }
}
