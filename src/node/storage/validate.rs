//! Whether records fit together: for `store check`, and for an import before it writes.

use std::{
    collections::{BTreeMap, HashMap, hash_map},
    fmt,
};

use super::json::StoredRecord;
use crate::{
    node::{SystemEntropy, storage::json::Content},
    sip_database::{Contradiction, References},
    store::{RecordKind, WrongField},
};

/// How many of the things that are wrong are told one by one; the others are counted.
pub const TOLD_MAX: usize = 100;

/// How many records there are of each kind.
pub type Counts = BTreeMap<RecordKind, u64>;

/// What all records taken in so far say. It takes some 200 octets a record.
#[derive(Debug)]
pub struct Validator {
    references: References,
    /// Where each key is.
    keys: HashMap<(RecordKind, Box<str>), u64>,
    latest: RecordKind,
    counts: Counts,
}

/// Why a record cannot be one of those taken in. Only `other` is a place, no identity is named.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Misfit {
    /// The field, or `key`.
    pub field: String,
    /// What is wrong with it: continues a sentence that begins with the field.
    pub what: &'static str,
    /// The place of the record that it contradicts.
    pub other: Option<u64>,
}

impl Default for Validator {
    fn default() -> Self {
        Self {
            references: References::new(&mut SystemEntropy::new()),
            keys: HashMap::new(),
            latest: RecordKind::Subscriber,
            counts: Counts::new(),
        }
    }
}

impl Validator {
    /// Takes a record in that is found at `place`. Kinds come in the order of [`RecordKind::ALL`], which
    /// brings what others refer to first.
    ///
    /// # Errors
    ///
    /// [`Misfit`]: the first thing that is wrong.
    pub fn add(&mut self, place: u64, stored: &StoredRecord) -> Result<(), Misfit> {
        *self.counts.entry(stored.kind).or_default() += 1;
        stored.check().map_err(|WrongField { field, what }| Misfit::new(field, what))?;
        if stored.kind < self.latest {
            return Err(Misfit::new(
                "kind",
                "comes after another kind: keep the order of the export",
            ));
        }
        self.latest = stored.kind;
        match self.keys.entry((stored.kind, stored.key.clone())) {
            hash_map::Entry::Vacant(free) => drop(free.insert(place)),
            hash_map::Entry::Occupied(taken) => {
                let other = Some(*taken.get());
                return Err(Misfit { other, ..Misfit::new("key", "is there twice") });
            }
        }
        match &stored.content {
            Content::Database(record) => self.references.add(place, &stored.key, record).map_err(
                |Contradiction { field, what, other }| Misfit { other, ..Misfit::new(field, what) },
            ),
            Content::Core(_)
            | Content::ConfigServer(_)
            | Content::Acm(_)
            | Content::Aliases(_)
            | Content::Idms(_)
            | Content::McServer(_) => Ok(()),
        }
    }

    /// How many records were taken in, those that do not fit included.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl Misfit {
    fn new(field: &str, what: &'static str) -> Self {
        let field = if matches!(field, "key" | "kind") {
            field.to_owned()
        } else {
            format!("record.{field}")
        };
        Self { field, what, other: None }
    }
}

/// Things that are wrong, each with its place: so many are told, the others are counted.
#[derive(Debug)]
pub struct Findings {
    /// What a place is, such as `line`.
    place: &'static str,
    told: Vec<(u64, String)>,
    count: u64,
}

impl Findings {
    /// None yet.
    pub const fn new(place: &'static str) -> Self {
        Self { place, told: Vec::new(), count: 0 }
    }

    /// Adds one.
    pub fn add(&mut self, place: u64, what: impl Into<String>) {
        self.count += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push((place, what.into()));
        }
    }

    /// Adds what [`Validator::add`] found.
    pub fn add_misfit(&mut self, place: u64, kind: RecordKind, misfit: &Misfit) {
        let (Misfit { field, what, other }, kind) = (misfit, kind.name());
        let other = other.map_or_else(String::new, |other| format!(" ({} {other})", self.place));
        self.add(place, format!("{kind}: {field} {what}{other}"));
    }

    /// Whether nothing is wrong.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many things are told one by one.
    pub const fn told(&self) -> usize {
        self.told.len()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, what) in &self.told {
            write!(f, "\n  {} {place}: {what}", self.place)?;
        }
        match self.count - self.told.len() as u64 {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}
