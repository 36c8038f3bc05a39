//! Clients, users, users of partners and the deny list are provisioned.

use super::{
    IdentityServer,
    record::{DeniedRecord, FamilyId, Stored, UserRecord, VisitorRecord, draw_name},
    state::State,
};
use crate::{
    api::{
        identity_management::{Client, ClientId, IssuerUrl, UserName},
        idms_management::{Answer, DENIED_MAX, Denied, Refusal, Request, User, Visitor},
    },
    outbox::{Context, IdmsNote, Note},
    store::Mutation,
};

impl IdentityServer {
    pub(super) fn manage(
        &self,
        ctx: &mut Context<'_>,
        request: Request,
    ) -> Result<Answer, Refusal> {
        match request {
            Request::PutClient(client) => self.put_client(ctx, client),
            Request::GetClient(id) => {
                let client = self.state().clients.get(&id).cloned();
                client.map(Answer::Client).ok_or(Refusal::NotFound("client"))
            }
            Request::DeleteClient(id) => self.delete_client(ctx, &id),
            Request::PutUser(user) => self.put_user(ctx, user),
            Request::GetUser(name) => {
                let user = self
                    .state()
                    .users
                    .get(&name)
                    .map(|user| Answer::User { user: user.shown(), subject: user.subject.clone() });
                user.ok_or(Refusal::NotFound("user"))
            }
            Request::DeleteUser(name) => self.delete_user(ctx, &name),
            Request::PutVisitor(visitor) => self.put_visitor(ctx, visitor),
            Request::GetVisitor(issuer, subject) => {
                let visitor = self.state().visitors.get(&(issuer, subject)).cloned();
                let visitor = visitor.map(|record| Answer::Visitor(record.visitor));
                visitor.ok_or(Refusal::NotFound("visitor"))
            }
            Request::DeleteVisitor(issuer, subject) => self.delete_visitor(ctx, issuer, subject),
            Request::Deny(denied) => self.deny(ctx, denied),
            Request::Allow(denied) => self.allow(ctx, &denied),
            Request::ListDenied => {
                Ok(Answer::Denied(self.state().denied.iter().cloned().collect()))
            }
            Request::Import { issuer, file } => self.import(ctx, &issuer, &file),
            Request::ListTrust => Ok(self.list_trust()),
            Request::Revoke { fingerprint, reason } => self.revoke(ctx, fingerprint, &reason),
            Request::Export => Ok(self.export_keys(ctx.now)),
            Request::RotateKey { from } => self.rotate_key(ctx, from),
        }
    }

    fn put_client(&self, ctx: &mut Context<'_>, client: Client) -> Result<Answer, Refusal> {
        let state = &mut self.state();
        let is_new = !state.clients.contains_key(&client.id);
        check_room(ctx, is_new, state.clients.len(), self.config.clients_max, "clients")?;
        self.commit(ctx, [client.put()])?;
        state.clients.insert(client.id.clone(), client);
        Ok(Answer::Done)
    }

    fn delete_client(&self, ctx: &mut Context<'_>, id: &ClientId) -> Result<Answer, Refusal> {
        let state = &mut self.state();
        let client = state.clients.get(id).ok_or(Refusal::NotFound("client"))?;
        let families = state.families.values().filter(|family| family.client == *id);
        let families: Vec<FamilyId> = families.map(|family| family.id).collect();
        let deletion = client.delete();
        self.commit(ctx, [deletion].into_iter().chain(deletions(state, &families)))?;
        for family in families {
            state.remove_family(family);
        }
        state.clients.remove(id);
        Ok(Answer::Done)
    }

    fn put_user(&self, ctx: &mut Context<'_>, user: User) -> Result<Answer, Refusal> {
        let User { name, password, services, partners, is_enabled } = user;
        let state = &mut self.state();
        let before = state.users.get(&name);
        check_room(ctx, before.is_none(), state.users.len(), self.config.users_max, "users")?;
        let (kept, subject) = match before {
            Some(before) => (Some(before.password.clone()), before.subject.clone()),
            None => (None, draw_name(ctx.entropy)),
        };
        let password = password.or(kept).ok_or(Refusal::NoPassword)?;
        let record = UserRecord { name, password, subject, services, partners, is_enabled };
        self.commit(ctx, [record.put()])?;
        state.insert_user(record);
        Ok(Answer::Done)
    }

    fn delete_user(&self, ctx: &mut Context<'_>, name: &UserName) -> Result<Answer, Refusal> {
        let state = &mut self.state();
        let user = state.users.get(name).ok_or(Refusal::NotFound("user"))?;
        let (deletion, subject) = (user.delete(), user.subject.clone());
        let families = state.families_of.get(&subject);
        let families: Vec<FamilyId> = families.into_iter().flatten().map(|(_, id)| *id).collect();
        self.commit(ctx, [deletion].into_iter().chain(deletions(state, &families)))?;
        for family in families {
            state.remove_family(family);
        }
        state.users.remove(name);
        state.subjects.remove(&subject);
        Ok(Answer::Done)
    }

    fn put_visitor(&self, ctx: &mut Context<'_>, visitor: Visitor) -> Result<Answer, Refusal> {
        if visitor.issuer == self.config.issuer {
            return Err(Refusal::Own);
        }
        let state = &mut self.state();
        let key = (visitor.issuer.clone(), visitor.subject.clone());
        let before = state.visitors.get(&key);
        let max = self.config.visitors_max;
        check_room(ctx, before.is_none(), state.visitors.len(), max, "visitors")?;
        let local_subject = match before {
            Some(before) => before.local_subject.clone(),
            None => draw_name(ctx.entropy),
        };
        let (issuer, may_come) = (visitor.issuer.clone(), visitor.may_migrate);
        let changes = before.is_none_or(|before| before.visitor.may_migrate != may_come);
        let record = VisitorRecord { visitor, local_subject };
        self.commit(ctx, [record.put()])?;
        state.visitors.insert(key, record);
        if changes {
            ctx.out.note(Note::Idms(IdmsNote::VisitsChanged { issuer, may_come }));
        }
        Ok(Answer::Done)
    }

    fn delete_visitor(
        &self,
        ctx: &mut Context<'_>,
        issuer: IssuerUrl,
        subject: String,
    ) -> Result<Answer, Refusal> {
        let state = &mut self.state();
        let key = (issuer, subject);
        let deletion = state.visitors.get(&key).map(Stored::delete);
        self.commit(ctx, [deletion.ok_or(Refusal::NotFound("visitor"))?])?;
        state.visitors.remove(&key);
        let (issuer, _) = key;
        ctx.out.note(Note::Idms(IdmsNote::VisitsChanged { issuer, may_come: false }));
        Ok(Answer::Done)
    }

    fn deny(&self, ctx: &mut Context<'_>, denied: Denied) -> Result<Answer, Refusal> {
        let state = &mut self.state();
        if !state.denied.contains(&denied) {
            check_room(ctx, true, state.denied.len(), DENIED_MAX, "denied users and tokens")?;
            self.commit(ctx, [DeniedRecord(denied.clone()).put()])?;
            let issuer = denied.issuer().clone();
            state.denied.insert(denied);
            ctx.out.note(Note::Idms(IdmsNote::VisitsChanged { issuer, may_come: false }));
        }
        Ok(Answer::Done)
    }

    fn allow(&self, ctx: &mut Context<'_>, denied: &Denied) -> Result<Answer, Refusal> {
        let state = &mut self.state();
        if !state.denied.contains(denied) {
            return Err(Refusal::NotFound("entry of the deny list"));
        }
        self.commit(ctx, [DeniedRecord(denied.clone()).delete()])?;
        state.denied.remove(denied);
        let issuer = denied.issuer().clone();
        ctx.out.note(Note::Idms(IdmsNote::VisitsChanged { issuer, may_come: true }));
        Ok(Answer::Done)
    }
}

fn check_room(
    ctx: &mut Context<'_>,
    is_new: bool,
    count: usize,
    max: usize,
    table: &'static str,
) -> Result<(), Refusal> {
    if is_new && count >= max {
        ctx.out.note(Note::TableFull(table));
        return Err(Refusal::Full(table));
    }
    Ok(())
}

fn deletions(state: &State, families: &[FamilyId]) -> Vec<Mutation> {
    families.iter().filter_map(|id| state.families.get(id)).map(Stored::delete).collect()
}
