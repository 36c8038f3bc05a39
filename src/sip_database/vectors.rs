//! Vectors for this system's own subscribers: at home (TS 29.228 clause 6.3) and at a partner (TR 23.781
//! solution 2, step 19), and what an AUTS does to SQN.

use std::borrow::Cow;

use super::{
    Declined, SipDatabase,
    agreement::Withdrawn,
    bound::read,
    outbound::unpack_user,
    subscriber::{Requester, Subscriber},
    visits::Visit,
};
use crate::{
    aka::{AuthVector, Milenage, Rand, Resynchronisation},
    diameter::cx::{
        Answer, MultimediaAuthAnswer, MultimediaAuthRequest, ResultCode, Resync, SCHEME_AKA_V1,
        SCHEME_SIP_DIGEST, SCHEME_UNKNOWN,
    },
    entropy::Entropy,
    identity::{SipDatabaseId, UserIdentity},
    outbox::{Context, Message, Note, Peer, ReplyTo},
    step::Step,
    store::CommitSeq,
};

/// RANDs drawn in search of a RES without an octet 00. Three of a hundred RES have one; that sixteen
/// in a row do happens to nobody.
const RAND_DRAWS_MAX: usize = 16;

/// A vector and the records it relies on, or why there is none.
type Issued = Result<(AuthVector, CommitSeq), Declined>;

impl SipDatabase {
    /// Answers a request for authentication information (MAR), or has it answered by the primary system's SIP
    /// database.
    pub(super) fn handle_vector(
        &self,
        ctx: &mut Context<'_>,
        from: &Peer,
        to: ReplyTo,
        request: MultimediaAuthRequest,
    ) {
        let step = matches!(from, Peer::Database(_)).then(|| Step::mig(19));
        let issued = if ctx.out.storage_available() {
            match (Scheme::of(&request.scheme), from) {
                (Some(Scheme::Aka | Scheme::Unknown), Peer::Database(partner)) => {
                    self.answer_partner(ctx, partner, &request)
                }
                (Some(Scheme::SipDigest), Peer::OwnCore) => {
                    return self.answer_digest(ctx, to, request);
                }
                (Some(scheme), Peer::OwnCore) => {
                    if let Some(primary) = self.primary_of(ctx, &request.identity) {
                        return self.forward(ctx, to, request, primary);
                    }
                    let issued = self.issue_at_home(ctx, &request);
                    let is_unknown = matches!(&issued, Err(declined) if declined.result == ResultCode::USER_UNKNOWN);
                    // Looked for among them last: nearly all subscribers have a key.
                    if !is_unknown || !self.digest_subscribers.contains_key(&request.identity.impi)
                    {
                        issued
                    } else if matches!(scheme, Scheme::Aka) {
                        Err(ResultCode::AUTH_SCHEME_NOT_SUPPORTED.into())
                    } else {
                        return self.answer_digest(ctx, to, request);
                    }
                }
                // HA1 is for this system's own SIP core alone.
                (None, _) | (Some(Scheme::SipDigest), Peer::Database(_)) => {
                    Err(ResultCode::AUTH_SCHEME_NOT_SUPPORTED.into())
                }
            }
        } else {
            Err(ResultCode::TOO_BUSY.into())
        };
        self.answer_vector(ctx, to, step, Asked::by(request), issued);
    }

    /// Answers with what the responses of a subscriber with a password are checked with.
    fn answer_digest(&self, ctx: &mut Context<'_>, to: ReplyTo, request: MultimediaAuthRequest) {
        let MultimediaAuthRequest { identity, server_name, .. } = request;
        let issued = match self.issue_digest(ctx, &identity, &server_name) {
            Some(issued) => issued,
            None if self.subscribers.contains_key(&identity.impi) => {
                Err(ResultCode::AUTH_SCHEME_NOT_SUPPORTED.into())
            }
            None => Err(ResultCode::USER_UNKNOWN.into()),
        };
        let asked = Asked { identity, scheme: SCHEME_SIP_DIGEST.into() };
        match issued {
            Ok((digest, after)) => {
                let Asked { identity, scheme } = asked;
                let (result, digest) = (ResultCode::SUCCESS, Some(Box::new(digest)));
                let answer =
                    MultimediaAuthAnswer { result, identity, scheme, vector: None, digest };
                let answer = Answer::MultimediaAuth(answer);
                self.send(ctx, after, None, Message::CxAnswer { to, answer });
            }
            Err(declined) => self.answer_vector(ctx, to, None, asked, Err(declined)),
        }
    }

    /// Sends the answer to a vector request.
    pub(super) fn answer_vector(
        &self,
        ctx: &mut Context<'_>,
        to: ReplyTo,
        step: Option<Step>,
        asked: Asked,
        issued: Issued,
    ) {
        let (result, vector, after) = match issued {
            Ok((vector, after)) => (ResultCode::SUCCESS, Some(vector), after),
            Err(Declined { result, after }) => (result, None, after.max(self.removed.get())),
        };
        let Asked { identity, scheme } = asked;
        let answer = MultimediaAuthAnswer { result, identity, scheme, vector, digest: None };
        let message = Message::CxAnswer { to, answer: Answer::MultimediaAuth(answer) };
        self.send(ctx, after, step, message);
    }

    fn issue_at_home(&self, ctx: &mut Context<'_>, request: &MultimediaAuthRequest) -> Issued {
        let requester = Requester::Home { server_name: &request.server_name };
        let issued = self.issue(ctx, &request.identity, requester, request.resync)?;
        ctx.out.note(Note::VectorIssued { partner: None });
        Ok(issued)
    }

    /// `MIG-19`: only for a pair that was lent for use at this very partner, or a real one granted to it.
    /// Why not is not the partner's business: it learns nothing of who is a subscriber.
    fn answer_partner(
        &self,
        ctx: &mut Context<'_>,
        partner: &SipDatabaseId,
        request: &MultimediaAuthRequest,
    ) -> Issued {
        let asked = &request.identity;
        let lent = self.outbound.view(&asked.impi, unpack_user);
        // Both held until the SQN is drawn: no vector is made once a revocation has returned.
        let withdrawn = read(&self.withdrawn);
        let visits = self.visits.read(lent.as_ref().unwrap_or(&asked.impi));
        let visit = visits.as_ref().and_then(|visits| visits.at(partner));
        let found = visit
            .ok_or(ResultCode::USER_UNKNOWN.into())
            .and_then(|visit| self.real_of(ctx, &withdrawn, (visit, lent.is_some()), asked));
        let (real, permitted) = found
            .inspect_err(|_| ctx.out.note(Note::VectorRefused { partner: partner.clone() }))?;
        let issued = self.issue(ctx, &real, Requester::Visited(partner), request.resync);
        let (vector, after) = issued.map_err(|Declined { result, after }| {
            // If not, the subscriber lost the public identity since.
            let is_its = result != ResultCode::IDENTITIES_DONT_MATCH;
            let result = if is_its { result } else { ResultCode::USER_UNKNOWN };
            Declined::by(after.max(permitted), result)
        })?;
        ctx.out.note(Note::VectorIssued { partner: Some(partner.clone()) });
        Ok((vector, after.max(permitted)))
    }

    /// Whose pair `asked` is in this visit, by an outbound binding or a grant that is good now.
    fn real_of(
        &self,
        ctx: &mut Context<'_>,
        withdrawn: &Withdrawn,
        (visit, is_lent): (&Visit, bool),
        asked: &UserIdentity,
    ) -> Result<(UserIdentity, CommitSeq), Declined> {
        if visit.outbound.as_ref() == Some(&asked.impi) {
            return self.use_outbound(ctx, withdrawn, asked);
        }
        if is_lent {
            // The visits are those of the pair's user, the pair is not.
            return Err(ResultCode::USER_UNKNOWN.into());
        }
        let grant = visit.grant.as_ref().ok_or(ResultCode::USER_UNKNOWN)?;
        Ok((asked.clone(), grant.allows(ctx.now, withdrawn, &asked.impu)?))
    }

    /// Draws an SQN under the subscriber's lock and makes the vector.
    fn issue(
        &self,
        ctx: &mut Context<'_>,
        real: &UserIdentity,
        requester: Requester<'_>,
        resync: Option<Resync>,
    ) -> Issued {
        let mut subscriber =
            self.subscribers.get_mut(&real.impi).ok_or(ResultCode::USER_UNKNOWN)?;
        if !subscriber.record.has(&real.impu) {
            return Err(Declined::by(subscriber.version, ResultCode::IDENTITIES_DONT_MATCH));
        }
        let milenage = subscriber.milenage();
        if let Some(resync) = resync {
            self.resynchronise(ctx, &mut subscriber, &milenage, &resync)?;
        }
        let profile = self.config.sqn_profile();
        let (sqn, mut changed) = subscriber
            .draw_sqn(requester, profile)
            .map_err(|_| Declined::by(subscriber.version, ResultCode::UNABLE_TO_COMPLY))?;
        if let Requester::Home { server_name } = requester {
            changed |= subscriber.await_authentication(server_name);
        }
        #[cfg(feature = "planted-bugs")]
        if crate::planted::is_armed(crate::planted::Bug::SqnReservedWithoutCommit) {
            changed = false;
        }
        if changed {
            subscriber.version = ctx.out.commit([subscriber.record.mutation(&real.impi)]);
        }
        let (version, amf) = (subscriber.version, subscriber.record.amf);
        drop(subscriber);
        let make = |rand: &Rand| milenage.vector(rand, sqn, amf);
        Ok((self.draw_vector(ctx.entropy, make), version))
    }

    /// Acts on an AUTS. TS 29.228 has no code of its own for a wrong MAC-S; `UNABLE_TO_COMPLY` is what its
    /// clause 6.3.1.1 gives for a request that cannot be fulfilled for any other reason.
    fn resynchronise(
        &self,
        ctx: &mut Context<'_>,
        subscriber: &mut Subscriber,
        milenage: &Milenage,
        resync: &Resync,
    ) -> Result<(), Declined> {
        let Ok(sqn_ms) = milenage.verify_auts(&resync.rand, &resync.auts) else {
            ctx.out.note(Note::ResynchronisationRefused);
            return Err(Declined::by(subscriber.version, ResultCode::UNABLE_TO_COMPLY));
        };
        match subscriber.resynchronise(sqn_ms.seq(self.config.sqn_profile().ind_bits)) {
            Resynchronisation::Keep => {}
            Resynchronisation::Ahead { .. } => ctx.out.note(Note::Resynchronised),
            Resynchronisation::Back { .. } => ctx.out.note(Note::SqnMovedBack),
        }
        Ok(())
    }

    fn draw_vector(
        &self,
        entropy: &mut dyn Entropy,
        make: impl Fn(&Rand) -> AuthVector,
    ) -> AuthVector {
        let mut draw = || {
            let mut rand = Rand::default();
            entropy.fill(&mut rand);
            make(&rand)
        };
        let mut vector = draw();
        if self.config.avoid_zero_octet_in_res {
            for _ in 1..RAND_DRAWS_MAX {
                if !vector.xres.expose().contains(&0) {
                    break;
                }
                vector = draw();
            }
        }
        vector
    }
}

/// What an answer echoes of its request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) identity: UserIdentity,
    pub(super) scheme: Cow<'static, str>,
}

impl Asked {
    /// What to echo of `request`; for the scheme "Unknown" the one that was taken.
    pub(super) fn by(request: MultimediaAuthRequest) -> Self {
        let MultimediaAuthRequest { identity, scheme, .. } = request;
        let unknown = scheme.eq_ignore_ascii_case(SCHEME_UNKNOWN);
        Self { identity, scheme: if unknown { SCHEME_AKA_V1.into() } else { scheme } }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
enum Scheme {
    /// Vectors of AKA.
    Aka,
    /// What SIP Digest is checked with.
    SipDigest,
    /// Whatever the user has: the SIP core does not know yet (TS 29.229 clause 6.3.9).
    Unknown,
}

impl Scheme {
    /// Reads a scheme, AKA also under the names for `AKAv2` that some SIP cores use; `None` for other ones.
    fn of(scheme: &str) -> Option<Self> {
        const PREFIX: &str = "Digest-AKA";
        let prefix = scheme.get(..PREFIX.len());
        if prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(PREFIX)) {
            Some(Self::Aka)
        } else if scheme.eq_ignore_ascii_case(SCHEME_UNKNOWN) {
            Some(Self::Unknown)
        } else {
            scheme.eq_ignore_ascii_case(SCHEME_SIP_DIGEST).then_some(Self::SipDigest)
        }
    }
}
