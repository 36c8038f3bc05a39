//! The way to an HTTP server of another system: who it is, what is presented there, and the connections to it that
//! are free.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use bytes::Bytes;

use super::{
    http::Ends,
    http_client::{self, Connection, Endpoint, HttpError},
    places::{Place, Places},
    tls::Tls,
};
use crate::{identity::McSystemId, token::BearerToken};

/// Most connections to one partner that are kept while nothing is to be asked.
const IDLE_CONNECTIONS_MAX: usize = 32;

/// How long a connection is kept while nothing is to be asked: less than the server keeps it, so that a
/// request does not meet its end.
const IDLE_TIME_MAX: Duration = Duration::from_secs(30);

/// What a 408 of a partner says, whoever sends it.
pub(super) const SLOW: &str =
    "got a request too slowly (408): this system is slow, or the way to it";

/// One partner, and the connections to it that are free.
pub(super) struct PartnerLink {
    pub(super) id: McSystemId,
    /// What ladders call its server.
    pub(super) name: Arc<str>,
    endpoint: Endpoint,
    token: BearerToken,
    tls: Option<Arc<Tls>>,
    room: Places,
    idle: Mutex<Vec<(Instant, Connection)>>,
}

impl PartnerLink {
    /// A link on which as many requests as `room` has places may wait for an answer.
    /// Over https `tls` says what is shown to the partner and who it is.
    pub(super) fn new(
        (id, name): (McSystemId, Arc<str>),
        endpoint: Endpoint,
        token: BearerToken,
        tls: Option<&Arc<Tls>>,
        room: Places,
    ) -> Self {
        Self { id, name, endpoint, token, tls: tls.cloned(), room, idle: Mutex::default() }
    }

    /// Takes room for one request of `holder`, if there is any.
    pub(super) fn take_room(&self, holder: &str) -> Option<Place> {
        self.room.take(holder)
    }

    /// Posts `content` to `path`: one attempt, on a connection that is free or on a new one. `leaves` is told where
    /// it goes, before it does.
    ///
    /// # Errors
    ///
    /// [`HttpError`]; whether the partner has it is not known then.
    pub(super) async fn post(
        &self,
        path: &str,
        content: Bytes,
        timeout: Duration,
        leaves: impl Fn(Ends),
    ) -> Result<http_client::Answer, HttpError> {
        let posted = tokio::time::timeout(timeout, async {
            if let Some(connection) = self.free() {
                match self.post_on(connection, path, content.clone(), timeout, &leaves).await {
                    Err(error) if error.is_unsent() => {}
                    // It is about the silence before: the request has met the end of the connection.
                    Ok(answer) if answer.status == StatusCode::REQUEST_TIMEOUT => {}
                    posted => return posted,
                }
            }
            let trust = self.tls.as_ref().map(|tls| tls.client_of(&self.id)).unwrap_or_default();
            let connection = Connection::open(&self.endpoint, &trust).await?;
            self.post_on(connection, path, content, timeout, &leaves).await
        });
        posted.await.unwrap_or(Err(HttpError::TooLate))
    }

    async fn post_on(
        &self,
        mut connection: Connection,
        path: &str,
        content: Bytes,
        timeout: Duration,
        leaves: &impl Fn(Ends),
    ) -> Result<http_client::Answer, HttpError> {
        leaves(Ends { local: connection.local, remote: connection.remote });
        let answer = connection.post_within(timeout, path, Some(&self.token), content).await?;
        self.give_back(connection);
        Ok(answer)
    }

    /// A connection that is free, the youngest one first; older ones may end in peace.
    fn free(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(since, connection)| since.elapsed() < IDLE_TIME_MAX && connection.is_ready());
        idle.pop().map(|(_, connection)| connection)
    }

    fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push((Instant::now(), connection));
        }
    }
}

impl HttpError {
    /// Whether this system is to blame and not the partner: it has no descriptor, port or memory for a connection.
    pub(super) fn is_ours(&self) -> bool {
        let Self::Unreachable(error) = self else { return matches!(self, Self::Malformed(_)) };
        let lacks = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EADDRNOTAVAIL];
        error.raw_os_error().is_some_and(|code| lacks.contains(&code))
    }

    /// The label of metrics.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::TooLate => "late",
            Self::Tls(_) => "tls",
            Self::Broken(_) => "broken-off",
            Self::TooLong => "too-long",
            Self::Malformed(_) => "malformed",
        }
    }
}
