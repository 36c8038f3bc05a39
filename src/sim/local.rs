//! What roles of one system say to each other: values, as in one process, and each in a moment, so that no role is
//! called within a call.

use crate::{
    api::{configuration, functional_alias, migration_identity as management},
    diameter::cx,
    identity::{McServiceId, McSystemId},
    outbox::{
        AcmMessage, AcmReply, ConfigurationReply, Context, CxReply, ManagementReply, Peer, ReplyTo,
        RequestId, Role, UserConfigurationReply,
    },
};

use super::{
    Event, SystemId, Violation, World,
    facts::Cause,
    http::{Asker, Inquiry, Reply},
    system::Acm,
};

impl World {
    /// The SIP database answers a management request of a role.
    pub(super) fn answer_role(
        &mut self,
        id: SystemId,
        request: RequestId,
        answer: management::Answer,
    ) {
        if self.system_mut(id).managed.remove(&request).is_none() {
            let detail = format_args!("{request:?} of {}", id.label());
            return self.violate(Violation::new("a request is answered once", &detail));
        }
        self.reply_management(id, ManagementReply { id: request, answer });
    }

    /// Tells a role that its management request is lost.
    pub(super) fn refuse_management(&mut self, id: SystemId, request: RequestId) {
        let answer = management::Answer::Refused(management::Refusal::Unavailable);
        self.reply_management(id, ManagementReply { id: request, answer });
    }

    fn reply_management(&mut self, id: SystemId, reply: ManagementReply) {
        let (now, incarnation) = (self.queue.now(), self.system(id).incarnation);
        self.queue.put(now, Event::ManagementReply { system: id, incarnation, reply });
    }

    /// An answer to nobody is a second answer, unless the asker's connection is gone.
    pub(super) fn check_unparked(&mut self, id: SystemId, handle: u64) {
        if !self.system_mut(id).abandoned.remove(&handle) {
            let detail = format_args!("handle {handle} of {}", id.label());
            self.violate(Violation::new("a request is answered once", &detail));
        }
    }

    /// Lets an answer reach a role in a moment, so that no role is called within a call.
    pub(super) fn reply_later(&mut self, id: SystemId, reply: CxReply) {
        let (now, incarnation) = (self.queue.now(), self.system(id).incarnation);
        self.queue.put(now, Event::Reply { system: id, incarnation, reply });
    }

    pub(super) fn local_request(
        &mut self,
        id: SystemId,
        incarnation: u64,
        request_id: RequestId,
        request: cx::Request,
    ) {
        if self.system(id).incarnation != incarnation {
            return;
        }
        let now = self.queue.now();
        self.system_mut(id).asked.insert(request_id, (now, request.clone()));
        self.call(id, |roles, ctx| {
            let to = ReplyTo::Role(request_id);
            roles.database.handle_request(ctx, &Peer::OwnCore, to, request);
        });
    }

    pub(super) fn reply(&mut self, id: SystemId, incarnation: u64, reply: CxReply) {
        if self.system(id).incarnation != incarnation {
            return;
        }
        self.call(id, |roles, ctx| match reply.id.role {
            Role::SipCore => roles.core.handle_answer(ctx, reply),
            Role::SipDatabase => roles.database.handle_answer(ctx, reply),
            Role::Acm | Role::ConfigServer | Role::Idms | Role::McServer | Role::Ue => {}
        });
    }

    pub(super) fn local_management(
        &mut self,
        id: SystemId,
        incarnation: u64,
        request_id: RequestId,
        request: management::Request,
    ) {
        if self.system(id).incarnation != incarnation {
            return;
        }
        self.system_mut(id).managed.insert(request_id, request.clone());
        self.call(id, |roles, ctx| {
            roles.database.handle_management(ctx, ReplyTo::Role(request_id), request);
        });
    }

    pub(super) fn management_reply(
        &mut self,
        id: SystemId,
        incarnation: u64,
        reply: ManagementReply,
    ) {
        if self.system(id).incarnation == incarnation {
            self.call(id, |roles, ctx| roles.config_server.handle_management_reply(ctx, reply));
        }
    }

    /// A request of the ACM server reaches the configuration server.
    pub(super) fn local_configuration(
        &mut self,
        id: SystemId,
        incarnation: u64,
        request_id: RequestId,
        request: configuration::Request,
    ) {
        if self.system(id).incarnation != incarnation {
            return;
        }
        self.system_mut(id).configured.insert(request_id, request.clone());
        self.enter_configuration(id, Cause::Role(id, request_id), &request);
        self.call(id, |roles, ctx| {
            roles.config_server.handle_configuration(ctx, ReplyTo::Role(request_id), request);
        });
    }

    /// The configuration server answers the ACM server.
    pub(super) fn answer_acm(
        &mut self,
        id: SystemId,
        request: RequestId,
        answer: configuration::Answer,
    ) {
        if self.system_mut(id).configured.remove(&request).is_none() {
            let detail = format_args!("{request:?} of {}", id.label());
            return self.violate(Violation::new("a request is answered once", &detail));
        }
        let (now, incarnation) = (self.queue.now(), self.system(id).incarnation);
        let reply = ConfigurationReply { id: request, answer };
        self.queue.put(now, Event::ConfigurationReply { system: id, incarnation, reply });
    }

    pub(super) fn configuration_reply(
        &mut self,
        id: SystemId,
        incarnation: u64,
        reply: ConfigurationReply,
    ) {
        self.call_acm(id, incarnation, |acm, ctx| {
            acm.server.handle_configuration_reply(ctx, reply);
        });
    }

    /// A request of the configuration server reaches the ACM server.
    pub(super) fn user_configuration_asked(
        &mut self,
        id: SystemId,
        incarnation: u64,
        request_id: RequestId,
        (partner, user): (&McSystemId, &McServiceId),
    ) {
        self.call_acm(id, incarnation, |acm, ctx| {
            acm.server.handle_user_configuration(ctx, request_id, partner, user);
        });
    }

    /// The ACM server's answer reaches the configuration server.
    pub(super) fn user_configuration_told(
        &mut self,
        id: SystemId,
        incarnation: u64,
        reply: UserConfigurationReply,
    ) {
        if self.system(id).incarnation == incarnation {
            self.call(id, |roles, ctx| roles.config_server.handle_user_configuration(ctx, reply));
        }
    }

    pub(super) fn aliases_subscribed(&mut self, id: SystemId, incarnation: u64) {
        self.call_acm(id, incarnation, |acm, ctx| acm.aliases.handle_subscription(ctx));
    }

    pub(super) fn alias_changed(
        &mut self,
        id: SystemId,
        incarnation: u64,
        event: functional_alias::Event,
    ) {
        self.call_acm(id, incarnation, |acm, ctx| acm.server.handle_alias_event(ctx, event));
    }

    pub(super) fn acm_reply(&mut self, id: SystemId, incarnation: u64, reply: AcmReply) {
        self.call_acm(id, incarnation, |acm, ctx| acm.server.handle_acm_reply(ctx, reply));
    }

    fn call_acm(
        &mut self,
        id: SystemId,
        incarnation: u64,
        call: impl FnOnce(&Acm, &mut Context<'_>),
    ) {
        if self.system(id).incarnation != incarnation {
            return;
        }
        self.call(id, |roles, ctx| {
            if let Some(acm) = &roles.acm {
                call(acm, ctx);
            }
        });
    }

    /// A message of the ACM server or of the functional alias controlling server leaves.
    pub(super) fn depart_acm(&mut self, id: SystemId, message: AcmMessage) {
        let (now, incarnation) = (self.queue.now(), self.system(id).incarnation);
        match message {
            AcmMessage::Request { to, id: request_id, request } => {
                if to != id.other().mc_system_id() {
                    return self.violate(Violation::new("a partner is asked", &to));
                }
                let asker = Asker::AcmServer { system: id, incarnation, id: request_id };
                self.ask(id.other(), Inquiry::Acm(request, id.token()), asker);
            }
            AcmMessage::Answer { to: ReplyTo::World(handle), answer } => {
                self.answer_http(id, handle, Reply::Acm(answer));
            }
            AcmMessage::Client { to: ReplyTo::World(handle), answer } => {
                self.answer_http(id, handle, Reply::AcmClient(answer));
            }
            AcmMessage::Management { to: ReplyTo::World(handle), answer } => {
                self.answer_http(id, handle, Reply::AcmServer(answer));
            }
            AcmMessage::Aliases { to: ReplyTo::World(handle), answer } => {
                self.answer_http(id, handle, Reply::Aliases(answer));
            }
            AcmMessage::Notification { session, notification, .. } => {
                self.send_notification(id, session, notification);
            }
            AcmMessage::SubscribeAliases => {
                self.queue.put(now, Event::SubscribeAliases { system: id, incarnation });
            }
            AcmMessage::UserConfigurationRequest { id: request_id, partner, user } => {
                let event = Event::UserConfigurationAsked {
                    system: id,
                    incarnation,
                    id: request_id,
                    partner,
                    user,
                };
                self.queue.put(now, event);
            }
            AcmMessage::UserConfiguration(reply) => {
                self.queue
                    .put(now, Event::UserConfigurationReply { system: id, incarnation, reply });
            }
            AcmMessage::AliasEvent(event) => {
                self.queue.put(now, Event::AliasChanged { system: id, incarnation, event });
            }
            AcmMessage::Answer { .. }
            | AcmMessage::Client { .. }
            | AcmMessage::Management { .. }
            | AcmMessage::Aliases { .. } => {
                self.violate(Violation::new("an answer is of its question's kind", &"role"));
            }
        }
    }
}

impl Acm {
    /// Takes a question that came over HTTP.
    pub(super) fn asked(&self, ctx: &mut Context<'_>, to: ReplyTo, inquiry: Inquiry) {
        match inquiry {
            Inquiry::Acm(request, token) => {
                self.server.handle_interconnection(ctx, to, Some(&token), request);
            }
            Inquiry::AcmClient(asked) => {
                let (user, token, request) = *asked;
                self.server.handle_client(ctx, to, Some((&user, &token)), request);
            }
            Inquiry::AcmServer(request) => self.server.handle_management(ctx, to, request),
            Inquiry::Aliases(request) => self.aliases.handle_management(ctx, to, request),
            Inquiry::Database(_)
            | Inquiry::ConfigServer(_)
            | Inquiry::Details(..)
            | Inquiry::Access(..) => {}
        }
    }
}
