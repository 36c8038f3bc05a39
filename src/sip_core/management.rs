//! The management interface of a SIP core: a registration is shown, or ended by the operator (TS 24.229
//! clause 5.4.1.5).

use crate::{
    api::{
        migration_identity::Refusal,
        registration::{Answer, Contact, Registration as Shown, Request},
    },
    diameter::cx::ServerAssignmentType,
    identity::{Impi, UserIdentity},
    outbox::{Context, Message, Note, ReplyTo},
    sip::{render::Chunk, reply::ReplyHead},
    store::CommitSeq,
};

use super::{
    SipCore,
    answer::{CHALLENGE_STEP, CONFIRM_STEP, RegisterError},
    kept::Registered,
    registration::Registration,
    user::{Attempt, AttemptState},
};

const NOT_REGISTERED: Answer = Answer::Refused(Refusal::NotFound("registration"));

impl SipCore {
    /// Handles a request of the management interface and answers it, once what it did is durable.
    ///
    /// Without storage nothing is served, reads included: what is in memory may not be durable.
    pub fn handle_management(&self, ctx: &mut Context<'_>, to: ReplyTo, request: Request) {
        let (answer, after) = if ctx.out.storage_available() {
            match request {
                Request::Get(impi) => self.show_registration(ctx, &impi),
                Request::Remove(impi) => self.remove_registration(ctx, &impi, None),
            }
        } else {
            (Answer::Refused(Refusal::Unavailable), CommitSeq::NOTHING)
        };
        ctx.out.send_after(after, None, Message::Registration { to, answer });
    }

    /// Ends a registration as the network does (TS 24.229 clause 5.4.1.5), unless it has changed since commit `changed`.
    pub(super) fn end_registration(&self, ctx: &mut Context<'_>, impi: &Impi, changed: CommitSeq) {
        self.remove_registration(ctx, impi, Some(changed));
    }

    fn show_registration(&self, ctx: &mut Context<'_>, impi: &Impi) -> (Answer, CommitSeq) {
        // Locked, so that what is there and since when belong together. Without room nobody new is there.
        let Ok(user) = self.user_entry(ctx, impi) else {
            return (NOT_REGISTERED, CommitSeq::NOTHING);
        };
        let known = self.registrations.get(impi);
        let changed = known.as_ref().map_or_else(|| self.removed.get(), |known| known.changed);
        self.leave(user);
        let registration = known.map(|Registered { mut registration, .. }| {
            registration.expire(ctx.now); // the timer of what has ended may come later
            registration
        });
        let answer = match registration {
            Some(Registration { impus, contacts }) if !contacts.is_empty() => {
                let contacts = contacts.into_iter().map(|contact| Contact {
                    seconds_left: contact.seconds_left(ctx.now),
                    uri: contact.uri.to_string(),
                    expires_at: contact.expires_at,
                    path_count: contact.paths.len(),
                });
                let contacts = contacts.collect();
                Answer::Registration(Shown {
                    impi: impi.clone(),
                    impus: impus.into_vec(),
                    contacts,
                })
            }
            Some(_) | None => NOT_REGISTERED,
        };
        (answer, changed)
    }

    /// Ends the registration of `impi` and every attempt under way, whatever it waits for: a vector or a
    /// challenge from before must not register the user afterwards. Whoever waits is told to try again,
    /// and so asks the SIP database for a vector anew. If it is about the registration as commit `only` left it, one
    /// that has changed since stays.
    fn remove_registration(
        &self,
        ctx: &mut Context<'_>,
        impi: &Impi,
        only: Option<CommitSeq>,
    ) -> (Answer, CommitSeq) {
        let Ok(mut user) = self.user_entry(ctx, impi) else {
            return (NOT_REGISTERED, CommitSeq::NOTHING);
        };
        if only.is_some_and(|only| only != self.changed(impi)) {
            self.leave(user);
            return (NOT_REGISTERED, CommitSeq::NOTHING);
        }
        let attempts = std::mem::take(&mut user.get_mut().attempts);
        let registration = self.registrations.get(impi).map(|known| known.registration);
        let found = registration.is_some() || !attempts.is_empty();
        // The SIP database may have been told of a registration that is only on its way.
        let impu = registration.as_ref().and_then(|it| it.impus.first().cloned());
        let impu = impu.or_else(|| attempts.iter().find_map(Attempt::assigned).cloned());
        if let Some(registration) = registration {
            ctx.out.note(Note::Registered(false));
            let ending = Some(registration.next_expiry());
            let ended = Registration::default();
            let news = self.news(Some(&registration), &ended, ctx.now, None);
            let changed = self.store(ctx, (impi, user.get_mut()), ending, ended);
            self.tell_without_ue(ctx, impi, changed, news);
        }
        let gone = self.removed.get();
        for attempt in attempts {
            self.abandon(ctx, attempt, gone);
        }
        self.leave(user);
        if let Some(impu) = impu {
            let identity = UserIdentity { impi: impi.clone(), impu };
            let ended = ServerAssignmentType::AdministrativeDeregistration;
            self.tell(ctx, gone, identity, ended);
        }
        (if found { Answer::Done } else { NOT_REGISTERED }, gone)
    }

    /// Tells those who wait for the outcome of `attempt` to try again. A UE that was challenged finds its
    /// nonce stale.
    fn abandon(&self, ctx: &mut Context<'_>, attempt: Attempt, after: CommitSeq) {
        let (step, transactions) = match attempt.state {
            AttemptState::AwaitVector(waiting) => {
                (CHALLENGE_STEP, waiting.transactions().collect())
            }
            AttemptState::Challenged(challenged) => {
                return drop(self.challenges.take(challenged.number));
            }
            AttemptState::AwaitAssignment(waiting) => (CONFIRM_STEP, vec![waiting.transaction]),
        };
        let transactions: Vec<u128> = transactions;
        for key in transactions {
            let render = |head: &ReplyHead, to: &mut Chunk| RegisterError::Busy.render(head, to);
            self.transactions.reply(ctx, key, after, Some(step), render);
        }
    }
}
