//! Pending ACM data response (TS 23.280 10.17.2): one item goes to a client. It is a read: the item stays pending until
//! it is decided or, of a response, acknowledged.

use super::{
    AcmServer,
    client::{Served, not_authorised, not_found},
    ordered::Ordered,
    record::{HeldIncoming, HeldOutgoing, IncomingState, OutgoingState},
};
use crate::{
    api::{
        acm_client::{Answer, Item, State},
        acm_interconnection::{ElementNames, TransactionKey},
        acm_payload::{Kind, Payload},
    },
    identity::{McServiceGroupId, McServiceId, McSystemId},
    outbox::Context,
    time::Timestamp,
};

impl AcmServer {
    /// Gives a client one item of those that its user sees.
    pub(super) fn fetch(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        user: &McServiceId,
        key: &TransactionKey,
    ) -> Served {
        if self.is_own(&key.origin) {
            self.fetch_response(ctx, turn, user, key)
        } else {
            self.fetch_request(ctx, turn, user, key)
        }
    }

    /// Gives a request of a partner (`XCFG-9`, `GRP-8`, `UPD-5`).
    fn fetch_request(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        user: &McServiceId,
        key: &TransactionKey,
    ) -> Served {
        let held = self.incoming.get(key).map(|held| held.clone());
        let mut held = held.ok_or_else(not_found)?;
        match (&held.queue, held.record.state) {
            (Some(queue), _) if self.sees_item(user, queue, &key.origin) => {}
            (None, IncomingState::Waiting | IncomingState::Stored) => return Err(not_found()),
            // Decided meanwhile: whoever might have decided may see how.
            (None, _) if self.may_decide(user, held.record.subject.kind, &key.origin) => {}
            (Some(_) | None, _) => {
                return Err(not_authorised("the request is for another user"));
            }
        }
        if !held.record.fetched {
            held.record.fetched = true;
            self.commit(ctx, [held.record.put()]);
            self.incoming.insert(key.clone(), held.clone());
        }
        let HeldIncoming { record, .. } = held;
        let step = record.subject.kind.step(9, (8, None), 5);
        let payload = self.payloads.get(key).map(|payload| payload.clone());
        let item = Item {
            summary: self.summary_of(turn, key).ok_or_else(not_found)?,
            parties: record.subject.parties,
            withdrawn: withdrawn(turn, &key.origin, payload.as_deref()),
            payload: payload.map(|payload| payload.masked()),
            differing: record.differing,
            response: record.response,
        };
        Ok((step, Answer::Item(Box::new(item))))
    }

    /// Gives a response to a request of this system (`XCFG-17`, `GRP-14`, `UPD-10`).
    fn fetch_response(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        user: &McServiceId,
        key: &TransactionKey,
    ) -> Served {
        let held = self.outgoing.get(&key.transaction).map(|held| held.clone());
        let mut held = held.ok_or_else(not_found)?;
        let destination = &held.record.subject.envelope.destination;
        let is_theirs =
            held.queue.as_ref().is_some_and(|queue| self.sees_item(user, queue, destination));
        if !is_theirs {
            return Err(match held.queue {
                Some(_) => not_authorised("the response is for another user"),
                None => not_found(),
            });
        }
        if held.record.state == OutgoingState::Responded {
            note_way_to_response(turn, user, &mut held);
            held.record.enter(ctx.now, OutgoingState::Delivered);
            self.commit(ctx, [held.record.put()]);
            self.outgoing.insert(key.transaction, held.clone());
        }
        let summary = held.summary();
        let HeldOutgoing { record, .. } = held;
        let step = record.subject.kind.step(17, (14, None), 10);
        let payload = self.payloads.get(key).map(|payload| payload.clone());
        let item = Item {
            summary,
            parties: record.subject.parties,
            withdrawn: withdrawn(turn, &key.origin, payload.as_deref()),
            payload: payload.map(|payload| payload.masked()),
            differing: ElementNames::default(),
            response: record.response,
        };
        Ok((step, Answer::Item(Box::new(item))))
    }
}

/// Notes how a user came to fetch a response (`XCFG-14` to `XCFG-16`, `GRP-12` to `GRP-13b`), as far as it is known: a
/// log-on after the response came, that the user was told of it, and that somebody asked what is pending.
fn note_way_to_response(turn: &Ordered, user: &McServiceId, held: &mut HeldOutgoing) {
    let HeldOutgoing { record, listed, .. } = held;
    let here = record.history.last().map_or_else(Timestamp::default, |change| change.at);
    let mut way = Vec::new();
    if let Some(since) = turn.logged_on_since(user) {
        way.extend((since > here).then_some((since, State::LoggedOn)));
        way.push((since.max(here), State::Notified));
    }
    way.extend(listed.map(|at| (at, State::Listed)));
    way.sort_by_key(|(at, _)| *at);
    for (at, state) in way {
        record.note(at, state);
    }
}

/// Those of the groups offered that are no more.
fn withdrawn(
    turn: &Ordered,
    home: &McSystemId,
    payload: Option<&Payload>,
) -> Vec<McServiceGroupId> {
    let Some(payload) = payload.filter(|payload| payload.kind() == Kind::Groups) else {
        return Vec::new();
    };
    let is_withdrawn = |group: &&McServiceGroupId| {
        let known = turn.groups.get(&(home.clone(), (*group).clone()));
        known.is_some_and(|known| known.withdrawn.is_some())
    };
    payload.groups().iter().filter(is_withdrawn).cloned().collect()
}
