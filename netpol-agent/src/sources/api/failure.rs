//! Why a kind cannot be heard, in words.

use std::{error::Error, time::Duration};

use netpol_policy::model::Kind;

use super::served::served;

/// The longest time that a server's own wish for a pause is followed: it is to be heard soon after it is well again.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why a kind cannot be heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// What the server has answered, if it has.
    pub(super) code: Option<u16>,
    /// What has failed, and what to do where that is known.
    pub(super) words: String,
    /// How long the server wants not to be asked.
    pub(super) wish: Duration,
}

impl Failure {
    /// The server did not answer, or not in a way that is understood.
    pub(super) fn unanswered(words: impl Into<String>) -> Self {
        Self { code: None, words: words.into(), wish: Duration::ZERO }
    }

    /// No answer, for a reason that others give.
    pub(super) fn caused(error: &dyn Error) -> Self {
        Self::unanswered(format!("the API server cannot be reached: {}", chain(error)))
    }

    /// What a question has failed for.
    pub(super) fn of(kind: Kind, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
                let wish = Duration::from_secs(seconds.into()).min(PATIENCE);
                Self { wish, ..Self::said(kind, status.code, &status.message) }
            }
            other => Self::caused(other),
        }
    }

    /// What the server has answered in place of objects.
    pub(super) fn said(kind: Kind, code: u16, message: &str) -> Self {
        let words = match code {
            401 => format!(
                "the API server does not know the agent (401 {message}): see whether its token or certificate is still valid"
            ),
            403 => format!(
                "the API server forbids it (403 {message}): give the agent the right to list and watch {} (deploy/rbac.yaml does)",
                served(kind).plural
            ),
            _ => format!("the API server answers {code} {message}"),
        };
        Self { code: Some(code), words, wish: Duration::ZERO }
    }
}

/// An error and what has caused it. Many repeat what the one below says.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = error.source();
    }
    text
}
