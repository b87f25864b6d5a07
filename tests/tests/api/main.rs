//! Tests with a real API server and no nodes.

mod control_plane;
mod faults;
