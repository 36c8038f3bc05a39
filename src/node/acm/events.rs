//! What ACM clients that are logged on are told, as server-sent events.
//!
//! Of each list of what is pending the latest notification is kept for each log-on, so that a client that was not
//! connected is told when it comes. Everything that the role tells after a restart is kept again.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use hyper::body::Frame;
use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior},
};

use crate::{
    api::acm_client::{Notification, SessionId},
    identity::McServiceId,
    node::{http::Streams, park::NoAnswer, perform::Shared, worker::stopped},
    step::Step,
    time::Timestamp,
    token::BearerToken,
};

/// Events that wait to be written to one client; with one more its stream ends, and it comes again.
const EVENTS_MAX: usize = 64;

/// How long a stream is silent at most: a client whose stream is silent for longer has lost it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What clients have been told, by log-on.
pub(in crate::node) struct Events {
    state: Mutex<State>,
    sessions_max: usize,
}

struct State {
    sessions: BTreeMap<SessionId, Told>,
    /// The number of the latest event of all.
    latest: u64,
}

/// A notification and the number by which a client that comes again says how far it has read.
type Numbered = (u64, Notification);

/// What one client has been told.
#[derive(Default)]
struct Told {
    /// The latest notification of each list, as they came.
    kept: Vec<Kept>,
    /// Where the client reads, if it does.
    stream: Option<Stream>,
}

/// Where a client reads.
struct Stream {
    sender: mpsc::Sender<Numbered>,
    opened_with: Credential,
}

/// A user and what the user's client presented.
pub(super) type Credential = (McServiceId, BearerToken);

struct Kept {
    number: u64,
    notification: Notification,
    /// Whether it went to a stream.
    is_sent: bool,
}

impl Events {
    /// For so many log-ons. Events are numbered from `now` on, so that none has a number of a process before this
    /// one.
    pub(in crate::node) const fn new(sessions_max: usize, now: Timestamp) -> Self {
        let state = State { sessions: BTreeMap::new(), latest: now.as_micros() };
        Self { state: Mutex::new(state), sessions_max }
    }

    /// Tells a client.
    fn tell(
        &self,
        session: SessionId,
        notification: Notification,
        is_live: impl Fn(SessionId) -> bool,
    ) {
        let mut state = self.lock();
        let State { sessions, latest } = &mut *state;
        if sessions.len() >= self.sessions_max && !sessions.contains_key(&session) {
            // Some have been ended by the end of their user.
            sessions.retain(|session, _| is_live(*session));
        }
        *latest += 1;
        sessions.entry(session).or_default().tell(*latest, notification);
    }

    /// Opens the stream of a client that has seen the events up to `last`, and ends the one before.
    fn open(
        &self,
        session: SessionId,
        opened_with: Credential,
        last: Option<u64>,
    ) -> mpsc::Receiver<Numbered> {
        self.lock().sessions.entry(session).or_default().open(opened_with, last)
    }

    /// Ends the streams that were opened with what is no credential any more. The log-ons stay.
    fn end_streams(&self, is_credential: impl Fn(&Credential) -> bool) {
        for told in self.lock().sessions.values_mut() {
            told.stream.take_if(|stream| !is_credential(&stream.opened_with));
        }
    }

    /// Forgets a client that is logged on no more.
    pub(super) fn close(&self, session: SessionId) {
        self.lock().sessions.remove(&session);
    }

    /// Forgets all clients and ends their streams: they come again.
    pub(in crate::node) fn clear(&self) {
        self.lock().sessions.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn tell(&mut self, number: u64, notification: Notification) {
        let is_of_list = |kept: &Kept| {
            let Notification { kind, is_response, .. } = kept.notification;
            (kind, is_response) == (notification.kind, notification.is_response)
        };
        self.kept.retain(|kept| !is_of_list(kept));
        let sent =
            self.stream.as_ref().map(|to| to.sender.try_send((number, notification.clone())));
        let is_sent = matches!(sent, Some(Ok(())));
        if !is_sent {
            self.stream = None;
        }
        self.kept.push(Kept { number, notification, is_sent });
    }

    fn open(&mut self, opened_with: Credential, last: Option<u64>) -> mpsc::Receiver<Numbered> {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        // Whoever has seen an event has seen those before it that went to a stream.
        let is_seen = |kept: &Kept| kept.is_sent && last.is_some_and(|last| kept.number <= last);
        for kept in self.kept.iter_mut().filter(|kept| !is_seen(kept)) {
            // There is room: there are fewer lists.
            kept.is_sent = sender.try_send((kept.number, kept.notification.clone())).is_ok();
        }
        self.stream = Some(Stream { sender, opened_with });
        events
    }
}

impl Shared {
    /// Tells a client of the ACM server, if it is connected or when it comes.
    pub(in crate::node) fn notify_acm_client(
        &self,
        step: Option<Step>,
        session: SessionId,
        notification: Notification,
    ) {
        self.observe_notification(step, notification.kind, event_of(0, &notification).len());
        let acm = self.roles.acm.as_ref();
        let is_live = |session| acm.is_some_and(|acm| acm.user_of(session).is_some());
        self.acm_events.tell(session, notification, is_live);
    }

    /// Ends the streams of ACM clients whose users are no more or have another token.
    pub(in crate::node) fn end_foreign_acm_streams(&self) {
        if let Some(acm) = &self.roles.acm {
            self.acm_events.end_streams(|(user, token)| acm.knows(user, token));
        }
    }

    /// The user of ACM clients whose credential it is, if it is one's.
    ///
    /// # Errors
    ///
    /// That it cannot be told now.
    pub(super) fn acm_user(
        &self,
        credential: Option<&Credential>,
    ) -> Result<Option<McServiceId>, NoAnswer> {
        let acm = self.roles.acm.as_ref().ok_or(NoAnswer::NoRole)?;
        let known = credential.filter(|(user, token)| acm.knows(user, token));
        // Meanwhile its tables may be empty, or have become so since.
        if !self.committer.is_available() {
            return Err(NoAnswer::Lost);
        }
        Ok(known.map(|(user, _)| user.clone()))
    }

    /// Whether a log-on is one of this user, whose client is there: its lease goes on.
    pub(super) fn has_acm_session(&self, user: &McServiceId, session: SessionId) -> bool {
        let acm = self.roles.acm.as_ref();
        acm.is_some_and(|acm| acm.renew(self.clock.now(), user, session))
    }

    /// Answers with the events of a log-on.
    pub(super) fn follow_acm_events(
        self: &Arc<Self>,
        opened_with: Credential,
        session: SessionId,
        last: Option<u64>,
    ) -> Response {
        let mut keep_alive = tokio::time::interval(KEEP_ALIVE);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.stop.subscribe();
        let stream = EventStream {
            events: self.acm_events.open(session, opened_with.clone(), last),
            keep_alive,
            stop: Box::pin(stopped(stop)),
            shared: Arc::clone(self),
            opened_with,
            session,
        };
        let mut response = Response::new(Body::new(stream));
        response.extensions_mut().insert(Streams);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// A body that goes on until the client, the log-on or the system ends.
struct EventStream {
    events: mpsc::Receiver<Numbered>,
    keep_alive: Interval,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    shared: Arc<Shared>,
    opened_with: Credential,
    session: SessionId,
}

impl EventStream {
    /// Whether it is known that the client has logged off, or that its user is no more or has another token.
    fn is_over(&self) -> bool {
        // Without storage nobody knows.
        let acm = self.shared.roles.acm.as_ref().filter(|_| self.shared.committer.is_available());
        let (user, token) = &self.opened_with;
        acm.is_some_and(|acm| {
            !acm.knows(user, token) || acm.user_of(self.session).is_none_or(|of| of != *user)
        })
    }
}

impl hyper::body::Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Poll::Ready(event) = self.events.poll_recv(context) {
            let event = event.filter(|_| !self.is_over());
            let frame = |(number, event)| Ok(Frame::data(event_of(number, &event).into()));
            return Poll::Ready(event.map(frame));
        }
        if self.stop.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        if self.keep_alive.poll_tick(context).is_pending() {
            return Poll::Pending;
        }
        let here = || Ok(Frame::data(Bytes::from_static(b": here\n\n")));
        Poll::Ready((!self.is_over()).then(here))
    }
}

/// The text of an event.
fn event_of(number: u64, notification: &Notification) -> String {
    // All of it serializes, without a line end.
    let data = serde_json::to_string(notification).unwrap_or_default();
    format!("event: pending\nid: {number}\ndata: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::acm_payload::Kind;

    fn notification(kind: Kind, last: u64) -> Notification {
        let mc_service_id = McServiceId::parse("sip:admin@a.example").unwrap();
        Notification { mc_service_id, kind, is_response: false, count: 1, last }
    }

    /// What the administrator presents, by a token that ends so.
    fn credential(end: &str) -> Credential {
        let token = BearerToken::parse(&format!("the-token-of-the-admin-{end}")).unwrap();
        (McServiceId::parse("sip:admin@a.example").unwrap(), token)
    }

    fn events(sessions_max: usize) -> Events {
        Events::new(sessions_max, Timestamp::from_micros(1_000))
    }

    /// The numbers of the events, and of the last item of each.
    fn read(events: &mut mpsc::Receiver<Numbered>) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| events.try_recv().ok())
            .map(|(number, it)| (number, it.last))
            .collect()
    }

    #[test]
    fn a_client_that_comes_again_is_told_what_it_has_missed_and_nothing_else() {
        let events = events(4);
        let session = SessionId(7);
        let tell = |kind, last| events.tell(session, notification(kind, last), |_| true);
        tell(Kind::Configuration, 3);
        let mut first = events.open(session, credential("0"), None);
        assert_eq!(read(&mut first), [(1_001, 3)], "told before it came");
        tell(Kind::Groups, 5);
        assert_eq!(read(&mut first), [(1_002, 5)]);
        drop(first);
        assert_eq!(
            read(&mut events.open(session, credential("0"), Some(1_002))),
            [],
            "it has missed nothing"
        );
        assert_eq!(
            read(&mut events.open(session, credential("0"), Some(1_001))),
            [(1_002, 5)],
            "lost on the way"
        );
        // An older item that comes to a list only now.
        tell(Kind::Update, 4);
        assert_eq!(read(&mut events.open(session, credential("0"), Some(1_002))), [(1_003, 4)]);
        tell(Kind::Groups, 9);
        assert_eq!(read(&mut events.open(session, credential("0"), Some(1_003))), [(1_004, 9)]);
        assert_eq!(
            read(&mut events.open(session, credential("0"), None)),
            [(1_001, 3), (1_003, 4), (1_004, 9)]
        );
        events.close(session);
        assert_eq!(read(&mut events.open(session, credential("0"), None)), []);
    }

    #[test]
    fn one_list_told_twice_with_the_same_last_item_is_two_events() {
        let events = events(4);
        let session = SessionId(7);
        let tell = |count| {
            let notification = Notification { count, ..notification(Kind::Groups, 6) };
            events.tell(session, notification, |_| true);
        };
        tell(1);
        let mut stream = events.open(session, credential("0"), None);
        assert_eq!(read(&mut stream), [(1_001, 6)]);
        tell(2); // an older item comes to the list, and the client is gone without a word
        assert_eq!(read(&mut events.open(session, credential("0"), Some(1_001))), [(1_002, 6)]);
    }

    #[test]
    fn after_a_restart_everything_is_told_again() {
        let events = events(4);
        events.tell(SessionId(7), notification(Kind::Groups, 5), |_| true);
        events.tell(SessionId(7), notification(Kind::Update, 6), |_| true);
        let told = read(&mut events.open(SessionId(7), credential("0"), Some(999)));
        assert_eq!(told, [(1_001, 5), (1_002, 6)]);
    }

    #[test]
    fn a_new_stream_ends_the_one_before_and_one_that_is_not_read_ends_itself() {
        let events = events(4);
        let mut first = events.open(SessionId(7), credential("0"), None);
        let mut second = events.open(SessionId(7), credential("0"), None);
        assert!(first.is_closed() || first.try_recv().is_err());
        for last in 0..=EVENTS_MAX as u64 {
            events.tell(SessionId(7), notification(Kind::Groups, last), |_| true);
        }
        let read_before = read(&mut second);
        assert_eq!(read_before.len(), EVENTS_MAX);
        assert_eq!(second.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        let missed = read(&mut events.open(
            SessionId(7),
            credential("0"),
            read_before.last().map(|it| it.0),
        ));
        assert_eq!(missed, [(1_001 + EVENTS_MAX as u64, EVENTS_MAX as u64)]);
    }

    #[test]
    fn the_end_of_a_credential_ends_its_streams_and_no_log_on() {
        let events = events(4);
        let [mut old, mut new] = [(1, "1"), (2, "2")]
            .map(|(session, end)| events.open(SessionId(session), credential(end), None));
        events.end_streams(|it| *it == credential("2"));
        assert_eq!(old.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        for session in [1, 2] {
            events.tell(SessionId(session), notification(Kind::Groups, 5), |_| true);
        }
        assert_eq!(read(&mut new), [(1_002, 5)]);
        let again = read(&mut events.open(SessionId(1), credential("2"), None));
        assert_eq!(again, [(1_001, 5)], "the log-on is told what it has missed");
    }

    #[test]
    fn log_ons_that_are_over_make_room() {
        let events = events(2);
        for session in 0..10 {
            events.tell(SessionId(session), notification(Kind::Groups, 1), |live| live.0 > 8);
        }
        assert!(events.lock().sessions.len() <= 2);
    }
}
