//! What does not go well, each played until it is seen how it ends.

use std::{fmt, time::Duration};

use super::{
    DemoError, RunningAcmDemo, Show, branch::Play, desk::Desk, differs, office::Hold,
    play::is_at_partner,
};
use crate::{
    api::{
        acm_client::{Decision, Progress, State},
        acm_interconnection::{ResultCode, TransactionId},
        acm_payload::{Kind, Parties, Payload},
    },
    identity::{McServiceId, McSystemId},
    node::acm_client::ConnectionError,
    step::Step,
};

/// Longer than a request may wait.
const TOO_LONG: Duration = Duration::from_secs(15 * 24 * 3_600);

/// A branch that does not go well.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AcmFault {
    /// The user may not begin such transactions: nothing leaves the system.
    NotAuthorised,
    /// The client presents a token that is not its user's.
    NotAuthenticated,
    /// No partner has the MC system ID.
    PartnerUnknown,
    /// The partner is known, and there is no interconnection with it.
    NoInterconnection,
    /// The partner is down, and comes up later: the request is delivered once.
    LinkDown,
    /// The partner is killed while a request waits, and started again: it is still there, once.
    Restart,
    /// A person of the partner says no: what is in force stays.
    Rejected,
    /// The partner's policy says no.
    RejectedByPolicy,
    /// Nobody decides in time; a late decision is refused.
    Expired,
    /// Whoever asked takes it back before the decision.
    Cancelled,
    /// The same transaction is begun again with another content: the first stays.
    Conflict,
    /// A later revision is accepted while an earlier one waits: that can no longer come into force.
    Stale,
    /// Two administrators look, one accepts, and the other rejects: the first decision holds.
    AlreadyDecided,
    /// The right to decide is withdrawn during the pause: another administrator decides.
    RightWithdrawn,
    /// The target user does not exist in the partner: refused at once.
    TargetUnknown,
    /// The target user exists, and may not decide: refused at once.
    TargetNoAdministrator,
    /// Neither user nor alias is named that the request is for.
    NoTarget,
    /// A group is of another system's domain.
    NotGroupHome,
    /// A group is no interconnection group of this system.
    UnknownGroup,
    /// A group is withdrawn while its offer waits: whoever looks is told.
    GroupWithdrawn,
    /// A user who was never added for migration is in the update: all of it is refused, and the user is named.
    NeverAdded,
    /// The alias is taken over between fetch and decision: the old holder is refused, the new one decides.
    AliasTakenOver,
    /// Whoever has fetched logs off without a decision: another holder of the alias gets it.
    HolderLogsOff,
}

impl AcmFault {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::NotAuthorised,
        Self::NotAuthenticated,
        Self::PartnerUnknown,
        Self::NoInterconnection,
        Self::LinkDown,
        Self::Restart,
        Self::Rejected,
        Self::RejectedByPolicy,
        Self::Expired,
        Self::Cancelled,
        Self::Conflict,
        Self::Stale,
        Self::AlreadyDecided,
        Self::RightWithdrawn,
        Self::TargetUnknown,
        Self::TargetNoAdministrator,
        Self::NoTarget,
        Self::NotGroupHome,
        Self::UnknownGroup,
        Self::GroupWithdrawn,
        Self::NeverAdded,
        Self::AliasTakenOver,
        Self::HolderLogsOff,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotAuthorised => "not-authorised",
            Self::NotAuthenticated => "not-authenticated",
            Self::PartnerUnknown => "partner-unknown",
            Self::NoInterconnection => "no-interconnection",
            Self::LinkDown => "link-down",
            Self::Restart => "restart",
            Self::Rejected => "rejected",
            Self::RejectedByPolicy => "rejected-by-policy",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Conflict => "conflict",
            Self::Stale => "stale",
            Self::AlreadyDecided => "already-decided",
            Self::RightWithdrawn => "right-withdrawn",
            Self::TargetUnknown => "target-unknown",
            Self::TargetNoAdministrator => "target-no-administrator",
            Self::NoTarget => "no-target",
            Self::NotGroupHome => "not-group-home",
            Self::UnknownGroup => "unknown-group",
            Self::GroupWithdrawn => "group-withdrawn",
            Self::NeverAdded => "never-added",
            Self::AliasTakenOver => "alias-taken-over",
            Self::HolderLogsOff => "holder-logs-off",
        }
    }

    /// What happens, in one line.
    pub const fn words(self) -> &'static str {
        match self {
            Self::NotAuthorised => {
                "the user may not begin such transactions: nothing leaves the system"
            }
            Self::NotAuthenticated => "a token that is not the user's: 401",
            Self::PartnerUnknown => "no partner has the MC system ID: refused at once",
            Self::NoInterconnection => {
                "there is no interconnection with the partner: refused at once"
            }
            Self::LinkDown => {
                "the partner is down and comes up later: the request is delivered once"
            }
            Self::Restart => {
                "the partner is restarted while a request waits: it is still there, once"
            }
            Self::Rejected => "a person of the partner says no: what is in force stays",
            Self::RejectedByPolicy => "the partner's policy says no",
            Self::Expired => "nobody decides in time; a late decision is refused",
            Self::Cancelled => "whoever asked takes it back before the decision",
            Self::Conflict => "the same transaction with another content: the first stays",
            Self::Stale => "a later revision overtakes one that waits: that is refused as stale",
            Self::AlreadyDecided => {
                "two look and decide: the first decision holds, the second is told"
            }
            Self::RightWithdrawn => "the right to decide ends during the pause: another decides",
            Self::TargetUnknown => "the partner has no such user: refused at once",
            Self::TargetNoAdministrator => "the target user may not decide: refused at once",
            Self::NoTarget => "neither user nor alias is named that it is for",
            Self::NotGroupHome => "a group of another system's domain",
            Self::UnknownGroup => "a group that is no interconnection group of this system",
            Self::GroupWithdrawn => "a group ends while its offer waits: whoever looks is told",
            Self::NeverAdded => {
                "an update for a user never added: all is refused, the user is named"
            }
            Self::AliasTakenOver => {
                "the alias is taken over after the fetch: the new holder decides"
            }
            Self::HolderLogsOff => "the holder logs off after the fetch: another holder gets it",
        }
    }

    /// The steps that are performed, and after them no other of the procedure: as far as it comes.
    const fn steps(self) -> Option<(Play, u8)> {
        match self {
            Self::NotAuthorised | Self::PartnerUnknown | Self::NoInterconnection => {
                Some((Play::Xcfg, 2))
            }
            Self::NoTarget => Some((Play::Upd, 2)),
            Self::UnknownGroup => Some((Play::Grp, 2)),
            Self::NotAuthenticated | Self::NotGroupHome => Some((Play::Xcfg, 0)),
            Self::LinkDown
            | Self::Restart
            | Self::Rejected
            | Self::RejectedByPolicy
            | Self::Expired
            | Self::Cancelled
            | Self::Conflict
            | Self::Stale
            | Self::AlreadyDecided
            | Self::RightWithdrawn
            | Self::TargetUnknown
            | Self::TargetNoAdministrator
            | Self::GroupWithdrawn
            | Self::NeverAdded
            | Self::AliasTakenOver
            | Self::HolderLogsOff => None,
        }
    }
}

impl fmt::Display for AcmFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl RunningAcmDemo {
    /// Plays a fault, shows the ladder, and checks how it ended and how far the procedure came.
    pub(super) async fn play_fault(
        &mut self,
        fault: AcmFault,
        show: &mut Show<'_>,
    ) -> Result<(), DemoError> {
        let ended = Box::pin(self.act(fault, show)).await;
        self.show_part(fault.words(), show).await?;
        ended?;
        let Some((play, last)) = fault.steps() else { return Ok(()) };
        let mut wanted: Vec<String> = play.rows().iter().map(|row| row.step.to_string()).collect();
        wanted.truncate(usize::from(last));
        let is_of_procedure =
            |label: &&String| Play::ALL.iter().any(|play| label.starts_with(play.prefix()));
        let performed: Vec<&String> = self.performed.iter().filter(is_of_procedure).collect();
        if performed == wanted.iter().collect::<Vec<_>>() {
            return Ok(());
        }
        Err(differs(format!("the steps were {performed:?} instead of {wanted:?}")))
    }

    async fn act(&mut self, fault: AcmFault, show: &mut Show<'_>) -> Result<(), DemoError> {
        match fault {
            AcmFault::NotAuthorised => {
                let alex = self.desk("alex")?;
                let (parties, payload) = self.request(Play::Xcfg, None).await?;
                let begun = alex.begin(&self.b.system, parties, payload).await;
                refused(begun, ResultCode::NotAuthorised)
            }
            AcmFault::NotAuthenticated => {
                let stranger = self.desk("anna")?.with_another_token();
                let (parties, payload) = self.request(Play::Xcfg, None).await?;
                match stranger.begin(&self.b.system, parties, payload).await {
                    Err(ConnectionError::NotAuthenticated { .. }) => Ok(()),
                    other => Err(differs(format!("the answer was {other:?}"))),
                }
            }
            AcmFault::PartnerUnknown | AcmFault::NoInterconnection => {
                let anna = self.desk("anna")?;
                let (parties, payload) = self.request(Play::Xcfg, None).await?;
                let unknown = McSystemId::parse("sip:c.example")
                    .map_err(|_| DemoError::Missing("a domain that makes identities"))?;
                let (to, code) = if fault == AcmFault::PartnerUnknown {
                    (unknown, ResultCode::UnknownPartner)
                } else {
                    (self.b.system.clone(), ResultCode::NoInterconnection)
                };
                refused(anna.begin(&to, parties, payload).await, code)
            }
            AcmFault::LinkDown => self.act_link_down(show).await,
            AcmFault::Restart => self.act_restart(show).await,
            AcmFault::Rejected => self.act_rejected().await,
            AcmFault::RejectedByPolicy => {
                let (mut anna, transaction) = self.send(Play::Xcfg).await?;
                anna.told(Kind::Configuration, true).await?;
                let wanted = ResultCode::RejectedByPolicy;
                self.read_response(&mut anna, Kind::Configuration, transaction, wanted).await
            }
            AcmFault::Expired => self.act_expired(show).await,
            AcmFault::Cancelled => {
                let (mut anna, transaction) = self.send_and_wait(Play::Xcfg).await?;
                anna.cancel(transaction).await?;
                anna.told(Kind::Configuration, true).await?;
                let mut bob = self.desk("bob")?;
                bob.log_on().await?;
                bob.sees_nothing().await?;
                let wanted = ResultCode::Cancelled;
                self.read_response(&mut anna, Kind::Configuration, transaction, wanted).await
            }
            AcmFault::Conflict => self.act_conflict().await,
            AcmFault::Stale => self.act_stale().await,
            AcmFault::AlreadyDecided => self.act_already_decided().await,
            AcmFault::RightWithdrawn => self.act_right_withdrawn().await,
            AcmFault::TargetUnknown | AcmFault::TargetNoAdministrator => {
                self.act_target(fault).await
            }
            AcmFault::NoTarget => {
                let anna = self.desk("anna")?;
                let payload = self.update(&["alice"], 8)?;
                let begun = anna.begin(&self.b.system, Parties::default(), payload).await;
                refused(begun, ResultCode::InvalidData)
            }
            AcmFault::NotGroupHome => {
                let anna = self.desk("anna")?;
                refused(anna.put_group(&self.b.group("fire")?).await, ResultCode::NotGroupHome)
            }
            AcmFault::UnknownGroup => {
                let anna = self.desk("anna")?;
                let (bob, _) = self.b.user("bob")?;
                let parties = Parties { target_id: Some(bob), ..Parties::default() };
                let payload = Payload::Groups(vec![self.a.group("police")?]);
                let begun = anna.begin(&self.b.system, parties, payload).await;
                refused(begun, ResultCode::UnknownGroup)
            }
            AcmFault::GroupWithdrawn => self.act_group_withdrawn().await,
            AcmFault::NeverAdded => self.act_never_added(show).await,
            AcmFault::AliasTakenOver | AcmFault::HolderLogsOff => {
                self.act_other_holder(fault, show).await
            }
        }
    }

    /// A sends while B is down.
    async fn act_link_down(&mut self, show: &mut Show<'_>) -> Result<(), DemoError> {
        self.stage.partner.stop().await;
        let (mut anna, transaction) = self.send(Play::Xcfg).await?;
        let is_retrying = |it: &Progress| it.summary.state == State::Retrying && it.attempts > 1;
        anna.stands(transaction, "tried again", is_retrying).await?;
        self.show_part("the partner is down: it is tried again", show).await?;
        let ahead = self.stage.clock_ahead();
        self.stage.partner.start(ahead)?;
        let mut bob = self.desk("bob")?;
        bob.log_on().await?;
        bob.told(Kind::Configuration, false).await?;
        self.decide(&mut bob, Kind::Configuration, None).await?;
        anna.told(Kind::Configuration, true).await?;
        let wanted = ResultCode::Ok;
        self.read_response(&mut anna, Kind::Configuration, transaction, wanted).await
    }

    /// B ends while a request waits there.
    async fn act_restart(&mut self, show: &mut Show<'_>) -> Result<(), DemoError> {
        let (mut anna, transaction) = self.send_and_wait(Play::Xcfg).await?;
        self.show_part("the request waits", show).await?;
        let ahead = self.stage.clock_ahead();
        self.stage.partner.stop().await;
        self.stage.partner.start(ahead)?;
        let mut bob = self.desk("bob")?;
        bob.log_on().await?;
        bob.told(Kind::Configuration, false).await?;
        self.decide(&mut bob, Kind::Configuration, None).await?;
        anna.told(Kind::Configuration, true).await?;
        let wanted = ResultCode::Ok;
        self.read_response(&mut anna, Kind::Configuration, transaction, wanted).await?;
        self.in_force(8).await
    }

    async fn act_rejected(&mut self) -> Result<(), DemoError> {
        let id = self.a.system.clone();
        let before = self.configuration_of_a("", 3)?;
        self.b.management.put_system_configuration(&id, &before).await?;
        let (mut anna, transaction) = self.send_and_wait(Play::Xcfg).await?;
        let mut bob = self.desk("bob")?;
        bob.log_on().await?;
        bob.told(Kind::Configuration, false).await?;
        let key = bob.list_one(Kind::Configuration).await?;
        bob.fetch(&key).await?;
        let reason = Some("the key management server is not known here".to_owned());
        bob.decide(&key, Decision::Reject { reason }, None).await?;
        anna.told(Kind::Configuration, true).await?;
        let wanted = ResultCode::RejectedByUser;
        self.read_response(&mut anna, Kind::Configuration, transaction, wanted).await?;
        self.in_force(3).await
    }

    async fn act_expired(&mut self, show: &mut Show<'_>) -> Result<(), DemoError> {
        let (mut anna, transaction) = self.send_and_wait(Play::Xcfg).await?;
        anna.log_off().await?;
        let key = anna.progress(transaction).await?.summary.key;
        self.show_part("the request waits for a person", show).await?;
        self.pause(TOO_LONG).await?;
        let mut anna = self.desk("anna")?;
        anna.log_on().await?;
        anna.told(Kind::Configuration, true).await?;
        let bob = self.desk("bob")?;
        let late = bob.decide(&key, Decision::Accept, None).await;
        refused(late, ResultCode::Expired)?;
        let wanted = ResultCode::Expired;
        self.read_response(&mut anna, Kind::Configuration, transaction, wanted).await
    }

    async fn act_conflict(&mut self) -> Result<(), DemoError> {
        let (anna, transaction) = self.send_and_wait(Play::Xcfg).await?;
        let other = Payload::Configuration(self.configuration_of_a("kms-9", 9)?);
        let name = Some(transaction);
        let again = anna.begin_as(name, &self.b.system, Parties::default(), other).await;
        refused(again, ResultCode::Conflict)?;
        let same = Payload::Configuration(self.configuration_of_a("", 8)?);
        let again = anna.begin_as(name, &self.b.system, Parties::default(), same).await?;
        if again != transaction {
            return Err(differs("a repeat began a second transaction"));
        }
        let mut bob = self.desk("bob")?;
        bob.log_on().await?;
        bob.told(Kind::Configuration, false).await?;
        self.decide(&mut bob, Kind::Configuration, None).await?;
        self.until(Step::xcfg(13)).await?;
        self.in_force(8).await
    }

    async fn act_stale(&mut self) -> Result<(), DemoError> {
        let (anna, first) = self.send_and_wait(Play::Xcfg).await?;
        let later = Payload::Configuration(self.configuration_of_a("kms-2", 9)?);
        let second = anna.begin(&self.b.system, Parties::default(), later).await?;
        anna.stands(second, "at the partner", is_at_partner).await?;
        let mut bob = self.desk("bob")?;
        bob.log_on().await?;
        bob.told(Kind::Configuration, false).await?;
        let items = bob.list().await?;
        let key = |of: TransactionId| {
            let found = items.iter().find(|item| item.key.transaction == of);
            let missing = || differs("a request is not pending");
            found.map(|item| item.key.clone()).ok_or_else(missing)
        };
        let (first_key, second_key) = (key(first)?, key(second)?);
        bob.fetch(&second_key).await?;
        bob.decide(&second_key, Decision::Accept, None).await?;
        let is_answered = |progress: &Progress| progress.response.is_some();
        anna.stands(second, "answered", is_answered).await?;
        // It is too late for this one, whoever says so first: the server or the person.
        let late = bob.decide(&first_key, Decision::Accept, None).await;
        if !matches!(&late, Ok(Some(ResultCode::StaleRevision) | None)) {
            refused(late, ResultCode::StaleRevision)?;
        }
        let progress = anna.stands(first, "answered", is_answered).await?;
        let result = progress.response.map(|response| response.result);
        if result != Some(ResultCode::StaleRevision) {
            return Err(differs(format!("the earlier revision came to {result:?}")));
        }
        self.in_force(9).await
    }

    async fn act_already_decided(&mut self) -> Result<(), DemoError> {
        let (mut anna, transaction) = self.send_and_wait(Play::Xcfg).await?;
        let (mut bob, mut carol) = (self.desk("bob")?, self.desk("carol")?);
        for desk in [&mut bob, &mut carol] {
            desk.log_on().await?;
            desk.told(Kind::Configuration, false).await?;
        }
        let key = bob.list_one(Kind::Configuration).await?;
        bob.fetch(&key).await?;
        carol.fetch(&key).await?;
        bob.decide(&key, Decision::Accept, None).await?;
        anna.told(Kind::Configuration, true).await?;
        let second = carol.decide(&key, Decision::Reject { reason: None }, None).await;
        refused(second, ResultCode::Ok)?;
        let wanted = ResultCode::Ok;
        self.read_response(&mut anna, Kind::Configuration, transaction, wanted).await
    }

    async fn act_right_withdrawn(&mut self) -> Result<(), DemoError> {
        let (mut anna, transaction) = self.send_and_wait(Play::Xcfg).await?;
        let (mut bob, mut carol) = (self.desk("bob")?, self.desk("carol")?);
        bob.log_on().await?;
        bob.told(Kind::Configuration, false).await?;
        let key = bob.list_one(Kind::Configuration).await?;
        bob.fetch(&key).await?;
        self.b.allow("bob", &[], &[]).await?;
        let late = bob.decide(&key, Decision::Accept, None).await;
        refused(late, ResultCode::NotAuthorised)?;
        carol.log_on().await?;
        carol.told(Kind::Configuration, false).await?;
        self.decide(&mut carol, Kind::Configuration, None).await?;
        anna.told(Kind::Configuration, true).await?;
        let wanted = ResultCode::Ok;
        self.read_response(&mut anna, Kind::Configuration, transaction, wanted).await
    }

    /// The partner refuses at once: for nobody, or for a user who may not decide.
    async fn act_target(&mut self, fault: AcmFault) -> Result<(), DemoError> {
        let mut anna = self.desk("anna")?;
        anna.log_on().await?;
        let (mut parties, payload) = self.request(Play::Grp, None).await?;
        let (target, wanted) = if fault == AcmFault::TargetUnknown {
            let nobody = super::office::service_id(&format!("sip:nobody@{}", self.b.domain))?;
            (nobody, ResultCode::UnknownTargetUser)
        } else {
            (self.b.user("dave")?.0, ResultCode::NotAuthorised)
        };
        parties.target_id = Some(target);
        let transaction = anna.begin(&self.b.system, parties, payload).await?;
        anna.told(Kind::Groups, true).await?;
        self.read_response(&mut anna, Kind::Groups, transaction, wanted).await
    }

    async fn act_group_withdrawn(&mut self) -> Result<(), DemoError> {
        let (anna, transaction) = self.send(Play::Grp).await?;
        anna.stands(transaction, "at the partner", is_at_partner).await?;
        let gone = self.a.group("rescue")?;
        anna.withdraw_group(&gone).await?;
        let mut bob = self.desk("bob")?;
        bob.log_on().await?;
        bob.told(Kind::Groups, false).await?;
        let key = bob.list_one(Kind::Groups).await?;
        // The news travels beside the offer.
        for _ in 0..100 {
            if bob.fetch(&key).await?.withdrawn == [gone.clone()] {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(differs("the item does not say that the group is no more"))
    }

    async fn act_never_added(&mut self, show: &mut Show<'_>) -> Result<(), DemoError> {
        self.add_users(&["alice"], show).await?;
        let mut anna = self.desk("anna")?;
        anna.log_on().await?;
        let (bob_id, _) = self.b.user("bob")?;
        let parties = Parties { target_id: Some(bob_id), ..Parties::default() };
        let payload = self.update(&["alice", "mallory"], 8)?;
        let transaction = anna.begin(&self.b.system, parties, payload).await?;
        anna.stands(transaction, "at the partner", |it| is_at_partner(it) || it.response.is_some())
            .await?;
        let mut bob = self.desk("bob")?;
        bob.log_on().await?;
        if anna.progress(transaction).await?.response.is_none() {
            bob.told(Kind::Update, false).await?;
            self.decide(&mut bob, Kind::Update, None).await?;
        }
        anna.told(Kind::Update, true).await?;
        let progress = anna.progress(transaction).await?;
        let response = progress.response.ok_or_else(|| differs("there is no response"))?;
        let mallory = self.users_of_a(&["mallory"])?;
        let named: Vec<&str> = mallory.iter().map(McServiceId::as_str).collect();
        if response.result != ResultCode::InvalidData || *response.elements != named {
            let result = response.result;
            return Err(differs(format!("the update came to {result:?}, or names others")));
        }
        Ok(())
    }

    /// Bob holds the alias and has fetched; then Carol holds it, or is the one of both who is logged on.
    async fn act_other_holder(
        &mut self,
        fault: AcmFault,
        show: &mut Show<'_>,
    ) -> Result<(), DemoError> {
        self.add_users(&["alice"], show).await?;
        let alias = self.b.alias("dispatcher")?;
        let (mut bob, mut carol) = (self.desk("bob")?, self.desk("carol")?);
        bob.log_on().await?;
        carol.log_on().await?;
        self.b.hold(&alias, "bob", Hold::Activate).await?;
        let mut anna = self.desk("anna")?;
        anna.log_on().await?;
        let (parties, payload) = self.request(Play::Upd, Some(&alias)).await?;
        let transaction = anna.begin(&self.b.system, parties, payload).await?;
        bob.told(Kind::Update, false).await?;
        let key = bob.list_one(Kind::Update).await?;
        bob.fetch(&key).await?;
        if fault == AcmFault::AliasTakenOver {
            self.b.hold(&alias, "carol", Hold::TakeOver).await?;
            let late = bob.decide(&key, Decision::Accept, Some(&alias)).await;
            refused(late, ResultCode::NotAuthorised)?;
        } else {
            self.b.hold(&alias, "carol", Hold::Activate).await?;
            carol.sees_nothing().await?;
            bob.log_off().await?;
        }
        carol.told(Kind::Update, false).await?;
        self.decide(&mut carol, Kind::Update, Some(&alias)).await?;
        anna.told(Kind::Update, true).await?;
        let wanted = ResultCode::Ok;
        self.read_response(&mut anna, Kind::Update, transaction, wanted).await
    }

    /// Anna logs on and begins a transaction.
    async fn send(&mut self, play: Play) -> Result<(Desk, TransactionId), DemoError> {
        let mut anna = self.desk("anna")?;
        anna.log_on().await?;
        let (parties, payload) = self.request(play, None).await?;
        let transaction = anna.begin(&self.b.system, parties, payload).await?;
        Ok((anna, transaction))
    }

    /// The same, and waits until a person of the partner must look.
    async fn send_and_wait(&mut self, play: Play) -> Result<(Desk, TransactionId), DemoError> {
        let (anna, transaction) = self.send(play).await?;
        anna.stands(transaction, "at the partner", is_at_partner).await?;
        Ok((anna, transaction))
    }

    /// Checks which revision of A's configuration is in force in B.
    pub(super) async fn in_force(&self, wanted: u64) -> Result<(), DemoError> {
        match self.revision_in_force().await? {
            revision if revision == wanted => Ok(()),
            revision => {
                Err(differs(format!("revision {revision} is in force instead of {wanted}")))
            }
        }
    }
}

/// Checks that a request was refused, and with which code.
fn refused<T: fmt::Debug>(
    answer: Result<T, ConnectionError>,
    wanted: ResultCode,
) -> Result<(), DemoError> {
    match answer {
        Err(error) if error.code() == Some(wanted) => Ok(()),
        other => Err(differs(format!("the answer was {other:?} instead of {wanted:?}"))),
    }
}
