//! Performing what roles want done, in virtual time, as `node` does it in real time.

use crate::{
    api::migration_identity as management,
    diameter::cx,
    outbox::{
        Context, CxDestination, CxReply, Effect, Message, Peer, ReplyTo, RequestId, Role, Send,
        TimerKey,
    },
    sip_core::SipCore,
    sip_database::SipDatabase,
    store::Commit,
};

use std::time::Duration;

use super::{Event, SystemId, Violation, Who, World, check, system::Parked};

/// A question to a management interface.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) request: management::Request,
    /// Whose script waits for the answer, and under which token.
    pub(super) script: Option<(usize, u64)>,
}

/// How long a storage that failed takes until it can be opened again.
const REOPEN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

impl World {
    /// Calls a role of `id` and performs what it wants done.
    pub(super) fn call(
        &mut self,
        id: SystemId,
        call: impl FnOnce(&SipCore, &SipDatabase, &mut Context<'_>),
    ) {
        let now = self.queue.now();
        let effects = self.system_mut(id).call(now, call);
        self.perform(id, effects);
    }

    pub(super) fn perform(&mut self, id: SystemId, effects: Vec<Effect>) {
        let mut commits = Vec::new();
        for effect in effects {
            match effect {
                Effect::Commit(commit) => commits.push(commit),
                Effect::Send(send) => {
                    if let Some(send) = self.system_mut(id).hold(send) {
                        self.depart(id, send);
                    }
                }
                Effect::Arm { at, timer } => {
                    let incarnation = self.system(id).incarnation;
                    self.queue.put(at, Event::Timer { system: id, incarnation, timer });
                }
                Effect::Step { step, summary, .. } => {
                    self.steps.push((step, Who::System(id)));
                    self.record(Who::System(id), || format!("{step} {summary}"));
                }
                Effect::Note(note) => {
                    self.record(Who::System(id), || format!("note {note:?}"));
                    self.notes.push((id, note));
                }
            }
        }
        self.commit(id, commits);
    }

    /// Hands the commits of one outbox to the storage, which takes its time with them.
    fn commit(&mut self, id: SystemId, commits: Vec<Commit>) {
        // What a closed storage is given is lost: the roles were told that it takes nothing.
        if commits.is_empty() || self.system(id).engine.is_closed() {
            return;
        }
        let least = Duration::from_micros(50).min(self.options.commit_max);
        let span = self.entropy.span(least, self.options.commit_max);
        let fails = self.entropy.happens(self.options.commit_failures);
        let system = self.system_mut(id);
        let (incarnation, group) = (system.incarnation, system.engine.begin(commits));
        self.queue.put_after(span, Event::Committed { system: id, incarnation, group, fails });
        self.commits += 1;
        if self.crash_at_commit == Some(self.commits) {
            let now = self.queue.now();
            self.queue.put(now, Event::Crash { system: id });
        }
    }

    pub(super) fn committed(&mut self, id: SystemId, incarnation: u64, group: u64, fails: bool) {
        let system = self.system_mut(id);
        if system.incarnation != incarnation || system.engine.is_closed() {
            return;
        }
        if fails && system.engine.is_under_way(group) {
            system.fail_storage();
            self.record(Who::System(id), || "a commit fails; the storage is closed".to_owned());
            let span = self.entropy.span(REOPEN.0, REOPEN.1);
            return self.queue.put_after(span, Event::Reopen { system: id, incarnation });
        }
        match system.engine.finish(group) {
            Ok(durable) => {
                for send in self.system_mut(id).mark_durable(&durable) {
                    self.depart(id, send);
                }
            }
            Err(error) => self.violate(Violation::new("the storage works", &error)),
        }
    }

    pub(super) fn reopen(&mut self, id: SystemId, incarnation: u64) {
        let now = self.queue.now();
        let system = self.system_mut(id);
        if system.incarnation != incarnation {
            return;
        }
        let reloaded = system.reload(now);
        self.record(Who::System(id), || "the storage is open again, the roles reloaded".to_owned());
        self.loaded(id, reloaded);
    }

    pub(super) fn loaded(
        &mut self,
        id: SystemId,
        effects: Result<Vec<Effect>, super::system::LoadError>,
    ) {
        match effects {
            Ok(effects) => self.perform(id, effects),
            Err(error) => self.violate(Violation::new("what was stored can be loaded", &error)),
        }
    }

    pub(super) fn timer(&mut self, id: SystemId, incarnation: u64, timer: &TimerKey) {
        if self.system(id).incarnation != incarnation {
            return;
        }
        self.call(id, |core, database, ctx| match timer.role {
            Role::SipCore => core.handle_timer(ctx, timer),
            Role::SipDatabase => database.handle_timer(ctx, timer),
            Role::ConfigServer | Role::Ue => {}
        });
    }

    /// A message leaves a role: all that it relies on is durable, or the product is wrong.
    fn depart(&mut self, id: SystemId, send: Send) {
        let Send { step, message, .. } = send;
        if let Some(step) = step {
            self.steps.push((step, Who::System(id)));
        }
        self.record(Who::System(id), || match step {
            Some(step) => format!("{step} {}", check::describe(&message)),
            None => check::describe(&message),
        });
        if let Err(violation) = self.check_departure(id, &message) {
            return self.violate(violation);
        }
        let incarnation = self.system(id).incarnation;
        match message {
            Message::Sip { flow, octets } => self.send_from_core(flow, &octets),
            Message::CxRequest { to: CxDestination::OwnDatabase, id: request_id, request } => {
                let (system, now) = (id, self.queue.now());
                let event = Event::LocalRequest { system, incarnation, id: request_id, request };
                self.queue.put(now, event);
            }
            Message::CxRequest { to: CxDestination::Database(to), id: request_id, request } => {
                self.send_cx_request(id, &to, request_id, request);
            }
            Message::CxAnswer { to, answer } => self.answer_cx(id, &to, answer),
            Message::Management { to, answer } => self.answer_management(id, &to, answer),
            Message::ManagementRequest { .. }
            | Message::ConnectionDetailsRequest(_)
            | Message::ConnectionDetails { .. }
            | Message::SystemAccessRequest { .. }
            | Message::SystemAccess { .. }
            | Message::Configuration { .. } => {}
        }
    }

    fn answer_cx(&mut self, id: SystemId, to: &ReplyTo, answer: cx::Answer) {
        match to {
            ReplyTo::Role(request) => {
                if !self.system_mut(id).asked.remove(request) {
                    let detail = format_args!("{request:?} of {}", id.label());
                    return self.violate(Violation::new("a request is answered once", &detail));
                }
                self.reply_later(id, CxReply { id: *request, outcome: Ok(answer) });
            }
            ReplyTo::World(handle) => match self.system_mut(id).parked.remove(handle) {
                Some(Parked::Diameter(received)) => self.send_cx_answer(id, received, &answer),
                Some(Parked::Management(_)) => {
                    self.violate(Violation::new("an answer is of its question's kind", &"Cx"));
                }
                None => self.check_unparked(id, *handle),
            },
        }
    }

    fn answer_management(&mut self, id: SystemId, to: &ReplyTo, answer: management::Answer) {
        let ReplyTo::World(handle) = to else {
            return self.violate(Violation::new("an answer is of its question's kind", &"role"));
        };
        match self.system_mut(id).parked.remove(handle) {
            Some(Parked::Management(question)) => {
                if self.entropy.happens(self.options.loss) {
                    return self.record(Who::World, || "a management answer is lost".to_owned());
                }
                let delay = self.draw_delay();
                self.queue.put_after(delay, Event::Answered { question, answer });
            }
            Some(Parked::Diameter(_)) => {
                self.violate(Violation::new("an answer is of its question's kind", &"management"));
            }
            None => self.check_unparked(id, *handle),
        }
    }

    /// An answer to nobody is a second answer, unless the asker's connection is gone.
    fn check_unparked(&mut self, id: SystemId, handle: u64) {
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
        self.system_mut(id).asked.insert(request_id);
        self.call(id, |_, database, ctx| {
            database.handle_request(ctx, &Peer::OwnCore, ReplyTo::Role(request_id), request);
        });
    }

    pub(super) fn reply(&mut self, id: SystemId, incarnation: u64, reply: CxReply) {
        if self.system(id).incarnation != incarnation {
            return;
        }
        self.call(id, |core, database, ctx| match reply.id.role {
            Role::SipCore => core.handle_answer(ctx, reply),
            Role::SipDatabase => database.handle_answer(ctx, reply),
            Role::ConfigServer | Role::Ue => {}
        });
    }

    /// Sends a question to a management interface and returns its number.
    pub(super) fn ask(
        &mut self,
        system: SystemId,
        request: management::Request,
        script: Option<(usize, u64)>,
    ) -> u64 {
        self.next_question += 1;
        let question = self.next_question;
        self.checks.asked(&request, self.queue.now());
        self.questions.insert(question, Question { request: request.clone(), script });
        if !self.entropy.happens(self.options.loss) {
            let delay = self.draw_delay();
            self.queue.put_after(delay, Event::Asked { question, system, request });
        }
        question
    }

    pub(super) fn asked(&mut self, question: u64, id: SystemId, request: management::Request) {
        if !self.system(id).up {
            return;
        }
        let handle = self.system_mut(id).park(Parked::Management(question));
        self.call(id, |_, database, ctx| {
            database.handle_management(ctx, ReplyTo::World(handle), request);
        });
    }

    pub(super) fn answered(&mut self, question: u64, answer: management::Answer) {
        let Some(Question { script, .. }) = self.questions.remove(&question) else { return };
        match script {
            Some((ue, token)) => self.script_answered(ue, token, answer),
            None => {
                self.answers.insert(question, answer);
            }
        }
    }
}
