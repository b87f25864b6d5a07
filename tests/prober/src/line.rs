//! What goes over the wire between two probers: `netpol NUMBER PADDING` there, `NAME SOURCE netpol NUMBER PADDING` back.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

/// A question that no other one of this process is the same as.
pub(crate) fn question(number: u64, size: usize) -> Vec<u8> {
    let mut line = format!("netpol {number} ").into_bytes();
    line.resize(line.len() + size, b'x');
    line.push(b'\n');
    line
}

/// A number that no other question of this process has.
pub(crate) fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What a server called `name` answers to a client that it sees at `source`.
pub(crate) fn answer(name: &str, source: SocketAddr, question: &[u8]) -> Vec<u8> {
    let mut answer = format!("{name} {} ", source.ip().to_canonical()).into_bytes();
    answer.extend(question);
    answer
}

/// Who answered, and whom it took the client for, when this is the answer to `question`.
pub(crate) fn read_answer(answer: &[u8], question: &[u8]) -> Option<(String, IpAddr)> {
    let head = std::str::from_utf8(answer.strip_suffix(question)?).ok()?;
    let (name, source) = head.trim_end().rsplit_once(' ')?;
    Some((name.to_owned(), source.parse().ok()?))
}
