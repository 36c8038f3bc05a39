//! Users added for migration and removed again: what becomes of their agreements in the configuration servers.

use super::acm_harness::*;
use migcore::{
    acm::AgreementTerms,
    api::{
        acm_interconnection::ResultCode,
        acm_payload::Payload,
        configuration::{Request as Configure, Users},
        migration_identity::Direction,
    },
    identity::McServiceId,
};

const WAYS: [(Side, Direction); 2] =
    [(Side::A, Direction::Outbound), (Side::B, Direction::Inbound)];

fn ready() -> World {
    World::with(|config| {
        config.partners[0].agreements =
            Some(AgreementTerms { valid_for: 365 * DAY, hide_identities: true });
    })
}

/// How many of the users have an agreement: at A to go, at B to come.
fn agreed(world: &mut World, users: &[McServiceId]) -> [usize; 2] {
    WAYS.map(|(side, direction)| {
        users.iter().filter(|user| world.has_agreement(side, direction, user)).count()
    })
}

fn remove(world: &mut World, users: &[McServiceId]) {
    let payload = Payload::RemoveUsers { users: users.to_vec() };
    let key = world.send(begin_for("bert", payload));
    world.accept("bert", &key);
    assert_eq!(world.result(&key), Some(ResultCode::Ok));
}

#[test]
fn who_is_added_has_an_agreement_on_both_sides_and_who_is_removed_has_none() {
    let mut world = ready();
    let all = users(50);
    world.add_users(&all, None);
    assert_eq!(agreed(&mut world, &all), [50, 50]);
    remove(&mut world, &all[..20]);
    assert_eq!(agreed(&mut world, &all), [30, 30]);
    let role = &world.system(Side::B).role;
    let added = all.iter().filter(|user| role.is_migrant(Direction::Inbound, &id("a"), user));
    assert_eq!(added.count(), 30);
    world.add_users(&all[..1], None);
    assert_eq!(agreed(&mut world, &all), [31, 31]);
}

#[test]
fn nobody_has_an_agreement_where_an_operator_keeps_them() {
    let mut world = World::ready();
    world.add_users(&users(3), None);
    assert_eq!(agreed(&mut world, &users(3)), [0, 0]);
}

#[test]
fn a_refusal_leaves_everybody_without() {
    let mut world = ready();
    let payload = Payload::AddUsers { users: users(3), configuration: None };
    let key = world.send(begin_for("bert", payload));
    world.reject("bert", &key, "no");
    assert_eq!(agreed(&mut world, &users(3)), [0, 0]);
}

#[test]
fn a_process_killed_on_the_way_makes_and_ends_all_agreements_all_the_same() {
    let all = users(40);
    for number in [1, 2, 3, 10, 50] {
        for side in [Side::A, Side::B] {
            let mut world = ready();
            let payload = Payload::AddUsers { users: all.clone(), configuration: None };
            let key = world.send(begin_for("bert", payload));
            world.system(side).commits_until_crash = Some(number);
            let accept = migcore::api::acm_client::Request::Decide {
                item: key.clone(),
                decision: migcore::api::acm_client::Decision::Accept,
                alias: None,
            };
            world.try_ask(Side::B, "bert", accept);
            world.run();
            world.pass(10 * MINUTE);
            assert_eq!(agreed(&mut world, &all), [40, 40], "{side:?} after {number}");

            world.system(side).commits_until_crash = None;
            let payload = Payload::RemoveUsers { users: all.clone() };
            let key = world.send(begin_for("bert", payload));
            world.system(side).commits_until_crash = Some(number);
            let accept = migcore::api::acm_client::Request::Decide {
                item: key.clone(),
                decision: migcore::api::acm_client::Decision::Accept,
                alias: None,
            };
            world.try_ask(Side::B, "bert", accept);
            world.run();
            world.pass(10 * MINUTE);
            assert_eq!(agreed(&mut world, &all), [0, 0], "{side:?} after {number}");
        }
    }
}

/// The agreement of the first user.
fn is_of_the_first(request: &Configure) -> bool {
    let first = Users::User(users(1).remove(0));
    matches!(request, Configure::PutAgreement(it) if it.key.users == first)
}

#[test]
fn an_agreement_that_fails_holds_up_no_other() {
    let mut world = ready();
    world.system(Side::B).is_unavailable_for = is_of_the_first;
    let all = users(50);
    world.add_users(&all, None);
    assert_eq!(agreed(&mut world, &all), [50, 49]);
    world.pass(DAY);
    assert_eq!(agreed(&mut world, &all), [50, 49]);
    let asked = world.configured.len();
    world.system(Side::B).is_unavailable_for = |_| false;
    world.pass(10 * MINUTE);
    assert_eq!(agreed(&mut world, &all), [50, 50]);
    assert_eq!(world.configured.len() - asked, 1);
}

#[test]
fn while_the_configuration_server_serves_nobody_it_is_not_asked_for_everybody() {
    let mut world = ready();
    world.system(Side::B).is_unavailable_for = |it| matches!(it, Configure::PutAgreement(_));
    let all = users(1_200);
    world.add_users(&all, None);
    world.pass(10 * MINUTE);
    assert_eq!(agreed(&mut world, &all), [1_200, 0]);
    world.system(Side::B).is_unavailable_for = |_| false;
    world.pass(10 * MINUTE);
    assert_eq!(agreed(&mut world, &all), [1_200, 1_200]);
}
