//! Hand-made violations of what a ledger checks, and what it lets pass.

use bytestring::ByteString;
use smallvec::SmallVec;

use super::*;
use crate::{
    sip_core::{ContactBinding, Registration},
    store::CommitSeq,
};

const CONTACT: &str = "sip:ue@192.0.2.7";

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

fn impi(name: &str) -> Impi {
    format!("{name}@b.example").parse().unwrap()
}

fn pair(name: &str) -> UserIdentity {
    UserIdentity { impi: impi(name), impu: format!("sip:{name}@b.example").parse().unwrap() }
}

fn holder(name: &str) -> Holder {
    Holder { user: pair(name), other: "hss.a.example".parse().unwrap() }
}

fn register(cseq: u32) -> Change {
    let (contact, call_id) = (CONTACT.to_owned(), "call".to_owned());
    Change::Register { impi: impi("ue"), contact, call_id, cseq, until: at(1_000) }
}

fn deregister() -> Change {
    Change::Deregister { impi: impi("ue"), contact: CONTACT.to_owned() }
}

fn lend(to: &str) -> Change {
    Change::Lend { direction: Direction::Inbound, holder: holder(to) }
}

fn release(name: &str) -> Change {
    Change::Release { direction: Direction::Inbound, impi: impi(name) }
}

fn lent(name: &str) -> Outcome {
    Outcome::Lent { identity: pair(name), until: at(1_000) }
}

/// What is stored: the CSeq of the registration, and who holds which pair.
fn tables(registered: Option<u32>, bound: &[(&str, &str)]) -> Tables {
    let mut tables = Tables::default();
    if let Some(cseq) = registered {
        let contact = ContactBinding {
            uri: CONTACT.into(),
            parameters: ByteString::new(),
            paths: SmallVec::new(),
            call_id: "call".into(),
            cseq,
            expires_at: at(1_000),
        };
        let registration = Registration { impus: SmallVec::new(), contacts: [contact].into() };
        tables.registrations.insert(impi("ue"), registration);
    }
    for (name, to) in bound {
        let (impu, until) = (pair(name).impu, Some(at(1_000)));
        let binding = StoredBinding { impu, holder: holder(to), until, active: false };
        tables.bindings.insert((Direction::Inbound, impi(name)), binding);
    }
    tables
}

/// When a change began, which, and when it ended how, if it did.
type Told = (u64, Change, Option<(u64, Outcome)>);

/// A ledger of changes, each with its span and outcome.
fn ledger(changes: &[Told]) -> Result<Ledger, &'static str> {
    let mut ledger = Ledger::new(5);
    ledger.provisioned(Direction::Inbound, impi("listed"), Duration::from_secs(30));
    for (begun, change, end) in changes {
        let ticket = ledger.begin(at(*begun), change.clone());
        if let Some((ended, outcome)) = end {
            ledger.end(at(*ended), ticket, outcome.clone()).map_err(|it| it.rule)?;
        }
    }
    Ok(ledger)
}

/// Which rule is violated, if any, by what is stored after the changes.
fn broken(changes: &[Told], stored: &Tables) -> Option<&'static str> {
    match ledger(changes) {
        Ok(ledger) => ledger.check(at(500), stored).err().map(|violation| violation.rule),
        Err(rule) => Some(rule),
    }
}

#[test]
fn an_acknowledged_registration_must_be_stored_until_it_ends() {
    let acknowledged = [(10, register(2), Some((11, Outcome::Done)))];
    assert_eq!(broken(&acknowledged, &tables(Some(2), &[])), None);
    let lost = Some("an acknowledged registration is stored");
    assert_eq!(broken(&acknowledged, &tables(None, &[])), lost);
    let over = ledger(&acknowledged).unwrap().check(at(1_000), &tables(None, &[]));
    assert_eq!(over, Ok(()), "its time is over");
}

#[test]
fn an_unacknowledged_change_may_or_may_not_have_happened() {
    for outcome in [None, Some((21, Outcome::Unknown))] {
        let changes = [(10, register(2), Some((11, Outcome::Done))), (20, deregister(), outcome)];
        assert_eq!(broken(&changes, &tables(Some(2), &[])), None);
        assert_eq!(broken(&changes, &tables(None, &[])), None);
    }
}

#[test]
fn what_an_acknowledged_change_came_after_counts_no_more() {
    let (done, unknown) = (|at| Some((at, Outcome::Done)), |at| Some((at, Outcome::Unknown)));
    let ended = [(10, register(2), done(11)), (20, deregister(), done(21))];
    let resurrected = Some("a registration that has ended is not resurrected");
    assert_eq!(broken(&ended, &tables(Some(2), &[])), resurrected);
    assert_eq!(broken(&ended, &tables(None, &[])), None);
    let renewed = [(10, register(2), unknown(11)), (20, register(4), done(21))];
    let old = Some("a stored registration is the latest that was acknowledged");
    assert_eq!(broken(&renewed, &tables(Some(2), &[])), old);
    let overlapping = [(10, register(2), done(25)), (20, register(4), done(21))];
    assert_eq!(broken(&overlapping, &tables(Some(2), &[])), None, "either may be the later one");
}

#[test]
fn a_crash_ends_what_was_under_way() {
    let mut ledger = ledger(&[(10, register(2), None)]).unwrap();
    ledger.crashed(at(15));
    let ticket = ledger.begin(at(20), deregister());
    ledger.end(at(21), ticket, Outcome::Done).unwrap();
    let rule = ledger.check(at(500), &tables(Some(2), &[])).unwrap_err().rule;
    assert_eq!(rule, "a registration that has ended is not resurrected");
}

#[test]
fn an_acknowledged_binding_must_be_stored_until_it_is_released() {
    let bound = (10, lend("alice"), Some((11, lent("p"))));
    let stored = tables(None, &[("p", "alice")]);
    assert_eq!(broken(std::slice::from_ref(&bound), &stored), None);
    let lost = Some("an acknowledged binding is stored");
    assert_eq!(broken(std::slice::from_ref(&bound), &tables(None, &[])), lost);
    assert_eq!(broken(std::slice::from_ref(&bound), &tables(None, &[("p", "bob")])), lost);
    let maybe = [bound.clone(), (20, release("p"), Some((21, Outcome::Unknown)))];
    assert_eq!(broken(&maybe, &stored), None);
    assert_eq!(broken(&maybe, &tables(None, &[])), None);
    let released = [bound, (20, release("p"), Some((21, Outcome::Done)))];
    assert_eq!(broken(&released, &tables(None, &[])), None);
    let resurrected = Some("what was given back is not resurrected");
    assert_eq!(broken(&released, &stored), resurrected);
}

#[test]
fn an_identity_is_lent_to_one_and_after_a_release_only_if_it_is_listed_and_has_rested() {
    let twice = |name, release_of: Option<u64>, again| {
        let first = [(10, lend("alice"), Some((11, lent(name))))];
        let second = [(again, lend("bob"), Some((again + 1, lent(name))))];
        let release = release_of.map(|at| (at, release(name), Some((at + 1, Outcome::Done))));
        let changes = first.into_iter().chain(release).chain(second);
        ledger(&changes.collect::<Vec<_>>()).err()
    };
    let (one, rests) =
        ("an identity has at most one holder", "an identity at rest is lent to nobody");
    assert_eq!(twice("p", None, 60), Some(one));
    assert_eq!(twice("p", Some(20), 60), Some(one));
    assert_eq!(twice("listed", None, 60), Some(rests));
    assert_eq!(twice("listed", Some(20), 40), Some(rests));
    assert_eq!(twice("listed", Some(20), 60), None);
}

#[test]
fn an_sqn_is_one_vectors_in_one_epoch_and_is_reserved() {
    let mut ledger = Ledger::new(5);
    let (user, sqn) = (impi("ue"), Sqn::new(7, 4, 5));
    ledger.vector_left(&user, 0, sqn, &[1; 16]).unwrap();
    ledger.vector_left(&user, 0, sqn, &[1; 16]).unwrap();
    ledger.vector_left(&user, 1, sqn, &[2; 16]).unwrap();
    let twice = ledger.vector_left(&user, 0, sqn, &[2; 16]).unwrap_err();
    assert_eq!(twice.rule, "no SQN leaves twice");
    let mut stored = Tables::default();
    for (epoch, reserved_seq, holds) in [(1, 7, true), (0, 9, false), (1, 6, false)] {
        let subscriber = StoredSubscriber { reserved_seq, epoch };
        stored.subscribers.insert(user.clone(), subscriber);
        assert_eq!(ledger.check(at(1), &stored).is_ok(), holds, "{subscriber:?}");
    }
}

#[test]
fn tables_that_disagree_are_noticed() {
    let (a, b) = ("hss.a.example".parse().unwrap(), "hss.b.example".parse().unwrap());
    let mut lender = Tables::default();
    let binding = StoredBinding {
        impu: pair("out").impu,
        holder: Holder { user: pair("real"), other: "hss.b.example".parse().unwrap() },
        until: None,
        active: false,
    };
    lender.bindings.insert((Direction::Outbound, impi("out")), binding);
    let agree = |lender: &Tables, partner: &Tables, known: &Ledger| {
        let primary = Side { database: &a, tables: lender, ledger: known };
        let partner = Side { database: &b, tables: partner, ledger: known };
        check_agreement(primary, partner).map_err(|violation| violation.rule)
    };
    let known = Ledger::new(5);
    assert_eq!(agree(&lender, &tables(None, &[("ue", "out")]), &known), Ok(()));
    assert_eq!(agree(&lender, &tables(Some(2), &[("ue", "out")]), &known), Ok(()));
    let orphan = Err("an inbound pair stands for one that its primary lent");
    assert_eq!(agree(&Tables::default(), &tables(None, &[("ue", "out")]), &known), orphan);
    let unbound = Err("a registration belongs to a binding");
    assert_eq!(agree(&lender, &tables(Some(2), &[]), &known), unbound);
    let seen = tables(None, &[("ue", "out"), ("dead", "gone")]).as_users_see(&b, &lender);
    let holders: Vec<&UserIdentity> = seen.bindings.values().map(|it| &it.holder.user).collect();
    assert_eq!(holders, [&pair("real")]);
}

#[test]
fn stored_records_are_read() {
    use crate::store::{Record, RecordKind, encode};
    let until = at(77);
    let grant = encode(&(pair("real"), holder("x").other, until, None::<()>));
    let key = b"real@b.example hss.a.example";
    let version = CommitSeq::from_u64(1);
    let record = Record { kind: RecordKind::Grant, key, version, value: &grant };
    let mut tables = Tables::default();
    tables.take(&record).unwrap();
    assert!(tables.stands_for(&pair("real"), &holder("x").other));
    assert_eq!(tables.check().unwrap_err().rule, "a grant is a subscriber's");
}

fn lend_outbound(to: &str) -> Change {
    Change::Lend { direction: Direction::Outbound, holder: holder(to) }
}

/// What is stored of outbound pairs: who holds which.
fn outbound(bound: &[(&str, &str)]) -> Tables {
    let mut tables = Tables::default();
    for (name, to) in bound {
        let (impu, holder) = (pair(name).impu, holder(to));
        let binding = StoredBinding { impu, holder, until: Some(at(1_000)), active: false };
        tables.bindings.insert((Direction::Outbound, impi(name)), binding);
    }
    tables
}

#[test]
fn the_end_of_all_pairs_ends_those_that_were_lent_before_and_no_later_one() {
    let release_all = |user: &str| Change::ReleaseAll { user: impi(user) };
    let done = |at| Some((at, Outcome::Done));
    let bound = (10, lend_outbound("alice"), Some((11, lent("p"))));
    let lost = Some("an acknowledged binding is stored");
    assert_eq!(broken(std::slice::from_ref(&bound), &outbound(&[])), lost);
    let others = [bound.clone(), (20, release_all("bob"), done(21))];
    assert_eq!(broken(&others, &outbound(&[])), lost);
    let maybe = [bound.clone(), (20, release_all("alice"), Some((21, Outcome::Unknown)))];
    assert_eq!(broken(&maybe, &outbound(&[])), None);
    assert_eq!(broken(&maybe, &outbound(&[("p", "alice")])), None);
    let ended = [bound.clone(), (20, release_all("alice"), done(21))];
    assert_eq!(broken(&ended, &outbound(&[])), None);
    let resurrected = Some("what was given back is not resurrected");
    assert_eq!(broken(&ended, &outbound(&[("p", "alice")])), resurrected);
    let overlapping = [bound.clone(), (11, release_all("alice"), done(21))];
    assert_eq!(broken(&overlapping, &outbound(&[("p", "alice")])), None, "lent after it, perhaps");
    let again = |name| (30, lend_outbound("alice"), Some((31, lent(name))));
    let other = [ended.clone(), [again("q"), again("q")]].concat();
    assert_eq!(broken(&other, &outbound(&[("q", "alice")])), None);
    let same = [&ended[..], &[again("p")]].concat();
    let twice = Some("what was given back is not lent again");
    assert_eq!(broken(&same, &outbound(&[("p", "alice")])), twice);
}

#[test]
fn an_acknowledged_record_is_there_until_it_is_deleted() {
    let key = || "alice".to_owned();
    let put = || Change::Put { kind: RecordKind::Grant, key: key() };
    let delete = || Change::Delete { kind: RecordKind::Grant, key: key() };
    let (done, unknown) = (|at| Some((at, Outcome::Done)), |at| Some((at, Outcome::Unknown)));
    let kept = |ended, until| Some((ended, Outcome::Kept { until: at(until) }));
    let mut there = Tables::default();
    there.names.insert((RecordKind::Grant, key()));
    let gone = Tables::default();
    let lost = Some("an acknowledged record is stored");
    let resurrected = Some("what was deleted is not resurrected");
    for (changes, if_there, if_gone) in [
        (vec![(10, put(), done(11))], None, lost),
        (vec![(10, put(), unknown(11))], None, None),
        (vec![(10, put(), done(11)), (20, delete(), unknown(21))], None, None),
        (vec![(10, put(), done(11)), (20, delete(), None)], None, None),
        (vec![(10, put(), done(11)), (20, delete(), done(21))], resurrected, None),
        (vec![(10, put(), done(25)), (20, delete(), done(21))], None, None),
        (vec![(10, delete(), done(11)), (20, put(), done(21))], None, lost),
        (vec![(10, put(), kept(11, 501))], None, lost),
        (vec![(10, put(), kept(11, 500))], None, None),
    ] {
        assert_eq!(broken(&changes, &there), if_there, "{changes:?}");
        assert_eq!(broken(&changes, &gone), if_gone, "{changes:?}");
    }
}

#[test]
fn a_subscriber_whose_vectors_left_may_only_go_by_a_deletion() {
    let mut ledger = Ledger::new(5);
    ledger.vector_left(&impi("ue"), 0, Sqn::new(7, 4, 5), &[1; 16]).unwrap();
    let rule = ledger.check(at(1), &Tables::default()).unwrap_err().rule;
    assert_eq!(rule, "a subscriber whose vectors left is stored");
    let key = impi("ue").as_str().to_owned();
    ledger.begin(at(1), Change::Delete { kind: RecordKind::Subscriber, key });
    assert_eq!(ledger.check(at(1), &Tables::default()), Ok(()));
}

#[test]
fn an_inbound_pair_may_stand_for_a_grant_until_that_is_deleted() {
    let (a, b) = ("hss.a.example".parse().unwrap(), "hss.b.example".parse().unwrap());
    let (lender, partner) = (Tables::default(), tables(None, &[("ue", "real")]));
    let agree = |known: &Ledger| {
        let primary = Side { database: &a, tables: &lender, ledger: known };
        let partner = Side { database: &b, tables: &partner, ledger: known };
        check_agreement(primary, partner).map_err(|violation| violation.rule)
    };
    let mut known = Ledger::new(5);
    assert_eq!(agree(&known), Err("an inbound pair stands for one that its primary lent"));
    let key = grant_key(&impi("real"), &b);
    known.begin(at(1), Change::Delete { kind: RecordKind::Grant, key });
    assert_eq!(agree(&known), Ok(()));
}

#[test]
fn who_is_registered_has_an_active_pair_or_is_registered_at_home_and_nobody_else() {
    let check = |tables: &Tables, told: bool| {
        tables.check_assignments(at(1), "sip:core", |_| told).map_err(|it| it.rule)
    };
    let mut pairs = tables(Some(2), &[("ue", "out")]);
    let unknown = Err("a SIP database knows who is registered");
    let stale = Err("a SIP database knows who is not registered any more");
    assert_eq!(check(&pairs, true), unknown);
    assert_eq!(check(&pairs, false), Ok(()), "a word was lost");
    for binding in pairs.bindings.values_mut() {
        binding.active = true;
    }
    assert_eq!(check(&pairs, true), Ok(()));
    pairs.registrations.clear();
    assert_eq!(check(&pairs, true), stale);
    assert_eq!(check(&pairs, false), Ok(()));
    let mut home = tables(Some(2), &[]);
    home.subscribers.insert(impi("ue"), StoredSubscriber { reserved_seq: 1, epoch: 0 });
    assert_eq!(check(&home, true), unknown);
    home.serving.insert(impi("ue"), "sip:other".to_owned());
    assert_eq!(check(&home, true), unknown);
    home.serving.insert(impi("ue"), "sip:core".to_owned());
    assert_eq!(check(&home, true), Ok(()));
    home.registrations.clear();
    assert_eq!(check(&home, true), stale);
}
