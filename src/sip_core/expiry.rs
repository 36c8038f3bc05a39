//! What ends by itself: challenges that nobody answers, contacts that nobody refreshes.

use crate::{
    diameter::cx::ServerAssignmentType,
    identity::{Impi, UserIdentity},
    outbox::{Context, Note, Role, TimerKey, TimerWhat},
};

use super::{SipCore, user::Attempt};

/// The timer of the first contact that ends. It has no version: what has ended is told by the registrations
/// when it comes.
pub(super) const CONTACTS_TIMER: TimerKey =
    TimerKey { role: Role::SipCore, what: TimerWhat::ContactsEnd, version: 0 };

impl SipCore {
    /// reg-await-auth is over: the attempt failed; an existing registration stays (TS 24.229). A later
    /// challenge's timer stands for the earlier ones of the same user too.
    pub(super) fn expire_challenges(&self, ctx: &mut Context<'_>, impi: &Impi) {
        let Some(mut user) = self.users.get_mut(impi) else { return };
        let over: Vec<Attempt> =
            user.attempts.extract_if(.., |attempt| attempt.is_over(ctx.now)).collect();
        drop(user);
        for attempt in over {
            let timeout = ServerAssignmentType::AuthenticationTimeout;
            self.report_failure(ctx, impi, attempt.origin.impu, timeout);
        }
        self.forget_if_idle(impi);
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
        let Ok(user) = self.user_entry(ctx, impi) else { return };
        let mut ended = None;
        let known = self.registrations.get(impi).map(|known| known.registration);
        if let Some(mut registration) = known
            && (registration.next_expiry() <= ctx.now || removes_newer())
        {
            let ending = registration.next_expiry();
            registration.expire(ctx.now);
            if removes_newer() {
                registration.contacts.clear();
            }
            let impu = registration.impus.first().cloned();
            let is_over = registration.contacts.is_empty();
            let changed = self.store(ctx, impi, Some(ending), registration);
            ended = impu.filter(|_| is_over).map(|impu| (impu, changed));
        }
        drop(user);
        self.forget_if_idle(impi);
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
