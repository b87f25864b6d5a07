//! What netpol itself says about what happened: the verdict of a denied and of an allowed flow, and why.

use anyhow::Result;

use crate::stage::Stage;

/// Whom everybody wants to reach.
const API: &str = "production/api";

/// Prints the answers; whether they were as expected.
pub(crate) fn ask(stage: &dyn Stage) -> Result<bool> {
    let mut right = true;
    // Each where it is seen: the sender's own node stops what its egress denies, the API's lets in what both allow.
    for (verdict, from, at) in
        [("dropped", "production/debug", "production/debug"), ("allowed", "production/frontend", API)]
    {
        let question = ["observe", "--verdict", verdict, "--from", from, "--to", API, "-o", "wide"];
        println!("\n$ netpol {}", question.join(" "));
        let output = stage.netpol(at, &question)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // The last one in which a policy decided, with what is said below it.
        let lines: Vec<&str> = text.lines().collect();
        let names = |line: &&str| {
            line.contains("allowed by rule") && line.contains("of production/")
                || line.contains("isolated by production/")
        };
        let first = lines
            .iter()
            .rposition(names)
            .and_then(|at| lines[..at].iter().rposition(|l| !l.starts_with(' ')));
        let line = first.map(|first| {
            let more = lines[first + 1..].iter().take_while(|line| line.starts_with(' ')).count();
            lines[first..=first + more].join("\n")
        });
        if let Some(line) = line {
            println!("...\n{line}");
        } else {
            println!(
                "DIFFERENT: no verdict of a flow from {from} to production/api names a policy, in:\n{text}"
            );
            right = false;
        }
    }
    for (question, code) in [
        (&["explain", "production/frontend", "production/api", "8080/TCP"][..], 0),
        (&["explain", "production/debug", "production/api", "8080/TCP"], 1),
        (&["explain", "--all", "production"], 0),
    ] {
        println!("\n$ netpol {}", question.join(" "));
        let output = stage.netpol(API, question)?;
        print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.code() != Some(code) {
            println!("DIFFERENT: expected exit code {code}, seen {}", output.status);
            right = false;
        }
    }
    Ok(right)
}
