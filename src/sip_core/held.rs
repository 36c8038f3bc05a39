//! Answers to first REGISTERs that leave at a common time after these came, whatever it took to find them: how long
//! one took tells nothing of why it is what it is.
//!
//! What is held belongs to transactions without an answer yet, whose number is bounded. An answer that is found later
//! than that leaves at the next multiple of this time: how late it was tells no more than that it was late, and a
//! [`Note::AnswerLate`] tells the operator.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    SipCore,
    answer::{CHALLENGE_STEP, RegisterError},
};
use crate::{
    aka::digest::NonceText,
    outbox::{Context, Note, Role, TimerKey, TimerWhat},
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

/// The answers that are held, by when they leave and then by the keys of their transactions, which nobody outside knows:
/// the order in which answers leave together is not that in which they were found. Its lock is an innermost one.
#[derive(Debug, Default)]
pub(super) struct Held(Mutex<BTreeMap<(Timestamp, u128), FirstAnswer>>);

impl Held {
    /// Forgets all of them.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// Holds an answer; whether the timer has to be armed for it: no other one leaves as early.
    fn put(&self, at: Timestamp, key: u128, answer: FirstAnswer) -> bool {
        let answers = &mut *self.lock();
        let is_first = answers.first_key_value().is_none_or(|((first, _), _)| at < *first);
        answers.insert((at, key), answer);
        is_first
    }

    /// Takes out what is due, a few at a time, and when the next one is.
    fn take_due(&self, now: Timestamp) -> (Vec<(u128, FirstAnswer)>, Option<Timestamp>) {
        let answers = &mut *self.lock();
        let mut due = Vec::new();
        while let Some(first) = answers.first_entry()
            && first.key().0 <= now
            && due.len() < SENT_PER_CALL_MAX
        {
            let ((_, key), answer) = first.remove_entry();
            due.push((key, answer));
        }
        (due, answers.first_key_value().map(|((at, _), _)| *at))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Timestamp, u128), FirstAnswer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SipCore {
    /// Answers a REGISTER that came at `began` when `refusal_after` is over since, or a multiple of it if it is over
    /// already.
    pub(super) fn answer_at_a_common_time(
        &self,
        ctx: &mut Context<'_>,
        began: Timestamp,
        key: u128,
        answer: FirstAnswer,
    ) {
        let Some(at) = common_time(began, self.config.refusal_after, ctx.now) else {
            return self.answer_first(ctx, key, answer);
        };
        if at > began + self.config.refusal_after {
            ctx.out.note(Note::AnswerLate);
        }
        if self.held.put(at, key, answer) {
            ctx.out.arm(at, HELD_TIMER);
        }
    }

    /// Sends the answers whose time has come.
    pub(super) fn send_held(&self, ctx: &mut Context<'_>) {
        let (due, next) = self.held.take_due(ctx.now);
        for (key, answer) in due {
            self.answer_first(ctx, key, answer);
        }
        if let Some(at) = next {
            ctx.out.arm(at, HELD_TIMER);
        }
    }

    /// Sends an answer now.
    pub(super) fn answer_first(&self, ctx: &mut Context<'_>, key: u128, answer: FirstAnswer) {
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

/// When an answer leaves that is found `now`: the first multiple of `after` since `began` that is not over. None without
/// such a time.
fn common_time(began: Timestamp, after: Duration, now: Timestamp) -> Option<Timestamp> {
    let times = now.since(began).as_micros().checked_div(after.as_micros())? + 1;
    let times = u32::try_from(times).unwrap_or(u32::MAX);
    Some(began + after.saturating_mul(times))
}
