//! Users of this system: who presents which token, and which real pair is whose.

use super::{ConfigServer, Next, Outcome, rely_on};
use crate::{
    api::{
        configuration::{Answer, CLASS_OCTETS_MAX, User},
        connection_details::Credential,
        migration_identity::{self as management, Refusal},
    },
    identity::{McServiceId, UserIdentity},
    outbox::{Context, Note},
    store::{CommitSeq, Mutation, RecordKind},
};

/// A user in memory.
#[derive(Debug)]
pub(super) struct HeldUser {
    pub(super) user: User,
    /// The commit that wrote [`Self::user`].
    pub(super) version: CommitSeq,
    /// Whether the SIP database is asked to end the user's visits, so that the user can be changed. Until it
    /// answers the user may not migrate, and no other change is made.
    pub(super) ending: bool,
}

/// What matters of a user who asks for connection details.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) name: McServiceId,
    /// The real pair.
    pub(super) identity: UserIdentity,
    pub(super) class: Option<Box<str>>,
    pub(super) may_migrate: bool,
}

impl HeldUser {
    /// Whether `next` takes something away that the SIP database may have lent.
    pub(super) fn is_narrowed_by(&self, next: &User) -> bool {
        let barred = self.user.may_migrate && !next.may_migrate;
        barred || self.user.identity.impi != next.identity.impi
    }
}

impl ConfigServer {
    /// Returns the user `name` if `credential` is its own. A user that does not exist costs the same work as one
    /// that presents a wrong one.
    pub(super) fn authenticate_user(
        &self,
        name: &McServiceId,
        credential: Option<&Credential>,
        after: &mut CommitSeq,
    ) -> Option<Caller> {
        let held = self.users.get(name);
        let matches = match credential? {
            Credential::User(user) => user == name,
            Credential::Static(token) => {
                let presented = token.digest();
                held.as_ref().map_or(presented, |held| held.user.token) == presented
            }
        };
        let held = held?;
        rely_on(after, held.version);
        matches.then(|| Caller {
            name: name.clone(),
            identity: held.user.identity.clone(),
            class: held.user.class.clone(),
            may_migrate: held.user.may_migrate && !held.ending,
        })
    }

    /// The user `name`, if it is one of this system that may migrate.
    pub(super) fn caller_named(&self, name: &McServiceId, after: &mut CommitSeq) -> Option<Caller> {
        let held = self.users.get(name)?;
        rely_on(after, held.version);
        let User { identity, class, may_migrate, .. } = held.user.clone();
        let may_migrate = may_migrate && !held.ending;
        may_migrate.then(|| Caller { name: name.clone(), identity, class, may_migrate })
    }

    /// Whether `caller` may still migrate, under the same real pair as before.
    pub(super) fn may_still_migrate(&self, caller: &Caller, after: &mut CommitSeq) -> bool {
        self.users.get(&caller.name).is_some_and(|held| {
            rely_on(after, held.version);
            held.user.may_migrate && !held.ending && held.user.identity == caller.identity
        })
    }

    /// Shows a user.
    pub(super) fn get_user(&self, name: &McServiceId, after: &mut CommitSeq) -> Outcome {
        let held = self.users.get(name).ok_or(Refusal::NotFound("user"))?;
        rely_on(after, held.version);
        let User { mc_service_id, identity, class, may_migrate, .. } = held.user.clone();
        Ok(Next::Answer(Answer::User { mc_service_id, identity, class, may_migrate }))
    }

    /// Says whether a user can be put now.
    pub(super) fn check_user(&self, user: &User) -> Result<(), Refusal> {
        check_class(user.class.as_deref())?;
        match self.users.get(&user.mc_service_id) {
            Some(held) if held.ending => Err(Refusal::Unavailable),
            Some(_) => Ok(()),
            None if self.users_bound.has_room(1) => Ok(()),
            None => Err(Refusal::Full("users")),
        }
    }

    /// Creates or replaces a user. What the SIP database lent ends first if the user may not migrate any
    /// more or gets another real private identity; `ended` says that this is done.
    ///
    /// Another class counts from the next request of the user on.
    pub(super) fn put_user(
        &self,
        ctx: &mut Context<'_>,
        user: &User,
        ended: bool,
        after: &mut CommitSeq,
    ) -> Outcome {
        let _among_others = self.provision()?;
        check_class(user.class.as_deref())?;
        match self.users.entry(user.mc_service_id.clone()) {
            dashmap::Entry::Occupied(mut entry) => {
                let held = entry.get_mut();
                rely_on(after, held.version);
                if held.ending && !ended {
                    return Err(Refusal::Unavailable);
                }
                if held.is_narrowed_by(user) && !ended {
                    held.ending = true;
                    return Ok(end_visits(held));
                }
                let version = ctx.out.commit([put_of(user)]);
                *held = HeldUser { user: user.clone(), version, ending: false };
                rely_on(after, version);
            }
            dashmap::Entry::Vacant(free) => {
                if !self.users_bound.take() {
                    ctx.out.note(Note::TableFull("users"));
                    return Err(Refusal::Full("users"));
                }
                let version = ctx.out.commit([put_of(user)]);
                free.insert(HeldUser { user: user.clone(), version, ending: false });
                rely_on(after, version);
            }
        }
        Ok(Next::Answer(Answer::Done))
    }

    /// Removes a user after its visits; `ended` says that those are over.
    pub(super) fn delete_user(
        &self,
        ctx: &mut Context<'_>,
        name: &McServiceId,
        ended: bool,
        after: &mut CommitSeq,
    ) -> Outcome {
        let _among_others = self.provision()?;
        let dashmap::Entry::Occupied(mut entry) = self.users.entry(name.clone()) else {
            return Err(Refusal::NotFound("user"));
        };
        let held = entry.get_mut();
        rely_on(after, held.version);
        if !ended {
            if held.ending {
                return Err(Refusal::Unavailable);
            }
            held.ending = true;
            return Ok(end_visits(held));
        }
        let seq = ctx.out.commit([Mutation::delete(RecordKind::User, name.as_str())]);
        self.removed.raise(seq);
        entry.remove();
        self.users_bound.give();
        rely_on(after, seq);
        Ok(Next::Answer(Answer::Done))
    }

    /// Leaves a user as it was: its visits could not be ended.
    pub(super) fn keep_user(&self, name: &McServiceId) {
        if let Some(mut held) = self.users.get_mut(name) {
            held.ending = false;
        }
    }
}

/// Asks to end what the SIP database lent to a user.
fn end_visits(held: &HeldUser) -> Next {
    Next::Ask(management::Request::EndVisits(held.user.identity.impi.clone()))
}

/// The change that stores a user.
pub(super) fn put_of(user: &User) -> Mutation {
    Mutation::put(RecordKind::User, user.mc_service_id.as_str(), user)
}

/// Checks the name of a class.
pub(super) fn check_class(class: Option<&str>) -> Result<(), Refusal> {
    match class {
        Some("") => Err(Refusal::Invalid("the name of the class is empty")),
        Some(name) if name.len() > CLASS_OCTETS_MAX => {
            Err(Refusal::Invalid("the name of the class is longer than 64 octets"))
        }
        Some(_) | None => Ok(()),
    }
}
