//! What was probably meant by a name that is not there.

use std::collections::BTreeSet;

use super::{imply::contradiction, scene::listed};
use crate::{
    model::{Labels, Requirement, Selector},
    policy_text::selector_text,
    spec::matching,
};

/// The one of the candidates that a text is a slip of the pen away from.
pub(super) fn nearest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let lower = text.to_lowercase();
    candidates
        .into_iter()
        .filter(|candidate| *candidate != text && !candidate.is_empty() && !numbered(text, candidate))
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= tolerated(text.len().min(candidate.len())))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Whether two names differ in numbers or letters that count, such as `v1` and `v2` or `team-a` and `team-b`.
fn numbered(a: &str, b: &str) -> bool {
    let without_digits = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    let segments =
        |text: &str| text.split(|c: char| !c.is_alphanumeric()).map(str::to_owned).collect::<Vec<_>>();
    let (of_a, of_b) = (segments(a), segments(b));
    let by_letter = of_a.len() == of_b.len()
        && of_a.iter().zip(&of_b).all(|(one, other)| one == other || one.len() <= 1 && other.len() <= 1);
    without_digits(a) == without_digits(b) || by_letter
}

/// Short names that differ in a letter are often two names.
const fn tolerated(length: usize) -> usize {
    match length {
        0..=2 => 0,
        3..=6 => 1,
        _ => 2,
    }
}

/// Letters to add, remove or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Whether a selector that matches none of these labels is only a slip of the pen away from one that does.
pub(super) fn is_slip(selector: &Selector, all: &[&Labels]) -> bool {
    miss(selector, all, "").starts_with(MEANT)
}

const MEANT: &str = "did you mean";

/// Why a selector matches none of these labels, and what may have been meant instead.
pub(super) fn miss(selector: &Selector, all: &[&Labels], of: &str) -> String {
    let unmet = selector.0.iter().find(|one| !all.iter().any(|labels| matching::holds(one, labels)));
    match unmet {
        _ if all.is_empty() => "none is there".to_owned(),
        Some(Requirement::In(key, values)) => wanted(key, values, all, of),
        Some(Requirement::Exists(key)) => no_key(key, all, of),
        Some(Requirement::NotIn(key, _)) => format!("every {of} has one of these values of {key}"),
        Some(Requirement::DoesNotExist(key)) => format!("every {of} has the label {key}"),
        None => format!("each part of it holds for some {of}, all together for none"),
    }
}

fn wanted(key: &str, values: &BTreeSet<String>, all: &[&Labels], of: &str) -> String {
    let there: BTreeSet<&str> = all.iter().filter_map(|labels| labels.get(key)).map(String::as_str).collect();
    if there.is_empty() {
        return no_key(key, all, of);
    }
    let meant = values.iter().find_map(|value| nearest(value, there.iter().copied()));
    match meant {
        Some(meant) => format!("{MEANT} {key}={meant}? No {of} has {key}={}", either(values)),
        None => {
            let there: Vec<String> = there.iter().map(|value| format!("{key}={value}")).collect();
            format!("no {of} has {key}={}; there is {}", either(values), listed(&there, 5))
        }
    }
}

fn either(values: &BTreeSet<String>) -> String {
    values.iter().map(String::as_str).collect::<Vec<_>>().join(" or ")
}

fn no_key(key: &str, all: &[&Labels], of: &str) -> String {
    let keys: BTreeSet<&str> = all.iter().flat_map(|labels| labels.keys()).map(String::as_str).collect();
    match nearest(key, keys.iter().copied()) {
        Some(meant) => format!("{MEANT} the label {meant}? No {of} has the label {key}"),
        None => format!("no {of} has the label {key}"),
    }
}

/// A selector whose requirements exclude each other, in words.
pub(super) fn contradiction_text(selector: &Selector) -> Option<String> {
    let (one, other) = contradiction(selector)?;
    let text = |requirement: &Requirement| selector_text(&Selector(vec![requirement.clone()]));
    Some(format!("{} and {} never hold together", text(one), text(other)))
}
