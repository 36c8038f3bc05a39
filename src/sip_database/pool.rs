//! Identity pools: what may be lent, in which order (the "pool" of TR 23.781 solution 2, steps 5 and 10).
//!
//! A **generated** pool lends the n-th identity of a keyed permutation and never the same one twice: its
//! counter is durable in blocks, and what a block had left at a restart is given up. A **listed** pool
//! ([`super::listed`]) lends provisioned pairs.

use std::{
    array,
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{
    bound::lock,
    lending::Lending,
    listed::{Entry, Listed, entry_key},
    permutation::{self, Permutation},
    stored_secret,
    template::{Ids, PairTemplate},
};
use crate::{
    api::migration_identity::Direction,
    identity::{Impi, Impu, UserIdentity},
    outbox::Outbox,
    packed::{Fingerprint, Reader, Word, Writer},
    secret::Secret,
    store::{CommitSeq, Fields, Mutation, RecordKind},
    time::Timestamp,
};

/// Identities that one commit of a generated pool's counter reserves.
const BLOCK: u64 = 1_024;

/// Generated pairs that are made at a time: their permutations go side by side.
const MADE_AT_ONCE: u64 = permutation::AT_ONCE as u64;

/// The pools of a SIP database, [`super::POOLS_MAX`] at most, in the order in which they lend: listed ones by
/// name, then generated ones by name, for a generated one never runs out.
#[derive(Debug, Default)]
pub(super) struct Pools(Vec<Pool>);

/// One pool.
#[derive(Debug)]
pub(super) struct Pool {
    name: Arc<str>,
    /// The same, to be packed.
    word: Word,
    pub(super) direction: Direction,
    pub(super) source: Source,
}

/// Where the identities of a pool come from.
#[derive(Debug)]
pub(super) enum Source {
    Generated(Box<Generated>),
    Listed(Listed),
}

/// A pool as stored, by name. It holds the key of a generated pool: an engine on a medium seals it.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub(super) struct PoolRecord {
    pub(super) direction: Direction,
    pub(super) source: SourceRecord,
}

#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SourceRecord {
    Generated {
        impi_template: String,
        impu_template: String,
        #[serde(with = "stored_secret")]
        key: Secret<32>,
        /// No number from here on was ever used.
        reserved: u64,
    },
    Listed {
        quarantine: Duration,
    },
}

/// An identity that is not in its pool now, stored with its binding: how it comes back.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Origin {
    /// The `n`-th of a generated pool. It does not come back.
    Generated { pool: Arc<str>, n: u64 },
    /// One of a listed pool.
    Listed { pool: Arc<str> },
}

/// [`Origin`] as stored, read without a copy.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
pub(super) enum OriginView<'a> {
    Generated { pool: &'a str, n: u64 },
    Listed { pool: &'a str },
}

impl OriginView<'_> {
    /// Writes what `Serialize` does of an [`Origin`].
    pub(super) fn write(&self, to: &mut Fields) {
        match self {
            Self::Generated { pool, n } => to.number(0).text(pool).number(*n),
            Self::Listed { pool } => to.number(1).text(pool),
        };
    }

    pub(super) fn to_origin(self) -> Origin {
        match self {
            Self::Generated { pool, n } => Origin::Generated { pool: pool.into(), n },
            Self::Listed { pool } => Origin::Listed { pool: pool.into() },
        }
    }

    /// Packs it with the pool's name as `name` writes that.
    fn pack(&self, name: impl FnOnce(&mut Writer<'_>, &str), to: &mut Writer<'_>) {
        match self {
            Self::Generated { pool, n } => {
                to.number(1);
                name(to, pool);
                to.number(*n);
            }
            Self::Listed { pool } => {
                to.number(0);
                name(to, pool);
            }
        }
    }
}

impl Origin {
    pub(super) fn view(&self) -> OriginView<'_> {
        match self {
            Self::Generated { pool, n } => OriginView::Generated { pool, n: *n },
            Self::Listed { pool } => OriginView::Listed { pool },
        }
    }

    pub(super) fn unpack(from: &mut Reader<'_>) -> Option<Self> {
        let is_generated = from.number()? == 1;
        let pool = from.shared_text()?;
        if !is_generated {
            return Some(Self::Listed { pool });
        }
        Some(Self::Generated { pool, n: from.number()? })
    }
}

/// A pair drawn from a pool. Small, for it goes through many hands.
#[derive(Debug)]
pub(super) struct Drawn<'a> {
    pub(super) pool: &'a Pool,
    pub(super) pair: Pair<'a>,
}

/// What a drawn pair is made of.
#[derive(Debug)]
pub(super) enum Pair<'a> {
    /// Boxed, since it is several times as large as the numbers of a generated one.
    Listed(Box<UserIdentity>),
    Generated(&'a Generated, Made),
}

/// The `n`-th pair of a generated pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    n: u64,
    ids: Ids,
    /// That of the binding that it will have.
    fingerprint: Fingerprint,
}

impl Drawn<'_> {
    pub(super) fn identity(&self) -> UserIdentity {
        match &self.pair {
            Pair::Listed(identity) => UserIdentity::clone(identity),
            Pair::Generated(Generated { template, .. }, Made { ids, .. }) => {
                UserIdentity { impi: template.impi(ids.impi), impu: template.impu(ids.impu) }
            }
        }
    }

    /// The fingerprint of the binding that it will have, if it is known.
    pub(super) const fn fingerprint(&self) -> Option<Fingerprint> {
        match &self.pair {
            Pair::Listed(_) => None,
            Pair::Generated(_, made) => Some(made.fingerprint),
        }
    }

    /// Whether it was never lent before: then nothing is bound to it.
    pub(super) const fn is_new(&self) -> bool {
        matches!(self.pair, Pair::Generated(..))
    }

    pub(super) fn origin(&self) -> OriginView<'_> {
        let pool = self.pool.name();
        match &self.pair {
            Pair::Listed(_) => OriginView::Listed { pool },
            Pair::Generated(_, made) => OriginView::Generated { pool, n: made.n },
        }
    }

    pub(super) fn form(&self) -> Form<'_> {
        match &self.pair {
            Pair::Listed(_) => Form::Listed,
            Pair::Generated(Generated { template, .. }, Made { ids, .. }) => {
                Form::Generated { template, ids: *ids, pool: &self.pool.word }
            }
        }
    }

    /// What is to be stored together with its binding.
    pub(super) fn mutation(&self) -> Option<Mutation> {
        match &self.pair {
            Pair::Listed(identity) => {
                let key = entry_key(self.pool.name(), &identity.impi);
                Some(Mutation::delete(RecordKind::PoolEntry, &key))
            }
            Pair::Generated(..) => None,
        }
    }

    /// Puts a pair back that was drawn ahead, and that nobody was told of: it is the next one. A listed one returns with
    /// its binding instead ([`Pool::returning`]).
    pub(super) fn put_back(&self) {
        if let Pair::Generated(generated, made) = self.pair {
            let mut counter = lock(&generated.counter);
            counter.lent = counter.lent.saturating_sub(1);
            counter.made.push_front(made);
        }
    }
}

/// What a pair is known to be made of: it is packed faster so.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form<'a> {
    /// Texts.
    Listed,
    /// What a template gives for these numbers, of the pool of this name.
    Generated { template: &'a PairTemplate, ids: Ids, pool: &'a Word },
}

impl Form<'_> {
    pub(super) fn pack_impi(self, impi: &str, to: &mut Writer<'_>) {
        match self {
            Self::Listed => to.impi(impi),
            Self::Generated { template, ids, .. } => template.pack_impi(ids.impi, to),
        }
    }

    pub(super) fn pack_impu(self, impu: &str, to: &mut Writer<'_>) {
        match self {
            Self::Listed => to.impu(impu),
            Self::Generated { template, ids, .. } => template.pack_impu(ids.impu, to),
        }
    }

    pub(super) fn pack_origin(self, origin: OriginView<'_>, to: &mut Writer<'_>) {
        fn word(to: &mut Writer<'_>, pool: &str) {
            to.word(pool);
        }
        match self {
            Self::Listed => origin.pack(word, to),
            Self::Generated { pool, .. } => origin.pack(|to, _| to.same_word(pool), to),
        }
    }
}

/// How full a pool is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fill {
    pub(super) total: u64,
    pub(super) lent: u64,
    pub(super) free: Option<u64>,
    pub(super) version: CommitSeq,
}

impl Pools {
    pub(super) fn get(&self, name: &str) -> Option<&Pool> {
        self.0.iter().find(|pool| *pool.name == *name)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many listed pairs are in quarantine.
    pub(super) fn resting(&self, now: Timestamp) -> u64 {
        let listed = self.0.iter().filter_map(|pool| match &pool.source {
            Source::Listed(listed) => Some(listed.resting(now)),
            Source::Generated(_) => None,
        });
        listed.sum()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes a pool in, instead of one of this name.
    pub(super) fn insert(&mut self, pool: Pool) {
        self.0.retain(|other| other.name != pool.name);
        let place = self.0.partition_point(|other| other.turn() < pool.turn());
        self.0.insert(place, pool);
    }

    /// The pools of one direction in the order in which they lend.
    pub(super) fn lending(&self, direction: Direction) -> impl Iterator<Item = &Pool> {
        self.0.iter().filter(move |pool| pool.direction == direction)
    }

    /// Whether a generated pool could lend `impi` some day: nobody else may have it then.
    pub(super) fn may_generate_impi(&self, impi: &Impi) -> bool {
        self.generated().any(|generated| generated.template.covers_impi(impi))
    }

    /// Whether a generated pool could lend `impu` some day.
    pub(super) fn may_generate_impu(&self, impu: &Impu) -> bool {
        self.generated().any(|generated| generated.template.covers_impu(impu))
    }

    /// Whether a generated pool could lend what `template` gives.
    pub(super) fn overlaps(&self, template: &PairTemplate) -> bool {
        self.generated().any(|generated| generated.template.overlaps(template))
    }

    /// Whether some pool of `direction` could lend a pair now.
    pub(super) fn can_lend(&self, direction: Direction, now: Timestamp) -> bool {
        self.lending(direction).any(|pool| pool.fill(now).free != Some(0))
    }

    fn generated(&self) -> impl Iterator<Item = &Generated> {
        self.0.iter().filter_map(|pool| match &pool.source {
            Source::Generated(generated) => Some(&**generated),
            Source::Listed(_) => None,
        })
    }
}

impl Pool {
    pub(super) fn new(name: Arc<str>, direction: Direction, source: Source) -> Self {
        Self { word: Word::new(&name), name, direction, source }
    }

    pub(super) const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// By what pools are in the order in which they lend.
    fn turn(&self) -> (bool, &str) {
        (matches!(self.source, Source::Generated(_)), &self.name)
    }

    /// Takes a pair out, or none if none is free.
    pub(super) fn draw(&self, lending: &Lending<'_>, out: &mut Outbox) -> Option<Drawn<'_>> {
        match &self.source {
            Source::Generated(generated) => loop {
                let made = generated.next(self, lending, out)?;
                if !lending.is_taken(&generated.template, made.ids) {
                    return Some(Drawn { pool: self, pair: Pair::Generated(generated, made) });
                }
                generated.forget_one();
            },
            Source::Listed(listed) => {
                let pair = Pair::Listed(listed.draw(lending.now)?.into());
                Some(Drawn { pool: self, pair })
            }
        }
    }

    /// As [`Self::draw`], before it is known whether the pair is needed: only of a pool that never runs out, so that
    /// nobody lacks it meanwhile. [`Drawn::put_back`] gives it back.
    pub(super) fn draw_ahead(&self, lending: &Lending<'_>, out: &mut Outbox) -> Option<Drawn<'_>> {
        matches!(self.source, Source::Generated(_)).then(|| self.draw(lending, out))?
    }

    /// Prepares the return of a pair: the entry to store, and then to give to [`Self::take_back`].
    pub(super) fn returning(&self, identity: UserIdentity, now: Timestamp) -> Option<Entry> {
        match &self.source {
            Source::Generated(_) => None,
            Source::Listed(listed) => Some(listed.returning(identity, now)),
        }
    }

    /// Takes a pair back whose binding ended; its entry, if it has one, has been committed.
    pub(super) fn take_back(&self, entry: Option<Entry>) {
        match (&self.source, entry) {
            (Source::Generated(generated), _) => generated.forget_one(),
            (Source::Listed(listed), Some(entry)) => listed.take_back(entry),
            (Source::Listed(_), None) => {}
        }
    }

    pub(super) fn fill(&self, now: Timestamp) -> Fill {
        match &self.source {
            Source::Generated(generated) => {
                let counter = lock(&generated.counter);
                Fill {
                    total: counter.first_made(),
                    lent: counter.lent,
                    free: None,
                    version: counter.version,
                }
            }
            Source::Listed(listed) => listed.fill(now),
        }
    }
}

/// A pool of generated pairs.
#[derive(Debug)]
pub(super) struct Generated {
    impi_template: String,
    impu_template: String,
    key: Secret<32>,
    template: PairTemplate,
    impi_permutation: Permutation,
    impu_permutation: Permutation,
    counter: Mutex<Counter>,
}

#[derive(Debug)]
struct Counter {
    /// The next number to make ids of; at most `reserved`.
    next: u64,
    /// The end of the durable block.
    reserved: u64,
    /// The pairs of the numbers before `next`, to lend next.
    made: VecDeque<Made>,
    lent: u64,
    version: CommitSeq,
}

impl Generated {
    /// A pool that has used the numbers below `reserved`.
    pub(super) fn new(
        (impi_template, impu_template): (String, String),
        key: Secret<32>,
        reserved: u64,
        version: CommitSeq,
    ) -> Result<Self, &'static str> {
        let template = PairTemplate::parse(&impi_template, &impu_template)?;
        let permutation = |label| Permutation::new(&derive(&key, label), u64::MAX);
        Ok(Self {
            template,
            impi_permutation: permutation(b"private identity"),
            impu_permutation: permutation(b"public identity"),
            impi_template,
            impu_template,
            key,
            counter: Mutex::new(Counter {
                next: reserved,
                reserved,
                made: VecDeque::new(),
                lent: 0,
                version,
            }),
        })
    }

    /// Whether this is the pool that such a definition gives.
    pub(super) fn is_defined_by(&self, impi: &str, impu: &str, key: Option<&Secret<32>>) -> bool {
        self.impi_template == impi
            && self.impu_template == impu
            && key.is_none_or(|key| *key == self.key)
    }

    pub(super) fn record(&self, direction: Direction, reserved: u64) -> PoolRecord {
        let source = SourceRecord::Generated {
            impi_template: self.impi_template.clone(),
            impu_template: self.impu_template.clone(),
            key: self.key.clone(),
            reserved,
        };
        PoolRecord { direction, source }
    }

    pub(super) fn set_version(&self, version: CommitSeq) {
        lock(&self.counter).version = version;
    }

    /// Takes the next pair out, which counts as lent.
    fn next(&self, pool: &Pool, lending: &Lending<'_>, out: &mut Outbox) -> Option<Made> {
        let mut counter = lock(&self.counter);
        if counter.made.is_empty() {
            self.make(&mut counter, pool, lending, out)?;
        }
        let made = counter.lend()?;
        drop(counter);
        // What the binding will change is in no cache as a rule. It is there when the binding has been written.
        lending.prefetch(made.fingerprint);
        Some(made)
    }

    /// Makes the next pairs.
    #[cold]
    fn make(
        &self,
        counter: &mut Counter,
        pool: &Pool,
        lending: &Lending<'_>,
        out: &mut Outbox,
    ) -> Option<()> {
        let first = counter.next;
        let end = first.checked_add(MADE_AT_ONCE)?;
        if end > counter.reserved {
            let reserved = first.checked_add(BLOCK)?;
            let record = self.record(pool.direction, reserved);
            // Drawn before the binding's own commit, so what waits for that waits for this too.
            counter.version = out.commit([Mutation::put(RecordKind::Pool, &pool.name, &record)]);
            counter.reserved = reserved;
        }
        let mut impis: [u64; permutation::AT_ONCE] = array::from_fn(|place| first + place as u64);
        let mut impus = impis;
        let all = self.impi_permutation.apply_to(&mut impis)
            && self.impu_permutation.apply_to(&mut impus);
        if !all {
            return None;
        }
        counter.next = end;
        for (n, (impi, impu)) in (first..).zip(impis.into_iter().zip(impus)) {
            let fingerprint = lending.fingerprint(&self.template.impi(impi));
            counter.made.push_back(Made { n, ids: Ids { impi, impu }, fingerprint });
        }
        Some(())
    }

    /// Takes over what the stored bindings tell: how many there are, and that the numbers below
    /// `used` were lent. The counter's own record is behind only if its commit was lost in a crash
    /// that the later commit of a binding survived; then it must be stored again.
    pub(super) fn link(&self, lent: u64, used: u64) -> bool {
        let mut counter = lock(&self.counter);
        counter.lent = lent;
        let behind = used > counter.reserved;
        if behind {
            counter.next = used;
            counter.reserved = used;
        }
        behind
    }

    fn forget_one(&self) {
        let mut counter = lock(&self.counter);
        counter.lent = counter.lent.saturating_sub(1);
    }
}

impl Counter {
    /// The number of the pair to lend next.
    fn first_made(&self) -> u64 {
        self.next - self.made.len() as u64
    }

    fn lend(&mut self) -> Option<Made> {
        let made = self.made.pop_front()?;
        self.lent += 1;
        Some(made)
    }
}

/// A key of its own for each use, so that the two identities of a pair do not tell of each other.
fn derive(key: &Secret<32>, label: &[u8]) -> Secret<32> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("any length");
    mac.update(b"migcore identity pool: ");
    mac.update(label);
    Secret::new(mac.finalize().into_bytes().into())
}

impl Origin {
    /// The pool's name.
    pub(super) const fn pool(&self) -> &Arc<str> {
        let (Self::Generated { pool, .. } | Self::Listed { pool }) = self;
        pool
    }
}
