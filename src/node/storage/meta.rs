//! What a store knows of itself: its format, its name, its keys, the highest version.

use std::path::Path;

use super::{
    OpenError,
    database::{Database, DatabaseError},
    keys::{KeyId, Keys},
    layout::{self, Body},
    seal,
};
use crate::{entropy::Entropy, store::CommitSeq};

/// A number drawn when a store is made: another disk mounted in its place is another store.
pub(super) type Identity = [u8; 16];

/// What a store knows of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Meta {
    pub(super) identity: Identity,
    pub(super) highest: CommitSeq,
}

/// Puts into an empty store what every one has.
///
/// # Errors
///
/// What failed.
pub(super) fn fill(
    database: &Database,
    keys: &Keys,
    entropy: &mut dyn Entropy,
) -> Result<(), DatabaseError> {
    let mut identity = Identity::default();
    entropy.fill(&mut identity);
    let mut batch = database.batch();
    batch.put(layout::FORMAT_KEY, layout::FORMAT.to_be_bytes().to_vec());
    batch.put(layout::IDENTITY_KEY, identity.to_vec());
    batch.put(layout::HIGHEST_KEY, highest_value(CommitSeq::NOTHING));
    batch.put(&check_key(keys.sealing().0), seal::check_of_first(keys, entropy));
    batch.commit()
}

/// The value under [`layout::HIGHEST_KEY`].
pub(super) fn highest_value(highest: CommitSeq) -> Vec<u8> {
    highest.as_u64().to_be_bytes().to_vec()
}

/// Reads what a store knows of itself, its format before anything else.
///
/// # Errors
///
/// [`OpenError::NewerFormat`], [`OpenError::Damaged`], [`OpenError::Medium`].
pub(super) fn read(database: &Database, directory: &Path) -> Result<Meta, OpenError> {
    let format = u32::from_be_bytes(number(database, layout::FORMAT_KEY, directory)?);
    if format > layout::FORMAT {
        let (directory, known) = (directory.to_owned(), layout::FORMAT);
        return Err(OpenError::NewerFormat { directory, found: format, known });
    }
    let highest = u64::from_be_bytes(number(database, layout::HIGHEST_KEY, directory)?);
    let identity = number(database, layout::IDENTITY_KEY, directory)?;
    Ok(Meta { identity, highest: CommitSeq::from_u64(highest) })
}

fn number<const N: usize>(
    database: &Database,
    key: &[u8],
    directory: &Path,
) -> Result<[u8; N], OpenError> {
    let value = database.get(key).map_err(|error| error.at(directory))?;
    value.and_then(|value| <[u8; N]>::try_from(&*value).ok()).ok_or_else(|| {
        let name = String::from_utf8_lossy(key.get(1..).unwrap_or_default()).into_owned();
        OpenError::Damaged {
            directory: directory.to_owned(),
            why: format!("it has no valid {name}"),
        }
    })
}

/// Finds out whether `keys` are those of the store, and lets a new first key be known from now on.
///
/// # Errors
///
/// [`OpenError::WrongKey`], [`OpenError::KeyGone`], [`OpenError::Damaged`], [`OpenError::Medium`].
pub(super) fn check_keys(
    database: &Database,
    keys: &Keys,
    entropy: &mut dyn Entropy,
    directory: &Path,
) -> Result<(), OpenError> {
    let (mut known, mut missing) = (Vec::new(), Vec::new());
    for entry in database.prefix(layout::CHECK_PREFIX) {
        let (key, check) =
            entry.into_inner().map_err(|error| DatabaseError::from(error).at(directory))?;
        let Some(id) = key_named_by(&key) else { continue };
        // Two keys may have one name, if nobody can find them: what counts is whether the seal opens.
        if seal::knows(keys, &check) { known.push(id) } else { missing.push(id) }
    }
    let given = keys.ids();
    if let (true, Some(needed)) = (known.is_empty(), missing.first()) {
        return Err(OpenError::WrongKey {
            directory: directory.to_owned(),
            needed: *needed,
            given,
        });
    }
    let mut batch = database.batch();
    let mut is_changed = false;
    for needed in missing {
        let records = count_sealed(database, needed).map_err(|error| error.at(directory))?;
        if records > 0 {
            return Err(OpenError::KeyGone {
                directory: directory.to_owned(),
                needed,
                records,
                given,
            });
        }
        batch.delete(&check_key(needed));
        is_changed = true;
    }
    let (first, _) = keys.sealing();
    if !known.contains(&first) {
        batch.put(&check_key(first), seal::check_of_first(keys, entropy));
        is_changed = true;
    }
    if is_changed { batch.commit().map_err(|error| error.at(directory)) } else { Ok(()) }
}

/// The names of the keys that are known to have sealed something.
///
/// # Errors
///
/// What failed.
pub(super) fn sealing_keys(database: &Database) -> Result<Vec<KeyId>, DatabaseError> {
    let mut ids = Vec::new();
    for entry in database.prefix(layout::CHECK_PREFIX) {
        ids.extend(key_named_by(&entry.key()?));
    }
    Ok(ids)
}

fn key_named_by(check_key: &[u8]) -> Option<KeyId> {
    check_key.strip_prefix(layout::CHECK_PREFIX)?.try_into().ok().map(KeyId)
}

/// Counts the records that only the key of that name opens.
fn count_sealed(database: &Database, id: KeyId) -> Result<u64, DatabaseError> {
    let mut count = 0;
    for stripe in 0..layout::STRIPES {
        for entry in database.prefix(&[stripe]) {
            let value = entry.value()?;
            if let Some((_, Body::Sealed(sealed))) = layout::split_value(&value) {
                count += u64::from(seal::key_of(sealed) == Some(id));
            }
        }
    }
    Ok(count)
}

/// The key under which a sealing key leaves something to be known by.
pub(super) fn check_key(id: KeyId) -> Vec<u8> {
    [layout::CHECK_PREFIX, &id.0].concat()
}
