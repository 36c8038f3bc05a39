//! From a REGISTER to a challenge: steps 16, 21 and 22, and resynchronization (TS 33.102 clause 6.3.5).

use std::sync::Arc;

use crate::{
    aka::digest::{Algorithm, NonceText, decode_auts, encode_nonce},
    diameter::cx::{self, ServerAssignmentType},
    identity::{Impi, Impu, UserIdentity},
    outbox::{Context, CxDestination, Limit, Message, Note, RequestId, Role, Undeliverable},
    sip::register::RegisterRequest,
    step::Step,
    store::CommitSeq,
};

use super::{
    SipCore,
    answer::{CHALLENGE_STEP, RegisterError, refusal},
    decoy, expiry,
    held::FirstAnswer,
    notice::Asked,
    user::{
        Attempt, AttemptState, AwaitVector, Challenged, Origin, REPEATS_MAX, Room, Secret, User,
    },
};

/// A UE may send AUTS this often in one attempt (TS 24.229: it answers at most two invalid challenges).
const RESYNCS_MAX: u8 = 2;

impl SipCore {
    /// Begins an attempt, or joins the one that this REGISTER repeats: with the same Call-ID and CSeq
    /// it waits for the same vector or gets the same challenge, on any transport. `algorithm` is the one that it
    /// names; the challenge is `stale` if it answers one that is not live.
    pub(super) fn begin_attempt(
        &self,
        ctx: &mut Context<'_>,
        (impi, user): (&Impi, &mut User),
        key: u128,
        request: &RegisterRequest<'_>,
        impu: Impu,
        (algorithm, stale): (Option<&str>, bool),
    ) -> Result<(), RegisterError> {
        let call = self.transactions.key_of_text(request.call_id());
        if let Some(attempt) = user.attempt_of(call, request.cseq(), ctx.now) {
            return self.join(ctx, attempt, key);
        }
        self.count_attempt(ctx, impi)?;
        let forget = |challenged: &Challenged| drop(self.challenges.take(challenged.number));
        match user.make_room(call, self.config.limits.challenges, forget) {
            Room::Free => {}
            Room::Made => ctx.out.note(Note::Limited(Limit::Challenges)),
            Room::None => {
                ctx.out.note(Note::Limited(Limit::Challenges));
                return Err(RegisterError::Limited);
            }
        }
        let origin = Origin {
            call,
            cseq: request.cseq(),
            impu,
            algorithm: self.algorithm_for(algorithm),
            resyncs: 0,
            stale,
            began: ctx.now,
        };
        self.request_vector(ctx, (impi, user), origin, key, None);
        Ok(())
    }

    /// `MIG-16`: asks the SIP database for one vector, or for what else it has: which scheme a user has only it knows.
    /// After AUTS it can only be AKA.
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
            scheme: if resync.is_some() { cx::SCHEME_AKA_V1 } else { cx::SCHEME_UNKNOWN }.into(),
            resync,
            server_name: Arc::clone(&self.config.server_name),
        });
        let asked = Asked::ByAttempt(impi.clone());
        let step = Some(Step::mig(16));
        let number = self.send_request(ctx, asked, CommitSeq::NOTHING, step, request);
        let state = AwaitVector {
            request: number,
            transaction: key,
            repeats: Vec::new(),
            resync: resync.is_some(),
        };
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
        let (number, timer) = self.requests.add(ctx.now, asked);
        Self::send_cx(ctx, number, after, step, request);
        if let Some(at) = timer {
            ctx.out.arm(at, expiry::REQUESTS_TIMER);
        }
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
        let secret = match outcome {
            Ok(cx::Answer::MultimediaAuth(answer)) => self.secret_of(answer, waiting.resync),
            Ok(cx::Answer::ServerAssignment(_)) | Err(Undeliverable) => {
                Err(RegisterError::HomeUnreachable)
            }
        };
        let secret = match secret {
            Err(RegisterError::Forbidden) if self.config.decoy_challenge && !waiting.resync => {
                ctx.out.note(Note::DecoyChallenge);
                Ok(decoy::draw(ctx.entropy))
            }
            secret => secret,
        };
        match secret {
            Ok(secret) => {
                let nonce = match &secret {
                    Secret::Vector(vector) | Secret::Decoy(vector) => {
                        encode_nonce(&vector.rand, &vector.autn)
                    }
                    Secret::Password { .. } => {
                        let mut octets = [0; 32];
                        ctx.entropy.fill(&mut octets);
                        NonceText::random(&octets)
                    }
                };
                let is_decoy = matches!(secret, Secret::Decoy(_));
                let challenged = self.await_answer(ctx, impi, secret, nonce);
                if is_decoy {
                    self.decoys.add(impi, challenged.number);
                }
                for key in waiting.transactions() {
                    self.challenge(ctx, &origin, &challenged, key);
                }
                user.attempts.push(Attempt { origin, state: AttemptState::Challenged(challenged) });
            }
            Err(RegisterError::Forbidden) => {
                for key in waiting.transactions() {
                    self.answer_at_a_common_time(ctx, origin.began, key, FirstAnswer::Forbidden);
                }
            }
            Err(error) => {
                for key in waiting.transactions() {
                    let (after, step) = (CommitSeq::NOTHING, Some(CHALLENGE_STEP));
                    self.transactions
                        .reply(ctx, key, after, step, |head, to| error.render(head, to));
                }
            }
        }
    }

    /// What the response will be checked with. HA1 of another realm is of no use: the SIP core and its database are
    /// configured apart from each other, which is no fault of the UE's.
    fn secret_of(
        &self,
        answer: cx::MultimediaAuthAnswer,
        resync: bool,
    ) -> Result<Secret, RegisterError> {
        if !answer.result.is_success() {
            return Err(refusal(answer.result, resync));
        }
        match (answer.vector, answer.digest) {
            (Some(vector), _) => Ok(Secret::Vector(vector)),
            (None, Some(digest)) if digest.realm == self.config.realm && !resync => {
                let cx::SipDigest { ha1, .. } = *digest;
                Ok(Secret::Password { ha1, nonce_count: 0 })
            }
            (None, _) => Err(RegisterError::HomeUnreachable),
        }
    }

    /// Waits for a response from now on, for reg-await-auth.
    pub(super) fn await_answer(
        &self,
        ctx: &mut Context<'_>,
        impi: &Impi,
        secret: Secret,
        nonce: NonceText,
    ) -> Challenged {
        let (number, timer) = self.challenges.add(ctx.now, impi.clone());
        if let Some(at) = timer {
            ctx.out.arm(at, expiry::CHALLENGES_TIMER);
        }
        let expires_at = ctx.now + self.config.reg_await_auth;
        Challenged { secret, nonce, expires_at, number }
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
        let (Some(auts), Some(vector)) = (decode_auts(auts), challenged.secret.vector()) else {
            user.attempts.push(Attempt { origin, state: AttemptState::Challenged(challenged) });
            return Err(RegisterError::MalformedAuts);
        };
        let rand = vector.rand;
        if origin.resyncs >= RESYNCS_MAX {
            let failure = ServerAssignmentType::AuthenticationFailure;
            self.report_failure(ctx, impi, origin.impu, failure);
            return Err(RegisterError::Forbidden);
        }
        origin.resyncs += 1;
        origin.stale = false; // the nonce was live; SQN was not
        origin.cseq = cseq;
        origin.began = ctx.now;
        let resync = cx::Resync { rand, auts };
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
            AttemptState::AwaitVector(waiting) if waiting.repeats.len() < REPEATS_MAX => {
                waiting.repeats.push(key);
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
        let algorithm = origin.algorithm_of(&challenged.secret);
        let answer =
            FirstAnswer::Challenge { nonce: challenged.nonce, algorithm, stale: origin.stale };
        // Only beside challenges that are none's there is something to hide.
        if self.config.decoy_challenge {
            self.answer_at_a_common_time(ctx, origin.began, key, answer);
        } else {
            self.answer_first(ctx, key, answer);
        }
    }

    /// AKAv1-MD5, unless the initial REGISTER names another algorithm that is enabled.
    fn algorithm_for(&self, named: Option<&str>) -> Algorithm {
        let named = named.and_then(Algorithm::parse);
        let enabled = named.filter(|named| self.config.algorithms.contains(named));
        enabled.unwrap_or(Algorithm::AkaV1Md5)
    }
}
