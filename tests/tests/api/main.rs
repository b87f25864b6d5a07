//! Tests with a real API server and no nodes.

mod announce;
mod control_plane;
mod deploy;
mod encodings;
mod faults;
