//! Answers to first REGISTERs that leave at a common time after these came, whatever it took to find them: how long
//! one took tells nothing of why it is what it is.
//!
//! What is held belongs to transactions without an answer yet, whose number is bounded. An answer that is found later
//! leaves at once.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    SipCore,
    answer::{CHALLENGE_STEP, RegisterError},
};
use crate::{
    aka::digest::NonceText,
    outbox::{Context, Role, TimerKey, TimerWhat},
    sip::{
        auth_header::DigestChallenge,
        render::Chunk,
        reply::{ReplyHead, reason_phrase},
    },
    store::CommitSeq,
    time::Timestamp,
};

/// The timer of the first answer that is held.
const HELD_TIMER: TimerKey =
    TimerKey { role: Role::SipCore, what: TimerWhat::HeldAnswers, version: 0 };

/// Answers that one call of the timer sends at most, so that the worker serves others in between: of a tick of the timer
/// those to 250,000 requests a second.
const SENT_PER_CALL_MAX: usize = 4_096;

/// An answer to a first REGISTER that may have to wait.
#[derive(Clone, Copy, Debug)]
pub(super) enum FirstAnswer {
    /// 403.
    Forbidden,
    /// 401.
    Challenge { nonce: NonceText, algorithm: &'static str, stale: bool },
}

/// The answers that are held, in the order in which they leave. Its lock is an innermost one.
#[derive(Debug, Default)]
pub(super) struct Held(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    answers: BTreeMap<(Timestamp, u64), (u128, FirstAnswer)>,
    /// How many were ever held: tells those of one time apart.
    count: u64,
}

impl Held {
    /// Forgets all of them.
    pub(super) fn clear(&self) {
        self.lock().answers.clear();
    }

    /// Holds an answer; whether it is the first one to leave.
    fn put(&self, at: Timestamp, key: u128, answer: FirstAnswer) -> bool {
        let waiting = &mut *self.lock();
        waiting.count += 1;
        waiting.answers.insert((at, waiting.count), (key, answer));
        waiting.answers.first_key_value().is_some_and(|((_, first), _)| *first == waiting.count)
    }

    /// Takes out what is due, a few at a time, and when the next one is.
    fn take_due(&self, now: Timestamp) -> (Vec<(u128, FirstAnswer)>, Option<Timestamp>) {
        let answers = &mut self.lock().answers;
        let mut due = Vec::new();
        while let Some(first) = answers.first_entry()
            && first.key().0 <= now
            && due.len() < SENT_PER_CALL_MAX
        {
            due.push(first.remove());
        }
        (due, answers.first_key_value().map(|((at, _), _)| *at))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SipCore {
    /// Refuses a REGISTER that came at `began`, with 403.
    pub(super) fn forbid(&self, ctx: &mut Context<'_>, began: Timestamp, key: u128) {
        self.answer_first(ctx, began + self.config.refusal_after, key, FirstAnswer::Forbidden);
    }

    /// Answers at `at`, or now if that is over.
    pub(super) fn answer_first(
        &self,
        ctx: &mut Context<'_>,
        at: Timestamp,
        key: u128,
        answer: FirstAnswer,
    ) {
        if at <= ctx.now {
            self.send_first(ctx, key, answer);
        } else if self.held.put(at, key, answer) {
            ctx.out.arm(at, HELD_TIMER);
        }
    }

    /// Sends the answers whose time has come.
    pub(super) fn send_held(&self, ctx: &mut Context<'_>) {
        let (due, next) = self.held.take_due(ctx.now);
        for (key, answer) in due {
            self.send_first(ctx, key, answer);
        }
        if let Some(at) = next {
            ctx.out.arm(at, HELD_TIMER);
        }
    }

    fn send_first(&self, ctx: &mut Context<'_>, key: u128, answer: FirstAnswer) {
        let render = |head: &ReplyHead, to: &mut Chunk| match answer {
            FirstAnswer::Forbidden => RegisterError::Forbidden.render(head, to),
            FirstAnswer::Challenge { nonce, algorithm, stale } => {
                let challenge = DigestChallenge {
                    realm: self.config.realm.as_str().into(),
                    nonce: nonce.as_str().into(),
                    algorithm: Some(algorithm.into()),
                    qop: Some("auth".into()),
                    stale,
                    opaque: None,
                };
                let reply = head.reply_in(to, 401, reason_phrase(401));
                reply.header("WWW-Authenticate", &challenge).finish_in(to)
            }
        };
        self.transactions.reply(ctx, key, CommitSeq::NOTHING, Some(CHALLENGE_STEP), render);
    }
}
