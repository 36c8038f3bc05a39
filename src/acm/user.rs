//! The users of ACM clients: who they are, and what they may.

use super::{AcmServer, ordered::Audience, ordered::Queue};
use crate::{
    api::{acm_management::User, acm_payload::Kind},
    identity::{McServiceId, McSystemId},
    token::BearerToken,
};

/// A user in memory.
#[derive(Clone, Debug)]
pub(super) struct HeldUser(pub(super) User);

impl AcmServer {
    /// The user whose credential it is.
    pub(super) fn authenticate(
        &self,
        credential: Option<(&McServiceId, &BearerToken)>,
    ) -> Option<McServiceId> {
        let (name, token) = credential?;
        let held = self.users.get(name)?;
        (held.0.token == token.digest()).then(|| name.clone())
    }

    /// Whether a credential is this user's: for the world, before it takes in more than that. Every request is
    /// authenticated again.
    pub fn knows(&self, user: &McServiceId, token: &BearerToken) -> bool {
        self.authenticate(Some((user, token))).is_some()
    }

    /// Whether a user may begin transactions of a kind with a partner.
    pub(super) fn may_request(&self, user: &McServiceId, kind: Kind, partner: &McSystemId) -> bool {
        // Who may offer groups may withdraw them.
        let right = if kind == Kind::GroupsWithdrawn { Kind::Groups } else { kind };
        let has_right =
            self.users.get(user).is_some_and(|held| held.0.may_request.contains(&right));
        let listed = self.partner(partner).is_some_and(|partner| {
            let requesters = partner.policies.of(kind).requesters.as_ref();
            requesters.is_none_or(|requesters| requesters.contains(user))
        });
        has_right && listed
    }

    /// Whether a user may decide requests of a kind of a partner.
    pub(super) fn may_decide(&self, user: &McServiceId, kind: Kind, partner: &McSystemId) -> bool {
        let has_right = self.users.get(user).is_some_and(|held| held.0.may_decide.contains(&kind));
        let listed = self.partner(partner).is_some_and(|partner| {
            let deciders = partner.policies.of(kind).deciders.as_ref();
            deciders.is_none_or(|deciders| deciders.contains(user))
        });
        has_right && listed
    }

    /// Whether a user has any right.
    pub(super) fn is_administrator(&self, user: &McServiceId) -> bool {
        let has_rights = |user: &User| !user.may_request.is_empty() || !user.may_decide.is_empty();
        self.users.get(user).is_some_and(|held| has_rights(&held.0))
    }

    /// Whether a user sees an item of a list, which is of `partner`: as long as the user may do something about it.
    pub(super) fn sees_item(
        &self,
        user: &McServiceId,
        queue: &Queue,
        partner: &McSystemId,
    ) -> bool {
        let is_for = match &queue.audience {
            Audience::User(of) => of == user,
            Audience::Authorised => true,
        };
        let may = if queue.is_response { Self::may_request } else { Self::may_decide };
        is_for && may(self, user, queue.kind, partner)
    }
}
