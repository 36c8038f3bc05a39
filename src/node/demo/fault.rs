//! The failure branches of the procedure, each played until it is seen on the wire.

use std::{fmt, str::FromStr, time::Duration};

use super::{
    DemoError, RunningDemo, Show,
    cast::{Person, agreement_with, provision_systems},
    device::Device,
    stage::HOME_PLMN,
};
use crate::{
    aka::{IND_BITS_DEFAULT, Sqn, SqnArray},
    api::migration_identity::Direction,
    identity::{Impi, Impu, McSystemId, UserIdentity},
    node::ladder::{Entry, Protocol},
    ue::{Isim, State},
};

/// Longer than a reservation lasts that nobody uses.
const PAUSE: Duration = Duration::from_secs(40 * 24 * 3_600);

/// How long a listed pair rests before it is lent again.
const QUARANTINE: Duration = Duration::from_secs(1);

/// How often to ask again while a pair rests.
const ASKS_MAX: usize = 100;

/// A failure branch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The UE holds another key than the home: the challenge is not authentic to it.
    WrongKey,
    /// The UE has seen higher sequence numbers than the home: resynchronization.
    SqnAhead,
    /// The UE comes after its reservation has ended: 403, and step 1 again helps.
    ExpiredBinding,
    /// The user insists on a system that there is no agreement with.
    UnknownPartner,
    /// No partner covers the place of the UE.
    NoPartnerForLocation,
    /// The user may not migrate.
    NotAuthorised,
    /// The partner has no agreement for the user; what was lent at home is given back.
    RefusedByPartner,
    /// The home's SIP database cannot be reached when the UE registers: 504, never 403.
    HomeUnreachable,
    /// The partner has no identity left; after a release it has.
    PoolExhausted,
    /// The home ends the agreement after step 13: no vector is given any more.
    Withdrawn,
}

/// A name that is no fault's.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("is no fault")]
pub struct UnknownFault;

impl Fault {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::WrongKey,
        Self::SqnAhead,
        Self::ExpiredBinding,
        Self::UnknownPartner,
        Self::NoPartnerForLocation,
        Self::NotAuthorised,
        Self::RefusedByPartner,
        Self::HomeUnreachable,
        Self::PoolExhausted,
        Self::Withdrawn,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WrongKey => "wrong-key",
            Self::SqnAhead => "sqn-ahead",
            Self::ExpiredBinding => "expired-binding",
            Self::UnknownPartner => "unknown-partner",
            Self::NoPartnerForLocation => "no-partner-for-location",
            Self::NotAuthorised => "not-authorised",
            Self::RefusedByPartner => "refused-by-partner",
            Self::HomeUnreachable => "home-unreachable",
            Self::PoolExhausted => "pool-exhausted",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// What must be seen, in this order: over what, and a part of the summary. The branch itself is always on
    /// the wire; what follows from it within a system may be a value.
    const fn evidence(self) -> &'static [(Wire, &'static str)] {
        match self {
            // The UE finds the challenge not authentic and answers without response: TS 24.229 5.1.1.5.3.
            Self::WrongKey => &[
                (Wire::Sip, "challenge"),
                (Wire::Sip, "Authorization without response"),
                (Wire::Sip, "403"),
            ],
            Self::SqnAhead => &[
                (Wire::Sip, "Authorization with auts"),
                (Wire::Diameter, "MAR, resynchronisation"),
                (Wire::Sip, "challenge"),
                (Wire::Sip, "200 OK"),
            ],
            Self::ExpiredBinding => {
                &[(Wire::Sip, "403"), (Wire::Http, "200 OK"), (Wire::Sip, "200 OK")]
            }
            Self::UnknownPartner => &[(Wire::Http, "403 Forbidden partner-not-allowed")],
            Self::NoPartnerForLocation => &[(Wire::Http, "404 Not Found no-partner")],
            Self::NotAuthorised => &[(Wire::Http, "403 Forbidden not-authorised")],
            Self::RefusedByPartner => &[
                (Wire::Http, "403 Forbidden not-authorised"),
                (Wire::Value, "take back what was lent"),
                (Wire::Http, "403 Forbidden refused-by-partner"),
            ],
            Self::HomeUnreachable => &[(Wire::Sip, "504"), (Wire::Sip, "200 OK")],
            Self::PoolExhausted => {
                &[(Wire::Http, "503 Service Unavailable exhausted"), (Wire::Http, "200 OK")]
            }
            Self::Withdrawn => &[(Wire::Diameter, "MAA e5001"), (Wire::Sip, "403")],
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, UnknownFault> {
        Self::ALL.into_iter().find(|fault| fault.name() == name).ok_or(UnknownFault)
    }
}

/// What evidence is looked for on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wire {
    /// Between roles of one system.
    Value,
    Sip,
    Diameter,
    Http,
}

impl Wire {
    const fn carries(self, protocol: Protocol) -> bool {
        matches!(
            (self, protocol),
            (Self::Value, Protocol::Value)
                | (Self::Sip, Protocol::SipUdp | Protocol::SipTcp | Protocol::SipTls)
                | (Self::Diameter, Protocol::Diameter)
                | (Self::Http, Protocol::Http)
        )
    }
}

impl RunningDemo {
    /// Provisions for a fault what differs from the regular demonstration.
    pub(super) async fn prepare(&mut self, fault: Fault) -> Result<(), DemoError> {
        let home = &self.stage.home;
        self.alice.provision(home, fault != Fault::NotAuthorised).await?;
        provision_systems(&self.stage, fault != Fault::PoolExhausted).await?;
        match fault {
            Fault::RefusedByPartner => {
                let partner = self.stage.partner.management()?;
                partner.delete_agreement(&agreement_with(home, Direction::Inbound)).await?;
            }
            Fault::PoolExhausted => self.fill_pool().await?,
            Fault::WrongKey => self.give_isim(self.alice.foreign_isim())?,
            Fault::SqnAhead => self.give_isim(self.alice.isim_ahead(ahead()?))?,
            Fault::ExpiredBinding
            | Fault::UnknownPartner
            | Fault::NoPartnerForLocation
            | Fault::NotAuthorised
            | Fault::HomeUnreachable
            | Fault::Withdrawn => {}
        }
        Ok(())
    }

    /// Plays a fault, and checks that its evidence was seen.
    ///
    /// # Errors
    ///
    /// [`DemoError::FaultNotSeen`], or why it could not be played.
    pub async fn play_fault(&mut self, fault: Fault, show: &mut Show<'_>) -> Result<(), DemoError> {
        let ended = self.act_fault(fault).await?;
        let seen = self.take_ladder();
        let shown: Vec<Entry> =
            seen.iter().filter(|entry| !super::repeats_the_sender(entry)).cloned().collect();
        for part in shown.chunk_by(|earlier, later| later.at.since(earlier.at) < PAUSE / 2) {
            show(&fault, part).map_err(DemoError::Show)?;
        }
        let mut rest = seen.iter();
        for (wire, part) in fault.evidence() {
            let is_it =
                |entry: &Entry| wire.carries(entry.protocol) && entry.summary.contains(part);
            if !rest.any(is_it) {
                return Err(DemoError::FaultNotSeen { fault, part });
            }
        }
        if ended { Ok(()) } else { Err(DemoError::FaultNotSeen { fault, part: "the end" }) }
    }

    /// Plays a fault; says whether the UE ended as it should.
    async fn act_fault(&mut self, fault: Fault) -> Result<bool, DemoError> {
        match fault {
            Fault::WrongKey => {
                self.migrate().await?;
                let state = self.ue.register().await?;
                Ok(state == State::Failed(crate::ue::Failure::NetworkNotAuthentic))
            }
            Fault::SqnAhead => {
                self.migrate().await?;
                Ok(is_registered(&self.ue.register().await?))
            }
            Fault::ExpiredBinding => {
                self.migrate().await?;
                self.pause(PAUSE).await?;
                let late = self.ue.register().await?;
                self.ue.leave();
                self.migrate().await?;
                Ok(is_failed(&late) && is_registered(&self.ue.register().await?))
            }
            Fault::UnknownPartner => {
                let nobody = McSystemId::parse("sip:c.example").ok();
                Ok(self.ue.migrate_from(HOME_PLMN, nobody).await.is_err())
            }
            Fault::NoPartnerForLocation => Ok(self.ue.migrate_from("99970", None).await.is_err()),
            Fault::NotAuthorised | Fault::RefusedByPartner => Ok(self.ue.migrate().await.is_err()),
            Fault::HomeUnreachable => {
                self.migrate().await?;
                self.stage.home.stop().await;
                let alone = self.ue.register().await?;
                self.stage.home.start(Duration::ZERO)?;
                self.stage.wait_connected().await?;
                Ok(is_failed(&alone) && is_registered(&self.ue.register().await?))
            }
            Fault::PoolExhausted => self.exhaust().await,
            Fault::Withdrawn => {
                self.migrate().await?;
                let home = self.stage.home.management()?;
                let key = agreement_with(&self.stage.partner, Direction::Outbound);
                home.delete_agreement(&key).await?;
                Ok(is_failed(&self.ue.register().await?))
            }
        }
    }

    /// Bob has the only pair; when it is released and has rested, Alice gets it.
    async fn exhaust(&mut self) -> Result<bool, DemoError> {
        let home = &self.stage.home;
        let bob = Person::new("bob", home)?;
        bob.provision(home, true).await?;
        let mut device = Device::new(&bob, bob.isim(), home, self.transport, &self.tap)?;
        let lent = device.migrate().await?;
        let refused = self.ue.migrate().await.is_err();
        self.stage.partner.management()?.release(Direction::Inbound, &lent.impi).await?;
        for _ in 0..ASKS_MAX {
            match self.ue.migrate().await {
                Ok(pair) => return Ok(refused && pair == lent),
                Err(_) => tokio::time::sleep(QUARANTINE / 10).await,
            }
        }
        Ok(false)
    }

    /// Provisions the partner's only pair.
    async fn fill_pool(&self) -> Result<(), DemoError> {
        let partner = &self.stage.partner;
        let pair = format!("guest@{}", partner.config().system.domain);
        let missing = |_| DemoError::Missing("a domain that makes identities");
        let only = UserIdentity {
            impi: Impi::parse(&pair).map_err(missing)?,
            impu: Impu::parse(&format!("sip:{pair}")).map_err(missing)?,
        };
        let client = partner.management()?;
        Ok(client.put_listed_pool("guests", Direction::Inbound, &[only], QUARANTINE).await?)
    }

    fn give_isim(&mut self, isim: Isim) -> Result<(), DemoError> {
        let (home, tap) = (&self.stage.home, &self.tap);
        self.ue = Device::new(&self.alice, isim, home, self.transport, tap)?;
        Ok(())
    }
}

/// Sequence numbers far above those of a new subscriber.
fn ahead() -> Result<SqnArray, DemoError> {
    let mut seen = SqnArray::default();
    for ind in 0..1 << IND_BITS_DEFAULT {
        let far = Sqn::new(1 << 20, ind, IND_BITS_DEFAULT);
        seen.accept(far).map_err(|_| DemoError::Missing("room for sequence numbers"))?;
    }
    Ok(seen)
}

const fn is_registered(state: &State) -> bool {
    matches!(state, State::Registered(_))
}

const fn is_failed(state: &State) -> bool {
    matches!(state, State::Failed(_))
}
