//! Splitting streams into messages: any pieces, keep-alives, bounds.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod common;

use common::Seeded;
use migcore::sip::{
    MESSAGE_OCTETS_MAX, ParseError,
    stream::{Frame, FramingError, STREAM_OCTETS_MAX, StreamFramer},
};

const IMS: &[u8] = include_bytes!("../sip-fixtures/register/ims.sip");
const COMPACT: &[u8] = include_bytes!("../sip-fixtures/register/compact.sip");

fn frames(framer: &mut StreamFramer) -> Vec<Frame> {
    std::iter::from_fn(|| framer.next_frame().unwrap()).collect()
}

fn message(octets: &'static [u8]) -> Frame {
    Frame::Message(octets.into())
}

#[test]
fn messages_come_out_whole_however_they_arrive() {
    let stream = [IMS, b"\r\n\r\n", COMPACT, b"\r\n", IMS, b"\r\n\r\n\r\n\r\n"].concat();
    let expected = [
        message(IMS),
        Frame::KeepAlive,
        message(COMPACT),
        message(IMS),
        Frame::KeepAlive,
        Frame::KeepAlive,
    ];
    for seed in 0..200 {
        let mut entropy = Seeded(seed);
        let mut framer = StreamFramer::new();
        let mut rest = &stream[..];
        let mut found = Vec::new();
        while !rest.is_empty() {
            let piece = 1 + usize::try_from(entropy.below(1 + seed * 8)).unwrap();
            let (now, later) = rest.split_at(piece.min(rest.len()));
            framer.push(now).unwrap();
            found.extend(frames(&mut framer));
            rest = later;
        }
        assert_eq!(found, expected, "seed {seed}");
        assert!(framer.rejected().is_empty());
    }
}

#[test]
fn a_keep_alive_is_told_once_for_two_line_ends() {
    let mut framer = StreamFramer::new();
    for (piece, expected) in [
        (&b"\r\n"[..], &[][..]),
        (b"\r\n", &[Frame::KeepAlive]),
        (b"\r", &[]),
        (b"\n\r", &[]),
        (b"\n", &[Frame::KeepAlive]),
    ] {
        framer.push(piece).unwrap();
        assert_eq!(frames(&mut framer), expected, "{piece:?}");
    }
}

#[test]
fn a_stream_that_cannot_be_framed_is_refused() {
    let head = "REGISTER sip:a SIP/2.0\r\nVia: x\r\n";
    let malformed = |reason| FramingError::Malformed(ParseError { status: 400, reason });
    for (further, error) in [
        ("", FramingError::MissingContentLength),
        ("l: x\r\n", malformed("Malformed Content-Length")),
        ("l: 1\r\nContent-Length: 2\r\n", malformed("Multiple Content-Length")),
        ("l: 65500\r\n", FramingError::MessageTooLong),
        ("l: 18446744073709551615\r\n", FramingError::MessageTooLong),
        ("l: 18446744073709551616\r\n", malformed("Malformed Content-Length")),
        ("no colon\r\nl: 0\r\n", malformed("Malformed header field")),
        ("l: 0\nx: y\r\n", malformed("LF without CR")),
    ] {
        let octets = format!("{head}{further}\r\n");
        let mut framer = StreamFramer::new();
        framer.push(octets.as_bytes()).unwrap();
        assert_eq!(framer.next_frame(), Err(error), "{further}");
        assert_eq!(framer.rejected(), octets.as_bytes());
    }
}

#[test]
fn a_folded_content_length_counts() {
    let mut framer = StreamFramer::new();
    let octets = b"REGISTER sip:a SIP/2.0\r\nContent-Length:\r\n 4\r\n\r\nbody";
    framer.push(octets).unwrap();
    assert_eq!(frames(&mut framer), [message(octets)]);
}

#[test]
fn a_header_part_without_end_is_bounded() {
    let mut framer = StreamFramer::new();
    framer.push(b"REGISTER sip:a SIP/2.0\r\nX: ").unwrap();
    let mut pushed = 27;
    let error = loop {
        framer.push(&[b'x'; 1000]).unwrap();
        pushed += 1000;
        if let Err(error) = framer.next_frame() {
            break error;
        }
    };
    assert_eq!(error, FramingError::HeadTooLong);
    assert!(pushed <= MESSAGE_OCTETS_MAX + 1000, "{pushed}");
}

#[test]
fn a_framer_that_is_not_emptied_takes_no_more_than_its_bound() {
    let mut framer = StreamFramer::new();
    framer.push(&vec![b'x'; STREAM_OCTETS_MAX]).unwrap();
    assert_eq!(framer.push(b"x"), Err(FramingError::BufferFull));
    assert_eq!(framer.rejected().len(), STREAM_OCTETS_MAX);
}

#[test]
fn the_longest_message_passes() {
    let head = "REGISTER sip:a SIP/2.0\r\nContent-Length: ";
    let body = MESSAGE_OCTETS_MAX - head.len() - 5 - 4;
    let octets = format!("{head}{body}\r\n\r\n{}", "b".repeat(body));
    assert_eq!(octets.len(), MESSAGE_OCTETS_MAX);
    let mut framer = StreamFramer::new();
    framer.push(octets.as_bytes()).unwrap();
    assert_eq!(frames(&mut framer), [Frame::Message(octets.into())]);
}

/// One octet at a time: quadratic work would take 2 * 10^9 steps here.
#[test]
fn no_octet_is_searched_twice() {
    let octets = format!("REGISTER sip:a SIP/2.0\r\nX: {}\r\nl: 0\r\n\r\n", "x".repeat(65_000));
    let mut framer = StreamFramer::new();
    let (last, front) = octets.as_bytes().split_last().unwrap();
    for octet in front {
        framer.push(std::slice::from_ref(octet)).unwrap();
        assert_eq!(framer.next_frame(), Ok(None));
    }
    framer.push(&[*last]).unwrap();
    assert!(matches!(framer.next_frame(), Ok(Some(Frame::Message(_)))));
}
