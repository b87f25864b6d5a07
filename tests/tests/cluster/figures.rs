//! What the issue asks in figures, on a real node: how soon a change is in force, and what the path costs.

mod latency;
mod local_pods;
mod traffic;

/// The value in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
