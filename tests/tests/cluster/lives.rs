//! What pods go through: containers that restart, sandboxes that are made anew, addresses that are given again, pods of every
//! kind, and many of them.

mod addresses;
mod again;
mod interfaces;
mod kinds;
mod many;
mod runtime;
mod sender;
