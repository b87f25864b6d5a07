//! The encodings in which an API server answers: how one is asked for, how it is known, and where an event of a watch ends.

use std::io;

use futures::{AsyncBufRead, AsyncBufReadExt as _};
use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT, CONTENT_TYPE},
};

/// The media type of messages of protobuf.
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// The longest event that is taken from a server, in bytes. Whole objects are smaller by far: no server takes one of more than
/// 3 MiB, and Kubernetes' own client takes no longer event (k8s.io/apimachinery, `pkg/runtime/serializer/streaming`).
const LONGEST: u32 = 16 * 1024 * 1024;
/// Bytes of the length in front of an event, the highest one first (k8s.io/apimachinery, `pkg/util/framer`).
const LENGTH: usize = 4;

/// An encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Every server knows it; an event ends with its line.
    Json,
    /// Shorter, and what is not kept is passed over by its length; an event has its own in front.
    Protobuf,
}

/// What was read of the next event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// All of it.
    Whole,
    /// Its beginning.
    Half,
    /// Nothing: the answer has ended.
    None,
    /// It is so long that it was not read.
    TooLong(u32),
}

impl Form {
    /// Asks for an answer in this encoding, or in JSON if the server does not know it.
    pub(super) fn ask(self, stream: bool, headers: &mut HeaderMap) {
        let accepted = match (self, stream) {
            (Self::Json, _) => return,
            (Self::Protobuf, true) => {
                "application/vnd.kubernetes.protobuf;stream=watch, application/json;q=0.9"
            }
            (Self::Protobuf, false) => "application/vnd.kubernetes.protobuf, application/json;q=0.9",
        };
        headers.insert(ACCEPT, HeaderValue::from_static(accepted));
    }

    /// The encoding of an answer. What is not said to be another is JSON.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let said = headers.get(CONTENT_TYPE).and_then(|said| said.to_str().ok()).unwrap_or_default();
        let media_type = said.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case(PROTOBUF) { Self::Protobuf } else { Self::Json }
    }

    /// Reads the next event of a watch: in JSON with the end of its line, in protobuf without its length.
    pub(super) async fn read_event(
        self,
        from: &mut (impl AsyncBufRead + Unpin),
        event: &mut Vec<u8>,
    ) -> io::Result<Event> {
        event.clear();
        match self {
            Self::Json => {
                from.read_until(b'\n', event).await?;
                Ok(match event.last() {
                    Some(b'\n') => Event::Whole,
                    Some(_) => Event::Half,
                    None => Event::None,
                })
            }
            Self::Protobuf => {
                fill(from, event, LENGTH).await?;
                let Ok(length) = event.as_slice().try_into().map(u32::from_be_bytes) else {
                    return Ok(if event.is_empty() { Event::None } else { Event::Half });
                };
                event.clear();
                if length > LONGEST {
                    return Ok(Event::TooLong(length));
                }
                let length = length as usize;
                fill(from, event, length).await?;
                Ok(if event.len() == length { Event::Whole } else { Event::Half })
            }
        }
    }
}

/// Reads until there are so many bytes, or no more come. Room is made only for what has come.
async fn fill(from: &mut (impl AsyncBufRead + Unpin), into: &mut Vec<u8>, length: usize) -> io::Result<()> {
    while into.len() < length {
        let come = from.fill_buf().await?;
        let taken = come.len().min(length - into.len());
        if taken == 0 {
            break;
        }
        into.extend_from_slice(&come[..taken]);
        from.consume_unpin(taken);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
