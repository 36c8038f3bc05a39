//! What waits for the SIP database of this system or for another system. Each wait has a number of its own,
//! so that an answer that comes late meets nothing.

use std::sync::atomic::Ordering;

use super::{ConfigServer, access::Admission, details::Migration};
use crate::{
    api::{
        configuration, connection_details as csc4, migration_identity as management,
        system_access as csc17,
    },
    outbox::{Context, Message, Note, ReplyTo, RequestId, Role, TimerKey, TimerWhat},
    step::Step,
    store::CommitSeq,
};

/// What waits, and for what.
#[derive(Debug)]
pub(super) enum Pending {
    /// A user's request, for the outbound pair or the grant (`MIG-6`).
    Lending(Box<Migration>),
    /// A user's request, for the partner (`MIG-12`).
    Access(Box<Migration>),
    /// A user's request that the partner has granted, for what the ACM server keeps of the user.
    Configuration(Box<Migration>, Box<csc17::Access>),
    /// A user's request, for the release of what was lent; then this is the answer.
    Releasing(Box<Migration>, csc4::Refusal),
    /// A partner's request, for the inbound pair (`MIG-11`).
    Admission(Box<Admission>),
    /// A management request, for the end of what was lent.
    Change(ReplyTo, Box<configuration::Request>),
}

impl ConfigServer {
    /// Asks the SIP database of this system.
    pub(super) fn ask_database(
        &self,
        ctx: &mut Context<'_>,
        pending: Pending,
        after: CommitSeq,
        step: Option<Step>,
        request: management::Request,
    ) {
        if let Some(id) = self.wait(ctx, pending) {
            self.send(ctx, after, step, Message::ManagementRequest { id, request });
        }
    }

    /// Keeps `pending` until its answer comes or its time is over. Without room it is given up.
    pub(super) fn wait(&self, ctx: &mut Context<'_>, pending: Pending) -> Option<RequestId> {
        if !self.pending_bound.take() {
            ctx.out.note(Note::TableFull("requests of configuration servers"));
            self.give_up(ctx, pending, csc4::Refusal::Unavailable);
            return None;
        }
        let number = self.next_request.fetch_add(1, Ordering::Relaxed);
        self.pending.insert(number, pending);
        let what = TimerWhat::MigrationTimeout(number);
        let timer = TimerKey { role: Role::ConfigServer, what, version: 0 };
        ctx.out.arm(ctx.now + self.config.access_timeout, timer);
        Some(RequestId { role: Role::ConfigServer, number })
    }

    /// Takes what waits under `number`, if it is for the partner or, else, for the SIP database.
    pub(super) fn take_pending(&self, number: u64, for_partner: bool) -> Option<Pending> {
        let (_, pending) = self.pending.remove_if(&number, |_, pending| {
            matches!(pending, Pending::Access(_)) == for_partner
        })?;
        self.pending_bound.give();
        Some(pending)
    }

    /// Gives up what had its time. Nothing is released: the other side may have done its part.
    pub(super) fn handle_timeout(&self, ctx: &mut Context<'_>, number: u64) {
        if let Some(pending) = self.take_pending(number, true) {
            self.give_up(ctx, pending, csc4::Refusal::PartnerUnreachable);
        } else if let Some(pending) = self.take_pending(number, false) {
            self.give_up(ctx, pending, csc4::Refusal::Unavailable);
        }
    }

    /// Answers that it cannot be done now.
    fn give_up(&self, ctx: &mut Context<'_>, pending: Pending, refusal: csc4::Refusal) {
        match pending {
            Pending::Lending(migration)
            | Pending::Access(migration)
            | Pending::Configuration(migration, _)
            | Pending::Releasing(migration, _) => self.refuse_migration(ctx, *migration, refusal),
            Pending::Admission(admission) => {
                let Admission { to, after, .. } = *admission;
                self.refuse_access(ctx, to, after, csc17::Refusal::Unavailable);
            }
            Pending::Change(to, request) => {
                self.give_up_change(ctx, to, &request, management::Refusal::Unavailable);
            }
        }
    }
}
