//! Systems, users and contents as the tests of the role have them.

use std::sync::Arc;

use super::Side;
use crate::pap_password::add_pap_password;
use migcore::{
    acm::{Config, Partner, Policies},
    api::{
        acm_interconnection::{Envelope, Submission},
        acm_management::User,
        acm_payload::{ContentDigest, Kind, Parties, Payload},
        connection_details::{SipCoreAddress, SipTransport, SystemConfiguration},
    },
    config_server,
    identity::{FunctionalAlias, McServiceGroupId, McServiceId, McSystemId, Plmn, SipDatabaseId},
    time::Timestamp,
    token::BearerToken,
    ue_configuration::{Document, Extension, InitialUeConfiguration},
};

/// Administrators of each system. All have all rights.
pub const ADMINISTRATORS: [&str; 5] = ["anna", "amir", "bert", "bea", "bob"];

pub const PASSWORD: &str = "correct-horse-battery";

pub fn id(letter: &str) -> McSystemId {
    McSystemId::parse(&format!("sip:{letter}.example")).unwrap()
}

pub fn service(side: Side, name: &str) -> McServiceId {
    McServiceId::parse(&format!("sip:{name}@{}.example", side.letter())).unwrap()
}

pub fn group(name: &str) -> McServiceGroupId {
    McServiceGroupId::parse(&format!("sip:{name}@a.example")).unwrap()
}

pub fn driver() -> FunctionalAlias {
    FunctionalAlias::parse("sip:driver@b.example").unwrap()
}

/// The token that a user, or a system (`system-b`), presents.
pub fn token(of: &str) -> BearerToken {
    BearerToken::parse(&format!("the-token-of-{of}-is-long-enough")).unwrap()
}

pub fn administrator(side: Side, name: &str, rights: &[Kind]) -> User {
    User {
        mc_service_id: service(side, name),
        token: token(name).digest(),
        may_request: rights.to_vec(),
        may_decide: rights.to_vec(),
    }
}

pub fn acm_config(side: Side) -> Config {
    let mut config = Config::new(id(side.letter()), &format!("{}.example", side.letter()));
    config.partners = vec![partner(side.other().letter())];
    config
}

/// The partner of this letter, interconnected.
pub fn partner(letter: &str) -> Partner {
    Partner {
        id: id(letter),
        accepted_token: token(&format!("system-{letter}")).digest(),
        interconnected: true,
        domains: vec![format!("{letter}.example")],
        policies: Policies::default(),
        agreements: None,
    }
}

/// A request of the system of this letter to B, as that system would make it: for what the other system of a world
/// never asks.
pub fn submission_of(letter: &str, number: u128, payload: Payload, now: Timestamp) -> Submission {
    let originator = McServiceId::parse(&format!("sip:admin@{letter}.example")).unwrap();
    let parties = Parties { target_id: Some(service(Side::B, "bert")), ..Parties::default() };
    let revision = now.as_micros() + u64::try_from(number).unwrap();
    let digest = ContentDigest::of(&originator, &parties, revision, &payload).digest;
    let hex = format!("{number:032x}");
    let transaction =
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-").parse().unwrap();
    let envelope = Envelope {
        transaction,
        origin: id(letter),
        destination: id("b"),
        originator,
        created: now,
        expires: now + 14 * super::DAY,
        revision,
        digest,
    };
    Submission { envelope, parties, payload: Arc::new(payload) }
}

pub fn config_server_config(side: Side) -> config_server::Config {
    let database = |letter: &str| SipDatabaseId::parse(&format!("hss.{letter}.example")).unwrap();
    let (letter, other) = (side.letter(), side.other().letter());
    let name = format!("sip:migrated.{letter}.example");
    let mut config = config_server::Config::new(id(letter), database(letter), name);
    config.partners = vec![config_server::Partner {
        id: id(other),
        sip_database: database(other),
        accepted_token: token(&format!("system-{other}")).digest(),
        areas: Vec::new(),
    }];
    config
}

/// What UEs are told of a system.
pub fn system_configuration(letter: &str, revision: u64) -> SystemConfiguration {
    configuration_with(letter, revision, |_| {})
}

/// The same, with a change.
pub fn configuration_with(
    letter: &str,
    revision: u64,
    change: impl FnOnce(&mut Document),
) -> SystemConfiguration {
    let last = letter.as_bytes()[0];
    let address = format!("192.0.2.{last}:5060").parse().unwrap();
    let (domain, plmn) = (format!("{letter}.example"), Plmn::parse("20801").unwrap());
    let made = InitialUeConfiguration::for_domain(&domain, plmn).unwrap();
    let mut document = made.document().clone();
    change(&mut document);
    SystemConfiguration {
        revision,
        sip_core: vec![SipCoreAddress { transport: SipTransport::Udp, address }],
        document: Arc::new(InitialUeConfiguration::new(&document).unwrap()),
    }
}

/// With another APN of the MC services.
pub fn moved(letter: &str, revision: u64) -> SystemConfiguration {
    configuration_with(letter, revision, |document| {
        document.on_network.hplmn.service.mc_services = format!("apn-{revision}");
    })
}

pub fn labelled(letter: &str, revision: u64, label: &str) -> SystemConfiguration {
    configuration_with(letter, revision, |document| {
        document.extensions.push(Extension::Label(label.to_owned()));
    })
}

/// With a PAP password.
pub fn with_password(letter: &str, revision: u64) -> SystemConfiguration {
    configuration_with(letter, revision, |document| add_pap_password(document, PASSWORD))
}

/// Users of A.
pub fn users(count: usize) -> Vec<McServiceId> {
    (0..count).map(|number| service(Side::A, &format!("user-{number}"))).collect()
}

pub fn xcfg(revision: u64) -> Payload {
    Payload::Configuration(system_configuration("a", revision))
}

pub fn grp(names: &[&str]) -> Payload {
    Payload::Groups(names.iter().map(|name| group(name)).collect())
}

/// B's own configuration for users of A.
pub fn upd(users: &[McServiceId], revision: u64) -> Payload {
    Payload::Update { users: users.to_vec(), configuration: system_configuration("b", revision) }
}

/// The APN that UEs are told.
pub fn apn(configuration: &SystemConfiguration) -> &str {
    &configuration.document.document().on_network.hplmn.service.mc_services
}
