//! What is stored of registered contacts, and whether it is what was acknowledged.

use super::{Asked, Change, Contact, Contacts, Ledger, Registered, Span, Tables, Violation};
use crate::time::Timestamp;

impl Ledger {
    pub(super) fn check_contacts(&self, now: Timestamp, stored: &Tables) -> Result<(), Violation> {
        let mut open = Contacts::new();
        for Asked { at, change } in self.open.values() {
            let span = Span { begun: *at, ended: None, done: false };
            if let Change::Register { impi, contact, call_id, cseq, until } = change.clone() {
                let registered = Registered { call_id, cseq, until };
                open.entry((impi, contact)).or_default().push((span, Some(registered)));
            } else if let Change::Deregister { impi, contact } = change.clone() {
                open.entry((impi, contact)).or_default().push((span, None));
            }
        }
        for (key, closed) in &self.contacts {
            let (impi, uri) = key;
            let changes: Vec<_> =
                closed.iter().chain(open.get(key).into_iter().flatten()).collect();
            let last = |span: &Span| !changes.iter().any(|(it, _)| it.done && span.is_before(it));
            let possible = || changes.iter().filter(|(span, _)| last(span)).map(|(_, it)| it);
            let found = stored.registrations.get(impi);
            let found = found.and_then(|it| it.contacts.iter().find(|it| it.uri == *uri));
            let Some(found) = found else {
                let untouched = !changes.iter().any(|(span, _)| span.done);
                let may_be_gone = |it: &Contact| it.as_ref().is_none_or(|it| it.until <= now);
                if untouched || possible().any(may_be_gone) {
                    continue;
                }
                let rule = "an acknowledged registration is stored";
                return Err(Violation::new(rule, &impi.as_str()));
            };
            let is_it = |it: &Registered| *it.call_id == *found.call_id && it.cseq == found.cseq;
            if !possible().flatten().any(is_it) {
                let gone = possible().any(Option::is_none);
                let rule = if gone {
                    "a registration that has ended is not resurrected"
                } else {
                    "a stored registration is the latest that was acknowledged"
                };
                let detail = format_args!("{} has CSeq {}", impi.as_str(), found.cseq);
                return Err(Violation::new(rule, &detail));
            }
        }
        Ok(())
    }
}
