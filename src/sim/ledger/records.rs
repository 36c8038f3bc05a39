//! Whether records that are there until somebody deletes them are there, or not, as was acknowledged.

use super::{Change, Ledger, Presence, Span, Tables, Violation};
use crate::{
    identity::{Impi, SipDatabaseId},
    store::RecordKind,
    time::Timestamp,
};

/// The key under which the grant of a subscriber for a partner is stored.
pub fn grant_key(impi: &Impi, partner: &SipDatabaseId) -> String {
    format!("{} {partner}", impi.as_str())
}

impl Ledger {
    /// Whether a record may have been deleted since it was stored last.
    pub fn may_be_deleted(&self, kind: RecordKind, key: &str) -> bool {
        let closed = self.records.get(&(kind, key.to_owned())).into_iter().flatten();
        let mut open = self.open.values();
        closed.into_iter().any(|(_, it)| *it == Presence::Gone)
            || open.any(|asked| {
                matches!(&asked.change, Change::Delete { kind: of, key: it }
                    if *of == kind && it == key)
            })
    }

    /// What was stored is there until it may have been deleted, and what was deleted is not there until it
    /// may have been stored again.
    pub(super) fn check_records(&self, now: Timestamp, stored: &Tables) -> Result<(), Violation> {
        let open = self.open.values().filter_map(|asked| match &asked.change {
            Change::Put { kind, key } => {
                Some((*kind, key, Presence::There { until: Timestamp::MAX }))
            }
            Change::Delete { kind, key } => Some((*kind, key, Presence::Gone)),
            Change::Register { .. }
            | Change::Deregister { .. }
            | Change::Lend { .. }
            | Change::Release { .. }
            | Change::ReleaseAll { .. } => None,
        });
        let open: Vec<_> = open.collect();
        for (name, closed) in &self.records {
            let (kind, key) = name;
            if !closed.iter().any(|(span, _)| span.done) {
                continue;
            }
            let last = |span: &Span| !closed.iter().any(|(it, _)| it.done && span.is_before(it));
            let mut possible = closed
                .iter()
                .filter(|(span, _)| last(span))
                .map(|(_, presence)| *presence)
                .chain(open.iter().filter(|it| (it.0, it.1) == (*kind, key)).map(|it| it.2));
            let found = stored.names.contains(name);
            let explains = |presence| match presence {
                Presence::Gone => !found,
                Presence::There { until } => found || until <= now,
            };
            if !possible.any(explains) {
                let rule = if found {
                    "what was deleted is not resurrected"
                } else {
                    "an acknowledged record is stored"
                };
                return Err(Violation::new(rule, &format_args!("{} {key}", kind.name())));
            }
        }
        Ok(())
    }
}
