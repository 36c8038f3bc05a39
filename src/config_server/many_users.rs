//! Provisioning of many users by one request: all of them or none.
//!
//! All are checked before the first is changed, and meanwhile nobody else changes users: who tries is told
//! to try again. A user from whom something is taken away that the SIP database may have lent is not one of
//! many: that has to end first, and ends alone.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLockReadGuard, TryLockError},
};

use super::{
    ConfigServer, Next, Outcome, rely_on,
    user::{HeldUser, check_class, put_of},
};
use crate::{
    api::{
        configuration::{Answer, ROWS_MAX, User},
        migration_identity::{Refusal, RowRefused},
    },
    outbox::{Context, Note},
    store::CommitSeq,
};

const TOO_MANY: Refusal = Refusal::Invalid("there are more than 250000 in one request");
const TWICE: Refusal = Refusal::Invalid("the user is there twice");
const NARROWED: Refusal =
    Refusal::Invalid("something lent to the user has to end first: change the user alone");

impl ConfigServer {
    /// Creates or replaces many users.
    pub(super) fn put_users(
        &self,
        ctx: &mut Context<'_>,
        users: &[User],
        after: &mut CommitSeq,
    ) -> Outcome {
        let _alone = self.provisioning.write().unwrap_or_else(PoisonError::into_inner);
        let refused = self.check_all(users, after)?;
        if !refused.is_empty() {
            return Ok(Next::Answer(Answer::RowsRefused(refused)));
        }
        let (known, new): (Vec<_>, Vec<_>) =
            users.iter().partition(|user| self.users.contains_key(&user.mc_service_id));
        if !self.users_bound.take_many(new.len()) {
            ctx.out.note(Note::TableFull("users"));
            return Err(Refusal::Full("users"));
        }
        for user in known {
            if let Some(mut held) = self.users.get_mut(&user.mc_service_id) {
                let version = ctx.out.commit([put_of(user)]);
                *held = HeldUser { user: user.clone(), version, ending: false };
                rely_on(after, version);
            }
        }
        if !new.is_empty() {
            // Nobody sees them before they are in the table, so no later commit can come before this one.
            let version = ctx.out.commit(new.iter().map(|user| put_of(user)));
            for user in new {
                let held = HeldUser { user: user.clone(), version, ending: false };
                self.users.insert(user.mc_service_id.clone(), held);
            }
            rely_on(after, version);
        }
        Ok(Next::Answer(Answer::Done))
    }

    /// Says which of many [`Self::put_users`] would refuse.
    pub(super) fn check_users(&self, users: &[User], after: &mut CommitSeq) -> Outcome {
        let refused = self.check_all(users, after)?;
        let answer = if refused.is_empty() { Answer::Done } else { Answer::RowsRefused(refused) };
        Ok(Next::Answer(answer))
    }

    fn check_all(&self, users: &[User], after: &mut CommitSeq) -> Result<Vec<RowRefused>, Refusal> {
        if users.len() > ROWS_MAX {
            return Err(TOO_MANY);
        }
        let (mut seen, mut refused, mut new) = (BTreeMap::new(), Vec::new(), 0);
        for (row, user) in users.iter().enumerate() {
            let outcome = if seen.insert(&user.mc_service_id, row).is_some() {
                Err((TWICE, false))
            } else {
                check_class(user.class.as_deref()).map_err(|refusal| (refusal, false))
            };
            let outcome = outcome.and_then(|()| {
                let Some(held) = self.users.get(&user.mc_service_id) else {
                    new += 1;
                    return Ok(());
                };
                rely_on(after, held.version);
                let alone = held.ending || held.is_narrowed_by(user);
                if alone { Err((NARROWED, true)) } else { Ok(()) }
            });
            if let Err((refusal, alone)) = outcome {
                refused.push(RowRefused { row, refusal, alone });
            }
        }
        if refused.is_empty() && !self.users_bound.has_room(new) {
            return Err(Refusal::Full("users"));
        }
        Ok(refused)
    }

    /// Lets one user be changed, while others are.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unavailable`] while many are changed by one request: no worker waits for that.
    pub(super) fn provision(&self) -> Result<RwLockReadGuard<'_, ()>, Refusal> {
        match self.provisioning.try_read() {
            Ok(guard) => Ok(guard),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Refusal::Unavailable),
        }
    }
}
