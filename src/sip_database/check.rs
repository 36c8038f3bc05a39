//! What a request of the management interface would be refused for, without doing it: a file of many
//! requests is checked before the first of them changes something.
//!
//! The answer is true of the moment. Who checks two requests one of which makes room or way for the other
//! learns what is true of each alone.

use super::{
    Outcome, SipDatabase, agreement::stays_by_administrator, bound::read, inbound::holder_of,
    outbound::OutboundBinding, visits::check_valid_for,
};
use crate::{
    api::migration_identity::{Allowance, Answer, Direction, PrimaryUser, Refusal, Request},
    identity::{Impi, SipDatabaseId, UserIdentity},
    outbox::Context,
    time::Timestamp,
};

impl SipDatabase {
    /// Checks a request: [`Answer::Done`] if it would be performed now.
    pub(super) fn check(&self, ctx: &Context<'_>, request: Request) -> Outcome {
        let answer = self.check_request(ctx, request)?;
        // It tells of all that would be in the way.
        Ok((answer, ctx.out.latest_commit()))
    }

    fn check_request(&self, ctx: &Context<'_>, request: Request) -> Result<Answer, Refusal> {
        let now = ctx.now;
        let checked = match request {
            Request::PutSubscriber(subscriber) => self.check_put_subscriber(&subscriber),
            // Of many there is more to say than one refusal.
            Request::PutSubscribers(subscribers) => {
                return self.check_put_subscribers(&subscribers);
            }
            Request::GetSubscriber(impi) | Request::DeleteSubscriber(impi) => {
                self.get_subscriber(&impi).map(drop)
            }
            Request::PutDigestSubscriber(subscriber) => {
                self.check_put_digest_subscriber(&subscriber)
            }
            Request::GetDigestSubscriber(impi) | Request::DeleteDigestSubscriber(impi) => {
                self.get_digest_subscriber(&impi).map(drop)
            }
            Request::PutPool(pool) => self.check_put_pool(pool),
            Request::GetPool(name) => self.get_pool(ctx, &name).map(drop),
            Request::BindOutbound { user, partner, allowed } => {
                self.check_bind_outbound(now, &user, &partner, allowed)
            }
            Request::PutGrant { user, partner, valid_for, allowed } => {
                check_valid_for(valid_for)?;
                self.check_put_grant(now, &user, &partner, allowed)
            }
            Request::DeleteGrant { impi, partner } => self.check_delete_grant(&impi, &partner),
            Request::BindInbound { primary, allowed } => {
                self.check_bind_inbound(now, &primary, allowed)
            }
            Request::MapInbound { primary, identity } => {
                self.check_map_inbound(now, &primary, &identity)
            }
            Request::WithdrawAgreement(id) => self.check_withdraw_agreement(id),
            Request::EndVisits(_) => Ok(()),
            Request::Check(_) => Err(Refusal::Invalid("a check of a check")),
            Request::GetOutbound(impi) | Request::ReleaseOutbound(impi) => {
                self.get_outbound(now, &impi).map(drop)
            }
            Request::GetInbound(impi) | Request::ReleaseInbound(impi) => {
                self.get_inbound(now, &impi).map(drop)
            }
        };
        checked.map(|()| Answer::Done)
    }

    fn check_bind_outbound(
        &self,
        now: Timestamp,
        user: &UserIdentity,
        partner: &SipDatabaseId,
        allowed: Option<Allowance>,
    ) -> Result<(), Refusal> {
        self.check_visit(now, user, partner, allowed)?;
        if let Some(held) = self.held_outbound(&user.impi, partner) {
            let under = (held.record.allowed, &held.record.user.impu);
            return stays_by_administrator(under, (allowed, &user.impu)).map(drop);
        }
        if !self.outbound_bound.has_room(1) {
            return Err(Refusal::Full("outbound bindings"));
        }
        if !read(&self.pools).can_lend(Direction::Outbound, now) {
            return Err(Refusal::Exhausted("outbound"));
        }
        Ok(())
    }

    fn check_bind_inbound(
        &self,
        now: Timestamp,
        primary: &PrimaryUser,
        allowed: Option<Allowance>,
    ) -> Result<(), Refusal> {
        self.check_primary(primary)?;
        read(&self.withdrawn).check(allowed, now)?;
        let user = holder_of(primary);
        if self.held_by(user, &self.inbound_users.candidates(&user)).is_some() {
            return Ok(());
        }
        if !self.inbound_bound.has_room(1) {
            return Err(Refusal::Full("inbound bindings"));
        }
        if !read(&self.pools).can_lend(Direction::Inbound, now) {
            return Err(Refusal::Exhausted("inbound"));
        }
        Ok(())
    }

    fn held_outbound(&self, impi: &Impi, partner: &SipDatabaseId) -> Option<OutboundBinding> {
        let visits = self.visits.get(impi)?;
        self.outbound.get(visits.at(partner)?.outbound.as_ref()?)
    }
}
