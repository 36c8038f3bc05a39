//! What is lent under an agreement is good for vectors as long as the agreement holds.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::redundant_closure_for_method_calls,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

mod sip_database_harness;

use std::time::Duration;

use migcore::{
    api::migration_identity::{
        AgreementId, Allowance, Answer, Direction, Lent, Refusal, Request as Manage,
    },
    diameter::cx::{MultimediaAuthAnswer, Request, ResultCode},
    identity::UserIdentity,
    outbox::{Message, Note, Peer, ReplyTo, RequestId, Role},
    sip_database::Config,
    step::Step,
    time::Timestamp,
};
use sip_database_harness::*;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A microsecond less than the agreements here hold.
const ALMOST_TEN_DAYS: Duration = Duration::from_micros(10 * 24 * 3_600 * 1_000_000 - 1);

fn peer_b() -> Peer {
    Peer::Database(database("hss.b.example"))
}

/// Agreement `number`, good for ten days from the start of the tests.
#[expect(clippy::unnecessary_wraps, reason = "as requests take it")]
fn under(number: u64) -> Option<Allowance> {
    let until = Timestamp::from_secs(1_000_000) + 10 * DAY;
    Some(Allowance { agreement: AgreementId(number), until })
}

fn lend_out(allowed: Option<Allowance>) -> Manage {
    Manage::BindOutbound { user: alice(), partner: database("hss.b.example"), allowed }
}

fn grant(allowed: Option<Allowance>) -> Manage {
    let partner = database("hss.b.example");
    Manage::PutGrant { user: alice(), partner, valid_for: 30 * DAY, allowed }
}

fn lend_in(identity: &UserIdentity, allowed: Option<Allowance>) -> Manage {
    Manage::BindInbound { primary: primary(identity), allowed }
}

fn withdraw(number: u64) -> Manage {
    Manage::WithdrawAgreement(AgreementId(number))
}

/// A, with Alice and an outbound pool.
fn home() -> System {
    let mut a = system_a();
    a.put_alice();
    a.done(Manage::PutPool(generated("out", Direction::Outbound, "a.example")));
    a
}

/// B, with an inbound pool.
fn partner() -> System {
    let mut b = system_b();
    b.done(Manage::PutPool(generated("in", Direction::Inbound, "b.example")));
    b
}

/// What B's SIP database is answered when it asks A for a vector.
fn ask(a: &mut System, identity: &UserIdentity) -> MultimediaAuthAnswer {
    a.vector(&peer_b(), mar(identity))
}

#[track_caller]
fn assert_good(a: &mut System, identity: &UserIdentity) {
    assert!(ask(a, identity).result.is_success());
}

/// Asserts that B gets nothing, learns nothing, and that an operator is told.
#[track_caller]
fn assert_refused(a: &mut System, identity: &UserIdentity) {
    let request = Request::MultimediaAuth(mar(identity));
    let effects = a.request(&peer_b(), request);
    assert_eq!(effects.notes, [Note::VectorRefused { partner: database("hss.b.example") }]);
    let answer = effects.vector();
    assert_eq!((answer.result, answer.vector.is_none()), (UNKNOWN, true));
}

/// Whether B forwards its SIP core's request for a vector; if not, with which code it answers.
fn core_asks(b: &mut System, identity: &UserIdentity) -> Result<RequestId, ResultCode> {
    let request = Request::MultimediaAuth(mar(identity));
    let effects = b.request(&Peer::OwnCore, request);
    match effects.sends.first().map(|send| &send.message) {
        Some(Message::CxRequest { id, .. }) => Ok(*id),
        _ => Err(effects.vector().result),
    }
}

#[test]
fn an_outbound_pair_is_good_while_its_agreement_holds_and_shown_with_its_end() {
    let mut a = home();
    let lent = a.binding(lend_out(under(1)));
    assert_eq!(lent.reserved_until, under(1).unwrap().until, "before the end of the lease");
    assert_good(&mut a, &lent.identity);
    a.pass(ALMOST_TEN_DAYS);
    assert_good(&mut a, &lent.identity);
    a.pass(Duration::from_micros(1));
    assert_refused(&mut a, &lent.identity);
    a.restart();
    assert_refused(&mut a, &lent.identity);
}

#[test]
fn a_lease_that_ends_before_the_agreement_is_shown_with_its_own_end() {
    let mut a = home();
    let allowed = under(1).map(|allowed| Allowance { until: a.now + 100 * DAY, ..allowed });
    assert_eq!(a.binding(lend_out(allowed)).reserved_until, a.now + LEASE);
}

#[test]
fn a_grant_is_good_while_its_agreement_holds() {
    let mut a = home();
    a.granted(grant(under(1)));
    a.restart();
    a.pass(ALMOST_TEN_DAYS);
    assert_good(&mut a, &alice());
    a.pass(Duration::from_micros(1));
    assert_refused(&mut a, &alice());
}

#[test]
fn a_repeat_under_another_agreement_makes_the_same_outbound_pair_good_again() {
    let mut a = home();
    let first = a.binding(lend_out(under(1)));
    a.pass(10 * DAY);
    assert_refused(&mut a, &first.identity);
    let longer = Some(Allowance { agreement: AgreementId(2), until: a.now + HOUR });
    let repeat = a.manage_effects(lend_out(longer));
    assert!(repeat.sent().0 >= repeat.last_commit(), "the answer waits for the new allowance");
    let Answer::Binding(second) = repeat.management() else { panic!("no binding") };
    assert_eq!((second.identity.clone(), second.reserved_until), (first.identity, a.now + HOUR));
    a.restart();
    assert_good(&mut a, &second.identity);
    a.pass(HOUR);
    assert_refused(&mut a, &second.identity);
}

#[test]
fn a_repeat_under_the_same_agreement_commits_nothing_and_waits_for_the_first_one() {
    let mut a = home();
    let first = a.manage_effects(lend_out(under(1)));
    let repeat = a.manage_effects(lend_out(under(1)));
    assert!(repeat.commits.is_empty());
    assert!(repeat.sent().0 >= first.last_commit());
    let mut b = partner();
    let first = b.manage_effects(lend_in(&alice(), under(1)));
    let repeat = b.manage_effects(lend_in(&alice(), under(1)));
    assert!(repeat.commits.is_empty());
    assert!(repeat.sent().0 >= first.last_commit());
}

#[test]
fn an_agreement_that_is_prolonged_or_cut_short_counts_from_the_repeat_on() {
    let mut a = home();
    let pair = a.binding(lend_out(under(1))).identity;
    let until = |until| under(1).map(|allowed| Allowance { until, ..allowed });
    let (short, long) = (a.now + HOUR, a.now + 20 * DAY);
    a.binding(lend_out(until(long)));
    a.pass(11 * DAY);
    assert_good(&mut a, &pair);
    assert_eq!(
        a.refusal(lend_out(until(short))),
        Refusal::Invalid("the agreement has ended"),
        "and changes nothing"
    );
    assert_good(&mut a, &pair);
    let soon = a.now + HOUR;
    a.binding(lend_out(until(soon)));
    a.pass(HOUR);
    assert_refused(&mut a, &pair);
}

#[test]
fn an_inbound_pair_is_forwarded_while_its_agreement_holds_and_the_same_pair_afterwards() {
    let mut b = partner();
    let lent = b.binding(lend_in(&alice(), under(1)));
    assert_eq!(lent.reserved_until, under(1).unwrap().until);
    assert!(core_asks(&mut b, &lent.identity).is_ok());
    b.pass(10 * DAY);
    assert_eq!(core_asks(&mut b, &lent.identity), Err(UNKNOWN));
    b.restart();
    assert_eq!(core_asks(&mut b, &lent.identity), Err(UNKNOWN));
    let renewed = Some(Allowance { agreement: AgreementId(2), until: b.now + HOUR });
    let repeat = b.manage_effects(lend_in(&alice(), renewed));
    assert!(repeat.sent().0 >= repeat.last_commit());
    let Answer::Binding(again) = repeat.management() else { panic!("no binding") };
    assert_eq!((again.identity, again.reserved_until), (lent.identity.clone(), b.now + HOUR));
    b.restart();
    assert!(core_asks(&mut b, &lent.identity).is_ok());
}

#[test]
fn the_end_of_an_agreement_keeps_the_binding_until_its_lease_ends() {
    let (mut a, mut b) = (home(), partner());
    let out = a.binding(lend_out(under(1))).identity.impi;
    let guest = b.binding(lend_in(&alice(), under(1))).identity.impi;
    for (system, show) in [(&mut a, Manage::GetOutbound(out)), (&mut b, Manage::GetInbound(guest))]
    {
        system.pass(29 * DAY);
        system.binding(show.clone());
        system.pass(DAY);
        assert!(matches!(system.refusal(show), Refusal::NotFound(_)));
    }
}

#[test]
fn what_was_lent_under_a_withdrawn_agreement_gives_no_vector_nor_after_a_restart() {
    for request in [lend_out(under(1)), grant(under(1))] {
        let mut a = home();
        let identity = match a.manage(request) {
            Answer::Binding(binding) => binding.identity,
            _ => alice(),
        };
        a.done(withdraw(2));
        assert_good(&mut a, &identity);
        a.done(withdraw(1));
        assert_refused(&mut a, &identity);
        a.restart();
        assert_refused(&mut a, &identity);
        assert!(a.vector(&Peer::OwnCore, mar(&alice())).result.is_success(), "at home as ever");
    }
}

#[test]
fn what_was_lent_by_an_administrators_word_outlives_every_agreement() {
    let mut a = home();
    let pair = a.binding(lend_out(None)).identity;
    a.done(withdraw(1));
    a.pass(11 * DAY);
    assert_good(&mut a, &pair);
}

#[test]
fn a_withdrawal_is_answered_when_it_is_durable_and_a_repeat_changes_nothing() {
    let mut a = home();
    let first = a.manage_effects(withdraw(7));
    assert_eq!((first.commits.len(), first.sent().0), (1, first.last_commit()));
    assert_eq!(first.last_commit().as_u64(), a.sequencer.last().as_u64());
    let written = first.last_commit();
    assert_eq!(first.management(), Answer::Done);
    let repeat = a.manage_effects(withdraw(7));
    assert!(repeat.commits.is_empty() && repeat.sent().0 >= written);
    assert_eq!(repeat.management(), Answer::Done);
    a.restart();
    let later = a.manage_effects(withdraw(7));
    assert!(later.commits.is_empty() && later.sent().0 >= written);
}

#[test]
fn a_vector_refused_for_a_withdrawal_waits_until_that_is_durable() {
    let (mut a, mut b) = (home(), partner());
    let out = a.binding(lend_out(under(1))).identity;
    let guest = b.binding(lend_in(&alice(), under(1))).identity;
    for (system, from, identity) in [(&mut a, peer_b(), out), (&mut b, Peer::OwnCore, guest)] {
        let withdrawn = system.manage_effects(withdraw(1)).last_commit();
        let request = Request::MultimediaAuth(mar(&identity));
        let effects = system.request(&from, request);
        assert!(effects.sent().0 >= withdrawn);
        assert_eq!(effects.vector().result, UNKNOWN);
    }
}

#[test]
fn a_withdrawal_that_was_lost_with_its_commit_withdraws_nothing() {
    let mut a = home();
    let pair = a.binding(lend_out(under(1))).identity;
    a.storing = false;
    a.done(withdraw(1));
    a.storing = true;
    a.reload();
    assert_good(&mut a, &pair);
    a.done(withdraw(1));
    a.reload();
    assert_refused(&mut a, &pair);
}

#[test]
fn nothing_is_lent_under_a_withdrawn_agreement_and_the_same_pair_under_another() {
    let (mut a, mut b) = (home(), partner());
    let out = a.binding(lend_out(under(1))).identity;
    let guest = b.binding(lend_in(&alice(), under(1))).identity;
    for system in [&mut a, &mut b] {
        system.done(withdraw(1));
        system.restart();
    }
    let withdrawn = Refusal::Invalid("the agreement was withdrawn");
    for request in [lend_out(under(1)), grant(under(1))] {
        let refused = a.manage_effects(request);
        assert!(refused.commits.is_empty());
        assert_eq!(refused.management(), Answer::Refused(withdrawn.clone()));
    }
    assert_eq!(b.refusal(lend_in(&alice(), under(1))), withdrawn);

    assert_eq!(a.binding(lend_out(under(2))).identity, out);
    assert_good(&mut a, &out);
    assert_eq!(b.binding(lend_in(&alice(), under(2))).identity, guest);
    assert!(core_asks(&mut b, &guest).is_ok());
}

#[test]
fn an_answer_of_the_primary_that_comes_after_the_withdrawal_is_not_passed_on() {
    let mut migration = Migration::prepared();
    let request = lend_in(&migration.outbound, under(1));
    assert_eq!(migration.b.binding(request).identity, migration.inbound);
    let (_, id, request) = migration.core_asks(None).forwarded();
    let answer = migration.a.vector(&peer_b(), request);
    assert!(answer.vector.is_some());
    let withdrawn = migration.b.manage_effects(withdraw(1)).last_commit();
    let late = migration.b.answered(id, answer);
    assert!(late.sent().0 >= withdrawn);
    let late = late.vector();
    assert_eq!((late.result, late.vector.is_none()), (UNKNOWN, true));
}

#[test]
fn an_answer_of_the_primary_that_comes_after_the_end_of_the_agreement_is_not_passed_on() {
    let mut migration = Migration::prepared();
    let until = migration.b.now + Duration::from_secs(1);
    let allowed = Some(Allowance { agreement: AgreementId(1), until });
    migration.b.binding(lend_in(&migration.outbound, allowed));
    let (_, id, request) = migration.core_asks(None).forwarded();
    let answer = migration.a.vector(&peer_b(), request);
    migration.b.pass(Duration::from_secs(1));
    assert_eq!(migration.b.answered(id, answer).vector().result, UNKNOWN);
}

#[test]
fn withdrawn_agreements_have_a_maximum_and_those_withdrawn_stay_so() {
    let config = Config::new(database("hss.a.example"), "a.example");
    let mut a = System::with(Config { withdrawn_agreements_max: 2, ..config });
    for number in [1, 2, 1] {
        a.done(withdraw(number));
    }
    let full = a.manage_effects(withdraw(3));
    assert_eq!(full.notes, [Note::TableFull("withdrawn agreements")]);
    let full = full.management();
    assert_eq!(full, Answer::Refused(Refusal::Full("withdrawn agreements")));
    a.done(withdraw(2));
}

#[test]
fn a_grant_of_a_withdrawn_agreement_gives_way_for_want_of_room() {
    let mut a = home();
    let at = |number: u32, allowed| Manage::PutGrant {
        user: alice(),
        partner: database(&format!("hss{number}.example")),
        valid_for: DAY,
        allowed,
    };
    for number in 0..64 {
        a.granted(at(number, under(u64::from(number % 2))));
    }
    assert!(matches!(a.refusal(at(64, None)), Refusal::Full(_)));
    a.done(withdraw(1));
    a.granted(at(64, None));
    a.restart();
    a.granted(at(65, None));
}

#[test]
fn ending_the_visits_of_a_subscriber_ends_its_pairs_and_grants_and_keeps_the_subscriber() {
    let mut a = system_a();
    a.put_alice();
    let away = vec![pair("away", "a.example")];
    a.done(Manage::PutPool(listed("out", Direction::Outbound, away, HOUR)));
    let out = a.binding(lend_out(under(1))).identity;
    let c = database("hss.c.example");
    let (user, valid_for) = (alice(), DAY);
    a.granted(Manage::PutGrant { user, partner: c.clone(), valid_for, allowed: None });

    let ended = a.manage_effects(Manage::EndVisits(alice().impi));
    assert_eq!((ended.commits.len(), ended.sent().0), (1, ended.last_commit()), "all in one");
    assert_eq!(ended.management(), Answer::Done);
    for _ in 0..2 {
        assert_refused(&mut a, &out);
        assert_eq!(a.vector(&Peer::Database(c.clone()), mar(&alice())).result, UNKNOWN);
        assert!(matches!(a.refusal(Manage::GetOutbound(out.impi.clone())), Refusal::NotFound(_)));
        assert!(a.vector(&Peer::OwnCore, mar(&alice())).result.is_success());
        a.restart();
    }
    assert_eq!(a.refusal(lend_out(None)), Refusal::Exhausted("outbound"), "the pair rests");
    a.pass(HOUR);
    assert_eq!(a.binding(lend_out(None)).identity, out);
}

#[test]
fn ending_visits_again_or_of_nobody_is_done_and_waits_for_the_first_time() {
    let mut a = home();
    a.binding(lend_out(None));
    let ended = a.manage_effects(Manage::EndVisits(alice().impi)).last_commit();
    for impi in [alice().impi, pair("nobody", "a.example").impi] {
        let again = a.manage_effects(Manage::EndVisits(impi));
        assert!(again.commits.is_empty() && again.sent().0 >= ended);
        assert_eq!(again.management(), Answer::Done);
    }
}

#[test]
fn a_lending_for_a_role_is_step_6_or_11_as_one_for_an_administrator() {
    let (mut a, mut b) = (home(), partner());
    let cases = [(&mut a, lend_out(under(1)), 6), (&mut b, lend_in(&alice(), under(1)), 11)];
    for (system, request, number) in cases {
        let effects = system.call(|role, ctx| {
            let to = ReplyTo::Role(RequestId { role: Role::ConfigServer, number: 5 });
            role.handle_management(ctx, to, request);
        });
        assert_eq!(effects.sent(), (effects.last_commit(), Some(Step::mig(number))));
    }
}

#[test]
fn an_agreement_takes_nothing_from_what_an_administrator_lent() {
    for restarts in [false, true] {
        let mut a = home();
        let first = a.binding(lend_out(None));
        let until = a.now + 30 * DAY;
        assert_eq!((first.lent, a.granted(grant(None))), (Lent::Anew, (until, Lent::Anew)));
        if restarts {
            a.restart();
        }
        let again = a.binding(lend_out(under(1)));
        assert_eq!((&again.identity, again.lent), (&first.identity, Lent::ByAdministrator));
        assert_eq!(again.reserved_until, first.reserved_until, "not the agreement's end");
        assert_eq!(a.granted(grant(under(1))), (until, Lent::ByAdministrator));
        a.done(withdraw(1));
        for identity in [&first.identity, &alice()] {
            assert!(a.vector(&peer_b(), mar(identity)).result.is_success());
        }
        a.pass(20 * DAY);
        assert!(a.vector(&peer_b(), mar(&alice())).result.is_success(), "its own end counts");
    }
}

#[test]
fn an_administrator_takes_over_what_was_lent_under_an_agreement() {
    let mut a = home();
    let first = a.binding(lend_out(under(1)));
    let end = a.now + 30 * DAY;
    assert_eq!((first.lent, a.granted(grant(under(1)))), (Lent::Anew, (end, Lent::Anew)));
    assert_eq!(a.binding(lend_out(under(1))).lent, Lent::Before);
    assert_eq!(a.granted(grant(under(1))), (end, Lent::Before));
    a.binding(lend_out(None));
    a.granted(grant(None));
    a.done(withdraw(1));
    for identity in [&first.identity, &alice()] {
        assert!(a.vector(&peer_b(), mar(identity)).result.is_success());
    }
}

#[test]
fn what_an_administrator_lent_for_one_public_identity_is_not_lent_for_another() {
    let mut a = home();
    let other = UserIdentity { impi: alice().impi, impu: pair("second", "a.example").impu };
    let mut both = subscriber(&alice(), 0);
    both.impus.push(other.impu.clone());
    a.done(Manage::PutSubscriber(both));
    a.binding(lend_out(None));
    a.granted(grant(None));
    let partner = database("hss.b.example");
    let (user, allowed) = (other, under(1));
    for request in [
        Manage::BindOutbound { user: user.clone(), partner: partner.clone(), allowed },
        Manage::PutGrant { user, partner, valid_for: DAY, allowed },
    ] {
        let checked = a.refusal(Manage::Check(Box::new(request.clone())));
        assert!(matches!(checked, Refusal::Invalid(_)));
        assert_eq!(a.refusal(request), checked);
    }
    assert!(a.vector(&peer_b(), mar(&alice())).result.is_success());
}
