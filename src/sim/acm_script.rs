//! What administrators do when nobody tells them: log on and off, begin transactions and take them back, read what is
//! pending and decide it, activate functional aliases, gain and lose rights, and try again after every failure.

use std::time::Duration;

use crate::{
    api::{
        acm_client::{Answer, Begin, Decision, Notification, Page, Request, SessionId},
        acm_interconnection::{ResultCode, TransactionId, TransactionKey},
        acm_management,
        acm_payload::{Kind, Parties, Payload},
        alias_management::{self, Activation},
    },
    identity::McServiceId,
};

use super::{
    Event, SystemId, Violation, World,
    acm_client::{AcmClient, Doing},
    http::{Asker, Inquiry, Reply},
};

/// How long a question may take before something else is done.
const QUESTION: Duration = Duration::from_secs(12);

/// The pause between two actions.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(12));

/// How long a request may wait for its decision.
const EXPIRES: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(400));

impl World {
    /// Lets every administrator go on by himself.
    pub(super) fn start_acm_clients(&mut self) {
        for client in 0..self.acm_clients.len() {
            self.acm_client_pauses(client);
        }
    }

    /// Lets every administrator end what is left: nothing new begins, and rights are complete again.
    pub(super) fn settle_acm_clients(&mut self) {
        for client in &mut self.acm_clients {
            client.settling = true;
        }
        self.start_acm_clients();
    }

    /// Tells an ACM client over its stream of events, if it has one open.
    pub(super) fn send_notification(
        &mut self,
        system: SystemId,
        session: SessionId,
        notification: Notification,
    ) {
        let listens =
            |it: &AcmClient| it.listens && it.system == system && it.session == Some(session);
        let Some(client) = self.acm_clients.iter().position(listens) else { return };
        if self.entropy.happens(self.options.loss) {
            return;
        }
        let delay = self.draw_delay();
        self.queue.put_after(delay, Event::Notified { client, session, notification });
    }

    /// A client is told that something is pending: its user looks, if nothing else is under way.
    pub(super) fn notified(
        &mut self,
        number: usize,
        session: SessionId,
        notification: &Notification,
    ) {
        let Some(client) = self.acm_clients.get(number) else { return };
        let is_idle = matches!(client.doing, Doing::Nothing) && client.session == Some(session);
        if is_idle && notification.count > 0 {
            self.list_pending(number);
        }
    }

    pub(super) fn acm_client_wakes(&mut self, number: usize, turn: u64) {
        let Some(client) = self.acm_clients.get_mut(number) else { return };
        if client.turn != turn {
            return;
        }
        client.doing = Doing::Nothing;
        self.hold_stream(number);
        if self.acm_clients.get(number).is_some_and(|client| client.settling) {
            self.settle(number);
        } else {
            self.act(number);
        }
    }

    /// The stream of a client that is logged on is open, or is opened again: the log-on goes on. One that is over is
    /// forgotten.
    fn hold_stream(&mut self, number: usize) {
        let now = self.queue.now();
        let Some(client) = self.acm_clients.get(number) else { return };
        let system = self.system(client.system);
        let (Some(session), Some(acm)) = (client.session, &system.roles.acm) else { return };
        if !system.serves() {
            return;
        }
        let goes_on = acm.server.renew(now, &client.name, session);
        if let Some(client) = self.acm_clients.get_mut(number) {
            client.listens = goes_on;
            client.session = client.session.filter(|_| goes_on);
        }
    }

    fn act(&mut self, number: usize) {
        let Some(client) = self.acm_clients.get_mut(number) else { return };
        match client.entropy.below(24) {
            0..=5 => self.begin_something(number),
            6..=11 => self.list_pending(number),
            12 => self.take_something_back(number),
            13 | 14 => self.log_on_or_off(number),
            15 | 16 => self.change_alias(number),
            17 => self.change_groups(number),
            18 => self.change_rights(number),
            19 => self.repeat_unanswered(number),
            _ => self.acm_client_pauses(number),
        }
    }

    /// Does what ends something, if there is anything to end.
    fn settle(&mut self, number: usize) {
        let Some(client) = self.acm_clients.get(number) else { return };
        if !client.has_all_rights {
            let request = acm_management::Request::PutUser(client.user(&Kind::ALL));
            return self.acm_client_asks(number, Inquiry::AcmServer(request), Doing::Restoring);
        }
        if !client.unanswered.is_empty() {
            return self.repeat_unanswered(number);
        }
        if client.session.is_none() {
            return self.acm_client_requests(number, Request::LogOn, Doing::LoggingOn);
        }
        self.list_pending(number);
    }

    fn acm_client_pauses(&mut self, number: usize) {
        let Some(client) = self.acm_clients.get_mut(number) else { return };
        let span = client.entropy.span(PAUSE.0, PAUSE.1);
        self.acm_client_wakes_after(number, span);
    }

    fn acm_client_wakes_after(&mut self, number: usize, span: Duration) {
        let Some(client) = self.acm_clients.get_mut(number) else { return };
        client.turn += 1;
        let turn = client.turn;
        self.queue.put_after(span, Event::AcmClient { client: number, turn });
    }

    fn acm_client_asks(&mut self, number: usize, inquiry: Inquiry, doing: Doing) {
        self.acm_client_wakes_after(number, QUESTION);
        let Some(client) = self.acm_clients.get_mut(number) else { return };
        client.doing = doing;
        let asker = Asker::AcmClient { client: number, turn: client.turn };
        let system = client.system;
        self.ask(system, inquiry, asker);
    }

    fn acm_client_requests(&mut self, number: usize, request: Request, doing: Doing) {
        let Some(client) = self.acm_clients.get(number) else { return };
        let asked = (client.name.clone(), client.token.clone(), request);
        self.acm_client_asks(number, Inquiry::AcmClient(Box::new(asked)), doing);
    }

    fn list_pending(&mut self, number: usize) {
        let list = Request::List { after: None, limit: 20 };
        self.acm_client_requests(number, list, Doing::Listing);
    }

    fn begin_something(&mut self, number: usize) {
        let Some(client) = self.acm_clients.get_mut(number) else { return };
        let own = client.system;
        let last_revisions = &mut self.exchanged.last_revisions;
        let mut next = |of: SystemId| {
            // The first is in force from the beginning.
            let last = last_revisions.entry((own, of)).or_insert(1);
            *last += 1;
            of.configuration_with(*last)
        };
        let some_of = |client: &mut AcmClient, users: Vec<McServiceId>| {
            let count = 1 + client.draw(users.len());
            users.into_iter().take(count).collect()
        };
        let users = some_of(client, own.exchanged_users());
        let payload = match client.entropy.below(12) {
            0..=2 => Payload::Configuration(next(own)),
            3 | 4 => Payload::Groups(own.groups()),
            5 | 6 => {
                let with = client.entropy.happens(500);
                let configuration = with.then(|| next(own.other()));
                Payload::AddUsers { users, configuration }
            }
            7..=9 => Payload::Update { users, configuration: next(own.other()) },
            10 => Payload::RemoveUsers { users },
            _ => Payload::PleaseSend,
        };
        let parties = if payload.kind().needs_target() {
            self.draw_target(number, own.other())
        } else {
            Parties::default()
        };
        let Some(client) = self.acm_clients.get_mut(number) else { return };
        let transaction = TransactionId::draw(&mut client.entropy);
        let expires = self.queue.now() + client.entropy.span(EXPIRES.0, EXPIRES.1);
        let begin = Begin {
            transaction: Some(transaction),
            destination: own.other().mc_system_id(),
            parties,
            payload,
            expires: Some(expires),
        };
        client.unanswered.push(begin.clone());
        let request = Request::Send(Box::new(begin));
        self.acm_client_requests(number, request, Doing::Sending(transaction));
    }

    /// An administrator of `partner`, or whoever is on duty there.
    fn draw_target(&mut self, number: usize, partner: SystemId) -> Parties {
        let clients = self.acm_clients.len() / 2;
        let Some(client) = self.acm_clients.get_mut(number) else { return Parties::default() };
        if client.entropy.happens(400) {
            return Parties { target_alias: Some(partner.on_duty()), ..Parties::default() };
        }
        let target = client.draw(clients);
        Parties { target_id: Some(partner.administrator(target)), ..Parties::default() }
    }

    fn repeat_unanswered(&mut self, number: usize) {
        let Some(client) = self.acm_clients.get_mut(number) else { return };
        let Some(begin) = client.unanswered.first().cloned() else {
            return self.acm_client_pauses(number);
        };
        let doing = begin.transaction.map_or(Doing::Other, Doing::Sending);
        self.acm_client_requests(number, Request::Send(Box::new(begin)), doing);
    }

    fn take_something_back(&mut self, number: usize) {
        let Some(client) = self.acm_clients.get_mut(number) else { return };
        let chosen = client.draw(client.begun.len());
        let Some(transaction) = client.begun.get(chosen).copied() else {
            return self.acm_client_pauses(number);
        };
        self.acm_client_requests(number, Request::Cancel(transaction), Doing::Other);
    }

    /// Logs a client on; one that is logged on logs off, or dies without a word.
    fn log_on_or_off(&mut self, number: usize) {
        let Some(client) = self.acm_clients.get_mut(number) else { return };
        client.listens = false;
        match client.session.take() {
            None => self.acm_client_requests(number, Request::LogOn, Doing::LoggingOn),
            Some(session) if client.entropy.happens(500) => {
                self.acm_client_requests(number, Request::LogOff { session }, Doing::Other);
            }
            Some(_) => self.acm_client_pauses(number),
        }
    }

    fn change_alias(&mut self, number: usize) {
        let Some(client) = self.acm_clients.get_mut(number) else { return };
        let (alias, user) = (client.system.on_duty(), client.name.clone());
        let activation = Activation { alias: alias.clone(), user: user.clone(), shared: true };
        let request = match client.entropy.below(4) {
            0 | 1 => alias_management::Request::Activate(activation),
            2 => alias_management::Request::TakeOver(activation),
            _ => alias_management::Request::Deactivate { alias, user },
        };
        self.acm_client_asks(number, Inquiry::Aliases(request), Doing::Other);
    }

    fn change_groups(&mut self, number: usize) {
        let Some(client) = self.acm_clients.get_mut(number) else { return };
        let groups = client.system.groups();
        let chosen = client.draw(groups.len());
        let Some(group) = groups.into_iter().nth(chosen) else { return };
        let withdraws = client.entropy.happens(300);
        let request =
            if withdraws { Request::WithdrawGroup(group) } else { Request::PutGroup(group) };
        self.acm_client_requests(number, request, Doing::Other);
    }

    fn change_rights(&mut self, number: usize) {
        let Some(client) = self.acm_clients.get_mut(number) else { return };
        let restores = !client.has_all_rights;
        let rights: Vec<Kind> =
            Kind::ALL.into_iter().filter(|_| restores || client.entropy.happens(500)).collect();
        client.has_all_rights = false;
        let request = acm_management::Request::PutUser(client.user(&rights));
        let doing = if restores { Doing::Restoring } else { Doing::Other };
        self.acm_client_asks(number, Inquiry::AcmServer(request), doing);
    }

    /// An answer to a client, or to its user at a management interface.
    pub(super) fn acm_client_answered(&mut self, number: usize, turn: u64, reply: Reply) {
        let Some(client) = self.acm_clients.get_mut(number) else { return };
        if client.turn != turn {
            return;
        }
        match (std::mem::take(&mut client.doing), reply) {
            (Doing::LoggingOn, Reply::AcmClient(Answer::LoggedOn(session))) => {
                client.session = Some(session);
                client.listens = true;
            }
            (Doing::Listing, Reply::AcmClient(Answer::Page(page))) => {
                return self.read_something(number, &page);
            }
            (Doing::Reading(key), Reply::AcmClient(Answer::Item(_))) => {
                return self.deal_with(number, key);
            }
            (Doing::Sending(transaction), Reply::AcmClient(answer)) => {
                client.sent(transaction, &answer);
            }
            (_, Reply::Aliases(alias_management::Answer::Refused(refusal)))
                if refusal != alias_management::Refusal::Unavailable =>
            {
                let rule = "an alias that is shared can be activated and taken over";
                return self.violate(Violation::new(rule, &refusal));
            }
            (Doing::Restoring, Reply::AcmServer(acm_management::Answer::Done)) => {
                client.has_all_rights = true;
            }
            _ => {}
        }
        self.acm_client_pauses(number);
    }

    /// Reads one of what is pending.
    fn read_something(&mut self, number: usize, page: &Page) {
        let Some(client) = self.acm_clients.get_mut(number) else { return };
        let chosen = client.draw(page.items.len());
        let Some(item) = page.items.get(chosen) else { return self.acm_client_pauses(number) };
        let request = Request::Fetch(item.key.clone());
        self.acm_client_requests(number, request, Doing::Reading(item.key.clone()));
    }

    /// Decides a request that was read, or lays a response aside.
    fn deal_with(&mut self, number: usize, key: TransactionKey) {
        let Some(client) = self.acm_clients.get_mut(number) else { return };
        if key.origin == client.system.mc_system_id() {
            return self.acm_client_requests(number, Request::Acknowledge(key), Doing::Other);
        }
        // Some leave it to somebody else, or to time.
        if client.entropy.happens(150) {
            return self.acm_client_pauses(number);
        }
        let accepts = client.entropy.happens(750);
        let decision = if accepts { Decision::Accept } else { Decision::Reject { reason: None } };
        let decide = Request::Decide { item: key, decision, alias: None };
        self.acm_client_requests(number, decide, Doing::Other);
    }
}

impl AcmClient {
    /// Takes the answer to a request to begin a transaction.
    fn sent(&mut self, transaction: TransactionId, answer: &Answer) {
        match answer {
            Answer::Begun(_) => self.begun.push(transaction),
            Answer::Refused(refusal) if refusal.code == ResultCode::Busy => return,
            // It was refused for good.
            Answer::Done
            | Answer::LoggedOn(_)
            | Answer::Page(_)
            | Answer::Item(_)
            | Answer::Decided(_)
            | Answer::AlreadyDecided(_)
            | Answer::Groups(_)
            | Answer::Progress(_)
            | Answer::Refused(_)
            | Answer::NotAuthenticated => {}
        }
        self.unanswered.retain(|begin| begin.transaction != Some(transaction));
    }
}
