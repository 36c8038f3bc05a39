//! A vector request for an inbound identity: forwarded to the primary system's SIP database under the
//! pair it knows, the answer translated back (TR 23.781 solution 2, steps 16 to 18, 20 and 21).

use super::{
    Declined, SipDatabase,
    agreement::Withdrawn,
    bound::read,
    inbound::{InboundBinding, InboundHead, InboundRecord, InboundUser, is_held_by},
    lease::Lease,
    step,
    vectors::Asked,
};
use crate::{
    aka::AuthVector,
    api::migration_identity::{Allowance, PrimaryUser},
    diameter::cx::{
        Answer, MultimediaAuthAnswer, MultimediaAuthRequest, Request, ResultCode, SCHEME_AKA_V1,
        SCHEME_UNKNOWN,
    },
    identity::UserIdentity,
    outbox::{
        Context, CxDestination, CxReply, Message, Note, ReplyTo, RequestId, Role, TimerKey,
        TimerWhat,
    },
    packed::Reader,
    step::Step,
    store::CommitSeq,
};

/// A forwarded vector request that waits for its answer.
#[derive(Debug)]
pub(super) struct Forward {
    to: ReplyTo,
    /// What the SIP core asked: the inbound pair.
    asked: Asked,
    /// Whom it was forwarded for.
    user: InboundUser,
}

/// Who holds an inbound pair, and the record that says so, or why it is of no use.
type Holding = Result<(PrimaryUser, CommitSeq), Declined>;

const FORWARDS_TIMER: TimerKey =
    TimerKey { role: Role::SipDatabase, what: TimerWhat::RequestsEnd, version: 0 };

/// The answer to the SIP core.
const ANSWER: Step = Step::mig(21);

impl SipDatabase {
    /// Forwards a request for an inbound identity to the primary system (`MIG-16` to `MIG-18`).
    ///
    /// Only the binding decides where to and under which pair (NOTE 6): never the realm of an identity.
    pub(super) fn forward(
        &self,
        ctx: &mut Context<'_>,
        to: ReplyTo,
        request: MultimediaAuthRequest,
        primary: Holding,
    ) {
        let (primary, version) = match primary {
            Ok(found) => found,
            Err(declined) => {
                let asked = Asked::by(request);
                return self.answer_vector(ctx, to, Some(ANSWER), asked, Err(declined));
            }
        };
        step(ctx, 17, "primary SIP database and pair found by the binding");
        if !self.forwards_bound.take() {
            ctx.out.note(Note::TableFull("forwarded vector requests"));
            let busy = Err(ResultCode::TOO_BUSY.into());
            return self.answer_vector(ctx, to, Some(ANSWER), Asked::by(request), busy);
        }
        let user = InboundUser::of(&primary);
        let PrimaryUser { database, identity, server_name } = primary;
        // With the key at home only AKA works here, and not every SIP database answers to an unknown scheme.
        let is_named = !request.scheme.eq_ignore_ascii_case(SCHEME_UNKNOWN);
        let scheme = if is_named { request.scheme.clone() } else { SCHEME_AKA_V1.into() };
        let forwarded = MultimediaAuthRequest {
            identity,
            scheme,
            resync: request.resync,
            server_name: server_name.into(),
        };
        let forward = Forward { to, asked: Asked::by(request), user };
        let (number, timer) = self.forwards.add(ctx.now, forward);
        if let Some(at) = timer {
            ctx.out.arm(at, FORWARDS_TIMER);
        }
        let message = Message::CxRequest {
            to: CxDestination::Database(database),
            id: RequestId { role: Role::SipDatabase, number },
            request: Request::MultimediaAuth(forwarded),
        };
        self.send(ctx, version, Some(Step::mig(18)), message);
    }

    /// Who holds the inbound pair `asked` (`MIG-17`), while what it was lent under holds; `None` if the
    /// private identity is no inbound one.
    pub(super) fn primary_of(&self, ctx: &Context<'_>, asked: &UserIdentity) -> Option<Holding> {
        let withdrawn = read(&self.withdrawn);
        let InboundBinding { record, version } = self.inbound.get(&asked.impi)?;
        let InboundRecord { impu, primary, lease, allowed, .. } = record;
        let usable = check_usable(ctx, &withdrawn, (impu == asked.impu, lease, allowed));
        Some(usable.map(|()| (primary, version)).map_err(|result| Declined::by(version, result)))
    }

    /// Checks that the inbound pair `asked` is still held by `user`, and what it was lent under holds.
    fn check_holder(
        &self,
        ctx: &Context<'_>,
        asked: &UserIdentity,
        user: &InboundUser,
    ) -> Result<CommitSeq, Declined> {
        let withdrawn = read(&self.withdrawn);
        let read = |from: &mut Reader<'_>| {
            let head = InboundHead::unpack(from)?;
            let is_asked = from.is_identity(asked.impu.as_str())?;
            Some((head, is_asked, is_held_by(from, user.holder())?))
        };
        let found = self.inbound.view(&asked.impi, read).ok_or(ResultCode::USER_UNKNOWN)?;
        let (InboundHead { version, lease, allowed }, is_asked, is_held) = found;
        check_usable(ctx, &withdrawn, (is_asked, lease, allowed))
            .and(if is_held { Ok(version) } else { Err(ResultCode::USER_UNKNOWN) })
            .map_err(|result| Declined::by(version, result))
    }

    /// Handles the answer to a forwarded request, or its loss. One that comes late is dropped: the SIP
    /// core has been told that there is none.
    pub(super) fn handle_forwarded(&self, ctx: &mut Context<'_>, reply: CxReply) {
        let Some(forward) = self.forwards.take(reply.id.number) else {
            return;
        };
        self.forwards_bound.give();
        let issued = match reply.outcome {
            Ok(answer) => self.translate_back(ctx, &forward, answer),
            Err(_undeliverable) => Err(ResultCode::UNABLE_TO_DELIVER.into()),
        };
        self.answer_vector(ctx, forward.to, Some(ANSWER), forward.asked, issued);
    }

    /// Gives the forwarded requests up that have had their time.
    pub(super) fn expire_forwards(&self, ctx: &mut Context<'_>) {
        let (due, timer) = self.forwards.take_due(ctx.now);
        for (_, Forward { to, asked, .. }) in due {
            self.forwards_bound.give();
            let late = Err(ResultCode::UNABLE_TO_DELIVER.into());
            self.answer_vector(ctx, to, Some(ANSWER), asked, late);
        }
        if let Some(at) = timer {
            ctx.out.arm(at, FORWARDS_TIMER);
        }
    }

    /// `MIG-20`, `MIG-21`: an answer for the pair asked with becomes one for the inbound pair, if that is
    /// still lent to the same user, and what it was lent under holds.
    fn translate_back(
        &self,
        ctx: &mut Context<'_>,
        forward: &Forward,
        answer: Answer,
    ) -> Result<(AuthVector, CommitSeq), Declined> {
        if !ctx.out.storage_available() {
            return Err(ResultCode::TOO_BUSY.into());
        }
        let Answer::MultimediaAuth(MultimediaAuthAnswer { result, identity, vector, .. }) = answer
        else {
            return Err(ResultCode::UNABLE_TO_COMPLY.into());
        };
        if !forward.user.is_known_as(&identity) {
            return Err(ResultCode::UNABLE_TO_COMPLY.into());
        }
        let vector = match (result.is_success(), vector) {
            (true, Some(vector)) => vector,
            (true, None) => return Err(ResultCode::UNABLE_TO_COMPLY.into()),
            (false, _) => return Err(result.into()),
        };
        let version = self.check_holder(ctx, &forward.asked.identity, &forward.user)?;
        step(ctx, 20, "the pair of the answer translated to the inbound pair");
        Ok((vector, version))
    }
}

/// Checks that a binding with this lease and allowance is good for a vector now, and `is_asked`: the public
/// identity is the one asked for.
fn check_usable(
    ctx: &Context<'_>,
    withdrawn: &Withdrawn,
    (is_asked, lease, allowed): (bool, Lease, Option<Allowance>),
) -> Result<(), ResultCode> {
    if !is_asked {
        return Err(ResultCode::IDENTITIES_DONT_MATCH);
    }
    if !lease.is_live(ctx.now) || !withdrawn.permits(allowed, ctx.now) {
        return Err(ResultCode::USER_UNKNOWN);
    }
    Ok(())
}
