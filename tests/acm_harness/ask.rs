//! What people and UEs ask the systems of a world, in a line each.

use super::*;

impl World {
    /// What UEs of a system are told of another one.
    pub fn configuration_at(&mut self, side: Side, of: Side) -> Option<SystemConfiguration> {
        let request = Configure::GetSystemConfiguration(system_id(of));
        match self.configure(side, ReplyTo::World(0), request).remove(0) {
            ConfigurationAnswer::SystemConfiguration(configuration) => Some(configuration),
            ConfigurationAnswer::Refused(_) => None,
            other => panic!("no configuration: {other:?}"),
        }
    }

    /// Whether the configuration server of a system has an agreement for a user.
    pub fn has_agreement(&mut self, side: Side, direction: Direction, user: &McServiceId) -> bool {
        let key = AgreementKey {
            partner: system_id(side.other()),
            direction,
            users: Users::User(user.clone()),
        };
        let request = Configure::GetAgreement(key);
        let answers = self.configure(side, ReplyTo::World(0), request);
        matches!(answers[..], [ConfigurationAnswer::Agreement { .. }])
    }

    pub fn put_configuration(&mut self, side: Side, of: Side, configuration: SystemConfiguration) {
        let request = Configure::PutSystemConfiguration { system: system_id(of), configuration };
        let answers = self.configure(side, ReplyTo::World(0), request);
        assert_eq!(answers, [ConfigurationAnswer::Done]);
    }

    pub fn manage(&mut self, side: Side, request: Manage) -> ManagementAnswer {
        let answers = self.call(side, |role, ctx| {
            role.handle_management(ctx, ReplyTo::World(2), request);
        });
        match answers.into_iter().next() {
            Some(AcmMessage::Management { answer, .. }) => answer,
            other => panic!("no management answer: {other:?}"),
        }
    }

    /// A request to the functional alias controlling server of B, and the answer; what it causes stays under way. No
    /// answer if the process is killed.
    pub fn try_aliases(&mut self, request: AliasRequest) -> Option<AliasAnswer> {
        let answers = self.call_alias_server(Side::B, |role, ctx| {
            role.handle_management(ctx, ReplyTo::World(4), request);
        });
        answers.into_iter().find_map(|answer| match answer {
            AcmMessage::Aliases { to: ReplyTo::World(4), answer } => Some(answer),
            _ => None,
        })
    }

    /// The same, with everything that it causes.
    pub fn aliases(&mut self, request: AliasRequest) -> AliasAnswer {
        let answer = self.try_aliases(request).expect("an answer");
        self.run();
        answer
    }

    pub fn activate(&mut self, name: &str) {
        let answer = self.aliases(AliasRequest::Activate(driven_by(name)));
        assert_eq!(answer, AliasAnswer::Active { displaced: Vec::new() });
    }

    /// The same, of any alias in either system.
    pub fn activate_at(&mut self, side: Side, activation: Activation) {
        self.call_alias_server(side, |role, ctx| {
            role.handle_management(ctx, ReplyTo::World(4), AliasRequest::Activate(activation));
        });
        self.run();
    }

    pub fn deactivate(&mut self, name: &str) {
        let Activation { alias, user, .. } = driven_by(name);
        let answer = self.aliases(AliasRequest::Deactivate { alias, user });
        assert_eq!(answer, AliasAnswer::Inactive);
    }

    /// Returns who is displaced.
    pub fn take_over(&mut self, name: &str) -> Vec<McServiceId> {
        match self.aliases(AliasRequest::TakeOver(driven_by(name))) {
            AliasAnswer::Active { displaced } => displaced,
            other => panic!("not taken over: {other:?}"),
        }
    }

    /// The controlling server of B cannot be reached any more.
    pub fn feed_down(&mut self) {
        self.b.feed_is_up = false;
        self.call(Side::B, |role, ctx| role.handle_alias_event(ctx, Event::Down));
        self.run();
    }

    /// It can be reached again, and takes up the subscription.
    pub fn feed_up(&mut self) {
        self.b.feed_is_up = true;
        self.call_alias_server(Side::B, |role, ctx| role.handle_subscription(ctx));
        self.run();
    }

    /// A request of a client, and the answer; what it causes stays under way. No answer if the process is killed.
    pub fn try_ask(&mut self, side: Side, name: &str, request: Client) -> Option<ClientAnswer> {
        let json = serde_json::to_string(&request).unwrap();
        let request: Client = serde_json::from_str(&json).unwrap();
        let (user, token) = (service(side, name), token(name));
        let answers = self.call(side, |role, ctx| {
            role.handle_client(ctx, ReplyTo::World(3), Some((&user, &token)), request);
        });
        let answer = answers.into_iter().find_map(|answer| match answer {
            AcmMessage::Client { answer, .. } => Some(answer),
            _ => None,
        })?;
        let json = serde_json::to_string(&answer).unwrap();
        self.system(side).shown.push_str(&json);
        Some(serde_json::from_str(&json).unwrap())
    }

    /// The same, with everything that it causes.
    pub fn ask(&mut self, side: Side, name: &str, request: Client) -> ClientAnswer {
        let answer = self.try_ask(side, name, request).expect("an answer");
        self.run();
        answer
    }

    pub fn log_on(&mut self, side: Side, name: &str) -> SessionId {
        match self.ask(side, name, Client::LogOn) {
            ClientAnswer::LoggedOn(session) => {
                self.system(side).streams.push((service(side, name), session));
                session
            }
            other => panic!("not logged on: {other:?}"),
        }
    }

    pub fn log_off(&mut self, side: Side, name: &str, session: SessionId) {
        assert_eq!(self.ask(side, name, Client::LogOff { session }), ClientAnswer::Done);
    }

    pub fn list(&mut self, side: Side, name: &str) -> Vec<Summary> {
        self.page(side, name, None, 100).items
    }

    pub fn page(&mut self, side: Side, name: &str, after: Option<u64>, limit: usize) -> Page {
        match self.ask(side, name, Client::List { after, limit }) {
            ClientAnswer::Page(page) => page,
            other => panic!("no list: {other:?}"),
        }
    }

    pub fn fetch(&mut self, side: Side, name: &str, key: &TransactionKey) -> Item {
        match self.ask(side, name, Client::Fetch(key.clone())) {
            ClientAnswer::Item(item) => *item,
            other => panic!("no item: {other:?}"),
        }
    }

    pub fn send(&mut self, begin: Begin) -> TransactionKey {
        match self.ask(Side::A, "anna", Client::Send(Box::new(begin))) {
            ClientAnswer::Begun(transaction) => key_of(Side::A, transaction),
            other => panic!("not begun: {other:?}"),
        }
    }

    pub fn refused(&mut self, side: Side, name: &str, begin: Begin) -> Refusal {
        match self.ask(side, name, Client::Send(Box::new(begin))) {
            ClientAnswer::Refused(refusal) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    pub fn decide(&mut self, name: &str, key: &TransactionKey, decision: Decision) -> ClientAnswer {
        self.ask(Side::B, name, Client::Decide { item: key.clone(), decision, alias: None })
    }

    pub fn accept(&mut self, name: &str, key: &TransactionKey) -> ClientAnswer {
        self.decide(name, key, Decision::Accept)
    }

    pub fn reject(&mut self, name: &str, key: &TransactionKey, reason: &str) -> ClientAnswer {
        self.decide(name, key, Decision::Reject { reason: Some(reason.to_owned()) })
    }

    pub fn follow(&mut self, key: &TransactionKey) -> Progress {
        match self.ask(Side::A, "anna", Client::Follow(key.transaction)) {
            ClientAnswer::Progress(progress) => *progress,
            other => panic!("no progress: {other:?}"),
        }
    }

    pub fn state(&mut self, key: &TransactionKey) -> State {
        self.follow(key).summary.state
    }

    /// The result that A knows.
    pub fn result(&mut self, key: &TransactionKey) -> Option<ResultCode> {
        self.follow(key).response.map(|response| response.result)
    }

    pub fn response(&mut self, key: &TransactionKey) -> Response {
        self.follow(key).response.expect("a response")
    }

    /// How many requests of a kind have arrived.
    pub fn arrived(&self, which: fn(&Request) -> bool) -> usize {
        self.on_link.iter().filter(|(_, request)| which(request)).count()
    }

    /// Adds users of A for migration to B, accepted by B.
    pub fn add_users(&mut self, users: &[McServiceId], configuration: Option<SystemConfiguration>) {
        let payload = Payload::AddUsers { users: users.to_vec(), configuration };
        let key = self.send(begin_for("bert", payload));
        self.accept("bert", &key);
        assert_eq!(self.result(&key), Some(ResultCode::Ok));
        self.ask(Side::A, "anna", Client::Acknowledge(key));
        self.steps.clear();
    }

    /// Puts groups of A.
    pub fn put_groups(&mut self, names: &[&str]) {
        for name in names {
            let answer = self.ask(Side::A, "anna", Client::PutGroup(group(name)));
            assert_eq!(answer, ClientAnswer::Done);
        }
    }

    pub fn take_notified(&mut self, side: Side, name: &str) -> Vec<Notification> {
        let user = service(side, name);
        let (taken, left) = std::mem::take(&mut self.notified)
            .into_iter()
            .partition(|(at, to, _)| *at == side && *to == user);
        self.notified = left;
        taken.into_iter().map(|(_, _, notification)| notification).collect()
    }
}
