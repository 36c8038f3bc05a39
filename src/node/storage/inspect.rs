//! Every record in the store, whether it can be read or not.

use zeroize::Zeroizing;

use super::{
    database::{Database, DatabaseError},
    keys::Keys,
    layout::{STRIPES, StoredKey},
    scan,
};
use crate::store::{EngineError, Record, RecordKind};

/// What is in the store.
#[derive(Clone, Copy, Debug)]
pub enum Inspected<'a> {
    /// A record.
    Record(Record<'a>),
    /// A record that cannot be read.
    Unreadable {
        /// The kind of record.
        kind: RecordKind,
        /// The key within the kind.
        key: &'a [u8],
        /// Why not.
        why: &'a str,
    },
    /// What no build, or only a newer one, puts there.
    Unknown {
        /// What it is.
        why: &'a str,
    },
}

/// Gives everything to `each`, kind after kind, and what is of no kind at the end.
///
/// # Errors
///
/// [`EngineError::Medium`].
pub(super) fn inspect(
    database: &Database,
    keys: &Keys,
    each: &mut dyn FnMut(Inspected<'_>),
) -> Result<(), EngineError> {
    let mut opened = Zeroizing::new(Vec::new());
    for kind in RecordKind::ALL {
        for stripe in 0..STRIPES {
            for entry in database.prefix(&[stripe, kind.as_u8()]) {
                let (stored, value) = entry.into_inner().map_err(medium)?;
                let key = stored.get(2..).unwrap_or_default();
                let in_place = StoredKey::new(kind, key);
                let in_place = in_place.is_some_and(|in_place| in_place.as_slice() == &*stored);
                match scan::record_of(kind, key, &value, keys, &mut opened) {
                    Ok((version, value)) if in_place => {
                        each(Inspected::Record(Record { kind, key, version, value }));
                    }
                    Ok(_) => {
                        each(Inspected::Unreadable {
                            kind,
                            key,
                            why: "it is not where it belongs",
                        });
                    }
                    Err(error) => {
                        each(Inspected::Unreadable { kind, key, why: &error.to_string() });
                    }
                }
            }
        }
    }
    inspect_unknown(database, each)
}

fn inspect_unknown(
    database: &Database,
    each: &mut dyn FnMut(Inspected<'_>),
) -> Result<(), EngineError> {
    let mut prefixes = Vec::new();
    for stripe in 0..STRIPES {
        let unknown = (0..=u8::MAX).filter(|octet| RecordKind::from_u8(*octet).is_none());
        prefixes.extend(unknown.map(|octet| vec![stripe, octet]));
    }
    // After the stripes there is what the store knows of itself, and that begins with the last octet.
    prefixes.extend((STRIPES..u8::MAX).map(|octet| vec![octet]));
    for prefix in prefixes {
        for entry in database.prefix(&prefix) {
            entry.key().map_err(medium)?;
            let why = format!("an entry under {prefix:?} is of no kind that this build knows");
            each(Inspected::Unknown { why: &why });
        }
    }
    Ok(())
}

fn medium(error: fjall::Error) -> EngineError {
    EngineError::Medium(DatabaseError::from(error).into_text())
}
