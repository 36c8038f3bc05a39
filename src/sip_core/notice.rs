//! What the SIP database is told without a UE that waits for it: failed attempts, and registrations that ended
//! by themselves or by an administrator.
//!
//! Two workers may tell of one user at the same time, and nothing keeps what they send in order. So whoever has
//! told whether a user is registered looks again when the answer comes, or its time is over, and tells what is true
//! by then.

use std::sync::{Arc, atomic::Ordering};

use smallvec::smallvec;

use super::SipCore;
use crate::{
    diameter::cx::{self, ServerAssignmentType},
    identity::{Impi, Impu, UserIdentity},
    outbox::Context,
    store::CommitSeq,
};

/// A Cx request of this role.
#[derive(Debug)]
pub(super) enum Asked {
    /// An attempt of this user waits for the answer.
    ByAttempt(Impi),
    /// Nobody waits for the answer.
    Notice(Notice),
}

/// What the SIP database was told of a user.
#[derive(Debug)]
pub(super) struct Notice {
    identity: UserIdentity,
    is_registered: bool,
}

impl SipCore {
    /// Tells the SIP database that an attempt ended without success; its answer changes nothing.
    pub(super) fn report_failure(
        &self,
        ctx: &mut Context<'_>,
        impi: &Impi,
        impu: Impu,
        assignment: ServerAssignmentType,
    ) {
        let identity = UserIdentity { impi: impi.clone(), impu };
        let request = self.notice(identity, assignment);
        Self::send_cx(ctx, self.draw_unawaited(), CommitSeq::NOTHING, None, request);
    }

    /// A number for a Cx request whose answer nobody waits for: none of those that [`Patience`] gives, which are
    /// larger.
    ///
    /// [`Patience`]: crate::patience::Patience
    fn draw_unawaited(&self) -> u64 {
        self.unawaited.fetch_add(1, Ordering::Relaxed).into()
    }

    /// Tells the SIP database by `assignment` that a user is registered now, or not any more, once that is
    /// durable.
    pub(super) fn tell(
        &self,
        ctx: &mut Context<'_>,
        after: CommitSeq,
        identity: UserIdentity,
        assignment: ServerAssignmentType,
    ) {
        let is_registered = assignment == ServerAssignmentType::Registration;
        let request = self.notice(identity.clone(), assignment);
        let asked = Asked::Notice(Notice { identity, is_registered });
        self.send_request(ctx, asked, after, None, request);
    }

    /// The SIP database has taken note, or has had its time to.
    pub(super) fn settle_notice(&self, ctx: &mut Context<'_>, notice: Notice) {
        let Notice { identity, is_registered: told } = notice;
        let impi = &identity.impi;
        let user = self.users.get(impi);
        let is_registered = self.registrations.contains_key(impi)
            || user.as_ref().is_some_and(|user| user.is_being_registered());
        let changed = self.changed(impi);
        drop(user);
        if is_registered != told {
            let truth = if is_registered {
                ServerAssignmentType::Registration
            } else {
                ServerAssignmentType::TimeoutDeregistration
            };
            self.tell(ctx, changed, identity, truth);
        }
    }

    fn notice(&self, identity: UserIdentity, assignment: ServerAssignmentType) -> cx::Request {
        cx::Request::ServerAssignment(cx::ServerAssignmentRequest {
            impi: Some(identity.impi),
            impus: smallvec![identity.impu],
            server_name: Arc::clone(&self.config.server_name),
            assignment,
            user_data_already_available: true,
        })
    }
}
