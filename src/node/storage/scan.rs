//! Reading records: all of them on all cores, or one kind in the order of its keys.

use std::{
    ops::Bound,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    thread,
};

use fjall::{Readable, UserKey, UserValue};
use zeroize::Zeroizing;

use super::{
    database::{Database, DatabaseError},
    keys::Keys,
    layout::{self, Body, STRIPES, StoredKey},
    seal::{self, Label, SealError},
};
use crate::store::{
    CommitSeq, Each, EngineError, OwnedRecord, Record, RecordError, RecordKind, ReplayError,
};

/// Gives every record to `each`, from as many threads as there are cores.
///
/// # Errors
///
/// [`ReplayError`], the first one met.
pub(super) fn scan_all(
    database: &Database,
    keys: &Keys,
    each: &Each<'_>,
) -> Result<(), ReplayError> {
    let next = AtomicU8::new(0);
    let is_failed = AtomicBool::new(false);
    let failed = Mutex::new(None);
    let work = || {
        let mut opened = Zeroizing::new(Vec::new());
        loop {
            let stripe = next.fetch_add(1, Ordering::Relaxed);
            if stripe >= STRIPES || is_failed.load(Ordering::Relaxed) {
                return;
            }
            if let Err(error) = scan_stripe(database, keys, stripe, &is_failed, &mut opened, each) {
                is_failed.store(true, Ordering::Relaxed);
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from).min(STRIPES.into());
    thread::scope(|scope| {
        for _ in 1..cores {
            // Without threads to be had, this one does it all.
            let _ = thread::Builder::new().name("replay".to_owned()).spawn_scoped(scope, work);
        }
        work();
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

fn scan_stripe(
    database: &Database,
    keys: &Keys,
    stripe: u8,
    is_failed: &AtomicBool,
    opened: &mut Vec<u8>,
    each: &Each<'_>,
) -> Result<(), ReplayError> {
    for entry in database.prefix(&[stripe]) {
        if is_failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (key, value) = entry.into_inner().map_err(|error| medium(error.into()))?;
        let (kind, key) = kind_and_key(&key)?;
        let (version, value) = record_of(kind, key, &value, keys, opened)?;
        Record { kind, key, version, value }.give(each)?;
    }
    Ok(())
}

/// Up to `limit` records of a kind whose keys come after `after`, in the order of their keys.
///
/// # Errors
///
/// [`EngineError::Medium`].
pub(super) fn page(
    database: &Database,
    keys: &Keys,
    kind: RecordKind,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<OwnedRecord>, EngineError> {
    // All stripes as they are at one moment: a commit shows in all of them or in none.
    let (snapshot, records) = database.snapshot();
    let mut heads = Vec::with_capacity(STRIPES.into());
    for stripe in 0..STRIPES {
        let key = after.unwrap_or_default();
        let from = StoredKey::in_stripe(stripe, kind, key).ok_or_else(|| too_long(key.len()))?;
        let from =
            after.map_or(Bound::Included(from.as_slice()), |_| Bound::Excluded(from.as_slice()));
        let to = [stripe, kind.as_u8() + 1];
        heads.push(Head::start(
            snapshot.range::<&[u8], _>(records, (from, Bound::Excluded(&to[..]))),
        )?);
    }
    let mut opened = Zeroizing::new(Vec::new());
    let mut found = Vec::new();
    while found.len() < limit {
        let filled = heads.iter_mut().filter(|head| head.entry.is_some());
        let Some(head) = filled.min_by(|a, b| a.key().cmp(b.key())) else { break };
        let Some((key, value)) = head.advance()? else { break };
        let broken = |error: ReplayError| EngineError::Medium(error.to_string());
        let (kind, key) = kind_and_key(&key).map_err(broken)?;
        let (version, value) = record_of(kind, key, &value, keys, &mut opened).map_err(broken)?;
        found.push(OwnedRecord { kind, key: key.into(), version, value: value.into() });
    }
    Ok(found)
}

/// The next entry of one stripe.
struct Head {
    entries: fjall::Iter,
    entry: Option<(UserKey, UserValue)>,
}

impl Head {
    fn start(entries: fjall::Iter) -> Result<Self, EngineError> {
        let mut head = Self { entries, entry: None };
        head.advance()?;
        Ok(head)
    }

    /// The key within the kind.
    fn key(&self) -> &[u8] {
        self.entry.as_ref().and_then(|(key, _)| key.get(2..)).unwrap_or_default()
    }

    /// Takes the entry, and reads the one after it.
    fn advance(&mut self) -> Result<Option<(UserKey, UserValue)>, EngineError> {
        let next = self.entries.next().map(fjall::Guard::into_inner).transpose();
        let next =
            next.map_err(|error| EngineError::Medium(DatabaseError::from(error).into_text()))?;
        Ok(std::mem::replace(&mut self.entry, next))
    }
}

/// The kind and the key within the kind of a record.
pub(super) fn kind_and_key(stored: &[u8]) -> Result<(RecordKind, &[u8]), ReplayError> {
    let (kind, key) = layout::split_key(stored)
        .ok_or_else(|| medium(DatabaseError::Damaged("it has a key of no record".to_owned())))?;
    let unknown = || format!("it has records of kind {kind}, which this build does not know");
    let kind =
        RecordKind::from_u8(kind).ok_or_else(|| medium(DatabaseError::Damaged(unknown())))?;
    Ok((kind, key))
}

/// The version and the record in a value, opened if it is sealed.
pub(super) fn record_of<'a>(
    kind: RecordKind,
    key: &[u8],
    value: &'a [u8],
    keys: &Keys,
    opened: &'a mut Vec<u8>,
) -> Result<(CommitSeq, &'a [u8]), ReplayError> {
    let damaged = ReplayError::Record { kind, error: RecordError::Damaged };
    match layout::split_value(value) {
        // What is to be sealed and is not was put there by somebody without the key.
        Some((_, Body::Plain(_))) if kind.holds_secrets() => Err(damaged),
        Some((version, Body::Plain(record))) => Ok((version, record)),
        Some((version, Body::Sealed(sealed))) => {
            let label = Label { kind: kind.as_u8(), key, version };
            match seal::open(keys, label, sealed, opened) {
                Ok(record) => Ok((version, record)),
                Err(SealError::Damaged) => Err(damaged),
                Err(SealError::UnknownKey(id)) => {
                    let what = format!("a record needs key {id}, which is not given");
                    Err(medium(DatabaseError::Damaged(what)))
                }
            }
        }
        None => Err(damaged),
    }
}

pub(super) fn too_long(octets: usize) -> EngineError {
    let most = crate::store::KEY_OCTETS_MAX;
    EngineError::Medium(format!("a key of {octets} octets, {most} at most"))
}

fn medium(error: DatabaseError) -> ReplayError {
    EngineError::Medium(error.into_text()).into()
}
