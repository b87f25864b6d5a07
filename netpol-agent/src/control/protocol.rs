//! What crosses the socket: one JSON object a line, a [`Request`] first, then [`Response`]s until [`Response::End`] or
//! [`Response::Error`]. It is also what `-o json` prints.

mod explain;
mod filter;
mod moment;
mod status;
mod verdict;

use serde::{Deserialize, Serialize};

pub use self::{
    explain::{Explanation, LivePath, LiveSide, LiveVerdict, MatrixQuestion, Question},
    filter::{Filter, Flag, InvalidTest, Test},
    moment::{InvalidMoment, Moment},
    status::{
        Absence, BreakGlassLine, BridgeLine, CounterLine, EndpointLine, EnforcerLine, PolicyDetail,
        PolicyLine, RefusedLine, RepairedLine, Status, TableLine, TakenOverLine, UndecidedLine,
        UnenforcedLine,
    },
    verdict::{Cause, End, EndKind, Gap, Nearest, Outcome, PolicyPart, Verdict},
};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// How the agent is.
    Status,
    /// Verdicts, those of the past first.
    Observe {
        /// Whether to go on with those that come.
        follow: bool,
        /// How many of the past, after the filter.
        last: usize,
        /// Whether each of those that come is to be told, also where a denial repeats.
        #[serde(default)]
        each: bool,
        /// Which ones.
        filter: Filter,
    },
    /// What would become of a flow.
    Explain(Question),
    /// What would become of every flow within a namespace.
    Matrix(MatrixQuestion),
    /// Every policy.
    Policies,
    /// One policy.
    Policy {
        /// `NAMESPACE/NAME`.
        name: String,
    },
}

/// An answer, or a part of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "kebab-case")]
pub enum Response {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Observe`], one for each verdict.
    Verdict(Box<Verdict>),
    /// To [`Request::Observe`]: some are missing.
    Gap(Box<Gap>),
    /// To [`Request::Explain`] and [`Request::Matrix`].
    Explanation(Box<Explanation>),
    /// To [`Request::Policies`].
    Policies {
        /// By namespace and name.
        policies: Vec<PolicyLine>,
    },
    /// To [`Request::Policy`].
    Policy(Box<PolicyDetail>),
    /// Nothing more comes.
    End,
    /// Nothing more comes, since something is wrong.
    Error {
        /// What, for people.
        message: String,
    },
}
