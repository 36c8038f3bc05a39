//! Which requests have their turn when more come than can be served: a fair queue. Pure.
//!
//! **Delay decides.** At most as many requests wait as are served within the delay that the operator allows
//! ([`Backlog::set_limit`]); what would wait longer is refused when it comes, not when its sender has given up.
//!
//! **Fair by source.** Sources have their turns by start-time fair queueing: each request gets the number of a
//! round, one later than the last of its source; the lowest round is served first. One who sends little is
//! served at once, however much others send.
//!
//! **The excess is refused where it comes from.** A source may have a few times as many requests waiting as there
//! is room for further ones (a dynamic threshold, as in the shared buffers of switches): those who send most meet
//! it first. The last eighth of the room is for sources that have nothing waiting.
//!
//! **What was begun goes first.** New users find half of the room, known users three quarters of it, answers to
//! challenges, on which a vector was spent, all of it.
//!
//! Memory is fixed: [`SOURCES`] sources, known by a hash, and [`WAITING_MAX`] requests of [`WAITING_OCTETS_MAX`]
//! octets. Two sources with one hash share one turn. A source is an address with its port: users behind one
//! address translator are several; an address that takes many ports is for the limit of attempts by address.

use std::{collections::BinaryHeap, net::SocketAddr, time::Duration};

use ahash::RandomState;
use bytes::Bytes;

/// The longest delay that an operator may allow: before a UE repeats its request (T1, RFC 3261 section 17.1.2.2).
pub(super) const DELAY_MAX: Duration = Duration::from_millis(500);

/// How many sources are told apart.
const SOURCES: usize = 4_096;

/// Most requests that wait.
pub(super) const WAITING_MAX: usize = 16_384;

/// Fewest requests that may wait, however slowly they are served.
pub(super) const WAITING_MIN: usize = 64;

/// Most octets of requests that wait.
const WAITING_OCTETS_MAX: usize = 32 << 20;

/// How many times the free room one source may have waiting.
const SOURCE_SHARE: usize = 4;

/// How much a request has behind it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Class {
    /// Nothing: a first registration, or anything else.
    New,
    /// Its user is registered: a refresh, or a de-registration.
    Known,
    /// A vector: it answers a challenge (`MIG-23`).
    Answer,
}

impl Class {
    /// How many of four parts of the room it finds.
    const fn quarters(self) -> usize {
        match self {
            Self::New => 2,
            Self::Known => 3,
            Self::Answer => 4,
        }
    }
}

/// Requests that wait for their turn.
pub(super) struct Backlog {
    hasher: RandomState,
    sources: Box<[Source]>,
    waiting: BinaryHeap<Waiting>,
    octets: usize,
    /// The round that is served.
    round: u64,
    /// Requests taken in so far.
    arrivals: u64,
    limit: usize,
}

/// What a source has waiting.
#[derive(Clone, Copy, Default)]
struct Source {
    /// The round after its last request.
    next_round: u64,
    waiting: usize,
}

/// The place of a source in the table.
#[derive(Clone, Copy)]
pub(super) struct SourceId(usize);

/// A request that waits.
pub(super) struct Waiting {
    round: u64,
    arrival: u64,
    source: SourceId,
    /// Where it came from.
    pub(super) remote: SocketAddr,
    /// The request.
    pub(super) octets: Bytes,
}

impl Backlog {
    /// Creates an empty one.
    pub(super) fn new(hasher: RandomState) -> Self {
        Self {
            hasher,
            sources: vec![Source::default(); SOURCES].into_boxed_slice(),
            waiting: BinaryHeap::new(),
            octets: 0,
            round: 0,
            arrivals: 0,
            limit: WAITING_MIN,
        }
    }

    /// Sets how many requests may wait: those that are served within the longest delay.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit.clamp(WAITING_MIN, WAITING_MAX);
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none does.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Which source a datagram is of.
    pub(super) fn source_of(&self, remote: SocketAddr) -> SourceId {
        let hash = self.hasher.hash_one(remote);
        SourceId(usize::try_from(hash % SOURCES as u64).unwrap_or(0))
    }

    /// Whether a source has something waiting already.
    pub(super) fn is_waiting(&self, source: SourceId) -> bool {
        self.source(source).waiting > 0
    }

    /// Whether there is room for one more request of `class` from a source.
    pub(super) fn has_room(&self, source: SourceId, class: Class) -> bool {
        let most = self.limit * class.quarters() / 4;
        let has_room = match self.source(source).waiting {
            0 => self.waiting.len() < most,
            waiting => waiting < SOURCE_SHARE * (most * 7 / 8).saturating_sub(self.waiting.len()),
        };
        has_room && self.octets < WAITING_OCTETS_MAX
    }

    /// Takes a request in, for which there is room.
    pub(super) fn push(&mut self, source: SourceId, remote: SocketAddr, octets: &[u8]) {
        self.arrivals += 1;
        self.octets += octets.len();
        let mut round = self.round;
        if let Some(source) = self.sources.get_mut(source.0) {
            round = round.max(source.next_round);
            source.next_round = round + 1;
            source.waiting += 1;
        }
        let octets = Bytes::copy_from_slice(octets);
        self.waiting.push(Waiting { round, arrival: self.arrivals, source, remote, octets });
    }

    /// Takes out the request that has its turn.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let next = self.waiting.pop()?;
        self.round = self.round.max(next.round);
        self.octets -= next.octets.len();
        if let Some(source) = self.sources.get_mut(next.source.0) {
            source.waiting -= 1;
        }
        Some(next)
    }

    fn source(&self, source: SourceId) -> Source {
        self.sources.get(source.0).copied().unwrap_or_default()
    }
}

impl Ord for Waiting {
    /// What has its turn first is the greatest.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.round, other.arrival).cmp(&(self.round, self.arrival))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Waiting {}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.arrival == other.arrival
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backlog(limit: usize) -> Backlog {
        let mut backlog = Backlog::new(RandomState::with_seeds(1, 2, 3, 4));
        backlog.set_limit(limit);
        backlog
    }

    /// A source of its own for each number.
    fn remote(number: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], number))
    }

    fn offer(backlog: &mut Backlog, number: u16, class: Class) -> bool {
        let source = backlog.source_of(remote(number));
        let has_room = backlog.has_room(source, class);
        if has_room {
            backlog.push(source, remote(number), b"REGISTER");
        }
        has_room
    }

    fn serve(backlog: &mut Backlog) -> Option<u16> {
        backlog.pop().map(|waiting| waiting.remote.port())
    }

    #[test]
    fn sources_have_their_turns_one_after_the_other() {
        let mut backlog = backlog(1_000);
        for number in [1, 1, 1, 1, 2, 2, 3] {
            assert!(offer(&mut backlog, number, Class::New));
        }
        let served: Vec<_> = std::iter::from_fn(|| serve(&mut backlog)).collect();
        assert_eq!(served, [1, 2, 3, 1, 2, 1, 1]);
        assert_eq!((backlog.len(), backlog.octets), (0, 0));
    }

    #[test]
    fn who_sends_little_is_served_next_however_much_others_have_waiting() {
        let mut backlog = backlog(1_000);
        while offer(&mut backlog, 1, Class::New) {}
        for _ in 0..100 {
            assert_eq!(serve(&mut backlog), Some(1));
        }
        assert!(offer(&mut backlog, 2, Class::New));
        assert_eq!([serve(&mut backlog), serve(&mut backlog)], [Some(2), Some(1)]);
    }

    #[test]
    fn a_flood_from_few_sources_leaves_room_for_everybody_else() {
        let mut backlog = backlog(1_024);
        let mut refused = 0;
        for number in (1..=8).cycle().take(100_000) {
            refused += usize::from(!offer(&mut backlog, number, Class::New));
        }
        assert_eq!(refused + backlog.len(), 100_000);
        assert!((256..448).contains(&backlog.len()), "{}", backlog.len());
        let light =
            (1_000..1_050).filter(|&number| offer(&mut backlog, number, Class::New)).count();
        assert!(light > 45, "{light} of 50; a few share a hash");
    }

    #[test]
    fn one_source_alone_has_most_of_half_the_room_and_what_was_begun_finds_more() {
        let mut backlog = backlog(1_000);
        while offer(&mut backlog, 1, Class::New) {}
        assert_eq!(backlog.len(), 350);
        while offer(&mut backlog, 2, Class::Known) {}
        assert!((500..750).contains(&backlog.len()), "{}", backlog.len());
        assert!(!offer(&mut backlog, 3, Class::New));
        assert!(offer(&mut backlog, 3, Class::Known));
        while offer(&mut backlog, 4, Class::Answer) {}
        assert!((750..1_000).contains(&backlog.len()), "{}", backlog.len());
        assert!(!offer(&mut backlog, 5, Class::Known));
        assert!(offer(&mut backlog, 5, Class::Answer));
    }

    #[test]
    fn many_who_send_one_request_each_are_refused_newcomers_first() {
        let mut backlog = backlog(400);
        for number in 0..10_000 {
            offer(&mut backlog, number, Class::New);
        }
        assert_eq!(backlog.len(), 200);
        for number in 10_000..20_000 {
            offer(&mut backlog, number, Class::Known);
        }
        assert_eq!(backlog.len(), 300);
    }

    #[test]
    fn the_limit_stays_within_bounds_and_long_requests_have_one_of_their_own() {
        let mut small = backlog(0);
        while offer(&mut small, 1, Class::Answer) {}
        assert!((1..=WAITING_MIN).contains(&small.len()), "{}", small.len());
        let mut large = backlog(usize::MAX);
        let longest = vec![0; 65_507];
        for number in 0..u16::MAX {
            let source = large.source_of(remote(number));
            if large.has_room(source, Class::Answer) {
                large.push(source, remote(number), &longest);
            }
        }
        assert!(large.octets < WAITING_OCTETS_MAX + longest.len());
        while large.pop().is_some() {}
        assert_eq!(large.octets, 0);
    }
}
