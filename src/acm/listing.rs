//! Pending ACM data request (TS 23.280 10.17.2): what is pending for a user, in pages.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    AcmServer,
    client::report,
    ordered::{Audience, Ordered, Queue},
};
use crate::{
    api::{
        acm_client::{Answer, PAGE_ITEMS_MAX, Page, Summary},
        acm_interconnection::TransactionKey,
    },
    identity::McServiceId,
    outbox::Context,
    step::{Part, Step},
};

impl AcmServer {
    /// Lists what is pending for a user (`XCFG-8`, `XCFG-16`, `GRP-7b`, `GRP-13b`), oldest first.
    pub(super) fn list(
        &self,
        ctx: &mut Context<'_>,
        turn: &Ordered,
        user: &McServiceId,
        after: Option<u64>,
        limit: usize,
    ) -> (Option<Step>, Answer) {
        let limit = limit.clamp(1, PAGE_ITEMS_MAX);
        let queues = self.pending_queues(turn, user);
        let mut found: BTreeMap<u64, (&Queue, &TransactionKey)> = BTreeMap::new();
        for queue in &queues {
            let items = turn.page(queue, after.unwrap_or(0), limit);
            found.extend(items.map(|(number, key)| (number, (queue, key))));
        }
        let has_more = found.len() > limit
            || queues
                .iter()
                .any(|queue| turn.page(queue, after.unwrap_or(0), limit + 1).count() > limit);
        let taken: Vec<_> = found.into_iter().take(limit).collect();
        let next = taken.last().map(|(number, _)| *number).filter(|_| has_more);
        let mut items = Vec::with_capacity(taken.len());
        let mut steps = BTreeSet::new();
        for (_, (queue, key)) in taken {
            let Some(summary) = self.summary_of(turn, key) else { continue };
            if self.sees_item(user, queue, &summary.partner) {
                steps.extend(if queue.is_response {
                    if let Some(mut held) = self.outgoing.get_mut(&key.transaction) {
                        held.listed = Some(ctx.now);
                    }
                    queue.kind.step(16, (13, Some(Part::B)), 0)
                } else {
                    queue.kind.step(8, (7, Some(Part::B)), 0)
                });
                items.push(summary);
            }
        }
        for step in steps {
            report(ctx, Some(step), "a client asks what is pending");
        }
        (None, Answer::Page(Page { items, next }))
    }

    /// How a transaction of either side shows in a list.
    pub(super) fn summary_of(&self, turn: &Ordered, key: &TransactionKey) -> Option<Summary> {
        if self.is_own(&key.origin) {
            return self.outgoing.get(&key.transaction).map(|held| held.summary());
        }
        let held = self.incoming.get(key)?;
        let is_attended = held.queue.as_ref().is_some_and(|queue| match &queue.audience {
            Audience::User(user) => {
                self.sees_item(user, queue, &key.origin) && turn.logged_on_since(user).is_some()
            }
            Audience::Authorised => {
                let mut sessions = turn.sessions.values();
                sessions.any(|session| self.sees_item(&session.user, queue, &key.origin))
            }
        });
        Some(held.summary(is_attended))
    }
}
