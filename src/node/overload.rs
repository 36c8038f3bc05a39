//! What a worker does when more datagrams come than it can serve.
//!
//! **When.** As long as the socket's buffer is less than half full, whatever waits there is a burst: datagrams are
//! served in the order of their arrival, and nothing here costs anything. A buffer that is half full is overload.
//!
//! **What.** The socket is then emptied before anything is served, again and again, so that the kernel drops
//! nothing blindly: what comes waits in a fair queue ([`Backlog`]), of which a few are served at a time. The
//! queue is as long as can be served within the delay that the operator allows, by the time that requests take
//! now, all else that the worker does included. What finds no room is refused: 503 with Retry-After, from a
//! glance at the datagram ([`Glance`]), without a transaction and before any table is touched. The time until the
//! retry is drawn from the request, so that not all come back at once.
//!
//! **How far.** A refusal costs a fraction of an answer, but not nothing: there are [`REFUSALS_PER_REQUEST`] for
//! each request served. Beyond that, those who have requests waiting already, and so take more than their share,
//! get no answer at all; who has none waiting always gets one.
//!
//! **Until when.** The queue is empty a few milliseconds after less comes than can be served, and with it all this
//! is over: no rate was learnt that had to be unlearnt.
//!
//! TCP needs none of this. A connection is read some octets at a time, in turn with all others and with the
//! socket for datagrams; who sends more than it is read finds its window closed.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use ahash::RandomState;

use super::{
    admission::{Backlog, Class, WAITING_MAX},
    config,
    datagrams::Buffer,
    entropy::SystemEntropy,
    metrics::{Direction, RefusedRequest},
    perform::{Batch, Caller},
};
use crate::{
    outbox::Flow,
    sip::{glance::Glance, render::Chunk, reply::reason_phrase},
    sip_core::retry_after,
    table::new_hasher,
};

/// Requests served before the socket is emptied again; more if that took longer than they do.
const SERVED_AT_ONCE: usize = 32;

/// How long requests are served at most before the socket is emptied again.
const SERVING_TIME_MAX: Duration = Duration::from_millis(2);

/// Refusals for each request served.
const REFUSALS_PER_REQUEST: usize = 2;

/// Most refusals at once after a time with fewer.
const REFUSALS_AT_ONCE: usize = 4_096;

/// What a request is taken to cost until it is known.
const REQUEST_TIME_ASSUMED: Duration = Duration::from_micros(10);

/// What waits, and how it is dealt with. One for each socket.
pub(super) struct Overload {
    backlog: Backlog,
    pace: Pace,
    /// Refusals that may be sent.
    refusals: usize,
    /// Draws tags and times until a retry.
    draws: RandomState,
    /// Where refusals are written.
    chunk: Chunk,
    delay: Duration,
    retry_after_max: Duration,
    /// How many wait, as the metric has it.
    told: i64,
}

impl Overload {
    /// Nothing waits.
    pub(super) fn new(config: &config::Overload) -> Self {
        let mut entropy = SystemEntropy::new();
        Self {
            backlog: Backlog::new(new_hasher(&mut entropy)),
            pace: Pace::new(),
            refusals: REFUSALS_AT_ONCE,
            draws: new_hasher(&mut entropy),
            chunk: Chunk::default(),
            delay: config.delay,
            retry_after_max: config.retry_after_max,
            told: 0,
        }
    }

    /// Whether there is overload: something waits here, or the socket's buffer is half full.
    pub(super) fn is_on(&self, buffer: impl FnOnce() -> Option<Buffer>) -> bool {
        !self.is_over() || buffer().is_some_and(|Buffer { used, size }| used > size / 2)
    }

    /// Whether nothing waits.
    pub(super) fn is_over(&self) -> bool {
        self.backlog.is_empty()
    }

    /// Lets a datagram wait for its turn, refuses it, or drops it.
    pub(super) fn sort(&mut self, caller: &mut Caller, flow: Flow, octets: &[u8]) {
        if self.backlog.is_empty() {
            self.pace.begin();
            self.set_limit();
        }
        let remote = flow.remote;
        let source = self.backlog.source_of(remote);
        // Mostly there is room, and nobody has to look at the datagram; or there is none at all.
        let has_room = self.backlog.has_room(source, Class::New)
            || self.backlog.has_room(source, Class::Answer)
                && self.backlog.has_room(source, class_of(caller, octets));
        let metrics = &caller.shared.metrics;
        if has_room {
            self.backlog.push(source, remote, octets);
            metrics.overload_waited.inc();
        } else if self.refusals == 0 && self.backlog.is_waiting(source) {
            metrics.overload_dropped.inc();
        } else {
            self.refusals = self.refusals.saturating_sub(1);
            self.refuse(caller, flow, octets);
        }
    }

    /// Serves some of those who wait, by `serve`. Refusals leave with the answers.
    pub(super) fn serve(
        &mut self,
        caller: &mut Caller,
        mut serve: impl FnMut(&mut Batch<'_>, SocketAddr, &[u8]),
    ) {
        // At least half of the time is theirs: what is only sorted does nobody any good.
        let began = Instant::now();
        let time = began.duration_since(self.pace.since).min(SERVING_TIME_MAX);
        let served = caller.batch(|batch| {
            let mut served = 0;
            while (served < SERVED_AT_ONCE || began.elapsed() < time)
                && let Some(next) = self.backlog.pop()
            {
                serve(batch, next.remote, &next.octets);
                served += 1;
            }
            served
        });
        self.refusals = (self.refusals + served * REFUSALS_PER_REQUEST).min(REFUSALS_AT_ONCE);
        self.pace.served(served);
        self.set_limit();
        let waiting = i64::try_from(self.backlog.len()).unwrap_or(i64::MAX);
        // All workers together make up the number.
        let before = std::mem::replace(&mut self.told, waiting);
        caller.shared.metrics.overload_waiting.inc_by(waiting - before);
    }

    fn set_limit(&mut self) {
        self.backlog.set_limit(self.pace.served_within(self.delay));
    }

    fn refuse(&mut self, caller: &Caller, flow: Flow, octets: &[u8]) {
        let metrics = &caller.shared.metrics;
        let Some(glance) = Glance::of(octets) else {
            metrics.overload_dropped.inc();
            return;
        };
        caller.shared.observe_sip(Direction::In, None, &flow, octets);
        // The same for a repeated request, which is not remembered (RFC 3261 section 8.2.7).
        let draw = self.draws.hash_one(glance.via());
        let retry_after = retry_after(draw, self.retry_after_max);
        let head = glance.head(&mut self.chunk, flow.remote, &draw.to_string());
        let refusal = head.reply_in(&mut self.chunk, 503, reason_phrase(503));
        let refusal = refusal.header("Retry-After", retry_after).finish_in(&mut self.chunk);
        let flow = Flow { remote: head.destination(), ..flow };
        caller.shared.observe_sip(Direction::Out, None, &flow, &refusal);
        caller.worker.send_datagram(metrics, &flow, &refusal);
        let request = if glance.answers_challenge() { "challenge_answer" } else { "other" };
        metrics.overload_refused.get_or_create(&RefusedRequest { request }).inc();
    }
}

fn class_of(caller: &Caller, octets: &[u8]) -> Class {
    let Some(glance) = Glance::of(octets) else { return Class::New };
    let is_known =
        |name| caller.shared.roles.core.as_ref().is_some_and(|core| core.is_registered(name));
    if glance.answers_challenge() {
        Class::Answer
    } else if glance.private_identity().is_some_and(is_known) {
        Class::Known
    } else {
        Class::New
    }
}

/// How long requests take, with all that the worker does meanwhile.
struct Pace {
    /// When the last ones had been served.
    since: Instant,
    request: Duration,
}

impl Pace {
    fn new() -> Self {
        Self { since: Instant::now(), request: REQUEST_TIME_ASSUMED }
    }

    fn begin(&mut self) {
        self.since = Instant::now();
    }

    fn served(&mut self, requests: usize) {
        let now = Instant::now();
        let took = now.duration_since(std::mem::replace(&mut self.since, now));
        self.learn(requests, took);
    }

    /// So many requests took so long.
    fn learn(&mut self, requests: usize, took: Duration) {
        if let Some(each) = u32::try_from(requests).ok().and_then(|count| took.checked_div(count)) {
            // A moving average of the last few hundred.
            self.request = (self.request * 15 + each) / 16;
        }
    }

    fn served_within(&self, time: Duration) -> usize {
        let count = time.as_nanos() / self.request.as_nanos().max(1);
        usize::try_from(count).unwrap_or(WAITING_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_follows_what_requests_take_and_forgets_it_again() {
        let time = Duration::from_millis(100);
        let mut pace = Pace::new();
        assert_eq!(pace.served_within(time), 10_000);
        for _ in 0..100 {
            pace.learn(32, Duration::from_millis(32));
        }
        assert!((95..=105).contains(&pace.served_within(time)), "{}", pace.served_within(time));
        for _ in 0..200 {
            pace.learn(32, Duration::from_micros(160));
        }
        assert!(pace.served_within(time) > 19_000);
        pace.learn(0, time);
        assert!(pace.served_within(time) > 19_000, "nothing served tells nothing");
    }
}
