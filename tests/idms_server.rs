//! Users log in, clients redeem codes and refresh, operators provision: each rule as a sentence.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

mod common;
mod idms_harness;

use idms_harness::*;
use migcore::{
    api::{
        identity_management::{
            Again, Answer, Authorization, ClientId, LogIn, NoRedirect, Page, Refusal, Request,
            TokenKind, UserName,
        },
        idms_management::{self as management, Denied, Visitor},
    },
    idms::{REFRESH_OF_USER_MAX, StoredRecord},
    outbox::IdmsNote,
    secret::SecretText,
    store::{Engine as _, RecordKind},
    token::{jws::Unverified, key::SigningKey, pkce::Challenge},
};

fn world() -> World {
    let mut world = World::new('a');
    world.add_client(CLIENT);
    world.add_client("other-client");
    world.add_user("alice", 'b');
    world
}

fn again(answer: Answer) -> Again {
    match answer {
        Answer::Page(page) => page.again.expect("a page that says why"),
        other => panic!("no page: {other:?}"),
    }
}

fn told(answer: Answer, name: &str) -> String {
    match answer {
        Answer::Redirect(redirect) => {
            let mut all = redirect.parameters.into_iter();
            all.find(|(known, _)| *known == name).map(|(_, value)| value).unwrap_or_default()
        }
        other => panic!("no redirect: {other:?}"),
    }
}

#[test]
fn a_user_logs_in_and_the_client_gets_tokens() {
    let mut world = world();
    let page = world.page(parameters());
    let answer = world.send_page(page, "alice", password_of("alice"));
    let Answer::Redirect(redirect) = answer else { panic!("no redirect") };
    assert_eq!(redirect.to, REDIRECT);
    assert_eq!(redirect.parameters[1], ("state", "xyz".to_owned()));
    assert_eq!(redirect.parameters[2], ("iss", "https://idms.a.example".to_owned()));
    let tokens = world.tokens(redeem(&redirect.parameters[0].1)).unwrap();
    assert_eq!((tokens.kind, tokens.expires_in), (TokenKind::Bearer, 3_600));
    let id = claims(tokens.id_token.as_ref().unwrap().expose());
    assert_eq!((&id["nonce"], &id["acr"]), (&"once".into(), &"3gpp:acr:password".into()));
    assert_eq!(id["mcptt_id"], "sip:ptt-alice@a.example");
    let access = claims(tokens.access_token.expose());
    assert_eq!(access["exp"].as_u64().unwrap() - access["iat"].as_u64().unwrap(), 3_600);
    assert!(tokens.refresh_token.is_some());
    assert_eq!(world.notes.iter().filter(|note| **note == IdmsNote::LogIn(true)).count(), 1);
}

#[test]
fn the_keys_that_are_served_verify_the_tokens() {
    let mut world = world();
    let tokens = world.log_in("alice", None);
    let Answer::Keys(keys) = world.ask(Request::Keys) else { panic!("no keys") };
    let keys = serde_json::to_value(&keys).unwrap();
    let key = &keys["keys"][0];
    assert_eq!((&key["alg"], &key["use"]), (&"ES256".into(), &"sig".into()));
    assert!(key.get("d").is_none(), "{key}");
    let key = migcore::token::key::VerifyingKey::try_from(key.to_string()).unwrap();
    let token = Unverified::parse(tokens.access_token.expose()).unwrap();
    assert_eq!(token.key_id(), keys["keys"][0]["kid"].as_str());
    assert!(token.verify(&key, migcore::token::jws::Algorithm::ACCEPTED).is_ok());
}

#[test]
fn a_wrong_password_and_an_unknown_user_have_the_same_answer_and_cost_the_same() {
    let mut world = world();
    world.add_user_with("bob", |user| user.is_enabled = false);
    let mut seen = Vec::new();
    for user in ["alice", "nobody", "bob"] {
        let (checked, page) = (world.checked, world.page(parameters()));
        let password = if user == "bob" { password_of("bob") } else { SecretText::new("wrong") };
        let answer = world.send_page(page, user, password);
        assert_eq!(world.checked, checked + 1, "{user}: a password is computed");
        let Answer::Page(page) = answer else { panic!("no page") };
        seen.push((page.again, page.parameters, page.form.len(), page.visit.len()));
    }
    assert_eq!(seen[0].0, Some(Again::Wrong));
    assert!(seen.iter().all(|other| *other == seen[0]), "{seen:?}");
}

#[test]
fn a_page_of_another_browser_or_of_other_parameters_or_too_old_is_stale() {
    let mut world = world();
    let password = || password_of("alice");
    let page = world.page(parameters());
    let send = |world: &mut World, change: &dyn Fn(&mut LogIn)| {
        let Page { parameters, visit, form, .. } = page.clone();
        let mut log_in = LogIn {
            parameters,
            visit: Some(visit),
            form,
            user: SecretText::new("alice"),
            password: password(),
            source: None,
        };
        change(&mut log_in);
        world.ask(Request::LogIn(Box::new(log_in)))
    };
    let other = world.page(parameters());
    for change in [
        &|log_in: &mut LogIn| log_in.visit = None,
        &|log_in: &mut LogIn| log_in.visit = Some("AAAAAAAAAAAAAAAAAAAAAA".to_owned()),
        &|log_in: &mut LogIn| log_in.visit = Some(String::new()),
        &|log_in: &mut LogIn| log_in.form.clear(),
        &|log_in: &mut LogIn| log_in.form = log_in.form.replace(|c: char| c.is_ascii_digit(), "0"),
        &|log_in: &mut LogIn| log_in.parameters.state = "abc".to_owned(),
        &|log_in: &mut LogIn| log_in.parameters.code_challenge = challenge_of("x"),
        &|log_in: &mut LogIn| log_in.parameters.scope = "openid".to_owned(),
    ] as [&dyn Fn(&mut LogIn); 8]
    {
        assert_eq!(again(send(&mut world, change)), Again::Stale);
    }
    assert_eq!(
        again(send(&mut world, &|log_in| log_in.form.clone_from(&other.form))),
        Again::Stale
    );
    assert_eq!(world.checked, 0, "no password is computed for those");
    world.pass(599);
    assert!(matches!(send(&mut world, &|_| {}), Answer::Redirect(_)));
    world.pass(1);
    assert_eq!(again(send(&mut world, &|_| {})), Again::Stale);
}

#[test]
fn a_request_that_may_not_go_back_to_where_it_says_stays_here() {
    let mut world = world();
    for (id, uri, why) in [
        ("no-client", REDIRECT, NoRedirect::Client),
        ("", REDIRECT, NoRedirect::Client),
        (CLIENT, "https://eve.example/back", NoRedirect::RedirectUri),
        (CLIENT, "", NoRedirect::RedirectUri),
        (CLIENT, "com.example.app:/back?x=1", NoRedirect::RedirectUri),
    ] {
        let (client_id, redirect_uri) = (id.to_owned(), uri.to_owned());
        let parameters = Authorization { client_id, redirect_uri, ..parameters() };
        assert_eq!(world.open(parameters), Answer::NoRedirect(why), "{id} {uri}");
    }
}

#[test]
fn a_request_with_something_wrong_goes_back_with_its_error() {
    let mut world = world();
    for (name, value, error) in [
        ("response_type", "token", "unsupported_response_type"),
        ("response_type", "", "unsupported_response_type"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge_method", "", "invalid_request"),
        ("code_challenge", "", "invalid_request"),
        ("code_challenge", VERIFIER.trim_end_matches('k'), "invalid_request"),
        ("nonce", &"n".repeat(513), "invalid_request"),
        ("dpop_jkt", "short", "invalid_request"),
        ("scope", "openid everything", "invalid_scope"),
    ] {
        let mut parameters = parameters();
        value.clone_into(parameters.of_name(name).unwrap());
        assert_eq!(told(world.open(parameters), "error"), error, "{name} {value}");
    }
    let mut parameters = parameters();
    parameters.scope = "3gpp:mc:video_service".to_owned();
    world.add_user_with("carol", |user| user.services.mcvideo_id = None);
    let page = world.page(parameters);
    let answer = world.send_page(page, "carol", password_of("carol"));
    assert_eq!(told(answer, "error"), "invalid_scope");
}

#[test]
fn a_code_is_redeemed_once_and_a_second_time_ends_what_came_of_it() {
    let mut world = world();
    let code = world.code("alice", parameters());
    let tokens = world.tokens(redeem(&code)).unwrap();
    assert_eq!(world.tokens(redeem(&code)), Err(Refusal::InvalidGrant));
    let token = tokens.refresh_token.unwrap();
    assert_eq!(world.tokens(refresh(&token, None)), Err(Refusal::InvalidGrant));
    assert_eq!(world.stored(RecordKind::IdmsRefresh), 0);
}

#[test]
fn a_code_is_for_its_client_its_redirect_uri_its_verifier_its_key_and_a_minute() {
    use migcore::api::identity_management::Grant;
    let mut world = world();
    let code = world.code("alice", parameters());
    assert_eq!(world.tokens(by_client(redeem(&code), "other-client")), Err(Refusal::InvalidGrant));
    assert!(world.tokens(redeem(&code)).is_ok(), "another client's attempt does no harm");
    for (redirect, verifier) in [("com.example.app:/other", VERIFIER), (REDIRECT, &VERIFIER[1..])] {
        let code = world.code("alice", parameters());
        let mut request = redeem(&code);
        request.grant = Grant::Code {
            code: SecretText::new(&*code),
            redirect_uri: redirect.to_owned(),
            verifier: SecretText::new(verifier),
        };
        assert_eq!(world.tokens(request), Err(Refusal::InvalidGrant));
        assert_eq!(world.tokens(redeem(&code)), Err(Refusal::InvalidGrant), "one guess");
    }
    let (own, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let bound = || Authorization { dpop_jkt: own.thumbprint().as_str().to_owned(), ..parameters() };
    assert!(Challenge::parse(own.thumbprint().as_str()).is_some(), "43 characters, too");
    for key in [None, Some(&other)] {
        let code = world.code("alice", bound());
        let proof = key.map(|key| world.proof(key));
        assert_eq!(world.tokens(with_proof(redeem(&code), proof)), Err(Refusal::InvalidGrant));
    }
    let code = world.code("alice", bound());
    let proof = Some(world.proof(&own));
    assert!(world.tokens(with_proof(redeem(&code), proof)).is_ok());
    let code = world.code("alice", parameters());
    world.pass(60);
    assert_eq!(world.tokens(redeem(&code)), Err(Refusal::InvalidGrant));
    assert_eq!(world.tokens(redeem("no code")), Err(Refusal::InvalidGrant));
}

#[test]
fn a_refresh_token_brings_the_next_one_and_an_old_one_ends_them_all() {
    let mut world = world();
    let first = world.log_in("alice", None).refresh_token.unwrap();
    let second = world.tokens(refresh(&first, None)).unwrap().refresh_token.unwrap();
    world.restart();
    let third = world.tokens(refresh(&second, None)).unwrap().refresh_token.unwrap();
    assert_eq!(world.tokens(refresh(&first, None)), Err(Refusal::InvalidGrant));
    let client = ClientId::parse(CLIENT).unwrap();
    assert!(world.notes.contains(&IdmsNote::RefreshTokenReused(client)));
    assert_eq!(world.tokens(refresh(&third, None)), Err(Refusal::InvalidGrant));
    assert_eq!(world.stored(RecordKind::IdmsRefresh), 0);
}

#[test]
fn a_refresh_token_is_for_its_client_its_key_and_its_time_and_never_for_more() {
    let mut world = world();
    let token = world.log_in("alice", None).refresh_token.unwrap();
    let stolen = by_client(refresh(&token, None), "other-client");
    assert_eq!(world.tokens(stolen), Err(Refusal::InvalidGrant));
    let more = refresh(&token, Some("openid 3gpp:mc:video_service"));
    assert_eq!(world.tokens(more), Err(Refusal::InvalidScope));
    let less = world.tokens(refresh(&token, Some("openid"))).unwrap();
    assert_eq!(claims(less.access_token.expose())["scope"], "openid");
    let token = less.refresh_token.unwrap();
    world.pass(30 * DAY - 1);
    let token = world.tokens(refresh(&token, None)).unwrap().refresh_token.unwrap();
    world.pass(1);
    assert_eq!(world.tokens(refresh(&token, None)), Err(Refusal::InvalidGrant));
    world.pass(1);
    assert_eq!(world.stored(RecordKind::IdmsRefresh), 0);

    let (own, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let token = world.log_in("alice", Some(&own)).refresh_token.unwrap();
    for key in [None, Some(&other)] {
        let proof = key.map(|key| world.proof(key));
        let refused = world.tokens(with_proof(refresh(&token, None), proof));
        assert_eq!(refused, Err(Refusal::InvalidGrant));
    }
    let proof = Some(world.proof(&own));
    assert!(world.tokens(with_proof(refresh(&token, None), proof)).is_ok());
}

#[test]
fn tokens_of_a_user_who_is_gone_or_disabled_end() {
    let mut world = world();
    let token = world.log_in("alice", None).refresh_token.unwrap();
    world.add_user_with("alice", |user| user.is_enabled = false);
    assert_eq!(world.tokens(refresh(&token, None)), Err(Refusal::InvalidGrant));
    let before = world.add_user("alice", 'b');
    assert!(world.tokens(refresh(&token, None)).is_ok());
    world.do_manage(management::Request::DeleteUser(UserName::parse("alice").unwrap()));
    assert_eq!(world.stored(RecordKind::IdmsRefresh), 0);
    let after = world.add_user("alice", 'b');
    assert_ne!(before, after, "who has the name later is somebody else");
}

#[test]
fn a_user_with_very_many_log_ins_loses_the_oldest() {
    let mut world = world();
    let first = world.log_in("alice", None).refresh_token.unwrap();
    world.pass(1);
    let second = world.log_in("alice", None).refresh_token.unwrap();
    for _ in 2..=REFRESH_OF_USER_MAX {
        world.pass(1);
        world.log_in("alice", None);
    }
    assert_eq!(world.stored(RecordKind::IdmsRefresh), REFRESH_OF_USER_MAX);
    assert_eq!(world.tokens(refresh(&first, None)), Err(Refusal::InvalidGrant));
    assert!(world.tokens(refresh(&second, None)).is_ok());
}

#[test]
fn who_guesses_passwords_has_to_wait_and_the_user_who_knows_it_does_not_count() {
    let mut world = world();
    for _ in 0..20 {
        world.log_in("alice", None);
    }
    let guess = |world: &mut World, user: &str| {
        let page = world.page(parameters());
        again(world.send_page(page, user, SecretText::new("a guess")))
    };
    for user in ["alice", "nobody"] {
        for _ in 0..10 {
            assert_eq!(guess(&mut world, user), Again::Wrong);
        }
        let checked = world.checked;
        assert!(matches!(guess(&mut world, user), Again::Later(1..=601)));
        assert_eq!(world.checked, checked, "no password is computed");
    }
    let page = world.page(parameters());
    let right = world.send_page(page, "alice", password_of("alice"));
    assert!(matches!(again(right), Again::Later(_)), "not even with the right one");
    world.pass(601);
    world.log_in("alice", None);
    // One address guesses at many users.
    let mut waits = 0;
    for number in 0..120 {
        let outcome = guess(&mut world, &format!("user-{number}"));
        waits += usize::from(matches!(outcome, Again::Later(_)));
    }
    assert_eq!(waits, 20);
}

#[test]
fn when_too_many_passwords_are_checked_a_user_is_told_to_come_again() {
    let mut world = world();
    world.is_busy = true;
    let page = world.page(parameters());
    let answer = world.send_page(page, "alice", password_of("alice"));
    assert_eq!(again(answer), Again::Busy(1));
    world.is_busy = false;
    world.log_in("alice", None);
}

#[test]
fn a_client_that_must_prove_a_key_gets_nothing_without() {
    let mut world = world();
    world.add_client_with(CLIENT, |client| client.requires_proof = true);
    let code = world.code("alice", parameters());
    assert_eq!(world.tokens(redeem(&code)), Err(Refusal::InvalidProof));
    let key = SigningKey::generate().unwrap();
    let elsewhere = proof(&key, "https://idms.b.example/token", world.now, "1");
    let late = proof(&key, "https://idms.a.example/token", world.now - 91, "2");
    for wrong in [elsewhere, late, "no proof".to_owned()] {
        let refused = world.tokens(with_proof(redeem(&code), Some(wrong)));
        assert_eq!(refused, Err(Refusal::InvalidProof));
    }
    let right = world.proof(&key);
    let tokens = world.tokens(with_proof(redeem(&code), Some(right))).unwrap();
    assert_eq!(tokens.kind, TokenKind::DPoP);
}

#[test]
fn what_operators_provision_is_there_again_after_a_restart() {
    let mut world = world();
    let subject = world.add_user("alice", 'b');
    world.add_visitor('c', "their-sub", "visitor");
    let denied = Denied::Subject(issuer('c'), "eve".to_owned());
    world.do_manage(management::Request::Deny(denied.clone()));
    let mut other = World::new('c');
    world.trust(&mut other);
    let token = world.log_in("alice", None).refresh_token.unwrap();
    let keys = world.own_keys();
    world.restart();
    assert_eq!(world.own_keys(), keys);
    assert_eq!(world.add_user("alice", 'b'), subject);
    assert_eq!(
        world.manage(management::Request::ListDenied),
        management::Answer::Denied(vec![denied])
    );
    let visitor = management::Request::GetVisitor(issuer('c'), "their-sub".to_owned());
    assert!(matches!(world.manage(visitor), management::Answer::Visitor(_)));
    let management::Answer::Trust(trust) = world.manage(management::Request::ListTrust) else {
        panic!("no list")
    };
    assert_eq!(trust.len(), 1);
    assert!(world.tokens(refresh(&token, None)).is_ok());
    world.role.clear();
    world.commits.clear();
    assert_eq!(world.own_keys().len(), 0);
}

#[test]
fn what_is_not_there_cannot_be_shown_removed_or_revoked() {
    let mut world = world();
    let certificate = world.own_keys()[0].certificate.fingerprint();
    for request in [
        management::Request::GetClient(ClientId::parse("no-client").unwrap()),
        management::Request::DeleteClient(ClientId::parse("no-client").unwrap()),
        management::Request::GetUser(UserName::parse("nobody").unwrap()),
        management::Request::DeleteUser(UserName::parse("nobody").unwrap()),
        management::Request::GetVisitor(issuer('c'), "x".to_owned()),
        management::Request::DeleteVisitor(issuer('c'), "x".to_owned()),
        management::Request::Allow(Denied::Token(issuer('c'), "x".to_owned())),
        management::Request::Revoke { fingerprint: certificate, reason: String::new() },
    ] {
        let answer = world.manage(request.clone());
        let is_not_found =
            matches!(answer, management::Answer::Refused(management::Refusal::NotFound(_)));
        assert!(is_not_found, "{request:?}: {answer:?}");
    }
    let own = world.export();
    let refused = management::Answer::Refused(management::Refusal::Own);
    assert_eq!(world.import(issuer('a'), &own), refused);
    let visitor = Visitor {
        issuer: issuer('a'),
        subject: "x".to_owned(),
        services: services("x", "a.example"),
        may_migrate: true,
    };
    assert_eq!(world.manage(management::Request::PutVisitor(visitor)), refused);
}

#[test]
fn a_full_table_of_clients_or_users_says_so() {
    let mut world = World::with('a', |config| (config.clients_max, config.users_max) = (1, 1));
    world.add_client(CLIENT);
    world.add_client(CLIENT);
    let client =
        match world.manage(management::Request::GetClient(ClientId::parse(CLIENT).unwrap())) {
            management::Answer::Client(client) => client,
            other => panic!("no client: {other:?}"),
        };
    let second = migcore::api::identity_management::Client {
        id: ClientId::parse("second").unwrap(),
        ..client
    };
    let full = management::Answer::Refused(management::Refusal::Full("clients"));
    assert_eq!(world.manage(management::Request::PutClient(second)), full);
    assert_eq!(world.full, ["clients"]);
}

#[test]
fn every_record_reads_as_it_was_written_and_fits_its_key() {
    let mut world = world();
    let mut other = World::new('b');
    other.add_client(CLIENT);
    other.add_visitor('a', "x", "visitor");
    other.trust(&mut world);
    other.do_manage(management::Request::Deny(Denied::Token(issuer('a'), "x".to_owned())));
    let subject = world.add_user("alice", 'b');
    other.add_visitor('a', &subject, "visitor-1");
    let token = world.security_token("alice", 'b', None);
    assert!(other.tokens(present(&token)).is_ok());
    let mut kinds = std::collections::BTreeSet::new();
    for world in [&world, &other] {
        for kind in RecordKind::ALL {
            for record in world.engine.reader().page(kind, None, 100).unwrap() {
                kinds.insert(kind);
                let opened = StoredRecord::decode(kind, &record.value).unwrap().unwrap();
                let key = std::str::from_utf8(&record.key).unwrap();
                assert_eq!(opened.check(key), Ok(()), "{kind:?}");
                assert!(opened.check("another key").is_err(), "{kind:?}");
                assert_eq!(opened.encode(), *record.value, "{kind:?}");
                let json = serde_json::to_value(&opened).unwrap();
                let again = StoredRecord::deserialize(kind, &json).unwrap().unwrap();
                assert_eq!(again.encode(), *record.value, "{kind:?}");
                for secret in StoredRecord::secret_fields(kind) {
                    assert!(json.get(secret).is_some(), "{kind:?} has {secret}");
                }
            }
        }
    }
    assert_eq!(kinds.len(), 9);
}

#[test]
fn neither_keys_nor_passwords_nor_tokens_nor_users_print() {
    let mut world = world();
    let tokens = world.log_in("alice", None);
    let shown = format!("{tokens:?} {:?}", world.role);
    for secret in [
        tokens.access_token.expose(),
        tokens.refresh_token.as_ref().unwrap().expose(),
        "alice",
        "argon2id",
    ] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
