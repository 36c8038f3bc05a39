//! Scenarios 28 to 41: update of the initial configuration of migrating users, and functional aliases.

use super::acm_harness::*;
use migcore::{
    acm::{AliasChoice, Mode},
    api::{
        acm_client::{Answer as ClientAnswer, Begin, Decision, Request as Client, State},
        acm_interconnection::{ResultCode, TransactionKey},
        acm_payload::{Kind, Parties, Payload},
        alias_management::{Activation, Request as AliasRequest},
        migration_identity::Direction,
    },
    identity::FunctionalAlias,
    outbox::Note,
};

/// Three users of A are added for migration to B.
fn ready() -> World {
    let mut world = World::ready();
    world.add_users(&users(3), None);
    world.notified.clear();
    world
}

/// The revision that a user of A has in B.
fn revision(world: &mut World, number: usize) -> Option<u64> {
    let user = users(number + 1).remove(number);
    let held = world.system(Side::B).role.configuration_of(Direction::Inbound, &id("a"), &user);
    held.map(|configuration| configuration.revision)
}

fn update_driver(world: &mut World) -> TransactionKey {
    world.send(begin_for_driver(upd(&users(3), 1)))
}

fn sees(world: &mut World, name: &str) -> bool {
    !world.list(Side::B, name).is_empty()
}

#[test]
fn scenario_28_a_target_who_is_logged_on_gets_the_update_directly() {
    let mut world = ready();
    world.log_on(Side::B, "bert");
    let key = world.send(begin_for("bert", upd(&users(3), 1)));
    assert_eq!(world.take_notified(Side::B, "bert").len(), 1);
    assert_eq!(world.list(Side::B, "bert")[0].state, State::Assigned);
    let answer = world.accept("bert", &key);
    assert_eq!(answer, ClientAnswer::Decided(Some(ResultCode::Ok)));
    assert_eq!(world.result(&key), Some(ResultCode::Ok));
    assert_eq!([0, 1, 2].map(|number| revision(&mut world, number)), [Some(1); 3]);
}

#[test]
fn scenario_29_a_target_who_is_logged_off_gets_it_after_logging_on() {
    let mut world = ready();
    let key = world.send(begin_for("bert", upd(&users(3), 1)));
    assert_eq!(world.list(Side::B, "bert")[0].state, State::WaitingForLogon);
    world.pass(5 * DAY);
    world.log_on(Side::B, "bert");
    assert_eq!(world.take_notified(Side::B, "bert").len(), 1);
    world.accept("bert", &key);
    assert_eq!(world.result(&key), Some(ResultCode::Ok));
}

#[test]
fn scenario_29_a_confirmed_update_is_for_its_users_and_for_nobody_else() {
    let mut world = ready();
    world.put_configuration(Side::A, Side::B, labelled("b", 1, "Engine 12"));
    let at_a = |world: &mut World, number: usize| {
        let user = users(3).remove(number);
        world.system(Side::A).role.configuration_of(Direction::Outbound, &id("b"), &user)
    };
    let payload = Payload::Update { users: users(2), configuration: moved("b", 2) };
    let key = world.send(begin_for("bert", payload));
    assert_eq!(at_a(&mut world, 0), None, "not confirmed");
    world.accept("bert", &key);
    for _ in 0..2 {
        for number in [0, 1] {
            let told = at_a(&mut world, number).unwrap();
            assert_eq!((told.revision, apn(&told)), (2, "apn-2"));
        }
        assert_eq!(at_a(&mut world, 2), None);
        let of_all = world.configuration_at(Side::A, Side::B);
        assert_eq!(of_all, Some(labelled("b", 1, "Engine 12")), "the other users are told this");
        world.restart(Side::A);
        world.run();
    }
}

#[test]
fn scenario_30_an_alias_that_is_active_at_one_client_leads_there() {
    let mut world = ready();
    world.log_on(Side::B, "bert");
    world.log_on(Side::B, "bea");
    world.activate("bea");
    let key = update_driver(&mut world);
    assert!(sees(&mut world, "bea") && !sees(&mut world, "bert"));
    let ClientAnswer::Refused(refusal) = world.accept("bert", &key) else { panic!("decided") };
    assert_eq!(refusal.code, ResultCode::NotAuthorised);
    world.accept("bea", &key);
    assert_eq!(world.response(&key).handler_id, Some(service(Side::B, "bea")));
}

#[test]
fn scenario_31_of_three_clients_with_the_alias_the_one_that_is_logged_on_longest_gets_it() {
    let mut world = ready();
    for name in ["bob", "bert", "bea"] {
        world.log_on(Side::B, name);
        world.pass(MINUTE);
    }
    for name in ["bea", "bert", "bob"] {
        world.activate(name);
    }
    update_driver(&mut world);
    assert!(sees(&mut world, "bob"));
    assert!(!sees(&mut world, "bert") && !sees(&mut world, "bea"));
    for name in ["bert", "bea"] {
        assert_eq!(world.take_notified(Side::B, name), []);
    }
}

#[test]
fn scenario_31_of_three_clients_with_the_alias_the_one_with_the_fewest_items_gets_it() {
    let mut world = ready();
    world.change_config(Side::B, |config| config.alias_choice = AliasChoice::FewestPending);
    for name in ["bob", "bert", "bea"] {
        world.log_on(Side::B, name);
        world.pass(MINUTE);
        world.activate(name);
    }
    for name in ["bob", "bob", "bert"] {
        let others = users(9).split_off(8);
        world.send(begin_for(name, Payload::AddUsers { users: others, configuration: None }));
    }
    update_driver(&mut world);
    let pending = ["bob", "bert", "bea"].map(|name| world.list(Side::B, name).len());
    assert_eq!(pending, [2, 1, 1]);
    assert_eq!(world.list(Side::B, "bea")[0].kind, Kind::Update);
}

#[test]
fn scenario_32_what_is_for_an_alias_that_is_active_nowhere_waits_for_its_activation() {
    let mut world = ready();
    world.log_on(Side::B, "bert");
    let key = update_driver(&mut world);
    assert_eq!(world.state(&key), State::PendingAtPartner);
    assert!(!sees(&mut world, "bert"));
    world.pass(DAY);
    world.activate("bert");
    assert_eq!(world.take_notified(Side::B, "bert").len(), 1);
    world.accept("bert", &key);
    assert_eq!(world.result(&key), Some(ResultCode::Ok));
}

#[test]
fn scenario_32_an_alias_of_a_user_without_a_client_is_active_nowhere() {
    let mut world = ready();
    world.activate("bert");
    update_driver(&mut world);
    assert!(!sees(&mut world, "bert"));
    world.log_on(Side::B, "bert");
    assert_eq!(world.take_notified(Side::B, "bert").len(), 1);
    assert!(sees(&mut world, "bert"));
}

#[test]
fn scenario_33_what_an_assigned_client_leaves_behind_goes_to_another_holder() {
    let mut world = ready();
    let session = world.log_on(Side::B, "bert");
    world.log_on(Side::B, "bea");
    world.activate("bert");
    let key = update_driver(&mut world);
    world.fetch(Side::B, "bert", &key);
    world.log_off(Side::B, "bert", session);
    assert!(!sees(&mut world, "bert") && !sees(&mut world, "bea"));
    world.activate("bea");
    assert_eq!(world.take_notified(Side::B, "bea").len(), 1);
    world.accept("bea", &key);
    assert_eq!(world.result(&key), Some(ResultCode::Ok));
}

#[test]
fn scenario_34_who_took_the_alias_over_decides_and_nobody_else() {
    let mut world = ready();
    world.log_on(Side::B, "bert");
    world.log_on(Side::B, "bea");
    world.activate("bert");
    let key = update_driver(&mut world);
    world.fetch(Side::B, "bert", &key);
    assert_eq!(world.take_over("bea"), [service(Side::B, "bert")]);
    let ClientAnswer::Refused(refusal) = world.accept("bert", &key) else { panic!("decided") };
    assert_eq!(refusal.code, ResultCode::NotAuthorised);
    assert_eq!(world.take_notified(Side::B, "bea").len(), 1);
    world.accept("bea", &key);
    assert_eq!(world.response(&key).handler_id, Some(service(Side::B, "bea")));
}

#[test]
fn scenario_34_who_shares_the_alias_later_does_not_take_what_is_assigned() {
    let mut world = ready();
    world.log_on(Side::B, "bea");
    world.pass(MINUTE);
    world.log_on(Side::B, "bert");
    world.activate("bert");
    update_driver(&mut world);
    world.activate("bea");
    assert!(sees(&mut world, "bert") && !sees(&mut world, "bea"));
}

#[test]
fn scenario_35_an_update_without_target_is_refused() {
    let mut world = ready();
    let refusal = world.refused(Side::A, "anna", begin(upd(&users(1), 1)));
    assert_eq!(refusal.code, ResultCode::InvalidData);
    assert_eq!(refusal.elements.to_vec(), ["target_id"]);
}

#[test]
fn scenario_36_with_both_targets_the_id_routes() {
    let mut world = ready();
    world.log_on(Side::B, "bert");
    world.log_on(Side::B, "bea");
    world.activate("bea");
    let parties = Parties {
        target_id: Some(service(Side::B, "bert")),
        target_alias: Some(driver()),
        requester_alias: None,
    };
    let mismatch = (Side::B, Note::AliasMismatch { partner: id("a") });
    let told = |world: &World| world.notes.iter().filter(|note| **note == mismatch).count();
    let key = world.send(Begin { parties: parties.clone(), ..begin(upd(&users(1), 1)) });
    assert!(sees(&mut world, "bert") && !sees(&mut world, "bea"));
    assert_eq!(told(&world), 1, "the alias is another user's");
    world.accept("bert", &key);
    assert_eq!(world.result(&key), Some(ResultCode::Ok));

    world.activate("bert");
    world.send(Begin { parties: parties.clone(), ..begin(upd(&users(1), 2)) });
    assert_eq!(told(&world), 1, "both have it");
    world.feed_down();
    world.send(Begin { parties, ..begin(upd(&users(1), 3)) });
    assert_eq!(told(&world), 1, "nobody knows");
}

/// A functional alias of A.
fn controller() -> FunctionalAlias {
    FunctionalAlias::parse("sip:controller@a.example").unwrap()
}

#[test]
fn nobody_asks_under_an_alias_of_somebody_else() {
    let mut world = ready();
    let begin_as_controller = || {
        let begin = begin_for("bert", upd(&users(1), 1));
        let requester_alias = Some(controller());
        Begin { parties: Parties { requester_alias, ..begin.parties.clone() }, ..begin }
    };
    let hold =
        |name: &str| Activation { alias: controller(), user: service(Side::A, name), shared: true };
    let sent = world.on_link.len();
    world.activate_at(Side::A, hold("amir"));
    let refusal = world.refused(Side::A, "anna", begin_as_controller());
    assert_eq!(refusal.code, ResultCode::NotAuthorised);
    assert_eq!(refusal.elements.to_vec(), ["requester_alias"]);
    assert_eq!(world.on_link.len(), sent, "nothing leaves");
    world.activate_at(Side::A, hold("anna"));
    let key = world.send(begin_as_controller());
    assert_eq!(world.state(&key), State::PendingAtPartner);
}

#[test]
fn nobody_decides_under_an_alias_of_somebody_else() {
    let mut world = ready();
    world.log_on(Side::B, "bert");
    world.activate("bea");
    let key = world.send(begin_for("bert", upd(&users(1), 1)));
    let decide = |world: &mut World| {
        let (decision, alias) = (Decision::Accept, Some(driver()));
        world.ask(Side::B, "bert", Client::Decide { item: key.clone(), decision, alias })
    };
    let ClientAnswer::Refused(refusal) = decide(&mut world) else { panic!("decided") };
    assert_eq!(refusal.code, ResultCode::NotAuthorised);
    assert_eq!(refusal.elements.to_vec(), ["alias"]);
    world.feed_down();
    let ClientAnswer::Refused(refusal) = decide(&mut world) else { panic!("decided") };
    assert_eq!(refusal.code, ResultCode::Busy, "it is not known now");
    world.feed_up();
    world.activate("bert");
    assert_eq!(decide(&mut world), ClientAnswer::Decided(Some(ResultCode::Ok)));
    assert_eq!(world.response(&key).handler_alias, Some(driver()));
}

#[test]
fn scenario_37_a_user_who_was_never_added_makes_the_whole_update_fail() {
    let mut world = ready();
    let key = world.send(begin_for("bert", upd(&users(4), 1)));
    world.accept("bert", &key);
    let response = world.response(&key);
    assert_eq!(response.result, ResultCode::InvalidData);
    assert_eq!(response.elements.to_vec(), [users(4)[3].as_str()]);
    assert_eq!(revision(&mut world, 0), None, "nobody has it");
}

#[test]
fn scenario_37_policy_may_accept_the_others() {
    let mut world = ready();
    world.change_config(Side::B, |config| config.partners[0].policies.usual.accepts_part = true);
    let key = world.send(begin_for("bert", upd(&users(4), 1)));
    world.accept("bert", &key);
    let response = world.response(&key);
    assert_eq!(response.result, ResultCode::OkPartial);
    assert_eq!(response.elements.to_vec(), [users(4)[3].as_str()]);
    let revisions = [0, 1, 2, 3].map(|number| revision(&mut world, number));
    assert_eq!(revisions, [Some(1), Some(1), Some(1), None]);
    let stranger = users(4).remove(3);
    let at_a =
        world.system(Side::A).role.configuration_of(Direction::Outbound, &id("b"), &stranger);
    assert!(at_a.is_none(), "A knows who is left out");
}

#[test]
fn scenario_37_all_who_are_left_out_are_named_for_whatever_reason() {
    let mut world = ready();
    world.change_config(Side::B, |config| config.partners[0].policies.usual.accepts_part = true);
    world.add_users(&users(1), Some(labelled("b", 2, "Engine 12")));
    let key = world.send(begin_for("bert", upd(&users(4), 1)));
    world.accept("bert", &key);
    let response = world.response(&key);
    assert_eq!(response.result, ResultCode::OkPartial);
    // One was never added, and the other has something newer.
    let all = users(4);
    let left_out = [all[3].as_str(), all[0].as_str()];
    assert_eq!(response.elements.to_vec(), left_out);
    let revisions = [0, 1, 2, 3].map(|number| revision(&mut world, number));
    assert_eq!(revisions, [Some(2), Some(1), Some(1), None]);
}

#[test]
fn scenario_37_a_removed_user_is_not_updated() {
    let mut world = ready();
    let key = world.send(begin_for("bert", Payload::RemoveUsers { users: users(1) }));
    world.accept("bert", &key);
    assert_eq!(world.result(&key), Some(ResultCode::Ok));
    let key = world.send(begin_for("bert", upd(&users(3), 1)));
    world.accept("bert", &key);
    assert_eq!(world.response(&key).elements.to_vec(), [users(1)[0].as_str()]);
}

#[test]
fn scenario_38_a_blank_label_leaves_the_stored_one() {
    let mut world = World::ready();
    world.add_users(&users(2), Some(labelled("b", 1, "Engine 12")));
    let labels = |world: &mut World| {
        [0, 1].map(|number| {
            let user = users(2).remove(number);
            let role = &world.system(Side::B).role;
            let held = role.configuration_of(Direction::Inbound, &id("a"), &user).unwrap();
            (held.revision, held.document.label().map(str::to_owned))
        })
    };
    for (revision, payload) in [
        (2, upd(&users(2), 2)),
        (
            3,
            Payload::Update {
                users: users(2),
                configuration: labelled("b", 3, "sent all the same"),
            },
        ),
    ] {
        let key = world.send(begin_for("bert", payload));
        let sent = world.fetch(Side::B, "bert", &key).payload.unwrap();
        assert_eq!(sent.configuration().unwrap().document.label(), Some(""), "sent blank");
        world.accept("bert", &key);
        let wanted = (revision, Some("Engine 12".to_owned()));
        assert_eq!(labels(&mut world), [wanted.clone(), wanted.clone()]);
        world.restart(Side::B);
        world.run();
        assert_eq!(labels(&mut world), [wanted.clone(), wanted]);
    }
}

#[test]
fn scenario_39_a_difference_in_what_the_partner_owns_goes_to_a_person() {
    let mut world = ready();
    world.set_mode(Mode::ByRule { rejects_difference: false });
    let same = world.send(begin_for("bert", upd(&users(3), 1)));
    assert_eq!(world.result(&same), Some(ResultCode::Ok), "equal: nobody has to look");

    let payload = Payload::Update { users: users(3), configuration: moved("b", 2) };
    let other = world.send(begin_for("bert", payload));
    assert_eq!(world.result(&other), None);
    let item = world.fetch(Side::B, "bert", &other);
    assert_eq!(item.differing.to_vec(), ["service/MCPTT-to-con-ref"]);
    assert_eq!(revision(&mut world, 0), Some(1));
    world.accept("bert", &other);
    assert_eq!(revision(&mut world, 0), Some(2), "the person says yes");
}

#[test]
fn scenario_39_policy_may_reject_a_difference() {
    let mut world = ready();
    world.set_mode(Mode::ByRule { rejects_difference: true });
    let payload = Payload::Update { users: users(3), configuration: moved("b", 2) };
    let key = world.send(begin_for("bert", payload));
    let response = world.response(&key);
    assert_eq!(response.result, ResultCode::RejectedByPolicy);
    assert_eq!(response.elements.to_vec(), ["service/MCPTT-to-con-ref"]);
}

#[test]
fn scenario_39_what_the_user_owns_is_no_difference() {
    let mut world = ready();
    world.set_mode(Mode::ByRule { rejects_difference: true });
    world.put_configuration(Side::B, Side::B, with_password("b", 2));
    let with_other = configuration_with("b", 3, |document| {
        document.on_network = with_password("b", 3).document.document().on_network.clone();
        for extension in &mut document.on_network.extensions {
            if let migcore::ue_configuration::Extension::DataNetwork(network) = extension {
                let pap = network.pap.as_mut().unwrap();
                pap.password = migcore::secret::SecretText::new("another");
            }
        }
    });
    let payload = Payload::Update { users: users(3), configuration: with_other };
    let key = world.send(begin_for("bert", payload));
    assert_eq!(world.result(&key), Some(ResultCode::Ok));
}

#[test]
fn scenario_40_an_update_of_100_000_users_is_applied_to_all_or_to_none() {
    const COUNT: usize = 100_000;
    let all = users(COUNT);
    let mut world = World::ready();
    world.add_users(&all, Some(system_configuration("b", 1)));
    for (crash_after, wanted) in [(None, 3), (Some(1), 4), (Some(2), 5)] {
        let key = world.send(begin_for("bert", upd(&all, wanted)));
        world.system(Side::B).commits_until_crash = crash_after;
        let decide = Client::Decide { item: key.clone(), decision: Decision::Accept, alias: None };
        world.try_ask(Side::B, "bert", decide);
        world.run();
        let role = &world.system(Side::B).role;
        let revisions: std::collections::BTreeSet<Option<u64>> = all
            .iter()
            .map(|user| role.configuration_of(Direction::Inbound, &id("a"), user))
            .map(|held| held.map(|configuration| configuration.revision))
            .collect();
        assert_eq!(revisions.len(), 1, "all or none: {revisions:?}");
        world.pass(10 * MINUTE);
        assert_eq!(revisions.first().copied().flatten(), Some(wanted), "it was decided");
        assert_eq!(world.result(&key), Some(ResultCode::Ok));
    }
}

#[test]
fn scenario_41_while_the_alias_feed_is_down_nothing_is_active() {
    let mut world = ready();
    world.log_on(Side::B, "bert");
    world.feed_down();
    world.activate("bert");
    let key = update_driver(&mut world);
    assert!(!sees(&mut world, "bert"));
    assert_eq!(world.state(&key), State::PendingAtPartner, "stored");
    world.pass(DAY);
    world.feed_up();
    assert_eq!(world.take_notified(Side::B, "bert").len(), 1);
    world.accept("bert", &key);
    assert_eq!(world.result(&key), Some(ResultCode::Ok));
}

#[test]
fn scenario_41_what_was_assigned_is_nobodys_while_the_feed_is_down_and_after_a_restart() {
    let mut world = ready();
    world.log_on(Side::B, "bert");
    world.activate("bert");
    update_driver(&mut world);
    assert!(sees(&mut world, "bert"));
    world.feed_down();
    assert!(!sees(&mut world, "bert"));
    world.restart(Side::B);
    world.run();
    assert!(!sees(&mut world, "bert"));
    world.feed_up();
    assert!(sees(&mut world, "bert"), "logged on still: a log-on outlives the process");
}

#[test]
fn scenario_32_an_alias_that_was_deactivated_leads_nowhere_until_it_is_active_again() {
    let mut world = ready();
    world.log_on(Side::B, "bert");
    world.activate("bert");
    let key = update_driver(&mut world);
    assert!(sees(&mut world, "bert"));
    world.deactivate("bert");
    assert!(!sees(&mut world, "bert"));
    world.restart(Side::B);
    world.run();
    assert!(!sees(&mut world, "bert"));
    world.activate("bert");
    world.accept("bert", &key);
    assert_eq!(world.result(&key), Some(ResultCode::Ok));
}

#[test]
fn who_holds_an_alias_holds_it_after_a_restart() {
    let mut world = ready();
    for name in ["bob", "bea"] {
        world.log_on(Side::B, name);
        world.pass(MINUTE);
        world.activate(name);
    }
    assert_eq!(world.take_over("bea"), [service(Side::B, "bob")]);
    world.restart(Side::B);
    world.run();
    update_driver(&mut world);
    assert!(sees(&mut world, "bea") && !sees(&mut world, "bob"));
}

/// On the way to the ACM server events overtake each other: a change that does not follow what is known makes it ask
/// for everything, and an older one changes nothing.
#[test]
fn changes_of_aliases_that_overtake_each_other_end_as_the_controlling_server_has_it() {
    for seed in 0..40 {
        let mut world = ready();
        for name in ["bob", "bert", "bea"] {
            world.log_on(Side::B, name);
        }
        for name in ["bob", "bert", "bob", "bea"] {
            world.try_aliases(AliasRequest::TakeOver(driven_by(name)));
        }
        world.run_in_disorder(seed);
        update_driver(&mut world);
        let seen = ["bob", "bert", "bea"].map(|name| sees(&mut world, name));
        assert_eq!(seen, [false, false, true], "seed {seed}");
    }
}

#[test]
fn a_holder_who_may_not_decide_is_told_so_by_the_decision() {
    let mut world = ready();
    world.log_on(Side::B, "norights");
    world.activate("norights");
    let key = update_driver(&mut world);
    assert!(matches!(world.accept("norights", &key), ClientAnswer::Refused(_)));
    assert_eq!(world.result(&key), None);
    assert!(world.notes.iter().all(|(_, note)| !matches!(note, Note::TableFull(_))));
}

#[test]
fn a_user_is_not_updated_while_its_removal_waits() {
    let mut world = ready();
    let key = world.send(begin_for("bert", Payload::RemoveUsers { users: users(1) }));
    let refusal = world.refused(Side::A, "anna", begin_for("bert", upd(&users(2), 1)));
    assert_eq!(refusal.code, ResultCode::Conflict);
    assert_eq!(refusal.elements.to_vec(), [users(1)[0].as_str()]);
    world.reject("bert", &key, "still here");
    world.send(begin_for("bert", upd(&users(2), 1)));
}

#[test]
fn policy_names_who_may_decide_and_who_may_begin_with_a_partner() {
    let mut world = ready();
    world.change_config(Side::B, |config| {
        let deciders = [service(Side::B, "bea")].into();
        config.partners[0].policies.by_kind.insert(
            Kind::Configuration,
            migcore::acm::Policy { deciders: Some(deciders), ..Default::default() },
        );
    });
    let key = world.send(begin(xcfg(1)));
    assert!(!sees(&mut world, "bert") && sees(&mut world, "bea"));
    assert!(matches!(world.accept("bert", &key), ClientAnswer::Refused(_)));
    world.accept("bea", &key);
    assert_eq!(world.result(&key), Some(ResultCode::Ok));

    world.change_config(Side::A, |config| {
        config.partners[0].policies.usual.requesters = Some([service(Side::A, "amir")].into());
    });
    let refusal = world.refused(Side::A, "anna", begin(xcfg(2)));
    assert_eq!(refusal.code, ResultCode::NotAuthorised);
}

#[test]
fn two_updates_in_flight_end_with_the_newer_one() {
    let mut world = ready();
    let first = world.send(begin_for("bert", upd(&users(3), 1)));
    let second = world.send(begin_for("bea", upd(&users(2), 2)));
    world.accept("bea", &second);
    assert_eq!(world.result(&first), Some(ResultCode::StaleRevision), "it would undo a newer one");
    assert_eq!(revision(&mut world, 0), Some(2));
    assert_eq!(revision(&mut world, 2), None);
}
