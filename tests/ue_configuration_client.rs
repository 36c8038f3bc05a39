//! The configuration management client of a UE: what it asks, what it keeps of the answers, and what it
//! registers with.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

mod common;

use std::{sync::Arc, time::Duration};

use common::Seeded;
use migcore::{
    api::connection_details::{
        Answer, Details, Location, Reason, Refusal, Request, SipCoreAddress, SipTransport,
        SystemConfiguration,
    },
    identity::{Impi, Impu, McSystemId, UserIdentity},
    outbox::{Context, Effect, Message, Outbox, Role, Transport, Undeliverable},
    step::Step,
    store::{CommitSeq, Sequencer},
    time::Timestamp,
    ue::{
        ConfigurationClient, ConfigurationFailure, ConfigurationState, NoAccess,
        PARTNER_RECORDS_MAX, PrimaryRecord, Records, RecordsFull,
    },
    ue_configuration::InitialUeConfiguration,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn system(uri: &str) -> McSystemId {
    McSystemId::parse(uri).unwrap()
}

fn pair(user: &str, domain: &str) -> UserIdentity {
    UserIdentity {
        impi: Impi::parse(&format!("{user}@{domain}")).unwrap(),
        impu: Impu::parse(&format!("sip:{user}-public@{domain}")).unwrap(),
    }
}

fn core(transport: SipTransport, address: &str) -> SipCoreAddress {
    SipCoreAddress { transport, address: address.parse().unwrap() }
}

fn primary() -> PrimaryRecord {
    PrimaryRecord {
        mc_service_id: "sip:alice@a.example".parse().unwrap(),
        mc_system_id: system("sip:a.example"),
        identity: pair("alice", "a.example"),
        sip_core: vec![core(SipTransport::Udp, "192.0.2.1:5060")],
    }
}

fn location() -> Location {
    Location { plmn: "20801".parse().unwrap(), tracking_area: Some(7), cell: None }
}

/// A2 from the system of `domain`, with `user` as the inbound private identity's.
fn details(domain: &str, user: &str, revision: u64) -> Details {
    Details {
        mc_system_id: system(&format!("sip:{domain}")),
        reason: Reason::Location,
        identity: pair(user, domain),
        valid_until: NOW + Duration::from_secs(30 * 86_400),
        configuration: SystemConfiguration {
            revision,
            sip_core: vec![
                core(SipTransport::Tcp, "198.51.100.1:5061"),
                core(SipTransport::Udp, "198.51.100.2:5060"),
            ],
            document: Arc::new(
                InitialUeConfiguration::for_domain(domain, "20801".parse().unwrap()).unwrap(),
            ),
        },
    }
}

fn answer(domain: &str, user: &str, revision: u64) -> Answer {
    Answer::Details(Box::new(details(domain, user, revision)))
}

struct Bench {
    client: ConfigurationClient,
    out: Outbox,
    entropy: Seeded,
    now: Timestamp,
}

impl Bench {
    fn new() -> Self {
        Self {
            client: ConfigurationClient::new(Records::new(primary())),
            out: Outbox::new(Arc::new(Sequencer::default())),
            entropy: Seeded(5),
            now: NOW,
        }
    }

    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut ConfigurationClient, &mut Context<'_>) -> T,
    ) -> (T, Vec<Effect>) {
        let mut ctx = Context { now: self.now, entropy: &mut self.entropy, out: &mut self.out };
        let result = call(&mut self.client, &mut ctx);
        (result, self.out.drain().collect())
    }

    /// Asks and returns the one request that leaves.
    fn ask(&mut self, wish: Option<&str>, strict: bool) -> Request {
        let ((), effects) =
            self.call(|client, ctx| client.ask(ctx, location(), wish.map(system), strict));
        the_request(effects)
    }

    fn answered(&mut self, outcome: Result<Answer, Undeliverable>) -> ConfigurationState {
        let ((), effects) = self.call(|client, ctx| client.handle_answer(ctx, outcome));
        assert!(effects.is_empty(), "{effects:?}");
        self.client.state().clone()
    }
}

fn the_request(effects: Vec<Effect>) -> Request {
    let [Effect::Send(send)] = <[Effect; 1]>::try_from(effects).unwrap() else {
        panic!("something else than a message")
    };
    assert_eq!((send.after, send.step), (CommitSeq::NOTHING, Some(Step::mig(1))));
    let Message::ConnectionDetailsRequest(request) = send.message else {
        panic!("another message")
    };
    request
}

#[test]
fn step_1_asks_for_connection_details_with_the_users_wish_and_location() {
    let mut bench = Bench::new();
    assert_eq!(*bench.client.state(), ConfigurationState::Idle);
    for (wish, strict) in [(None, false), (Some("sip:b.example"), false), (Some("sip:c"), true)] {
        let request = bench.ask(wish, strict);
        let wanted = Request {
            mc_service_id: "sip:alice@a.example".parse().unwrap(),
            location: location(),
            partner: wish.map(system),
            strict,
        };
        assert_eq!(request, wanted);
        assert_eq!(*bench.client.state(), ConfigurationState::Busy);
    }
}

#[test]
fn the_answer_is_kept_beside_the_primary_record_which_never_changes() {
    let mut bench = Bench::new();
    for (domain, at) in [("b.example", 1), ("c.example", 2)] {
        bench.now = NOW + Duration::from_secs(at);
        bench.ask(None, false);
        let received = ConfigurationState::Received(system(&format!("sip:{domain}")));
        assert_eq!(bench.answered(Ok(answer(domain, "mig-1", 4))), received);
        let record = bench.client.records().partner(&system(&format!("sip:{domain}"))).unwrap();
        assert_eq!((record.received, &record.details), (bench.now, &details(domain, "mig-1", 4)));
        assert_eq!(*bench.client.records().primary(), primary());
    }
    let kept = bench.client.records().partners().iter();
    let kept: Vec<&str> = kept.map(|record| record.details.mc_system_id.as_str()).collect();
    assert_eq!(kept, ["sip:b.example", "sip:c.example"], "the newest last");
}

#[test]
fn an_answer_about_another_partner_than_a_strict_wish_is_not_kept() {
    let mut bench = Bench::new();
    bench.ask(Some("sip:b.example"), true);
    let other = ConfigurationState::Failed(ConfigurationFailure::OtherPartner);
    assert_eq!(bench.answered(Ok(answer("c.example", "mig-1", 1))), other);
    assert!(bench.client.records().partners().is_empty());
    bench.ask(Some("sip:b.example"), true);
    let received = ConfigurationState::Received(system("sip:b.example"));
    assert_eq!(bench.answered(Ok(answer("b.example", "mig-1", 1))), received);
}

#[test]
fn even_an_answer_that_names_the_primary_itself_leaves_the_primary_record_alone() {
    let mut bench = Bench::new();
    bench.ask(None, false);
    bench.answered(Ok(answer("a.example", "mig-1", 1)));
    assert_eq!(*bench.client.records().primary(), primary());
    let home = bench.client.records().home_access(None).unwrap();
    assert_eq!(home.identity, primary().identity);
}

#[test]
fn a_new_answer_replaces_the_record_of_its_partner_only_older_revisions_included() {
    let mut bench = Bench::new();
    for (domain, user, revision) in [
        ("b.example", "mig-1", 4),
        ("c.example", "mig-2", 9),
        ("b.example", "mig-1", 5),
        ("b.example", "mig-3", 2), // the server was restored from an old copy: it is the authority
    ] {
        bench.ask(None, false);
        bench.answered(Ok(answer(domain, user, revision)));
    }
    let records = bench.client.records();
    assert_eq!(records.partners().len(), 2);
    let b = &records.partner(&system("sip:b.example")).unwrap().details;
    assert_eq!(*b, details("b.example", "mig-3", 2));
    let c = &records.partner(&system("sip:c.example")).unwrap().details;
    assert_eq!(*c, details("c.example", "mig-2", 9));
    assert_eq!(records.partners()[1].details, *b, "the newest last");
}

#[test]
fn after_a_lost_answer_the_same_request_is_sent_again() {
    let mut bench = Bench::new();
    let first = bench.ask(Some("sip:b.example"), true);
    let failed = ConfigurationState::Failed(ConfigurationFailure::NoAnswer);
    assert_eq!(bench.answered(Err(Undeliverable)), failed);
    let ((), effects) = bench.call(ConfigurationClient::repeat);
    assert_eq!(the_request(effects), first);
    let received = ConfigurationState::Received(system("sip:b.example"));
    assert_eq!(bench.answered(Ok(answer("b.example", "mig-1", 1))), received);
}

#[test]
fn without_a_request_there_is_nothing_to_repeat_and_no_answer_to_handle() {
    let mut bench = Bench::new();
    let ((), effects) = bench.call(ConfigurationClient::repeat);
    assert!(effects.is_empty());
    assert_eq!(bench.answered(Ok(answer("b.example", "mig-1", 1))), ConfigurationState::Idle);
    assert!(bench.client.records().partners().is_empty());
}

#[test]
fn a_refusal_says_whether_to_try_again_and_leaves_the_records_as_they_were() {
    let seconds = |it| Some(Duration::from_secs(it));
    for (refusal, retry_after) in [
        (Refusal::NotAuthenticated, None),
        (Refusal::NotAuthorised, None),
        (Refusal::PartnerNotAllowed, None),
        (Refusal::NoPartner, None),
        (Refusal::RefusedByPartner, None),
        (Refusal::NotConfigured, seconds(60)),
        (Refusal::Exhausted, seconds(60)),
        (Refusal::PartnerUnreachable, seconds(5)),
        (Refusal::Unavailable, seconds(5)),
    ] {
        let mut bench = Bench::new();
        bench.ask(None, false);
        bench.answered(Ok(answer("b.example", "mig-1", 1)));
        let before = bench.client.records().clone();
        bench.ask(None, false);
        let failure = ConfigurationFailure::Refused(refusal);
        let state = bench.answered(Ok(Answer::Refused(refusal)));
        assert_eq!(state, ConfigurationState::Failed(failure));
        assert_eq!(failure.retry_after(), retry_after, "{refusal}");
        assert_eq!(*bench.client.records(), before);
    }
    assert_eq!(ConfigurationFailure::NoAnswer.retry_after(), seconds(5));
}

#[test]
fn records_are_bounded_and_only_one_past_its_validity_makes_room() {
    let mut bench = Bench::new();
    for number in 0..PARTNER_RECORDS_MAX {
        bench.ask(None, false);
        bench.answered(Ok(answer(&format!("p{number}.example"), "mig-1", 1)));
    }
    let before = bench.client.records().clone();
    bench.ask(None, false);
    let full = ConfigurationState::Failed(ConfigurationFailure::RecordsFull(RecordsFull));
    assert_eq!(bench.answered(Ok(answer("late.example", "mig-1", 1))), full);
    assert_eq!(*bench.client.records(), before);

    bench.ask(None, false);
    bench.answered(Ok(answer("p0.example", "mig-2", 1)));
    bench.now = NOW + Duration::from_secs(31 * 86_400);
    bench.ask(None, false);
    bench.answered(Ok(answer("late.example", "mig-1", 1)));
    let records = bench.client.records();
    assert_eq!(records.partners().len(), PARTNER_RECORDS_MAX);
    assert!(records.partner(&system("sip:p1.example")).is_none(), "it was the oldest");
    assert!(records.partner(&system("sip:p0.example")).is_some());
}

#[test]
fn step_14_prepares_access_with_nothing_but_the_answer() {
    let mut bench = Bench::new();
    bench.ask(None, false);
    bench.answered(Ok(answer("b.example", "mig-1", 1)));
    let b = system("sip:b.example");
    for (over, transport, remote) in [
        (None, Transport::Tcp, "198.51.100.1:5061"),
        (Some(Transport::Tcp), Transport::Tcp, "198.51.100.1:5061"),
        (Some(Transport::Udp), Transport::Udp, "198.51.100.2:5060"),
    ] {
        let (config, effects) = bench.call(|client, ctx| client.prepare_access(ctx, &b, over));
        let config = config.unwrap();
        assert_eq!(config.identity, pair("mig-1", "b.example"));
        assert_eq!(config.domain, "b.example");
        assert_eq!(
            (config.flow.transport, config.flow.remote),
            (transport, remote.parse().unwrap())
        );
        let [Effect::Step { step, by: Role::Ue, summary }] = effects[..] else {
            panic!("{effects:?}")
        };
        assert_eq!(step, Step::mig(14));
        assert!(summary.contains("user authentication is not configured"));
    }
}

#[test]
fn without_a_record_or_an_address_there_is_no_access_and_no_step() {
    let mut bench = Bench::new();
    let b = system("sip:b.example");
    let (config, effects) = bench.call(|client, ctx| client.prepare_access(ctx, &b, None));
    assert_eq!((config.unwrap_err(), effects.len()), (NoAccess::Unknown, 0));

    let mut nowhere = details("b.example", "mig-1", 1);
    nowhere.configuration.sip_core.clear();
    bench.ask(None, false);
    bench.answered(Ok(Answer::Details(Box::new(nowhere))));
    let (config, effects) = bench.call(|client, ctx| client.prepare_access(ctx, &b, None));
    assert_eq!((config.unwrap_err(), effects.len()), (NoAccess::NoSipCore, 0));

    let over_tcp = bench.client.records().home_access(Some(Transport::Tcp));
    assert_eq!(over_tcp.unwrap_err(), NoAccess::NoSipCore);
    let home = bench.client.records().home_access(None).unwrap();
    assert_eq!((home.domain.as_str(), home.identity), ("a.example", primary().identity));
}
