//! A subscriber of this system: keys, identities, sequence numbers, serving server.
//!
//! SQN (TS 33.102 annex C.1, profile without time): one SEQ for all vectors of a subscriber, raised by
//! one for each; IND tells who asked, so that a vector fetched for one system and not used does not
//! make those of another one stale (annex C.3.4).

use crate::{
    aka::{Amf, IND_BITS_MAX, Milenage, Resynchronisation, Sqn, resync_decision},
    identity::{Impi, Impu, SipDatabaseId},
    secret::Secret,
    store::{CommitSeq, Mutation, RecordKind},
};

use super::stored_secret;

/// INDs that the home system's own vectors take in turn; visited systems have those from here on.
const HOME_INDS: u8 = 4;

/// The least bits of IND: the home has some, visited systems have others.
pub(super) const IND_BITS_MIN: u8 = 3;

/// A subscriber in memory: what is stored, and where this process stands.
#[derive(Debug)]
pub(super) struct Subscriber {
    /// What is stored, as it was committed last.
    pub(super) record: SubscriberRecord,
    /// The commit that wrote [`Self::record`].
    pub(super) version: CommitSeq,
    /// The SEQ of the next vector; at most one above the reserved range.
    next_seq: u64,
    /// The IND of the next vector for the home system.
    home_ind: u8,
    /// Authentication pending (TS 29.228 clause 6.3.1): a vector was given, nothing came of it yet. Not
    /// stored: all it decides is whether a failed authentication also forgets the serving server.
    pub(super) authentication_pending: bool,
}

/// A subscriber as stored, by IMPI.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub(super) struct SubscriberRecord {
    /// The implicit registration set, the default one first.
    pub(super) impus: Vec<Impu>,
    /// K.
    #[serde(with = "stored_secret")]
    pub(super) k: Secret<16>,
    /// `OPc`.
    #[serde(with = "stored_secret")]
    pub(super) opc: Secret<16>,
    /// The AMF of the subscriber's vectors.
    #[serde(with = "stored_amf")]
    pub(super) amf: Amf,
    /// The highest SEQ that may have left. After a restart vectors go on above it.
    pub(super) reserved_seq: u64,
    /// How often SEQ was moved back: within one epoch no SQN leaves twice.
    pub(super) epoch: u32,
    /// Bits of IND in the SQNs so far: what makes SQNs of SEQs.
    pub(super) ind_bits: u8,
    /// Who has which IND, least recently used first.
    pub(super) visited: Vec<VisitedInd>,
    /// The SIP core that serves the subscriber (Server-Name), if any.
    pub(super) server_name: Option<String>,
    /// Whether the subscriber is registered there.
    pub(super) registered: bool,
}

#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub(super) struct VisitedInd {
    pub(super) database: SipDatabaseId,
    pub(super) ind: u8,
}

/// An AMF in a record: its octets, and for people hexadecimal digits.
mod stored_amf {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use crate::{aka::Amf, secret::Secret};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(amf: &Amf, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&Secret::new(*amf).to_hex())
        } else {
            amf.serialize(serializer)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Amf, D::Error> {
        if !deserializer.is_human_readable() {
            return Amf::deserialize(deserializer);
        }
        let amf = Secret::from_hex(&String::deserialize(deserializer)?);
        amf.map(|amf| *amf.expose()).ok_or_else(|| D::Error::custom("is not 4 hexadecimal digits"))
    }
}

/// Who gets a vector.
#[derive(Clone, Copy, Debug)]
pub(super) enum Requester<'a> {
    /// The home system's SIP core of this name.
    Home {
        /// Server-Name.
        server_name: &'a str,
    },
    /// The SIP database of a visited system.
    Visited(&'a SipDatabaseId),
}

/// How SQNs of this operator are built.
#[derive(Clone, Copy, Debug)]
pub(super) struct SqnProfile {
    /// Bits of IND, 3 to 8.
    pub(super) ind_bits: u8,
    /// SEQs reserved by one commit.
    pub(super) range: u64,
}

impl SqnProfile {
    /// The highest SEQ.
    pub(super) const fn seq_max(self) -> u64 {
        (1 << (48 - self.ind_bits)) - 1
    }

    /// The highest SQN of the highest SEQ `seq`, as a number of 48 bits.
    const fn highest_sqn(self, seq: u64) -> u64 {
        let seq = if seq < self.seq_max() { seq } else { self.seq_max() };
        ((seq + 1) << self.ind_bits) - 1
    }

    fn visited_inds(self) -> usize {
        (1 << self.ind_bits) - usize::from(HOME_INDS)
    }
}

/// The width of IND that a configuration or a record means: what is outside counts as the nearest.
pub(super) const fn ind_bits_within(ind_bits: u8) -> u8 {
    match ind_bits {
        0..=IND_BITS_MIN => IND_BITS_MIN,
        bits if bits > IND_BITS_MAX => IND_BITS_MAX,
        bits => bits,
    }
}

/// The counter is at its end: the ISIM must be replaced. It never starts over, for that would send
/// SQNs twice (TS 33.102 clause 6.3.5 leaves no room for it).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct SqnExhausted;

impl SubscriberRecord {
    /// A subscriber that nobody serves, and whose vectors go on above `seq`, a SEQ beside `ind_bits` bits of
    /// IND.
    pub(super) fn new(
        impus: Vec<Impu>,
        (k, opc): (Secret<16>, Secret<16>),
        amf: Amf,
        seq: u64,
        ind_bits: u8,
    ) -> Self {
        Self {
            impus,
            k,
            opc,
            amf,
            reserved_seq: seq,
            epoch: 0,
            ind_bits,
            visited: Vec::new(),
            server_name: None,
            registered: false,
        }
    }

    /// The record for SQNs as `profile` builds them. If IND had another width before, SEQ goes on where all SQNs
    /// are above every one that may have left, and visited systems whose IND does not fit lose it.
    ///
    /// Not stored by itself: what is left of the reserved range is given up, so that the next vector is.
    pub(super) fn fitted(mut self, profile: SqnProfile) -> Self {
        if self.ind_bits != profile.ind_bits {
            let before = SqnProfile { ind_bits: ind_bits_within(self.ind_bits), ..profile };
            self.reserved_seq = before.highest_sqn(self.reserved_seq) >> profile.ind_bits;
            self.ind_bits = profile.ind_bits;
            self.visited.retain(|entry| u64::from(entry.ind) >> profile.ind_bits == 0);
        }
        self
    }

    /// The change that stores the record.
    pub(super) fn mutation(&self, impi: &Impi) -> Mutation {
        Mutation::put(RecordKind::Subscriber, impi.as_str(), self)
    }

    /// Whether `impu` is one of the subscriber's.
    pub(super) fn has(&self, impu: &Impu) -> bool {
        self.impus.contains(impu)
    }
}

impl Subscriber {
    /// A subscriber as read from or just written to the storage: what is left of the reserved range
    /// is given up.
    pub(super) const fn stored(record: SubscriberRecord, version: CommitSeq) -> Self {
        Self {
            next_seq: record.reserved_seq.saturating_add(1),
            record,
            version,
            home_ind: 0,
            authentication_pending: false,
        }
    }

    /// The highest SEQ that has left.
    pub(super) const fn highest_seq(&self) -> u64 {
        self.next_seq.saturating_sub(1)
    }

    /// Makes ready for use; not kept, for its key schedule is larger than all else here.
    pub(super) fn milenage(&self) -> Milenage {
        Milenage::new(&self.record.k, &self.record.opc)
    }

    /// Records that the SIP core `server_name` was given a vector: it is the one that serves the
    /// subscriber from now on (TS 29.228 clause 6.3.1.1). Returns whether the record changed.
    pub(super) fn await_authentication(&mut self, server_name: &str) -> bool {
        self.authentication_pending = true;
        let changed = self.record.server_name.as_deref() != Some(server_name);
        if changed {
            self.record.server_name = Some(server_name.to_owned());
        }
        changed
    }

    /// Takes over what was provisioned anew. SEQ only rises; what the rest of the reserved range was
    /// is given up. Another key is another ISIM: nobody serves it yet.
    pub(super) fn replace(&mut self, new: SubscriberRecord) {
        let same_key = self.record.k == new.k && self.record.opc == new.opc;
        let old = std::mem::replace(&mut self.record, new);
        self.record.reserved_seq = self.record.reserved_seq.max(old.reserved_seq);
        self.next_seq = self.record.reserved_seq.saturating_add(1);
        self.record.epoch = old.epoch;
        self.record.visited = old.visited;
        if same_key {
            self.record.server_name = old.server_name;
            self.record.registered = old.registered;
        } else {
            self.authentication_pending = false;
        }
    }

    /// Moves SEQ as a verified AUTS demands (TS 33.102 clause 6.3.5). A move gives the rest of the
    /// reserved range up, so that the next draw reserves and so stores it.
    pub(super) fn resynchronise(&mut self, seq_ms: u64) -> Resynchronisation {
        let decision = resync_decision(self.next_seq, seq_ms);
        match decision {
            Resynchronisation::Keep => {}
            Resynchronisation::Ahead { next_seq } => self.jump(next_seq),
            Resynchronisation::Back { next_seq } => {
                let epoch = self.record.epoch;
                self.record.epoch = epoch.saturating_add(1);
                #[cfg(feature = "planted-bugs")]
                if crate::planted::is_armed(crate::planted::Bug::SqnMovedBackInEpoch) {
                    self.record.epoch = epoch;
                }
                self.jump(next_seq);
            }
        }
        decision
    }

    const fn jump(&mut self, next_seq: u64) {
        self.next_seq = next_seq;
        self.record.reserved_seq = next_seq.saturating_sub(1);
    }

    /// Draws the SQN of one vector. The second value tells whether the record changed and must be
    /// committed, under the same lock, before the vector leaves.
    pub(super) fn draw_sqn(
        &mut self,
        requester: Requester<'_>,
        profile: SqnProfile,
    ) -> Result<(Sqn, bool), SqnExhausted> {
        let seq = self.next_seq;
        if seq > profile.seq_max() {
            return Err(SqnExhausted);
        }
        let mut changed = false;
        if seq > self.record.reserved_seq {
            let end = seq.saturating_add(profile.range.max(1) - 1);
            self.record.reserved_seq = end.min(profile.seq_max());
            changed = true;
        }
        self.next_seq = seq + 1;
        let ind = match requester {
            Requester::Home { .. } => self.next_home_ind(),
            Requester::Visited(database) => {
                let (ind, assigned) = self.visited_ind(database, profile);
                changed |= assigned;
                ind
            }
        };
        Ok((Sqn::new(seq, ind, profile.ind_bits), changed))
    }

    const fn next_home_ind(&mut self) -> u8 {
        let ind = self.home_ind;
        self.home_ind = (ind + 1) % HOME_INDS;
        ind
    }

    /// The IND of a visited system, and whether it was assigned only now. When all are taken the one
    /// used least recently changes hands. Use alone is not worth a commit: the order is stored with
    /// the next one.
    fn visited_ind(&mut self, database: &SipDatabaseId, profile: SqnProfile) -> (u8, bool) {
        let visited = &mut self.record.visited;
        let held = visited.iter().position(|entry| entry.database == *database);
        let assigned = held.is_none();
        let ind = match held {
            Some(place) => visited.remove(place).ind,
            None if visited.len() < profile.visited_inds() => {
                let taken = |ind: &u8| visited.iter().any(|entry| entry.ind == *ind);
                (HOME_INDS..=u8::MAX).find(|ind| !taken(ind)).unwrap_or(HOME_INDS)
            }
            None => visited.remove(0).ind,
        };
        visited.push(VisitedInd { database: database.clone(), ind });
        (ind, assigned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: SqnProfile = SqnProfile { ind_bits: 5, range: 4 };

    fn subscriber(seq: u64) -> Subscriber {
        let key = Secret::new([7; 16]);
        let keys = (key.clone(), key);
        let record = SubscriberRecord::new(Vec::new(), keys, [0x80, 0], seq, PROFILE.ind_bits);
        Subscriber::stored(record, CommitSeq::NOTHING)
    }

    fn database(number: u32) -> SipDatabaseId {
        SipDatabaseId::parse(&format!("hss{number}.example")).unwrap()
    }

    #[test]
    fn the_29th_visited_system_takes_the_ind_used_least_recently() {
        let mut subscriber = subscriber(0);
        let mut ind_of = |number| {
            let requester = database(number);
            let (sqn, _) = subscriber.draw_sqn(Requester::Visited(&requester), PROFILE).unwrap();
            sqn.ind(PROFILE.ind_bits)
        };
        for number in 0..28 {
            assert_eq!(u32::from(ind_of(number)), number + 4);
        }
        assert_eq!(ind_of(0), 4, "used again: number 1 is now the least recent one");
        assert_eq!(ind_of(28), 5);
        assert_eq!(ind_of(1), 6, "lost its own, takes that of number 2");
    }

    #[test]
    fn the_counter_stops_at_its_end_instead_of_starting_over() {
        let mut subscriber = subscriber(PROFILE.seq_max() - 2);
        let home = Requester::Home { server_name: "sip:core.example" };
        for seq in [PROFILE.seq_max() - 1, PROFILE.seq_max()] {
            assert_eq!(subscriber.draw_sqn(home, PROFILE).unwrap().0.seq(5), seq);
        }
        assert_eq!(subscriber.draw_sqn(home, PROFILE), Err(SqnExhausted));
        assert_eq!(subscriber.record.reserved_seq, PROFILE.seq_max());
    }

    #[test]
    fn under_another_width_of_ind_every_sqn_is_above_all_that_may_have_left() {
        for (from, to) in (3..=8).flat_map(|from| (3..=8).map(move |to| (from, to))) {
            let [old, new] = [from, to].map(|ind_bits| SqnProfile { ind_bits, range: 4 });
            for reserved in [0, 1, 7, 1_000_003, old.seq_max() - 1, old.seq_max(), u64::MAX] {
                let mut record = subscriber(reserved).record;
                record.ind_bits = from;
                let last = old.highest_sqn(reserved);
                let mut subscriber = Subscriber::stored(record.fitted(new), CommitSeq::NOTHING);
                let home = Requester::Home { server_name: "sip:core.example" };
                let drawn = subscriber.draw_sqn(home, new);
                let above = drawn.is_ok_and(|(sqn, stored)| u64::from(sqn) > last && stored);
                let at_end = last >> to == new.seq_max();
                assert_ne!(above, at_end, "{reserved} from {from} to {to} bits");
            }
        }
    }

    #[test]
    fn under_a_narrower_ind_only_the_visited_systems_keep_theirs_whose_fits() {
        let mut record = subscriber(9).record;
        record.visited =
            (4..20).map(|ind| VisitedInd { database: database(ind.into()), ind }).collect();
        let fitted = record.fitted(SqnProfile { ind_bits: 3, range: 4 });
        let kept: Vec<u8> = fitted.visited.iter().map(|entry| entry.ind).collect();
        assert_eq!(kept, [4, 5, 6, 7]);
    }

    #[test]
    fn a_record_that_no_role_wrote_is_exhausted_and_no_panic() {
        let mut subscriber = subscriber(u64::MAX);
        let home = Requester::Home { server_name: "sip:core.example" };
        assert_eq!(subscriber.draw_sqn(home, PROFILE), Err(SqnExhausted));
        subscriber.replace(subscriber.record.clone());
        assert_eq!(subscriber.draw_sqn(home, PROFILE), Err(SqnExhausted));
    }

    #[test]
    fn provisioning_again_never_lowers_seq() {
        let mut subscriber = subscriber(100);
        let home = Requester::Home { server_name: "sip:core.example" };
        let (sqn, changed) = subscriber.draw_sqn(home, PROFILE).unwrap();
        assert_eq!((sqn.seq(5), changed, subscriber.record.reserved_seq), (101, true, 104));
        for (given, next) in [(0, 105), (50, 109), (1_000, 1_001)] {
            let mut new = subscriber.record.clone();
            new.reserved_seq = given;
            new.k = Secret::new([9; 16]);
            subscriber.replace(new);
            assert_eq!(subscriber.draw_sqn(home, PROFILE).unwrap().0.seq(5), next);
        }
    }
}
