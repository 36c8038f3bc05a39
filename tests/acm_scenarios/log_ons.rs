//! What people see follows the rights that they have, and a log-on lasts as long as something is heard of its client.

use super::acm_harness::*;
use migcore::api::{
    acm_client::{Answer as ClientAnswer, Request as Client, State},
    acm_interconnection::{Answer, Request, ResultCode, TransactionKey},
    acm_management::{Answer as ManagementAnswer, Request as Manage},
    acm_payload::{ContentDigest, Kind, Parties, Payload},
};

/// Groups offered to bert of B, who is logged on and has been told.
fn offered() -> (World, TransactionKey) {
    let mut world = World::ready();
    world.put_groups(&["g1"]);
    world.log_on(Side::B, "bert");
    let key = world.send(begin_for("bert", grp(&["g1"])));
    assert_eq!(world.take_notified(Side::B, "bert").len(), 1);
    (world, key)
}

fn reduce(world: &mut World, name: &str, rights: &[Kind]) {
    let reduced = administrator(Side::B, name, rights);
    assert_eq!(world.manage(Side::B, Manage::PutUser(reduced)), ManagementAnswer::Done);
}

#[test]
fn who_may_decide_no_more_sees_no_request_that_waits_and_is_told_so() {
    let (mut world, key) = offered();
    reduce(&mut world, "bert", &[Kind::Configuration]);
    assert_eq!(world.list(Side::B, "bert"), []);
    let answer = world.ask(Side::B, "bert", Client::Fetch(key.clone()));
    assert!(matches!(answer, ClientAnswer::Refused(_)), "{answer:?}");
    let told = world.take_notified(Side::B, "bert");
    assert_eq!(told.iter().map(|it| (it.kind, it.count)).collect::<Vec<_>>(), [(Kind::Groups, 0)]);
    world.restart(Side::B);
    world.run();
    assert_eq!(world.take_notified(Side::B, "bert"), []);

    reduce(&mut world, "bert", &Kind::ALL);
    let told = world.take_notified(Side::B, "bert");
    assert_eq!(told.iter().map(|it| (it.kind, it.count)).collect::<Vec<_>>(), [(Kind::Groups, 1)]);
    world.accept("bert", &key);
    assert_eq!(world.result(&key), Some(ResultCode::Received));
}

#[test]
fn who_may_begin_nothing_any_more_reads_no_response_by_another_way() {
    let mut world = World::ready();
    let key = world.send(begin(xcfg(1)));
    world.accept("bert", &key);
    let reduced = administrator(Side::A, "anna", &[Kind::Groups]);
    world.manage(Side::A, Manage::PutUser(reduced));
    let answer = world.ask(Side::A, "anna", Client::Follow(key.transaction));
    assert!(matches!(answer, ClientAnswer::Refused(_)), "{answer:?}");
    let answer = world.ask(Side::A, "amir", Client::Follow(key.transaction));
    assert!(matches!(answer, ClientAnswer::Progress(_)), "{answer:?}");
}

/// C, whose requests only bea may decide, sends its configuration to whoever may decide.
fn send_configuration_of_c(world: &mut World, number: u128) {
    let revision = world.now.as_micros() + u64::try_from(number).unwrap();
    let payload = Payload::Configuration(system_configuration("c", revision));
    let mut submission = submission_of("c", number, payload, world.now);
    submission.parties = Parties::default();
    let envelope = &mut submission.envelope;
    let (parties, payload) = (&submission.parties, &submission.payload);
    let digest = ContentDigest::of(&envelope.originator, parties, revision, payload).digest;
    envelope.digest = digest;
    let request = Request::Submit(Box::new(submission));
    assert_eq!(world.post(Side::B, Some(&token("system-c")), request), Some(Answer::Stored));
    world.run();
    // Nobody is there who takes the indication.
    world.pass(MINUTE);
}

#[test]
fn who_may_decide_for_one_partner_is_told_of_its_requests_and_of_no_others() {
    let mut world = World::ready();
    world.change_config(Side::B, |config| {
        let mut c = partner("c");
        c.policies.usual.deciders = Some([service(Side::B, "bea")].into());
        config.partners.push(c);
    });
    world.log_on(Side::B, "bert");
    world.log_on(Side::B, "bea");
    let told = |world: &mut World, name: &str| {
        let told = world.take_notified(Side::B, name);
        told.iter().map(|it| (it.count, it.last)).collect::<Vec<_>>()
    };
    let of_a = world.send(begin(xcfg(1)));
    let number = world.list(Side::B, "bert")[0].number;
    assert_eq!(told(&mut world, "bert"), [(1, number)]);
    assert_eq!(told(&mut world, "bea"), [(1, number)]);
    for more in 1..=2 {
        send_configuration_of_c(&mut world, u128::from(more));
        assert_eq!(told(&mut world, "bert"), [], "it is not for bert");
        assert_eq!(told(&mut world, "bea"), [(1 + more, number + more)]);
    }
    world.restart(Side::B);
    world.run();
    assert_eq!(told(&mut world, "bert"), [(1, number)]);
    assert_eq!(told(&mut world, "bea"), [(3, number + 2)]);
    world.accept("bert", &of_a);
    world.log_on(Side::B, "bert");
    assert_eq!(told(&mut world, "bert"), [], "nothing is left for bert");
}

#[test]
fn a_client_that_died_is_logged_off_and_what_it_had_by_an_alias_goes_on() {
    let mut world = World::ready();
    world.add_users(&users(1), None);
    let bert = world.log_on(Side::B, "bert");
    world.pass(MINUTE);
    world.log_on(Side::B, "bea");
    for name in ["bert", "bea"] {
        world.activate(name);
    }
    let key = world.send(begin_for_driver(upd(&users(1), 2)));
    assert_eq!(world.list(Side::B, "bert").len(), 1, "who is logged on longest");
    world.pass(DAY);
    assert_eq!(world.list(Side::B, "bea"), [], "bert's client is there");

    let bea_stays = world.system(Side::B).streams.pop().unwrap();
    world.clients_die(Side::B);
    world.system(Side::B).streams.push(bea_stays);
    world.pass(4 * MINUTE);
    assert_eq!(world.list(Side::B, "bea"), []);
    world.take_notified(Side::B, "bea");
    world.pass(2 * MINUTE);
    assert_eq!(world.take_notified(Side::B, "bea").len(), 1);
    assert_eq!(world.list(Side::B, "bert"), []);
    let gone = world.ask(Side::B, "bert", Client::LogOff { session: bert });
    assert!(matches!(gone, ClientAnswer::Refused(_)), "{gone:?}");
    world.accept("bea", &key);
    assert_eq!(world.result(&key), Some(ResultCode::Ok));
}

#[test]
fn a_client_without_a_stream_stays_logged_on_by_its_requests() {
    let (mut world, _) = offered();
    world.clients_die(Side::B);
    for _ in 0..10 {
        world.pass(4 * MINUTE);
        assert_eq!(world.list(Side::B, "bert")[0].state, State::Assigned);
    }
    world.pass(6 * MINUTE);
    assert_eq!(world.list(Side::B, "bert")[0].state, State::WaitingForLogon);
}

#[test]
fn a_lease_begins_anew_with_the_process() {
    let (mut world, _) = offered();
    world.clients_die(Side::B);
    world.pass(4 * MINUTE);
    world.restart(Side::B);
    world.pass(4 * MINUTE);
    assert_eq!(world.list(Side::B, "bert")[0].state, State::Assigned);
}

#[test]
fn a_user_goes_together_with_the_log_ons() {
    let mut world = World::ready();
    for _ in 0..3 {
        world.log_on(Side::B, "bert");
    }
    let before = world.system(Side::B).commits;
    let gone = Manage::DeleteUser(service(Side::B, "bert"));
    assert_eq!(world.manage(Side::B, gone), ManagementAnswer::Done);
    assert_eq!(world.system(Side::B).commits - before, 1);
}
