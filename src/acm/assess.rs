//! Policy: whether the server decides a request of a partner itself, or a person has to (TS 23.280 10.17.3). It
//! decides so once, when the request is stored.

use super::{
    AcmServer, Mode,
    configuration::Purpose,
    decision::Outcome,
    ordered::Ordered,
    record::{Handler, IncomingState},
};
use crate::{
    api::{
        acm_interconnection::{ELEMENTS_MAX, ResultCode, TransactionKey},
        acm_payload::{Kind, Payload},
        migration_identity::Direction,
    },
    identity::{McServiceGroupId, McServiceId},
    outbox::Context,
};

impl AcmServer {
    /// Lets policy answer, or finds out what a request would change.
    pub(super) fn assess(&self, ctx: &mut Context<'_>, turn: &mut Ordered, key: &TransactionKey) {
        let Some(payload) = self.payloads.get(key).map(|payload| payload.clone()) else { return };
        let kind = payload.kind();
        // That a group is no more is a fact; nobody has to agree.
        let mode =
            if kind == Kind::GroupsWithdrawn { Mode::Accept } else { self.mode_for(key, kind) };
        match mode {
            Mode::Accept => self.accept(ctx, turn, key, Handler::default()),
            Mode::Reject => {
                let outcome = Outcome::new(ResultCode::RejectedByPolicy, "policy of the partner");
                self.respond(ctx, turn, key, Handler::default(), outcome, Vec::new());
            }
            Mode::Manual | Mode::ByRule { .. } if payload.configuration().is_some() => {
                self.ask_configuration(ctx, turn, key, Purpose::Live);
            }
            Mode::Manual | Mode::ByRule { .. } => {
                let differing = self.differing_names(turn, key, &payload);
                self.assessed(ctx, turn, key, Some(differing));
            }
        }
    }

    /// Goes on when it is known what a request would change: `None` if that cannot be found out.
    pub(super) fn assessed(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        key: &TransactionKey,
        differing: Option<Vec<String>>,
    ) {
        let Some(mut held) = self.incoming.get(key).map(|held| held.clone()) else { return };
        if held.record.state != IncomingState::Stored {
            return;
        }
        self.close_link(&mut held.link);
        let kind = held.record.subject.kind;
        let is_different = differing.as_ref().map(|names| !names.is_empty());
        held.record.differing = differing.into_iter().flatten().collect();
        let names = held.record.differing.clone();
        self.incoming.insert(key.clone(), held);
        match (self.mode_for(key, kind), is_different) {
            (Mode::ByRule { .. }, Some(false)) => {
                self.accept(ctx, turn, key, Handler::default());
            }
            (Mode::ByRule { rejects_difference: true }, Some(true)) => {
                let text = "differs from what is in force";
                let outcome = Outcome::of(ResultCode::RejectedByPolicy, text, names);
                self.respond(ctx, turn, key, Handler::default(), outcome, Vec::new());
            }
            _ => self.wait_for_person(ctx, turn, key),
        }
    }

    /// Hands a request to whoever may decide it: first the partner is told (`XCFG-5`), then they are (`XCFG-7`, `GRP-7a`).
    fn wait_for_person(&self, ctx: &mut Context<'_>, turn: &mut Ordered, key: &TransactionKey) {
        let Some(mut held) = self.incoming.get(key).map(|held| held.clone()) else { return };
        held.record.state = IncomingState::Waiting;
        held.is_to_be_told = true;
        self.commit(ctx, [held.record.put()]);
        self.incoming.insert(key.clone(), held);
        self.place_incoming(turn, key);
        self.send_incoming(ctx, turn, key);
        self.schedule(turn, key);
    }

    /// Tells those who may decide a request, if that is still to be done: the partner knows by now, or cannot be told.
    pub(super) fn tell_deciders(
        &self,
        ctx: &mut Context<'_>,
        turn: &Ordered,
        key: &TransactionKey,
    ) {
        let queue = self.incoming.get_mut(key).and_then(|mut held| {
            let is_to_be_told = std::mem::take(&mut held.is_to_be_told);
            held.queue.clone().filter(|_| is_to_be_told)
        });
        if let Some(queue) = queue {
            self.notify_of(ctx, turn, &queue, &key.origin);
        }
    }

    /// The groups or users that a request would change something for, the first ones.
    pub(super) fn differing_names(
        &self,
        turn: &Ordered,
        key: &TransactionKey,
        payload: &Payload,
    ) -> Vec<String> {
        let is_known = |user: &McServiceId| self.is_migrant(Direction::Inbound, &key.origin, user);
        let users = |differs: &dyn Fn(bool) -> bool| {
            let users = payload.users().iter().filter(|user| differs(is_known(user)));
            users.take(ELEMENTS_MAX).map(|user| user.as_str().to_owned()).collect()
        };
        match payload {
            Payload::AddUsers { .. } => users(&|known| !known),
            Payload::RemoveUsers { .. } => users(&|known| known),
            Payload::Groups(groups) | Payload::GroupsWithdrawn(groups) => {
                let is_new = |group: &&McServiceGroupId| {
                    let known = turn.groups.get(&(key.origin.clone(), (*group).clone()));
                    known.is_none_or(|known| known.withdrawn.is_some())
                };
                let groups = groups.iter().filter(is_new);
                groups.take(ELEMENTS_MAX).map(ToString::to_string).collect()
            }
            // What it would disclose is for a person to say.
            Payload::PleaseSend => vec!["configuration".to_owned()],
            Payload::Configuration(_) | Payload::Update { .. } => Vec::new(),
        }
    }
}
