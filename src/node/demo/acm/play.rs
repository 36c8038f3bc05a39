//! The three procedures, played in one of their branches.

use super::{
    DemoError, PAUSE, RunningAcmDemo, Show,
    branch::{self, Branch, Misplaced, Play},
    desk::Desk,
    differs,
    office::{Hold, service_id},
    traveller::Traveller,
};
use crate::{
    api::{
        acm_client::{Decision, Progress, State},
        acm_interconnection::{ResultCode, TransactionId, TransactionKey},
        acm_payload::{Kind, Parties, Payload},
        connection_details::SystemConfiguration,
    },
    identity::{FunctionalAlias, McServiceId},
    node::demo::cast,
    step::{Part, Step},
    ue_configuration::InitialUeConfiguration,
};

/// The name of the alias that the administrators of the partner share.
const ALIAS: &str = "dispatcher";

/// The revision of what is sent first.
pub(super) const REVISION: u64 = 8;

/// All kinds that people of these systems deal with.
const KINDS: [Kind; 5] =
    [Kind::Configuration, Kind::Groups, Kind::Update, Kind::AddUsers, Kind::RemoveUsers];

impl RunningAcmDemo {
    /// Puts the users of both ACM servers, and what UEs are told of both systems.
    pub(super) async fn provision(&self) -> Result<(), DemoError> {
        self.a.allow("anna", &KINDS, &KINDS).await?;
        self.a.allow("alex", &[], &[]).await?;
        for name in ["bob", "carol"] {
            self.b.allow(name, &KINDS, &KINDS).await?;
        }
        self.b.allow("dave", &[], &[]).await?;
        for site in [&self.stage.home, &self.stage.partner] {
            let id = &site.config().config_server.id;
            let configuration = cast::configuration(site)?;
            site.management()?.put_system_configuration(id, &configuration).await?;
        }
        Ok(())
    }

    /// Plays a procedure and checks its steps and its end.
    pub(super) async fn play_procedure(
        &mut self,
        branch: Branch,
        play: Play,
        show: &mut Show<'_>,
    ) -> Result<(), DemoError> {
        let mut traveller = Traveller::new(self, play).await?;
        if let Some(traveller) = &mut traveller {
            self.revision = self.before(traveller, show).await? + 1;
        }
        if play == Play::Upd {
            self.add_users(&["alice"], show).await?;
        }
        self.performed.clear();
        let mut anna = self.desk("anna")?;
        if branch.is_attended() {
            self.play_attended(branch, play, &mut anna, show).await?;
        } else {
            self.play_unattended(branch, play, &mut anna, show).await?;
        }
        let order = branch::check(branch, play, &self.performed);
        order.map_err(|Misplaced(label)| DemoError::Misplaced(label))?;
        self.check_effect(play, traveller, show).await
    }

    /// Checks that what was accepted is in force: a UE is told of it, or B knows the groups.
    async fn check_effect(
        &mut self,
        play: Play,
        traveller: Option<Traveller>,
        show: &mut Show<'_>,
    ) -> Result<(), DemoError> {
        if let Some(mut traveller) = traveller {
            let (_, payload) = self.request(play, None).await?;
            let accepted = payload.configuration().cloned();
            let accepted = accepted.ok_or(DemoError::Missing("a configuration"))?;
            return self.after(&mut traveller, &accepted, show).await;
        }
        let known = self.desk("bob")?.known_groups(&self.a.system).await?;
        let wanted = [self.a.group("fire")?, self.a.group("rescue")?];
        if known == wanted {
            return Ok(());
        }
        Err(differs(format!("{} groups of A are known instead of 2", known.len())))
    }

    /// Nobody waits: who asks logs off, who decides logs on days later, or policy decides.
    async fn play_unattended(
        &mut self,
        branch: Branch,
        play: Play,
        anna: &mut Desk,
        show: &mut Show<'_>,
    ) -> Result<(), DemoError> {
        let title = play.title();
        anna.log_on().await?;
        let (parties, payload) = self.request(play, None).await?;
        let kind = payload.kind();
        let transaction = if branch == Branch::Automatic {
            // Whoever asks is gone before the answer comes.
            anna.log_off().await?;
            let transaction = anna.begin(&self.b.system, parties, payload).await?;
            self.until(play.stored()).await?;
            self.show_part(&format!("{title}: {branch}"), show).await?;
            transaction
        } else {
            let transaction = anna.begin(&self.b.system, parties, payload).await?;
            self.until(play.indicated()).await?;
            anna.stands(transaction, "at the partner", is_at_partner).await?;
            anna.log_off().await?;
            self.show_part(&format!("{title}: {branch}"), show).await?;
            self.pause(PAUSE).await?;
            let mut bob = self.desk("bob")?;
            bob.log_on().await?;
            bob.told(kind, false).await?;
            self.decide(&mut bob, kind, None).await?;
            self.until(play.stored()).await?;
            bob.log_off().await?;
            self.show_part("3 days later, after a restart of both systems: the decision", show)
                .await?;
            transaction
        };
        self.pause(PAUSE).await?;
        // Another client, for the clocks are ahead.
        *anna = self.desk("anna")?;
        anna.log_on().await?;
        anna.told(kind, true).await?;
        self.read_response(anna, kind, transaction, play.accepted()).await?;
        anna.log_off().await?;
        self.show_part("3 days later, after a restart of both systems: the response", show).await
    }

    /// Everybody is logged on.
    async fn play_attended(
        &mut self,
        branch: Branch,
        play: Play,
        anna: &mut Desk,
        show: &mut Show<'_>,
    ) -> Result<(), DemoError> {
        let alias = self.b.alias(ALIAS)?;
        let alias = (branch != Branch::LoggedOn).then_some(alias);
        let (mut bob, mut carol) = (self.desk("bob")?, self.desk("carol")?);
        anna.log_on().await?;
        bob.log_on().await?;
        if let Some(alias) = &alias {
            carol.log_on().await?;
            let holders: &[&str] = match branch {
                Branch::AliasMany => &["carol", "bob"],
                Branch::AliasOne => &["bob"],
                Branch::AliasNone
                | Branch::Automatic
                | Branch::Manual
                | Branch::LoggedOn
                | Branch::LoggedOff => &[],
            };
            for name in holders {
                self.b.hold(alias, name, Hold::Activate).await?;
            }
        }
        let (parties, payload) = self.request(play, alias.as_ref()).await?;
        let kind = payload.kind();
        let transaction = anna.begin(&self.b.system, parties, payload).await?;
        self.until(play.indicated()).await?;
        anna.stands(transaction, "at the partner", is_at_partner).await?;
        // Who decides, and who must see nothing.
        let (decides, other) = if branch == Branch::AliasNone {
            for desk in [&bob, &carol] {
                desk.sees_nothing().await?;
            }
            self.show_part(&format!("{}: {branch}", play.title()), show).await?;
            if let Some(alias) = &alias {
                self.b.hold(alias, "carol", Hold::Activate).await?;
            }
            (&mut carol, &bob)
        } else {
            (&mut bob, &carol)
        };
        decides.told(kind, false).await?;
        if alias.is_some() {
            other.sees_nothing().await?;
        }
        self.decide(decides, kind, alias.as_ref()).await?;
        anna.told(kind, true).await?;
        self.read_response(anna, kind, transaction, play.accepted()).await?;
        if let Some(alias) = &alias {
            for name in ["bob", "carol"] {
                self.b.hold(alias, name, Hold::Deactivate).await?;
            }
        }
        let title = if branch == Branch::AliasNone {
            "somebody activates the alias".to_owned()
        } else {
            format!("{}: {branch}", play.title())
        };
        self.show_part(&title, show).await?;
        for desk in [anna, &mut bob, &mut carol] {
            desk.log_off().await?;
        }
        // Log-offs after the end are no part of the procedure.
        self.forget_ladder();
        Ok(())
    }

    /// Looks at what is pending, which is one item, and accepts it.
    pub(super) async fn decide(
        &self,
        desk: &mut Desk,
        kind: Kind,
        alias: Option<&FunctionalAlias>,
    ) -> Result<TransactionKey, DemoError> {
        let key = desk.list_one(kind).await?;
        let item = desk.fetch(&key).await?;
        if item.payload.as_ref().map(Payload::kind) != Some(kind) {
            return Err(differs("what was fetched is not what was sent"));
        }
        desk.decide(&key, Decision::Accept, alias).await?;
        Ok(key)
    }

    /// Looks at the response, which must be as it says, and acknowledges it.
    pub(super) async fn read_response(
        &self,
        desk: &mut Desk,
        kind: Kind,
        transaction: TransactionId,
        wanted: ResultCode,
    ) -> Result<(), DemoError> {
        let key = desk.list_one(kind).await?;
        if key.transaction != transaction {
            return Err(differs("the response is one to another request"));
        }
        let item = desk.fetch(&key).await?;
        let result = item.response.map(|response| response.result);
        if result != Some(wanted) {
            return Err(differs(format!("the response says {result:?} instead of {wanted:?}")));
        }
        desk.acknowledge(&key).await?;
        let is_closed = |progress: &Progress| progress.summary.state == State::Closed;
        desk.stands(transaction, "closed", is_closed).await.map(drop)
    }

    /// What is sent, and for whom.
    pub(super) async fn request(
        &self,
        play: Play,
        alias: Option<&FunctionalAlias>,
    ) -> Result<(Parties, Payload), DemoError> {
        let (bob, _) = self.b.user("bob")?;
        let target_id = alias.is_none().then_some(bob);
        let parties = Parties { target_id, target_alias: alias.cloned(), requester_alias: None };
        Ok(match play {
            Play::Xcfg => {
                let configuration = self.configuration_of_a("", self.revision)?;
                (Parties::default(), Payload::Configuration(configuration))
            }
            Play::Grp => {
                let anna = self.desk("anna")?;
                let groups = [self.a.group("fire")?, self.a.group("rescue")?];
                for group in &groups {
                    anna.put_group(group).await?;
                }
                (parties, Payload::Groups(groups.to_vec()))
            }
            Play::Upd => (parties, self.update(&["alice"], self.revision)?),
        })
    }

    /// How UEs reach A, with another domain of its key management if `changed` names one.
    pub(super) fn configuration_of_a(
        &self,
        changed: &str,
        revision: u64,
    ) -> Result<SystemConfiguration, DemoError> {
        let usual = cast::configuration(&self.stage.home)?;
        changed_configuration(usual, changed, revision)
    }

    /// The configuration under which users of A are served in B, which has another key management server now.
    pub(super) fn update(&self, users: &[&str], revision: u64) -> Result<Payload, DemoError> {
        let usual = cast::configuration(&self.stage.partner)?;
        let configuration = changed_configuration(usual, "kms-2", revision)?;
        Ok(Payload::Update { users: self.users_of_a(users)?, configuration })
    }

    pub(super) fn users_of_a(&self, names: &[&str]) -> Result<Vec<McServiceId>, DemoError> {
        let domain = &self.a.domain;
        names.iter().map(|name| service_id(&format!("sip:{name}@{domain}"))).collect()
    }

    /// Adds users of A for migration, which B accepts by policy (TS 23.280 10.17.5.2): without it nobody is updated.
    pub(super) async fn add_users(
        &mut self,
        names: &[&str],
        show: &mut Show<'_>,
    ) -> Result<(), DemoError> {
        let anna = self.desk("anna")?;
        let (bob, _) = self.b.user("bob")?;
        let parties = Parties { target_id: Some(bob), ..Parties::default() };
        let users = self.users_of_a(names)?;
        let payload = Payload::AddUsers { users, configuration: None };
        let transaction = anna.begin(&self.b.system, parties, payload).await?;
        let is_told = |progress: &Progress| progress.response.is_some();
        let progress = anna.stands(transaction, "answered", is_told).await?;
        let result = progress.response.map(|response| response.result);
        if result != Some(ResultCode::Ok) {
            return Err(differs(format!("adding users came to {result:?}")));
        }
        anna.acknowledge(&progress.summary.key).await?;
        self.show_part("first: a user is added for migration, which policy accepts", show).await
    }

    /// Forgets what has passed since the last part was shown.
    pub(super) fn forget_ladder(&mut self) {
        while self.ladder.try_recv().is_ok() {}
        self.seen.clear();
    }

    /// The revision of what UEs of B are told of A.
    pub(super) async fn revision_in_force(&self) -> Result<u64, DemoError> {
        let revision = self.b.revision_of(&self.a.system).await?;
        revision.ok_or_else(|| differs("nothing is in force"))
    }
}

impl Desk {
    /// Checks that nothing is pending.
    pub(super) async fn sees_nothing(&self) -> Result<(), DemoError> {
        match self.look().await? {
            0 => Ok(()),
            count => Err(differs(format!("{count} items are pending for who must see nothing"))),
        }
    }
}

impl Play {
    const fn title(self) -> &'static str {
        match self {
            Self::Xcfg => "exchange of initial configuration (XCFG)",
            Self::Grp => "interconnection groups (GRP)",
            Self::Upd => "update for migrating users (UPD)",
        }
    }

    /// The step by which the partner says that it has the request and that somebody has to look.
    pub(super) const fn indicated(self) -> Step {
        match self {
            Self::Xcfg => Step::xcfg(5),
            Self::Grp => Step::grp(4, Some(Part::B)),
            Self::Upd => Step::upd(4),
        }
    }

    /// The step by which the response is stored at the side that asked.
    pub(super) const fn stored(self) -> Step {
        match self {
            Self::Xcfg => Step::xcfg(13),
            Self::Grp => Step::grp(11, None),
            Self::Upd => Step::upd(9),
        }
    }

    /// What an accepted request comes to.
    pub(super) const fn accepted(self) -> ResultCode {
        match self {
            Self::Xcfg | Self::Upd => ResultCode::Ok,
            Self::Grp => ResultCode::Received,
        }
    }
}

/// Whether a person of the partner has to look.
pub(super) fn is_at_partner(progress: &Progress) -> bool {
    progress.summary.state == State::PendingAtPartner
}

/// A configuration of a revision, with another key management server if `kms` names one.
pub(super) fn changed_configuration(
    usual: SystemConfiguration,
    kms: &str,
    revision: u64,
) -> Result<SystemConfiguration, DemoError> {
    if kms.is_empty() {
        return Ok(SystemConfiguration { revision, ..usual });
    }
    let mut document = usual.document.document().clone();
    document.on_network.servers.kms = format!("https://{kms}.b.example/");
    let document = InitialUeConfiguration::new(&document)
        .map_err(|_| DemoError::Missing("a domain that makes URIs"))?;
    Ok(SystemConfiguration { revision, document: document.into(), ..usual })
}
