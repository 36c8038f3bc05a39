//! What ends by itself: challenges that nobody answers, contacts that nobody refreshes.

use smallvec::SmallVec;

use crate::{
    diameter::cx::ServerAssignmentType,
    identity::{Impi, UserIdentity},
    outbox::{Context, Note, Role, TimerKey, TimerWhat, Undeliverable},
};

use super::{SipCore, notice::Asked, user::Attempt};

/// The timer of the first contact that ends. It has no version: what has ended is told by the registrations
/// when it comes.
pub(super) const CONTACTS_TIMER: TimerKey =
    TimerKey { role: Role::SipCore, what: TimerWhat::ContactsEnd, version: 0 };

/// The timer of the first challenge that is not answered.
pub(super) const CHALLENGES_TIMER: TimerKey =
    TimerKey { role: Role::SipCore, what: TimerWhat::ChallengesEnd, version: 0 };

/// The timer of the first Cx request that has had its time.
pub(super) const REQUESTS_TIMER: TimerKey =
    TimerKey { role: Role::SipCore, what: TimerWhat::RequestsEnd, version: 0 };

impl SipCore {
    /// Ends the challenges that nobody has answered in time.
    pub(super) fn expire_challenges(&self, ctx: &mut Context<'_>) {
        let (due, timer) = self.challenges.take_due(ctx.now);
        for (_, impi) in due {
            self.expire_challenges_of(ctx, &impi);
        }
        if let Some(at) = timer {
            ctx.out.arm(at, CHALLENGES_TIMER);
        }
    }

    /// Gives up the Cx requests that have had their time.
    pub(super) fn expire_requests(&self, ctx: &mut Context<'_>) {
        let (due, timer) = self.requests.take_due(ctx.now);
        for (number, asked) in due {
            match asked {
                Asked::ByAttempt(impi) => {
                    self.settle_request(ctx, &impi, number, Err(Undeliverable));
                }
                // It may have arrived late, behind what is true by now.
                Asked::Notice(notice) => self.settle_notice(ctx, notice),
            }
        }
        if let Some(at) = timer {
            ctx.out.arm(at, REQUESTS_TIMER);
        }
    }

    /// reg-await-auth is over: the attempt failed, unless it was answered; an existing registration stays (TS 24.229).
    fn expire_challenges_of(&self, ctx: &mut Context<'_>, impi: &Impi) {
        let Some(mut user) = self.known_user(impi) else { return };
        let attempts = std::mem::take(&mut user.get_mut().attempts);
        let (over, left): (SmallVec<[Attempt; 1]>, _) =
            attempts.into_iter().partition(|attempt| attempt.is_over(ctx.now));
        user.get_mut().attempts = left;
        self.leave(user);
        for attempt in over.into_iter().filter(|attempt| !attempt.is_answered()) {
            let timeout = ServerAssignmentType::AuthenticationTimeout;
            self.report_failure(ctx, impi, attempt.origin.impu, timeout);
        }
    }

    /// Removes the contacts whose time is over, of some users at a time.
    pub(super) fn expire_registrations(&self, ctx: &mut Context<'_>) {
        if !ctx.out.storage_available() {
            return; // the reload arms it again
        }
        let (due, at) = self.deadlines.take_due(ctx.now);
        for record in due {
            for impi in self.registrations.keys_of(record) {
                self.expire_registration(ctx, &impi);
            }
        }
        if let Some(at) = at {
            ctx.out.arm(at, CONTACTS_TIMER);
        }
    }

    /// Removes the contacts of one user whose time is over. Which ones is read under the user's lock, so that
    /// an expiry never removes a newer registration.
    fn expire_registration(&self, ctx: &mut Context<'_>, impi: &Impi) {
        let Ok(mut user) = self.user_entry(ctx, impi) else { return };
        let mut ended = None;
        let known = self.registrations.get(impi).map(|known| known.registration);
        if let Some(mut registration) = known
            && (registration.next_expiry() <= ctx.now || removes_newer())
        {
            let ending = registration.next_expiry();
            let before = self.tells().then(|| registration.clone());
            registration.expire(ctx.now);
            if removes_newer() {
                registration.contacts.clear();
            }
            let impu = registration.impus.first().cloned();
            let is_over = registration.contacts.is_empty();
            let news = before.and_then(|it| self.news(Some(&it), &registration, ctx.now, None));
            let changed = self.store(ctx, (impi, user.get_mut()), Some(ending), registration);
            self.tell_without_ue(ctx, impi, changed, news);
            ended = impu.filter(|_| is_over).map(|impu| (impu, changed));
        }
        self.leave(user);
        if let Some((impu, changed)) = ended {
            ctx.out.note(Note::Registered(false));
            let identity = UserIdentity { impi: impi.clone(), impu };
            self.tell(ctx, changed, identity, ServerAssignmentType::TimeoutDeregistration);
        }
    }
}

/// Whether the fault is armed by which an expiry removes what is newer: a refresh leaves the earlier deadline
/// in place, and when it comes all contacts go.
pub(super) fn removes_newer() -> bool {
    #[cfg(feature = "planted-bugs")]
    return crate::planted::is_armed(crate::planted::Bug::ExpiryRemovesNewer);
    #[cfg(not(feature = "planted-bugs"))]
    false
}
