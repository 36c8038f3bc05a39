//! What ends by itself: challenges that nobody answers, contacts that nobody refreshes.

use std::time::Duration;

use crate::{
    diameter::cx::ServerAssignmentType,
    identity::{Impi, UserIdentity},
    outbox::{Context, Note, Role, TimerKey, TimerWhat},
    store::CommitSeq,
};

#[cfg(feature = "planted-bugs")]
use super::Registration;
use super::{SipCore, user::Attempt};

/// How long the number of a deletion is kept, so that an answer that tells of it waits for it.
pub(super) const GONE_KEPT: Duration = Duration::from_secs(60);

/// The timer of a registration as of commit `changed`: a newer registration makes it stale.
pub(super) fn timer(impi: Impi, changed: CommitSeq) -> TimerKey {
    TimerKey {
        role: Role::SipCore,
        what: TimerWhat::RegistrationExpiry(impi),
        version: changed.as_u64(),
    }
}

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

    /// Removes the contacts whose time is over. A stale version does nothing, so that an expiry never
    /// removes a newer registration.
    pub(super) fn expire_registration(&self, ctx: &mut Context<'_>, impi: &Impi, version: u64) {
        let Some(mut user) = self.users.get_mut(impi) else { return };
        #[cfg(feature = "planted-bugs")]
        if crate::planted::is_armed(crate::planted::Bug::ExpiryRemovesNewer) {
            return Self::store(ctx, (impi, &mut user), Registration::default());
        }
        if user.changed.as_u64() != version {
            return;
        }
        let Some(mut registration) = user.registration.clone() else {
            user.changed = CommitSeq::NOTHING;
            drop(user);
            return self.forget_if_idle(impi);
        };
        if !ctx.out.storage_available() {
            return; // the reload arms it again
        }
        registration.expire(ctx.now);
        let impu = registration.impus.first().cloned();
        let ended = registration.contacts.is_empty();
        Self::store(ctx, (impi, &mut user), registration);
        let changed = user.changed;
        drop(user);
        if let (true, Some(impu)) = (ended, impu) {
            ctx.out.note(Note::Registered(false));
            let identity = UserIdentity { impi: impi.clone(), impu };
            self.notify_database(
                ctx,
                changed,
                identity,
                ServerAssignmentType::TimeoutDeregistration,
            );
        }
    }
}
