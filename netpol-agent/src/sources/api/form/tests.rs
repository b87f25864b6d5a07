use futures::{
    executor::block_on,
    io::{BufReader, Cursor},
};

use super::{Event::*, *};

/// What is read of these bytes, which come in small pieces.
fn read(form: Form, bytes: &[u8]) -> Vec<(Event, Vec<u8>)> {
    let mut from = BufReader::with_capacity(3, Cursor::new(bytes));
    let mut event = Vec::new();
    let mut events = Vec::new();
    loop {
        let read = block_on(form.read_event(&mut from, &mut event)).unwrap();
        let is_last = read != Whole;
        events.push((read, event.clone()));
        if is_last {
            return events;
        }
    }
}

#[test]
fn an_event_ends_with_its_line_or_by_its_length() {
    let of = |text: &str| text.as_bytes().to_vec();
    assert_eq!(
        read(Form::Json, b"first\nsecond\n"),
        [(Whole, of("first\n")), (Whole, of("second\n")), (None, of(""))]
    );
    assert_eq!(read(Form::Json, b"first\nsec"), [(Whole, of("first\n")), (Half, of("sec"))]);
    assert_eq!(
        read(Form::Protobuf, b"\0\0\0\x05first\0\0\0\0\0\0\0\x06s\ncond"),
        [(Whole, of("first")), (Whole, of("")), (Whole, of("s\ncond")), (None, of(""))]
    );
}

#[test]
fn what_ends_within_a_length_or_before_it_is_half() {
    let whole = b"\0\0\0\x05first";
    for end in 1..whole.len() {
        let events = read(Form::Protobuf, &whole[..end]);
        assert_eq!(events.len(), 1, "{end}");
        assert_eq!(events[0].0, Half, "{end}");
    }
}

#[test]
fn a_length_that_no_event_has_makes_no_room() {
    let mut from = Cursor::new(b"\xff\xff\xff\xff");
    let mut event = Vec::new();
    assert_eq!(block_on(Form::Protobuf.read_event(&mut from, &mut event)).unwrap(), TooLong(u32::MAX));
    assert!(event.capacity() < 64);
    // Nor does one that some event could have, before its bytes have come.
    let mut from = Cursor::new([&LONGEST.to_be_bytes()[..], b"few"].concat());
    assert_eq!(block_on(Form::Protobuf.read_event(&mut from, &mut event)).unwrap(), Half);
    assert!(event.capacity() < 64);
}

#[test]
fn the_answer_says_which_encoding_it_has() {
    for (said, expected) in [
        (Some("application/vnd.kubernetes.protobuf"), Form::Protobuf),
        (Some("application/vnd.kubernetes.protobuf;stream=watch"), Form::Protobuf),
        (Some("Application/VND.Kubernetes.Protobuf ; stream=watch"), Form::Protobuf),
        (Some("application/json"), Form::Json),
        (Some("application/json;stream=watch"), Form::Json),
        (Some("text/plain; charset=utf-8"), Form::Json),
        (Option::None, Form::Json),
    ] {
        let headers = said.map(|said| (CONTENT_TYPE, HeaderValue::from_static(said)));
        assert_eq!(Form::of(&headers.into_iter().collect()), expected, "{said:?}");
    }
}
