//! What must hold of the messages that lead a user to a partner system: C1, C2 and A2 (TR 23.781 solution 2,
//! steps 7, 12 and 13), and of what is left when all is quiet.

use std::time::Duration;

use crate::{
    api::{
        acm_interconnection::TransactionKey,
        connection_details::{Answer, Details, Refusal, SystemConfiguration},
        migration_identity::{Lent, PrimaryUser},
        system_access::{Access, Request},
    },
    identity::{McServiceId, UserIdentity},
    outbox::ReplyTo,
    store::{RecordKind, decode, encode},
    time::Timestamp,
};

use super::{
    SystemId, Violation, World,
    check::Told,
    http::Inquiry,
    system::Parked,
    tables::{GrantRecord, InboundRecord, OutboundRecord},
    ue_host::UeHost,
};

/// How long a request over HTTP may be without an answer: three waits of the role, and the storage's trouble.
const ANSWER: Duration = Duration::from_secs(40);

impl World {
    /// C1: the pair is lent or granted durably, and shows nothing that is hidden.
    pub(super) fn check_access_request(
        &mut self,
        id: SystemId,
        request: &Request,
    ) -> Result<(), Violation> {
        let PrimaryUser { database, identity, server_name } = &request.user;
        for text in [
            request.primary.as_str(),
            request.mc_service_id.as_str(),
            database.as_str(),
            identity.impi.as_str(),
            identity.impu.as_str(),
            server_name,
        ] {
            self.checks.watch_text(text);
        }
        if self.checks.exposed() {
            return Err(Violation::new("no real identity is on the wire", &id.label()));
        }
        let ue = self.ue_called(&request.mc_service_id)?;
        if !self.is_lent_or_granted(ue, identity) {
            let detail = format_args!("ue{}", ue.number);
            return Err(Violation::new("a partner is told of a stored binding or grant", &detail));
        }
        Ok(())
    }

    /// C2: the inbound pair and the configuration are stored here.
    pub(super) fn check_access(
        &mut self,
        id: SystemId,
        to: &ReplyTo,
        access: &Access,
    ) -> Result<(), Violation> {
        let Some((_, Inquiry::Access(request, _))) = self.inquiry_of(id, to) else { return Ok(()) };
        if !self.is_bound(id, &access.identity, |primary| *primary == request.user) {
            let detail = format_args!("{}", access.identity.impi.as_str());
            return Err(Violation::new("a pair is told after it is stored", &detail));
        }
        let told = access.configuration.as_ref();
        told.map_or(Ok(()), |told| self.check_configured(id, &[id], told))
    }

    /// A2: all that it relies on is stored where it belongs, the pair is this user's, and it is the one
    /// that the user was told before. A definite refusal of the partner leaves nothing that was lent for it.
    pub(super) fn check_details(
        &mut self,
        id: SystemId,
        to: &ReplyTo,
        answer: &Answer,
    ) -> Result<(), Violation> {
        let Some((question, Inquiry::Details(request, _))) = self.inquiry_of(id, to) else {
            return Ok(());
        };
        let ue = self.ue_called(&request.mc_service_id)?;
        match answer {
            Answer::Details(details) => {
                let since = self.since(id, to).unwrap_or_else(|| self.now());
                let revoked = self.checks.may_be_revoked(&ue.real.impi, since);
                self.check_told(ue, details, revoked)?;
                let (number, real, partner) = (ue.number, ue.real.impi.clone(), ue.home.other());
                let now = self.now();
                self.check_configured(partner, &[partner, id], &details.configuration)?;
                self.check_up_to_date(id, details.configuration.revision, since)?;
                self.checks.told_at.insert(number, now);
                self.check_same(number, real.clone(), details)?;
                if revoked {
                    self.checks.told.remove(&number); // it may be over already
                }
                Ok(())
            }
            Answer::Refused(Refusal::RefusedByPartner) => {
                // Of requests that overlap one may have been granted, and the pair told, before this one
                // is refused.
                let told = self.checks.told_at.get(&ue.number).copied();
                let overlapped = self.details_under_way(ue) > 1 || told >= self.since(id, to);
                let alone = ue.asked <= Some(question) && !overlapped;
                let anew = self.checks.lent.get(&ue.real.impi) == Some(&Lent::Anew);
                if alone && anew && (self.outbound_of(ue).is_some() || self.has_grant(ue)) {
                    let detail = format_args!("ue{}", ue.number);
                    let rule = "a definite refusal of the partner leaves nothing lent for it";
                    return Err(Violation::new(rule, &detail));
                }
                Ok(())
            }
            Answer::Refused(_) => Ok(()),
        }
    }

    fn check_told(&self, ue: &UeHost, details: &Details, revoked: bool) -> Result<(), Violation> {
        let partner = ue.home.other();
        let detail = format_args!("ue{}, {}", ue.number, details.identity.impi.as_str());
        if details.mc_system_id != partner.mc_system_id() {
            return Err(Violation::new("a UE is sent to a partner", &details.mc_system_id));
        }
        let is_its = |primary: &PrimaryUser| {
            primary.database == ue.home.database() && self.is_lent_or_granted(ue, &primary.identity)
        };
        if !self.is_bound(partner, &details.identity, is_its) {
            let rule = "a UE is told a pair that both systems have stored for it";
            return Err(Violation::new(rule, &detail));
        }
        let still = |primary: &PrimaryUser| {
            is_its(primary) && self.is_still_lent(ue, &primary.identity)
                || self.checks.given_up.contains(&primary.identity.impi)
        };
        if !revoked && !self.is_bound(partner, &details.identity, still) {
            let rule = "a UE is told a pair whose other side its home has not taken back";
            return Err(Violation::new(rule, &detail));
        }
        Ok(())
    }

    fn check_same(
        &mut self,
        number: usize,
        real: crate::identity::Impi,
        details: &Details,
    ) -> Result<(), Violation> {
        let now = self.now();
        let (impi, holder) = (details.identity.impi.clone(), (number, details.valid_until));
        let earlier = self.checks.told_to.insert(impi, holder);
        if earlier.is_some_and(|(earlier, until)| earlier != number && now < until) {
            let detail = format_args!("{} to ue{number}", details.identity.impi.as_str());
            return Err(Violation::new("no two users are told one pair", &detail));
        }
        let told = Told { real, identity: details.identity.clone(), until: details.valid_until };
        if let Some(earlier) = self.checks.told.insert(number, told)
            && earlier.identity != details.identity
            && now < earlier.until
        {
            let (pair, earlier) = (details.identity.impi.as_str(), earlier.identity.impi.as_str());
            let detail = format_args!("ue{number}: {pair} after {earlier}");
            return Err(Violation::new("asking again gives the same pair", &detail));
        }
        Ok(())
    }

    /// What must hold when all is quiet: nobody waits for an answer, and what is stored fits together.
    pub(super) fn check_leftovers(&self) -> Result<(), Violation> {
        let now = self.now();
        for system in [&self.a, &self.b] {
            for parked in system.parked.values() {
                if let Parked::Http { question, since } = parked
                    && now.since(*since) > ANSWER
                {
                    return Err(Violation::new("every request is answered", question));
                }
            }
        }
        self.check_quiet()
    }

    /// Since when a request over HTTP has been under way.
    fn since(&self, id: SystemId, to: &ReplyTo) -> Option<Timestamp> {
        let ReplyTo::World(handle) = to else { return None };
        match self.system(id).parked.get(handle)? {
            Parked::Http { since, .. } => Some(*since),
            Parked::Diameter { .. } => None,
        }
    }

    fn ue_called(&self, name: &McServiceId) -> Result<&UeHost, Violation> {
        let found = self.ues.iter().find(|ue| ue.mc_service_id == *name);
        found.ok_or_else(|| Violation::new("a request is about a user", &"unknown"))
    }

    /// How many requests of a UE its home's configuration server is at work on.
    fn details_under_way(&self, ue: &UeHost) -> usize {
        let parked = self.system(ue.home).parked.keys();
        parked
            .filter(|handle| {
                let found = self.inquiry_of(ue.home, &ReplyTo::World(**handle));
                matches!(found, Some((_, Inquiry::Details(it, _))) if it.mc_service_id == ue.mc_service_id)
            })
            .count()
    }

    /// Whether the storage of a UE's home ever held that `pair` stands for it at its partner.
    pub(super) fn is_lent_or_granted(&self, ue: &UeHost, pair: &UserIdentity) -> bool {
        let history = self.system(ue.home).engine.history();
        if *pair == ue.real {
            let key = grant_key(ue);
            return history.values(RecordKind::Grant, &key).next().is_some();
        }
        let mut lent = history.values(RecordKind::OutboundBinding, pair.impi.as_str());
        lent.any(|value| is_lent(value, ue, pair))
    }

    /// Whether the storage of a UE's home holds that `pair` stands for it at its partner.
    fn is_still_lent(&self, ue: &UeHost, pair: &UserIdentity) -> bool {
        if *pair == ue.real {
            return self.has_grant(ue);
        }
        let history = self.system(ue.home).engine.history();
        let stored = history.current(RecordKind::OutboundBinding, pair.impi.as_str());
        stored.is_some_and(|value| is_lent(value, ue, pair))
    }

    /// Whether the storage of a UE's home holds a grant for its partner.
    fn has_grant(&self, ue: &UeHost) -> bool {
        let history = self.system(ue.home).engine.history();
        let stored = history.current(RecordKind::Grant, &grant_key(ue));
        stored.is_some_and(|value| decode::<GrantRecord>(value).is_ok())
    }

    /// Whether the storage of `id` ever held that an inbound pair is lent to such a user.
    fn is_bound(
        &self,
        id: SystemId,
        pair: &UserIdentity,
        to: impl Fn(&PrimaryUser) -> bool,
    ) -> bool {
        let history = self.system(id).engine.history();
        history.values(RecordKind::InboundBinding, pair.impi.as_str()).any(|value| {
            decode::<InboundRecord>(value)
                .is_ok_and(|(impu, primary, ..)| impu == pair.impu && to(&primary))
        })
    }

    /// A configuration of `system` that is told was stored by one of `at`, for all UEs or for single users.
    fn check_configured(
        &mut self,
        system: SystemId,
        at: &[SystemId],
        told: &SystemConfiguration,
    ) -> Result<(), Violation> {
        if self.checks.configured.iter().any(|(of, known)| *of == system && known == told) {
            return Ok(());
        }
        let (key, told_octets) = (system.mc_system_id(), encode(told));
        let holds = |at: &SystemId| {
            let history = self.system(*at).engine.history();
            let mut stored = history.values(RecordKind::SystemConfiguration, key.as_str());
            stored.any(|stored| stored == told_octets)
        };
        let holds_for_users = |at: &SystemId| {
            let history = self.system(*at).engine.history();
            let mut sets = history.all_current(RecordKind::AcmConfigurationSet);
            sets.any(|(_, set)| {
                let set = decode::<(TransactionKey, SystemConfiguration)>(set);
                set.is_ok_and(|(_, configuration)| configuration == *told)
            })
        };
        if !at.iter().any(|at| holds(at) || holds_for_users(at)) {
            return Err(Violation::new("a configuration is told after it is stored", &key));
        }
        self.checks.configured.push((system, told.clone()));
        Ok(())
    }
}

/// Whether `value` is the binding of `pair` to a UE's user for its partner.
fn is_lent(value: &[u8], ue: &UeHost, pair: &UserIdentity) -> bool {
    decode::<OutboundRecord>(value).is_ok_and(|(impu, user, at, ..)| {
        impu == pair.impu && user == ue.real && at == ue.home.other().database()
    })
}

fn grant_key(ue: &UeHost) -> String {
    format!("{} {}", ue.real.impi.as_str(), ue.home.other().database())
}
