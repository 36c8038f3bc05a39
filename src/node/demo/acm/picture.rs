//! Arranges what has passed, for the eye: who sent a request that a server reports as a step, and to which of several
//! clients an answer or a notification went. Servers know their clients by no name.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    node::{
        ladder::{Entry, Protocol},
        metrics::Direction,
    },
    procedure::{Entity, Row, configuration_exchange, configuration_update, group_provision},
};

/// What servers call every client.
const CLIENT: &str = "ACM client";

/// What a log-on or a log-off is called.
const SESSIONS: &str = "/acm/v1/sessions";

/// Gives steps of clients and of people to the requests that they are, and messages to the clients that they are for.
pub(super) fn arrange(entries: Vec<Entry>) -> Vec<Entry> {
    let mut arranged: Vec<Entry> = Vec::with_capacity(entries.len());
    let mut receipts: VecDeque<Entry> =
        entries.iter().filter(|entry| is_receipt(entry)).cloned().collect();
    // Requests that have no answer yet.
    let mut asked: VecDeque<(Arc<str>, Arc<str>)> = VecDeque::new();
    for mut entry in entries {
        if is_receipt(&entry) {
            continue;
        }
        if is_request_of_client(&entry) {
            asked.push_back((Arc::clone(&entry.from), Arc::clone(&entry.to)));
        } else if &*entry.to == CLIENT {
            let is_notification = entry.summary.starts_with("pending: ");
            let to = if is_notification {
                let found = receipts.iter().position(|receipt| {
                    receipt.from == entry.from && receipt.summary == entry.summary
                });
                found.and_then(|at| receipts.remove(at)).map(|receipt| receipt.to)
            } else {
                let found = asked.iter().position(|(_, server)| *server == entry.from);
                found.and_then(|at| asked.remove(at)).map(|(client, _)| client)
            };
            match to {
                Some(to) => entry.to = to,
                // A look of the demonstration itself at how a transaction stands.
                None if !is_notification => continue,
                None => {}
            }
        } else if entry.protocol == Protocol::Step && give_to_request(&mut arranged, &mut entry) {
            continue;
        }
        arranged.push(entry);
    }
    arranged
}

/// Whether it is a notification as a client got it.
fn is_receipt(entry: &Entry) -> bool {
    entry.direction == Direction::In && entry.summary.starts_with("pending: ")
}

fn is_request_of_client(entry: &Entry) -> bool {
    entry.direction == Direction::Out
        && entry.protocol == Protocol::Http
        && entry.local.is_none()
        && entry.summary.contains(" /acm/v1/")
}

/// A step of a client, or of the person at it, is its request. Returns whether the step is told with that.
fn give_to_request(arranged: &mut Vec<Entry>, step: &mut Entry) -> bool {
    let Some(row) = step.step.as_deref().and_then(row_of) else { return false };
    let is_of_person =
        matches!(row.by, Entity::PrimaryAdministrator | Entity::PartnerAdministrator);
    let is_of_client = matches!(row.by, Entity::PrimaryAcmClient | Entity::PartnerAcmClient);
    if !is_of_person && !is_of_client {
        return false;
    }
    let request = arranged.iter().rposition(|entry| {
        is_request_of_client(entry) && entry.to == step.from && entry.step.is_none()
    });
    let Some(at) = request else { return false };
    let Some(request) = arranged.get_mut(at) else { return false };
    if is_of_client || request.summary.contains(SESSIONS) {
        request.step.clone_from(&step.step);
        return true;
    }
    // A person thinks, and then the client sends.
    step.from = Arc::clone(&request.from);
    step.to = Arc::clone(&request.from);
    step.at = request.at;
    arranged.insert(at, step.clone());
    true
}

fn row_of(label: &str) -> Option<&'static Row> {
    let rows = configuration_exchange::STEPS.iter();
    let mut rows = rows.chain(&group_provision::STEPS).chain(&configuration_update::STEPS);
    rows.find(|row| row.step.to_string() == label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn entry(step: Option<&str>, from: &str, to: &str, summary: &str) -> Entry {
        Entry {
            at: Timestamp::default(),
            step: step.map(str::to_owned),
            from: from.into(),
            to: to.into(),
            protocol: if from == to { Protocol::Step } else { Protocol::Http },
            direction: Direction::Out,
            local: None,
            remote: None,
            summary: summary.to_owned(),
            octets: 0,
        }
    }

    fn told(entries: Vec<Entry>) -> Vec<String> {
        let arranged = arrange(entries);
        let line = |entry: &Entry| {
            format!("{} {}>{}", entry.step.as_deref().unwrap_or("-"), entry.from, entry.to)
        };
        arranged.iter().map(line).collect()
    }

    #[test]
    fn a_decision_is_a_thought_and_a_request() {
        let entries = vec![
            entry(None, "bob.b", "acm.b", "POST /acm/v1/items/{origin}/{transaction}/decision"),
            entry(Some("XCFG-10"), "acm.b", "acm.b", "the user looks at it"),
            entry(Some("XCFG-11"), "acm.b", "acm.b", "the user decides"),
            entry(None, "acm.b", CLIENT, "200 OK"),
        ];
        let wanted = ["XCFG-10 bob.b>bob.b", "XCFG-11 bob.b>acm.b", "- acm.b>bob.b"];
        assert_eq!(told(entries), wanted);
    }

    #[test]
    fn a_log_on_is_a_request_and_a_notification_goes_to_whoever_got_it() {
        let mut receipt = entry(None, "acm.b", "carol.b", "pending: groups");
        receipt.direction = Direction::In;
        let entries = vec![
            entry(None, "carol.b", "acm.b", "POST /acm/v1/sessions"),
            entry(Some("GRP-6"), "acm.b", "acm.b", "a user logs on"),
            entry(Some("GRP-7a"), "acm.b", CLIENT, "pending: groups"),
            receipt,
            entry(None, "acm.b", CLIENT, "201 Created"),
            entry(None, "acm.b", CLIENT, "200 OK"),
        ];
        let wanted = ["GRP-6 carol.b>acm.b", "GRP-7a acm.b>carol.b", "- acm.b>carol.b"];
        assert_eq!(told(entries), wanted, "the last is a look of the demonstration");
    }

    #[test]
    fn a_step_of_a_server_stays_its_own() {
        let entries = vec![
            entry(None, "anna.a", "acm.a", "POST /acm/v1/transactions"),
            entry(Some("UPD-1"), "acm.a", "acm.a", "a request of a client"),
            entry(Some("UPD-2"), "acm.a", "acm.a", "authorisation"),
        ];
        assert_eq!(told(entries), ["UPD-1 anna.a>acm.a", "UPD-2 acm.a>acm.a"]);
    }
}
