//! The counters of one connection, looked up in their families once and not with every message.

use prometheus_client::metrics::counter::Counter;

use crate::node::metrics::{self, CxAnswer, CxRequest, CxResult, Direction, Metrics, PeerName};

/// Most results that are remembered; a peer may send any number. Further ones are looked up each time.
const REMEMBERED_MAX: usize = 32;

/// The counters of the messages to and from one peer.
#[derive(Default)]
pub(super) struct Counters {
    requests: Remembered<(Direction, &'static str)>,
    answers: Remembered<(Direction, &'static str, CxResult)>,
    vectors: Option<Counter>,
}

impl Counters {
    pub(super) fn count_request(
        &mut self,
        metrics: &Metrics,
        direction: Direction,
        command: &'static str,
        peer: impl FnOnce() -> PeerName,
    ) {
        self.requests.count((direction, command), || {
            let labels = CxRequest { direction, command, peer: peer() };
            metrics.cx_requests.get_or_create(&labels).clone()
        });
    }

    pub(super) fn count_answer(
        &mut self,
        metrics: &Metrics,
        direction: Direction,
        (command, result): (&'static str, CxResult),
        peer: impl FnOnce() -> PeerName,
    ) {
        self.answers.count((direction, command, result), || {
            let labels = CxAnswer { direction, command, result, peer: peer() };
            metrics.cx_answers.get_or_create(&labels).clone()
        });
    }

    /// Counts a vector from the SIP database of another system.
    pub(super) fn count_vector(&mut self, metrics: &Metrics, peer: impl FnOnce() -> metrics::Peer) {
        let counter = self
            .vectors
            .get_or_insert_with(|| metrics.vectors_fetched.get_or_create(&peer()).clone());
        counter.inc();
    }
}

/// Counters by their labels.
struct Remembered<K>(Vec<(K, Counter)>);

impl<K> Default for Remembered<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Copy + PartialEq> Remembered<K> {
    fn count(&mut self, key: K, look_up: impl FnOnce() -> Counter) {
        if let Some((_, counter)) = self.0.iter().find(|(known, _)| *known == key) {
            counter.inc();
            return;
        }
        let counter = look_up();
        counter.inc();
        if self.0.len() < REMEMBERED_MAX {
            self.0.push((key, counter));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diameter::cx::ResultCode;

    #[test]
    fn every_answer_is_counted_also_beyond_the_results_that_are_remembered() {
        let metrics = Metrics::new();
        let mut counters = Counters::default();
        let results = || (0..40).map(|code| CxResult(Some(ResultCode::Base(code))));
        for result in results().chain(results()) {
            let peer = || PeerName(None);
            counters.count_answer(&metrics, Direction::In, ("MAR", result), peer);
        }
        assert_eq!(counters.answers.0.len(), REMEMBERED_MAX);
        for result in results() {
            let peer = PeerName(None);
            let labels = CxAnswer { direction: Direction::In, command: "MAR", result, peer };
            assert_eq!(metrics.cx_answers.get_or_create(&labels).get(), 2);
        }
    }
}
