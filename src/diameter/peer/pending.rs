//! Our requests that wait for an answer, by Hop-by-Hop Identifier.

use std::collections::{HashMap, VecDeque};

use super::super::cx;
use crate::time::Timestamp;

/// Entries of the order that may be left of answered requests, beyond as many as requests wait.
const STALE_MAX: usize = 64;

/// A request that waits.
#[derive(Debug)]
pub(super) struct Pending {
    /// What the world calls it.
    pub(super) token: u64,
    /// What was asked.
    pub(super) asked: cx::Request,
}

/// The requests that wait on one connection. All wait equally long, so the oldest expires first.
#[derive(Debug)]
pub(super) struct PendingRequests {
    /// The identifiers are ours, so nobody can choose them to collide.
    by_identifier: HashMap<u32, Pending, ahash::RandomState>,
    /// Until when each waits, oldest first. The first one still waits; others may have been answered.
    order: VecDeque<(Timestamp, u32)>,
}

impl PendingRequests {
    pub(super) fn new() -> Self {
        let hasher = ahash::RandomState::with_seeds(0, 0, 0, 0);
        Self { by_identifier: HashMap::with_hasher(hasher), order: VecDeque::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.by_identifier.len()
    }

    /// When the oldest request expires.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.order.front().map(|(deadline, _)| *deadline)
    }

    /// Lets a request wait, until `deadline`, which is no earlier than that of any other.
    pub(super) fn insert(&mut self, identifier: u32, deadline: Timestamp, pending: Pending) {
        self.by_identifier.insert(identifier, pending);
        self.order.push_back((deadline, identifier));
        if self.order.len() > 2 * self.by_identifier.len() + STALE_MAX {
            // One that is never answered does not keep those behind it that are.
            self.order.retain(|(_, identifier)| self.by_identifier.contains_key(identifier));
        }
    }

    /// Takes the request that an answer is to.
    pub(super) fn take(&mut self, identifier: u32) -> Option<Pending> {
        let pending = self.by_identifier.remove(&identifier)?;
        while let Some((_, first)) = self.order.front()
            && !self.by_identifier.contains_key(first)
        {
            self.order.pop_front();
        }
        Some(pending)
    }

    /// Takes the oldest request if it has expired.
    pub(super) fn take_expired(&mut self, now: Timestamp) -> Option<Pending> {
        let (_, identifier) = *self.order.front().filter(|(deadline, _)| *deadline <= now)?;
        self.take(identifier)
    }

    /// Takes the oldest request.
    pub(super) fn take_first(&mut self) -> Option<Pending> {
        let (_, identifier) = *self.order.front()?;
        self.take(identifier)
    }
}

#[cfg(test)]
mod tests {
    use smallvec::SmallVec;

    use super::*;
    use crate::diameter::cx::{Request, ServerAssignmentRequest, ServerAssignmentType};

    fn request(token: u64) -> Pending {
        let asked = Request::ServerAssignment(ServerAssignmentRequest {
            impi: None,
            impus: SmallVec::new(),
            server_name: "".into(),
            assignment: ServerAssignmentType::Registration,
            user_data_already_available: false,
        });
        Pending { token, asked }
    }

    #[test]
    fn the_oldest_request_that_still_waits_expires_first() {
        let at = Timestamp::from_secs;
        let mut requests = PendingRequests::new();
        for number in 1..=3 {
            requests.insert(number, at(number.into()), request(number.into()));
        }
        assert_eq!(requests.take(1).map(|pending| pending.token), Some(1));
        assert!(requests.take(1).is_none());
        assert_eq!(requests.next_deadline(), Some(at(2)));
        assert!(requests.take_expired(at(1)).is_none());
        assert_eq!(requests.take_expired(at(2)).map(|pending| pending.token), Some(2));
        assert_eq!(requests.take_first().map(|pending| pending.token), Some(3));
        assert_eq!((requests.len(), requests.next_deadline()), (0, None));
    }

    #[test]
    fn one_that_is_never_answered_does_not_let_the_order_grow() {
        let mut requests = PendingRequests::new();
        requests.insert(0, Timestamp::from_secs(5), request(0));
        for number in 1..=10_000 {
            requests.insert(number, Timestamp::from_secs(6), request(number.into()));
            requests.take(number);
        }
        assert_eq!((requests.len(), requests.next_deadline()), (1, Some(Timestamp::from_secs(5))));
        assert!(requests.order.len() <= 2 * requests.len() + STALE_MAX + 1);
    }
}
