//! From a REGISTER to a challenge: steps 16, 21 and 22, and resynchronization (TS 33.102 clause 6.3.5).

use bytes::Bytes;

use crate::{
    aka::digest::{Algorithm, decode_auts, encode_nonce},
    diameter::cx::{self, ServerAssignmentType},
    identity::{Impi, Impu, UserIdentity},
    outbox::{
        Context, CxDestination, Limit, Message, Note, RequestId, Role, TimerKey, TimerWhat,
        Undeliverable,
    },
    sip::{
        auth_header::DigestChallenge,
        register::RegisterRequest,
        reply::{ReplyHead, reason_phrase},
    },
    step::Step,
    store::CommitSeq,
    time::Timestamp,
};

use super::{
    SipCore,
    answer::{CHALLENGE_STEP, RegisterError, refusal},
    notice::Asked,
    request_timer,
    user::{Attempt, AttemptState, AwaitVector, Challenged, Origin, Room, User, WAITERS_MAX},
};

/// A UE may send AUTS this often in one attempt (TS 24.229: it answers at most two invalid challenges).
const RESYNCS_MAX: u8 = 2;

impl SipCore {
    /// Begins an attempt, or joins the one that this REGISTER repeats: with the same Call-ID and CSeq
    /// it waits for the same vector or gets the same challenge, on any transport.
    pub(super) fn begin_attempt(
        &self,
        ctx: &mut Context<'_>,
        (impi, user): (&Impi, &mut User),
        key: u128,
        request: &RegisterRequest<'_>,
        impu: Impu,
        stale: bool,
    ) -> Result<(), RegisterError> {
        if let Some(attempt) = user.attempt_of(request.call_id(), request.cseq(), ctx.now) {
            return self.join(ctx, attempt, key);
        }
        self.count_attempt(ctx, impi)?;
        match user.make_room(request.call_id(), self.config.limits.challenges) {
            Room::Free => {}
            Room::Made => ctx.out.note(Note::Limited(Limit::Challenges)),
            Room::None => {
                ctx.out.note(Note::Limited(Limit::Challenges));
                return Err(RegisterError::Limited);
            }
        }
        let origin = Origin {
            call_id: request.call_id().into(),
            cseq: request.cseq(),
            impu,
            algorithm: self.algorithm_for(request),
            resyncs: 0,
            stale,
        };
        self.request_vector(ctx, (impi, user), origin, key, None);
        Ok(())
    }

    /// `MIG-16`: asks the SIP database for one vector.
    pub(super) fn request_vector(
        &self,
        ctx: &mut Context<'_>,
        (impi, user): (&Impi, &mut User),
        origin: Origin,
        key: u128,
        resync: Option<cx::Resync>,
    ) {
        let request = cx::Request::MultimediaAuth(cx::MultimediaAuthRequest {
            identity: UserIdentity { impi: impi.clone(), impu: origin.impu.clone() },
            scheme: cx::SCHEME_AKA_V1.to_owned(),
            resync,
            server_name: self.config.server_name.clone(),
        });
        let asked = Asked::ByAttempt(impi.clone());
        let step = Some(Step::mig(16));
        let number = self.send_request(ctx, asked, CommitSeq::NOTHING, step, request);
        let state = AwaitVector { request: number, waiters: vec![key], resync: resync.is_some() };
        user.attempts.push(Attempt { origin, state: AttemptState::AwaitVector(state) });
    }

    /// Sends a Cx request after `after` is durable; its answer comes back to
    /// [`SipCore::handle_answer`], or its timeout.
    pub(super) fn send_request(
        &self,
        ctx: &mut Context<'_>,
        asked: Asked,
        after: CommitSeq,
        step: Option<Step>,
        request: cx::Request,
    ) -> u64 {
        let number = self.draw_number();
        self.requests.insert(number, asked);
        Self::send_cx(ctx, number, after, step, request);
        ctx.out.arm(ctx.now + self.config.vector_timeout, request_timer(number));
        number
    }

    /// Sends a Cx request, known by `number`, after `after` is durable.
    pub(super) fn send_cx(
        ctx: &mut Context<'_>,
        number: u64,
        after: CommitSeq,
        step: Option<Step>,
        request: cx::Request,
    ) {
        let id = RequestId { role: Role::SipCore, number };
        let message = Message::CxRequest { to: CxDestination::OwnDatabase, id, request };
        ctx.out.send_after(after, step, message);
    }

    /// `MIG-22`: challenges the UE, or tells it why not.
    pub(super) fn handle_vector(
        &self,
        ctx: &mut Context<'_>,
        (impi, user): (&Impi, &mut User),
        (origin, waiting): (Origin, AwaitVector),
        outcome: Result<cx::Answer, Undeliverable>,
    ) {
        let vector = match outcome {
            Ok(cx::Answer::MultimediaAuth(answer)) => match answer.vector {
                Some(vector) if answer.result.is_success() => Ok(vector),
                _ => Err(refusal(answer.result, waiting.resync)),
            },
            Ok(cx::Answer::ServerAssignment(_)) | Err(Undeliverable) => {
                Err(RegisterError::HomeUnreachable)
            }
        };
        match vector {
            Ok(vector) => {
                let nonce = encode_nonce(&vector.rand, &vector.autn);
                let expires_at = ctx.now + self.config.reg_await_auth;
                let challenged = Challenged { vector, nonce, expires_at };
                for key in waiting.waiters {
                    self.challenge(ctx, &origin, &challenged, key);
                }
                user.attempts.push(Attempt { origin, state: AttemptState::Challenged(challenged) });
                ctx.out.arm(expires_at, challenge_timer(impi, expires_at));
            }
            Err(error) => {
                for key in waiting.waiters {
                    let render = |head: &ReplyHead| error.render(head);
                    self.transactions.reply(
                        ctx,
                        key,
                        CommitSeq::NOTHING,
                        Some(CHALLENGE_STEP),
                        render,
                    );
                }
            }
        }
    }

    /// A UE that found SQN out of its range sends AUTS: one new vector, beginning at `MIG-16`.
    pub(super) fn resynchronize(
        &self,
        ctx: &mut Context<'_>,
        (impi, user): (&Impi, &mut User),
        key: u128,
        (mut origin, challenged): (Origin, Challenged),
        cseq: u32,
        auts: &str,
    ) -> Result<(), RegisterError> {
        let Some(auts) = decode_auts(auts) else {
            user.attempts.push(Attempt { origin, state: AttemptState::Challenged(challenged) });
            return Err(RegisterError::MalformedAuts);
        };
        if origin.resyncs >= RESYNCS_MAX {
            let failure = ServerAssignmentType::AuthenticationFailure;
            self.report_failure(ctx, impi, origin.impu, failure);
            return Err(RegisterError::Forbidden);
        }
        origin.resyncs += 1;
        origin.stale = false; // the nonce was live; SQN was not
        origin.cseq = cseq;
        let resync = cx::Resync { rand: challenged.vector.rand, auts };
        self.request_vector(ctx, (impi, user), origin, key, Some(resync));
        Ok(())
    }

    fn join(
        &self,
        ctx: &mut Context<'_>,
        attempt: &mut Attempt,
        key: u128,
    ) -> Result<(), RegisterError> {
        match &mut attempt.state {
            AttemptState::AwaitVector(waiting) if waiting.waiters.len() < WAITERS_MAX => {
                waiting.waiters.push(key);
            }
            AttemptState::Challenged(challenged) => {
                self.challenge(ctx, &attempt.origin, challenged, key);
            }
            AttemptState::AwaitVector(_) | AttemptState::AwaitAssignment(_) => {
                return Err(RegisterError::Busy);
            }
        }
        Ok(())
    }

    fn challenge(
        &self,
        ctx: &mut Context<'_>,
        origin: &Origin,
        challenged: &Challenged,
        key: u128,
    ) {
        let realm = self.config.realm.as_str();
        let render = |head: &ReplyHead| -> Bytes {
            let challenge = DigestChallenge {
                realm: realm.into(),
                nonce: challenged.nonce.as_str().into(),
                algorithm: Some(origin.algorithm.as_str().into()),
                qop: Some("auth".into()),
                stale: origin.stale,
                opaque: None,
            };
            head.reply(401, reason_phrase(401)).header("WWW-Authenticate", challenge).finish()
        };
        self.transactions.reply(ctx, key, CommitSeq::NOTHING, Some(CHALLENGE_STEP), render);
    }

    /// AKAv1-MD5, unless the initial REGISTER names another algorithm that is enabled.
    fn algorithm_for(&self, request: &RegisterRequest<'_>) -> Algorithm {
        request
            .credentials_for(&self.config.realm)
            .and_then(|credentials| Algorithm::parse(credentials.algorithm?))
            .filter(|named| self.config.algorithms.contains(named))
            .unwrap_or(Algorithm::AkaV1Md5)
    }
}

/// The timer reg-await-auth of one challenge.
fn challenge_timer(impi: &Impi, expires_at: Timestamp) -> TimerKey {
    TimerKey {
        role: Role::SipCore,
        what: TimerWhat::ChallengeExpiry(impi.clone()),
        version: expires_at.as_micros(),
    }
}
