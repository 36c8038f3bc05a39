//! User profiles at a configuration server: kept, and served with the partner systems that the user may go to.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod config_server_harness;

use config_server_harness::*;
use migcore::{
    api::{
        configuration::{Answer, ProfileKey, Request as Configure, StoredProfile, User},
        migration_identity::{Direction, Refusal},
    },
    store::RecordKind,
    user_profile::{ProfileService, UserProfile},
};

fn key(user: &str) -> ProfileKey {
    ProfileKey { service: ProfileService::Mcptt, user: service(user), index: 0 }
}

fn profile(revision: u64) -> StoredProfile {
    let text = format!(
        "<mcptt-user-profile xmlns=\"urn:3gpp:mcptt:user-profile:1.0\"><Common index=\"{revision}\"/>\
         </mcptt-user-profile>"
    );
    StoredProfile { revision, profile: UserProfile::parse(ProfileService::Mcptt, &text).unwrap() }
}

fn put(user: &str, revision: u64) -> Configure {
    Configure::PutUserProfile { key: key(user), profile: profile(revision) }
}

/// What a user is served, or why not.
fn served(system: &mut System, user: &str) -> Result<UserProfile, Refusal> {
    match system.configured(Configure::ReadUserProfile(key(user))) {
        Answer::UserProfile(StoredProfile { profile, .. }) => Ok(profile),
        Answer::Refused(refusal) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

/// System A with a user who may go to B, which A's UEs are told of.
fn ready() -> System {
    let mut a = System::new("a", &["b", "c"]);
    a.done(Configure::PutUser(user("alice")));
    a.done(put("alice", 1));
    a.put_agreement(agreement("b", Direction::Outbound));
    for letter in ["b", "c"] {
        let configuration = system_configuration(letter, 1);
        a.done(Configure::PutSystemConfiguration { system: id(letter), configuration });
    }
    a
}

fn partners_of(system: &mut System) -> Vec<String> {
    let partners = served(system, "alice").unwrap().partners().unwrap();
    partners.iter().map(|partner| partner.system.to_string()).collect()
}

#[test]
fn a_user_who_may_migrate_is_served_the_partners_with_their_documents_unchanged() {
    let mut a = ready();
    let partners = served(&mut a, "alice").unwrap().partners().unwrap();
    assert_eq!(partners.len(), 1, "there is no agreement with c");
    assert_eq!(partners[0].system, id("b"));
    assert_eq!(partners[0].configuration, system_configuration("b", 1).document);
    a.restart();
    assert_eq!(partners_of(&mut a), ["sip:b.example"]);
    let stored = a.configured(Configure::GetUserProfile(key("alice")));
    assert_eq!(stored, Answer::UserProfile(profile(1)), "an administrator sees what was put");
}

type Change = fn(&mut System);

#[test]
fn who_may_not_migrate_takes_no_partner_along() {
    let changes: [(&str, Change); 4] = [
        ("the user may not", |a| {
            a.done(Configure::PutUser(User { may_migrate: false, ..user("alice") }));
        }),
        ("there is no agreement any more", |a| {
            let key = agreement("b", Direction::Outbound).key;
            a.done(Configure::DeleteAgreement(key));
        }),
        ("the partner's configuration is not known", |a| {
            a.done(Configure::DeleteSystemConfiguration(id("b")));
        }),
        ("the user is no user of this system", |a| {
            a.done(Configure::DeleteUser(service("alice")));
        }),
    ];
    for (what, change) in changes {
        let mut a = ready();
        change(&mut a);
        assert_eq!(partners_of(&mut a), [""; 0], "{what}");
    }
}

#[test]
fn an_agreement_that_is_over_is_none() {
    let mut a = ready();
    let until = agreement("b", Direction::Outbound).valid_until;
    a.pass(until.since(a.now));
    assert_eq!(partners_of(&mut a), [""; 0]);
}

#[test]
fn a_profile_has_a_revision_that_grows_and_is_of_its_service() {
    let mut a = System::new("a", &["b"]);
    a.done(put("alice", 5));
    let again = a.configure(put("alice", 5));
    assert!(again.commits.is_empty(), "the same again is no change");
    assert!(matches!(a.refused(put("alice", 4)), Refusal::Invalid(_)));
    a.done(put("alice", 6));
    let of_video = ProfileKey { service: ProfileService::Mcvideo, ..key("alice") };
    let wrong = Configure::PutUserProfile { key: of_video, profile: profile(7) };
    assert!(matches!(a.refused(wrong.clone()), Refusal::Invalid(_)));
    assert!(matches!(a.refused(Configure::Check(Box::new(wrong))), Refusal::Invalid(_)));
    assert_eq!(a.configured(Configure::Check(Box::new(put("alice", 7)))), Answer::Done);
    a.restart();
    assert_eq!(
        a.configured(Configure::GetUserProfile(key("alice"))),
        Answer::UserProfile(profile(6))
    );
    let gone = a.configure(Configure::DeleteUserProfile(key("alice")));
    assert_eq!(gone.waits_for(), gone.last_commit(), "the end is durable before it is told");
    a.restart();
    assert_eq!(served(&mut a, "alice"), Err(Refusal::NotFound("user profile")));
    assert!(RecordKind::UserProfile.holds_secrets(), "it may carry credentials");
}

#[test]
fn without_storage_no_profile_is_served() {
    let mut a = ready();
    a.storage_available = false;
    assert_eq!(served(&mut a, "alice"), Err(Refusal::Unavailable));
}
