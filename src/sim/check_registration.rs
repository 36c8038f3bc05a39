//! What must hold of a 200 to a REGISTER that leaves a SIP core (RFC 3261 clause 10.3), and of who is
//! registered when all is quiet.

use std::time::Duration;

use crate::{
    sip::{name_addr::Contact, response::ResponseView},
    sip_core::{self, Registration},
    store::{RecordKind, decode},
    time::Timestamp,
};

use super::{
    SystemId, Violation, World,
    facts::{Cause, user_of},
    ledger::Change,
};

/// How long a SIP core's words to its SIP database may be under way when nothing fails.
const SETTLING: Duration = Duration::from_secs(10);

impl World {
    /// A 200 to a REGISTER tells what was stored at some time since the request began: all contacts that the
    /// stored registration has and no others, and it has those that the request adds, with its `CSeq`, and
    /// not those that it removes.
    pub(super) fn check_registered(
        &self,
        id: SystemId,
        answer: &ResponseView<'_>,
    ) -> Result<(), Violation> {
        if answer.status() != 200 || answer.method() != "REGISTER" {
            return Ok(());
        }
        let cause = Cause::Register(id, answer.call_id().to_owned(), answer.cseq());
        let detail = format!("CSeq {} at {}", answer.cseq(), id.label());
        let asked = self.checks.facts.begun(&cause);
        let Some((since, changes)) = asked else {
            let rule = "a 200 answers a REGISTER that answers a challenge";
            return Err(Violation::new(rule, &detail));
        };
        let Some(impi) = user_of(changes) else { return Ok(()) };
        let (listed, now) = (answer.contacts().collect::<Vec<_>>(), self.now());
        let history = self.system(id).engine.history();
        let versions = history.since(RecordKind::Registration, impi.as_str(), since);
        for (_, value) in versions {
            let stored = value.map_or_else(|| Ok(Registration::default()), decode);
            let stored: Registration =
                stored.map_err(|error| Violation::new("what was stored can be read", &error))?;
            let for_all = listed.is_empty()
                || answer
                    .associated_uris()
                    .all(|uri| stored.impus.iter().any(|impu| impu.as_str() == uri));
            if for_all && lists(&listed, &stored, (since, now)) && follows(&stored, changes) {
                return Ok(());
            }
        }
        let rule = if listed.is_empty() {
            "a 200 without contacts follows their removal"
        } else {
            "a 200 tells of a stored registration"
        };
        let detail = format_args!("{detail}, {} contacts", listed.len());
        Err(Violation::new(rule, &detail))
    }

    /// When nothing fails any more, SIP cores and SIP databases come to agree on who is registered.
    pub(super) fn check_assignments(&mut self) -> Result<(), Violation> {
        let end = self.now() + SETTLING;
        self.run_until(end, |world| world.assignments().is_ok())?;
        self.assignments()
    }

    fn assignments(&self) -> Result<(), Violation> {
        [SystemId::A, SystemId::B].into_iter().try_for_each(|id| {
            let core = sip_core::Config::for_domain(id.domain()).server_name;
            let told =
                |impi: &crate::identity::Impi| self.checks.assigned.contains(&(id, impi.clone()));
            self.tables(id)?.check_assignments(self.now(), &core, told)
        })
    }
}

/// Whether a 200 lists the contacts of a stored registration, and how long they last: it was written between
/// `begun` and `now`.
fn lists(
    listed: &[Contact<'_>],
    stored: &Registration,
    (begun, now): (Timestamp, Timestamp),
) -> bool {
    let seconds_up = |span: Duration| span.as_secs() + u64::from(span.subsec_nanos() > 0);
    let all_stored = listed.iter().all(|contact| {
        stored.contacts.iter().any(|it| {
            let (least, most) = (it.expires_at.since(now), it.expires_at.since(begun));
            let left = contact.expires.map(u64::from);
            it.uri == contact.uri
                && left.is_some_and(|left| (seconds_up(least)..=seconds_up(most)).contains(&left))
        })
    });
    let is_listed = |uri: &str| listed.iter().any(|contact| contact.uri == uri);
    let mut live = stored.contacts.iter().filter(|it| it.expires_at > now);
    all_stored && live.all(|it| is_listed(&it.uri))
}

/// Whether a stored registration has what the changes add, and not what they remove.
fn follows(stored: &Registration, changes: &[Change]) -> bool {
    let find = |uri: &str| stored.contacts.iter().find(|it| it.uri == uri);
    changes.iter().all(|change| match change {
        Change::Register { contact, call_id, cseq, .. } => {
            find(contact).is_some_and(|it| it.call_id == *call_id && it.cseq == *cseq)
        }
        Change::Deregister { contact, .. } => find(contact).is_none(),
        Change::Lend { .. }
        | Change::Release { .. }
        | Change::ReleaseAll { .. }
        | Change::Put { .. }
        | Change::Delete { .. } => true,
    })
}

#[cfg(test)]
mod tests {
    use bytestring::ByteString;
    use smallvec::SmallVec;

    use super::*;
    use crate::sip_core::ContactBinding;

    fn contact(uri: &str, cseq: u32, ends: u64) -> ContactBinding {
        ContactBinding {
            uri: uri.into(),
            parameters: ByteString::new(),
            paths: SmallVec::new(),
            call_id: "call".into(),
            cseq,
            expires_at: Timestamp::from_secs(ends),
        }
    }

    #[test]
    fn a_200_lists_every_live_contact_that_is_stored_and_no_other() {
        let contacts = vec![contact("sip:a@x", 2, 100), contact("sip:b@x", 3, 5)];
        let stored = Registration { impus: SmallVec::new(), contacts: contacts.into() };
        let listed = |texts: &[&str], now: u64| {
            let listed: Vec<_> = texts.iter().map(|it| Contact::parse(it).unwrap()).collect();
            lists(&listed, &stored, (Timestamp::from_secs(3), Timestamp::from_secs(now)))
        };
        assert!(listed(&["<sip:a@x>;expires=96", "<sip:b@x>;expires=1"], 4));
        assert!(!listed(&["<sip:a@x>;expires=96"], 4), "one is missing");
        assert!(listed(&["<sip:a@x>;expires=96"], 5), "it is over");
        assert!(!listed(&["<sip:a@x>;expires=96", "<sip:c@x>;expires=9"], 5), "one is made up");
        assert!(!listed(&["<sip:a@x>;expires=98"], 5), "it lasts too long");
        assert!(!listed(&["<sip:a@x>;expires=94"], 5), "it ends too early");
        assert!(!listed(&[], 5));
    }

    #[test]
    fn a_200_tells_of_what_its_request_made() {
        let stored =
            Registration { impus: SmallVec::new(), contacts: [contact("sip:a@x", 2, 100)].into() };
        let impi = || "ue@b.example".parse().unwrap();
        let add = |cseq, uri: &str| {
            let (contact, call_id) = (uri.to_owned(), "call".to_owned());
            let until = Timestamp::from_secs(100);
            Change::Register { impi: impi(), contact, call_id, cseq, until }
        };
        let remove = |uri: &str| Change::Deregister { impi: impi(), contact: uri.to_owned() };
        assert!(follows(&stored, &[add(2, "sip:a@x"), remove("sip:b@x")]));
        assert!(!follows(&stored, &[add(3, "sip:a@x")]), "an older version");
        assert!(!follows(&stored, &[add(2, "sip:b@x")]));
        assert!(!follows(&stored, &[remove("sip:a@x")]));
    }
}
