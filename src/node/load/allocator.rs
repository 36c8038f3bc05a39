//! Identity allocation alone: lends inbound pairs by the management interface (steps 9 to 11), each to another
//! user, and checks that none is lent twice.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    arrival::Arrivals,
    cause::{Cause, Step},
    effort::Meter,
    http_pool::{Due, HttpPool, TimeKeeper, due_channel, nanos},
    recorder::Recorder,
    subscribers::SUBSCRIBERS_MAX,
    timeline::Current,
    worker::{Outcome, Phase},
};
use crate::{
    identity::UserIdentity,
    node::{
        http_client::{Endpoint, HttpError},
        tls::Trust,
    },
};

/// Where pairs are lent.
const PATH: &str = "/v1/bindings/inbound";

/// One thread's part of the allocations.
pub(super) struct Allocator {
    http: Arc<HttpPool>,
    /// What the users of this thread and run are called.
    name: String,
    /// Users so far.
    users: u32,
}

/// One allocation that has ended.
struct Lent {
    took: u64,
    /// Of the answer; 0 if there was none.
    status: u16,
    outcome: Result<[u128; 2], Cause>,
}

/// What a thread has seen so far.
struct Seen {
    recorder: Recorder,
    current: Current,
    /// Nanoseconds until the last one had begun, and what had succeeded then.
    offered: u64,
    in_time: u64,
}

impl Allocator {
    pub(super) fn new(server: Endpoint, run: u32, thread: u32) -> Self {
        let name = format!("load-{run:08x}-{thread}");
        Self { http: Arc::new(HttpPool::new(server, Trust::default())), name, users: 0 }
    }

    /// Runs one phase.
    pub(super) fn run(&mut self, arrivals: Arrivals, phase: Phase<'_>) -> io::Result<Outcome> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (tell, due) = due_channel();
        let under_way = AtomicUsize::new(0);
        let count = u32::try_from(SUBSCRIBERS_MAX).unwrap_or(u32::MAX) - self.users;
        let (start, stop) = (phase.start, phase.stop);
        let keeper = TimeKeeper { arrivals, start, stop, under_way: &under_way, count };
        thread::scope(|scope| {
            let keeper = scope.spawn(move || keeper.run(&tell));
            thread::sleep(start.saturating_duration_since(std::time::Instant::now()));
            let meter = Meter::start(&[]);
            let answered = || {
                under_way.fetch_sub(1, Ordering::AcqRel);
                keeper.thread().unpark();
            };
            let seen = runtime.block_on(self.allocate(due, phase, &answered));
            let effort = meter.stop();
            let is_behind = keeper.join().unwrap_or(true);
            let Seen { recorder, offered, in_time, .. } = seen;
            let ended = nanos(start.elapsed());
            Ok(Outcome { recorder, effort, offered, ended, in_time, is_behind, is_refused: false })
        })
    }

    /// Lends as often as it is due.
    async fn allocate(
        &mut self,
        mut due: mpsc::Receiver<Due>,
        phase: Phase<'_>,
        answered: &dyn Fn(),
    ) -> Seen {
        let now = move || nanos(phase.start.elapsed());
        let (recorder, current) = (Recorder::new(), Current::new());
        let mut seen = Seen { recorder, current, offered: 0, in_time: 0 };
        let mut under_way = JoinSet::new();
        let mut more = true;
        while more || !under_way.is_empty() {
            tokio::select! {
                Some(ended) = under_way.join_next() => {
                    if let Ok(lent) = ended {
                        seen.record(lent);
                    }
                    answered();
                }
                next = due.recv(), if more => if let Some(Due { intended, .. }) = next {
                    seen.begun(now().saturating_sub(intended));
                    let (http, body) = (Arc::clone(&self.http), self.next_body());
                    under_way.spawn(async move {
                        let (status, outcome) = lend(&http, body).await;
                        Lent { took: now().saturating_sub(intended), status, outcome }
                    });
                } else {
                    more = false;
                    (seen.offered, seen.in_time) = (now(), seen.recorder.counts.succeeded);
                },
            }
            phase.timeline.roll(&mut seen.current, now());
        }
        phase.timeline.hand_over(&mut seen.current);
        seen
    }

    /// The request for the next user.
    fn next_body(&mut self) -> Bytes {
        self.users += 1;
        let user = format!("{}-{}@primary.example", self.name, self.users);
        let body = serde_json::json!({
            "database": "sipdb.primary.example",
            "impi": user,
            "impu": format!("sip:{user}"),
            "server_name": "sip:migration.primary.example",
        });
        body.to_string().into()
    }
}

impl Seen {
    fn begun(&mut self, late: u64) {
        self.recorder.counts.started += 1;
        self.recorder.lateness.record(late);
        self.current.started();
    }

    fn record(&mut self, Lent { took, status, outcome }: Lent) {
        if status > 0 {
            self.recorder.answered(Step::Allocation, status, took);
        }
        match outcome {
            Ok(pair) => {
                self.recorder.lent.extend(pair);
                self.recorder.registration.record(took);
                self.recorder.counts.succeeded += 1;
                self.current.succeeded(took);
            }
            Err(cause) => {
                self.recorder.failed(cause, 0);
                self.current.failed();
            }
        }
    }
}

/// Lends a pair; returns the status, and the digests of both identities.
async fn lend(http: &HttpPool, body: Bytes) -> (u16, Result<[u128; 2], Cause>) {
    let answer = match http.post(PATH, None, body).await {
        Ok(answer) => answer,
        Err(HttpError::TooLate) => return (0, Err(Cause::Timeout(Step::Allocation))),
        Err(_) => return (0, Err(Cause::NoHttp)),
    };
    let status = answer.status.as_u16();
    if !answer.status.is_success() {
        return (status, Err(Cause::Refused(Step::Allocation, status)));
    }
    let pair = serde_json::from_slice::<UserIdentity>(&answer.body);
    let digests = pair.map(|pair| [pair.impi.as_str(), pair.impu.as_str()].map(digest));
    (status, digests.map_err(|_| Cause::Malformed))
}

/// What an identity is told apart by, in 16 octets.
fn digest(identity: &str) -> u128 {
    let octets: [u8; 32] = Sha256::digest(identity).into();
    octets.first_chunk().map_or(0, |first| u128::from_be_bytes(*first))
}
