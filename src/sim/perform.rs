//! Performing what roles want done, in virtual time, as `node` does it in real time.

use std::time::Duration;

use crate::{
    diameter::cx,
    outbox::{Context, CxDestination, CxReply, Effect, Message, ReplyTo, Role, Send, TimerKey},
    store::{Commit, ReplayError},
};

use super::{
    Event, SystemId, Violation, Who, World,
    describe::describe,
    http::{Asker, Inquiry, Reply},
    system::{Parked, Roles},
};

/// How long a storage that failed takes until it can be opened again.
const REOPEN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// How long a storage that stalls takes for one group of commits.
const STALL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));

impl World {
    /// Calls a role of `id` and performs what it wants done.
    pub(super) fn call(&mut self, id: SystemId, call: impl FnOnce(&Roles, &mut Context<'_>)) {
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
        let group = self.system_mut(id).engine.begin(commits);
        self.begin_group(id, group);
        self.commits += 1;
        if self.crash_at_commit == Some(self.commits) {
            let now = self.queue.now();
            self.queue.put(now, Event::Crash { system: id });
        }
    }

    /// Lets the storage work on a group of commits, if there is one.
    fn begin_group(&mut self, id: SystemId, group: Option<u64>) {
        let Some(group) = group else { return };
        let least = Duration::from_micros(50).min(self.options.commit_max);
        let mut span = self.entropy.span(least, self.options.commit_max);
        if self.entropy.happens(self.options.stalls) {
            self.record(Who::System(id), || "the storage stalls".to_owned());
            span += self.entropy.span(STALL.0, STALL.1);
        }
        let fails = self.entropy.happens(self.options.commit_failures);
        let incarnation = self.system(id).incarnation;
        self.queue.put_after(span, Event::Committed { system: id, incarnation, group, fails });
    }

    pub(super) fn committed(&mut self, id: SystemId, incarnation: u64, group: u64, fails: bool) {
        let now = self.queue.now();
        let system = self.system_mut(id);
        if system.incarnation != incarnation || system.engine.is_closed() {
            return;
        }
        let refuses = now < system.refuses_until;
        if (fails || refuses) && system.engine.is_under_way(group) {
            let lost = system.fail_storage(now);
            let what = if refuses { "is refused" } else { "fails" };
            self.record(Who::System(id), || format!("a commit {what}; the storage is closed"));
            self.forget_assignments(id);
            self.lose_all(id, lost);
            return self.reopen_later(id);
        }
        match system.engine.finish(now, group) {
            Ok((durable, next)) => {
                self.begin_group(id, next);
                for send in self.system_mut(id).mark_durable(&durable) {
                    self.depart(id, send);
                }
            }
            Err(error) => self.violate(Violation::new("the storage works", &error)),
        }
    }

    fn reopen_later(&mut self, id: SystemId) {
        let incarnation = self.system(id).incarnation;
        let span = self.entropy.span(REOPEN.0, REOPEN.1);
        self.queue.put_after(span, Event::Reopen { system: id, incarnation });
    }

    /// How many records of a storage can be read before its medium fails, if it does.
    pub(super) fn draw_readable(&mut self, id: SystemId) -> Option<u64> {
        let fails = self.entropy.happens(self.options.reload_failures);
        let records = self.system(id).engine.len();
        let refuses = self.queue.now() < self.system(id).refuses_until;
        (fails || refuses).then(|| self.entropy.below(records))
    }

    pub(super) fn reopen(&mut self, id: SystemId, incarnation: u64) {
        if self.system(id).incarnation != incarnation {
            return;
        }
        let now = self.queue.now();
        let readable = self.draw_readable(id);
        let system = self.system_mut(id);
        let (lost, reloaded) = system.reload(now, readable);
        let forgotten = system.abandon_http();
        for question in forgotten {
            self.refuse_forgotten(question);
        }
        self.lose_all(id, lost);
        self.checks.facts.forget_roles(now, id);
        self.forget_assignments(id);
        if let Err(ReplayError::Engine(_)) = reloaded {
            self.record(Who::System(id), || "the storage does not open".to_owned());
            return self.reopen_later(id);
        }
        self.record(Who::System(id), || "the storage is open again, the roles reloaded".to_owned());
        self.loaded(id, reloaded);
    }

    fn lose_all(&mut self, id: SystemId, lost: Vec<Send>) {
        for send in lost {
            self.lose(id, &send);
        }
    }

    pub(super) fn loaded(&mut self, id: SystemId, effects: Result<Vec<Effect>, ReplayError>) {
        match effects {
            Ok(effects) => {
                if let Err(violation) = self.check_ledger(id) {
                    return self.violate(violation);
                }
                self.perform(id, effects);
            }
            Err(error) => self.violate(Violation::new("what was stored can be loaded", &error)),
        }
    }

    pub(super) fn timer(&mut self, id: SystemId, incarnation: u64, timer: &TimerKey) {
        if self.system(id).incarnation != incarnation {
            return;
        }
        let now = self.queue.now();
        let effects = self.system_mut(id).call(now, |roles, ctx| match timer.role {
            Role::SipCore => roles.core.handle_timer(ctx, timer),
            Role::SipDatabase => roles.database.handle_timer(ctx, timer),
            Role::ConfigServer => roles.config_server.handle_timer(ctx, timer),
            Role::Acm => {
                if let Some(acm) = &roles.acm {
                    acm.server.handle_timer(ctx, timer);
                }
            }
            Role::Idms | Role::McServer | Role::Ue => {}
        });
        if let Err(violation) = self.check_expiry(id, &effects) {
            return self.violate(violation);
        }
        self.perform(id, effects);
    }

    /// A message leaves a role: all that it relies on is durable, or the product is wrong.
    fn depart(&mut self, id: SystemId, send: Send) {
        let Send { step, message, .. } = send;
        if let Some(step) = step {
            self.steps.push((step, Who::System(id)));
        }
        self.record(Who::System(id), || match step {
            Some(step) => format!("{step} {}", describe(&message)),
            None => describe(&message),
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
            Message::ManagementRequest { id: request_id, request } => {
                let (system, now) = (id, self.queue.now());
                let event = Event::LocalManagement { system, incarnation, id: request_id, request };
                self.queue.put(now, event);
            }
            Message::Management { to: ReplyTo::Role(request), answer } => {
                self.answer_role(id, request, answer);
            }
            Message::Management { to: ReplyTo::World(handle), answer } => {
                self.answer_http(id, handle, Reply::Database(answer));
            }
            Message::Configuration { to: ReplyTo::World(handle), answer } => {
                self.answer_http(id, handle, Reply::ConfigServer(answer));
            }
            Message::ConnectionDetails { to: ReplyTo::World(handle), answer } => {
                self.answer_http(id, handle, Reply::Details(answer));
            }
            Message::SystemAccess { to: ReplyTo::World(handle), answer } => {
                self.answer_http(id, handle, Reply::Access(answer));
            }
            Message::Configuration { to: ReplyTo::Role(request), answer } => {
                self.answer_acm(id, request, answer);
            }
            Message::ConfigurationRequest { id: request_id, request } => {
                let (system, now) = (id, self.queue.now());
                let event =
                    Event::LocalConfiguration { system, incarnation, id: request_id, request };
                self.queue.put(now, event);
            }
            Message::Acm(message) => self.depart_acm(id, message),
            Message::SystemAccessRequest { to, id: request_id, request } => {
                let asker = Asker::ConfigServer { system: id, incarnation, id: request_id };
                if to != id.other().mc_system_id() {
                    return self.violate(Violation::new("access is asked of a partner", &to));
                }
                self.ask(id.other(), Inquiry::Access(request, id.token()), asker);
            }
            Message::Registration { .. }
            | Message::Idms(_)
            | Message::SipRequest { .. }
            | Message::ConnectionDetails { .. }
            | Message::SystemAccess { .. }
            | Message::ConnectionDetailsRequest(_) => {
                self.violate(Violation::new("an answer is of its question's kind", &"role"));
            }
        }
    }

    fn answer_cx(&mut self, id: SystemId, to: &ReplyTo, answer: cx::Answer) {
        match to {
            ReplyTo::Role(request) => {
                if self.system_mut(id).asked.remove(request).is_none() {
                    let detail = format_args!("{request:?} of {}", id.label());
                    return self.violate(Violation::new("a request is answered once", &detail));
                }
                self.reply_later(id, CxReply { id: *request, outcome: Ok(answer) });
            }
            ReplyTo::World(handle) => match self.system_mut(id).parked.remove(handle) {
                Some(Parked::Diameter { received, .. }) => {
                    self.send_cx_answer(id, received, &answer);
                }
                Some(Parked::Http { .. }) => {
                    self.violate(Violation::new("an answer is of its question's kind", &"Cx"));
                }
                None => self.check_unparked(id, *handle),
            },
        }
    }
}
