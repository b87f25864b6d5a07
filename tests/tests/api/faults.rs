//! What goes wrong between the agent and the API server, by real means, while allowed and denied traffic flows: what is
//! enforced stays, and what has changed meanwhile is in force within 5 s of the server's return.

mod away;
mod lists;
mod pages;
mod rights;
mod scene;
