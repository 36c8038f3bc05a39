//! HTTP for a load: connections that are used again, and requests at their times.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};

use super::arrival::Arrivals;
use crate::{
    node::{
        http_client::{Answer, Connection, Endpoint, HttpError},
        tls::Trust,
    },
    token::BearerToken,
};

/// Connections of one thread.
const CONNECTIONS_MAX: usize = 1_024;

/// Requests that are due and have not been looked at.
const DUE_MAX: usize = 65_536;

/// The longest sleep: a signal to stop is seen after it.
const SLEEP_MAX: Duration = Duration::from_millis(50);

/// Connections to one server.
pub(super) struct HttpPool {
    server: Endpoint,
    trust: Trust,
    idle: Mutex<Vec<Connection>>,
    connections: Semaphore,
}

/// When requests are due. A thread of its own keeps the time, since the timers of the runtime tell milliseconds
/// only; it is unparked when an answer came.
pub(super) struct TimeKeeper<'a> {
    pub(super) arrivals: Arrivals,
    pub(super) start: Instant,
    pub(super) stop: &'a AtomicBool,
    /// Requests without an answer.
    pub(super) under_way: &'a AtomicUsize,
    /// Requests at most.
    pub(super) count: u32,
}

/// A request that is due.
pub(super) struct Due {
    pub(super) number: u32,
    /// Nanoseconds.
    pub(super) intended: u64,
}

/// A way to tell that a request is due.
pub(super) fn due_channel() -> (mpsc::Sender<Due>, mpsc::Receiver<Due>) {
    mpsc::channel(DUE_MAX)
}

impl HttpPool {
    pub(super) fn new(server: Endpoint, trust: Trust) -> Self {
        let (idle, connections) = (Mutex::default(), Semaphore::new(CONNECTIONS_MAX));
        Self { server, trust, idle, connections }
    }

    /// Posts over a connection that is open, or a new one.
    pub(super) async fn post(
        &self,
        path: &str,
        token: Option<&BearerToken>,
        body: Bytes,
    ) -> Result<Answer, HttpError> {
        let Ok(_permit) = self.connections.acquire().await else { return Err(HttpError::TooLate) };
        let lock = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let open = lock().pop();
        let mut connection = match open {
            Some(connection) if connection.is_ready() => connection,
            _ => Connection::open(&self.server, &self.trust).await?,
        };
        let answer = connection.post(path, token, body).await?;
        lock().push(connection);
        Ok(answer)
    }
}

impl TimeKeeper<'_> {
    /// Lets `due` know of each request when it is due, until there is none any more. Returns whether the plan
    /// could not be kept.
    pub(super) fn run(mut self, due: &mpsc::Sender<Due>) -> bool {
        let now = || nanos(self.start.elapsed());
        thread::sleep(self.start.saturating_duration_since(Instant::now()));
        for number in 0..self.count {
            let intended = loop {
                let at = now();
                if self.arrivals.are_overdue(at) {
                    return true;
                }
                if self.stop.load(Ordering::Relaxed) || self.arrivals.is_over(at) {
                    return false;
                }
                if let Some(intended) =
                    self.arrivals.take(at, self.under_way.load(Ordering::Acquire))
                {
                    break intended;
                }
                let next = self
                    .arrivals
                    .next_at()
                    .map(|next| Duration::from_nanos(next.saturating_sub(at)));
                thread::park_timeout(next.unwrap_or(SLEEP_MAX).min(SLEEP_MAX));
            };
            self.under_way.fetch_add(1, Ordering::AcqRel);
            if due.blocking_send(Due { number, intended }).is_err() {
                return false;
            }
        }
        false
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
