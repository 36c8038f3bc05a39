//! What a client's connection is about, to know when it takes too long.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use crate::node::{management::many, park::APART_DEADLINE, tls::Stream};

/// How long a client may take from the first octet of a request to the end of its head, and from the
/// connection to the end of the first head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection stays open after an answer without another request, or without reading it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a request may take, body and answer: both have deadlines of their own well before.
pub(in crate::node) const REQUEST_TIMEOUT: Duration = Duration::from_secs(150);

const _: () = assert!(
    many::BODY_TIMEOUT.as_secs() + APART_DEADLINE.as_secs() < REQUEST_TIMEOUT.as_secs(),
    "a request about many has its own time, and what the call itself takes"
);

/// What a connection is about, since when.
#[derive(Debug)]
pub(super) struct Activity(Mutex<(Doing, Instant)>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Doing {
    /// The head of a request arrives, or the first one is awaited.
    Head,
    /// A request is worked on; its body may still arrive.
    Request,
    /// The client has its answer, or is about to read it.
    Nothing,
    /// The client is being told something now and then, and has to take it.
    Stream,
}

/// What took too long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Late {
    /// The head of a request.
    SlowHead,
    /// The next request, or the reading of an answer.
    Silent,
}

impl Activity {
    /// That of a new connection.
    pub(super) const fn new(now: Instant) -> Self {
        Self(Mutex::new((Doing::Head, now)))
    }

    /// The head of a request has arrived.
    pub(super) fn request_began(&self, now: Instant) {
        self.set(Doing::Request, now);
    }

    /// The answer is known and goes to the socket.
    pub(super) fn answered(&self, now: Instant) {
        self.set(Doing::Nothing, now);
    }

    /// The answer goes on: the client has time from each part that it takes.
    pub(super) fn streams(&self, now: Instant) {
        self.set(Doing::Stream, now);
    }

    fn octets_left(&self, now: Instant) {
        if self.get().0 == Doing::Stream {
            self.set(Doing::Stream, now);
        }
    }

    fn octets_came(&self, now: Instant) {
        if self.get().0 == Doing::Nothing {
            self.set(Doing::Head, now);
        }
    }

    /// When the connection takes too long.
    pub(super) fn deadline(&self) -> Instant {
        let (doing, since) = self.get();
        since
            + match doing {
                Doing::Head => HEAD_TIMEOUT,
                Doing::Request => REQUEST_TIMEOUT,
                Doing::Nothing | Doing::Stream => IDLE_TIMEOUT,
            }
    }

    /// What takes too long once the deadline has passed.
    pub(super) fn late(&self) -> Late {
        match self.get().0 {
            Doing::Head => Late::SlowHead,
            Doing::Request | Doing::Nothing | Doing::Stream => Late::Silent,
        }
    }

    fn get(&self) -> (Doing, Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, doing: Doing, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (doing, now);
    }
}

/// A socket that tells [`Activity`] when octets come.
#[derive(Debug)]
pub(super) struct Watched {
    stream: Stream,
    activity: Arc<Activity>,
}

impl Watched {
    pub(super) const fn new(stream: Stream, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }

    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }

    fn note_written(&self, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(octets)) if *octets > 0) {
            self.activity.octets_left(Instant::now());
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.octets_came(Instant::now());
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, octets);
        self.note_written(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.note_written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_time_by_what_it_is_about() {
        let began = Instant::now();
        let after = |secs| began + Duration::from_secs(secs);
        let activity = Activity::new(began);
        assert_eq!((activity.deadline(), activity.late()), (after(10), Late::SlowHead));
        activity.octets_came(after(3));
        assert_eq!(activity.deadline(), after(10), "more of a head moves nothing");
        activity.request_began(after(5));
        activity.octets_came(after(6));
        assert_eq!(activity.deadline(), after(5) + REQUEST_TIMEOUT, "nor does a body");
        activity.answered(after(7));
        assert_eq!((activity.deadline(), activity.late()), (after(7) + IDLE_TIMEOUT, Late::Silent));
        activity.octets_came(after(30));
        assert_eq!((activity.deadline(), activity.late()), (after(40), Late::SlowHead));
        activity.octets_left(after(31));
        assert_eq!(activity.deadline(), after(40), "nor does what is left of the answer before");
        activity.streams(after(32));
        activity.octets_left(after(50));
        assert_eq!(
            (activity.deadline(), activity.late()),
            (after(50) + IDLE_TIMEOUT, Late::Silent)
        );
    }
}
