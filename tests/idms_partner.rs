//! Security tokens, from the home's token endpoint to the partner's: the scenarios of migration without
//! interconnection, and everything that is wrong with a token.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

mod common;
mod idms_harness;

use hmac::{Hmac, KeyInit as _, Mac as _};
use idms_harness::*;
use migcore::{
    api::{
        identity_management::{
            ClientAuthentication, ClientCredential, ClientId, Refusal, TokenKind, TokenRequest,
        },
        idms_management::{self as management, Denied, Visitor},
    },
    outbox::IdmsNote,
    secret::SecretText,
    step::Step,
    store::RecordKind,
    token::{BearerToken, certificate::TrustFile, key::SigningKey},
};
use serde_json::{Value, json};

/// A home A and a partner B without a link, certificates exchanged, and alice who may migrate.
struct Two {
    home: World,
    partner: World,
    subject: String,
}

impl Two {
    fn new() -> Self {
        let (mut home, mut partner) = (World::new('a'), World::new('b'));
        for world in [&mut home, &mut partner] {
            world.add_client(CLIENT);
            world.add_client("other-client");
        }
        let subject = home.add_user("alice", 'b');
        partner.trust(&mut home);
        partner.add_visitor('a', &subject, "visitor-1");
        Self { home, partner, subject }
    }

    fn pass(&mut self, seconds: u64) {
        self.home.pass(seconds);
        self.partner.pass(seconds);
    }

    fn token(&mut self) -> String {
        self.home.security_token("alice", 'b', None)
    }

    /// A security token as the home makes it, with some claims changed, signed with a key of the caller's choice.
    fn forged(&mut self, key: &SigningKey, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = claims(&self.token());
        change(&mut claims);
        key.sign("JWT", &claims).unwrap()
    }

    /// A key of the home whose private part the test has, certified and imported.
    fn known_key(&mut self) -> SigningKey {
        let (key, pem) = certified(&self.home, START + 400 * DAY);
        self.partner.import(issuer('a'), &pem);
        key
    }

    fn refused(&mut self, token: &str) -> &'static str {
        assert_eq!(self.partner.tokens(present(token)), Err(Refusal::InvalidGrant));
        self.partner.last_refusal().unwrap()
    }
}

fn certified(home: &World, until: u64) -> (SigningKey, String) {
    use migcore::{time::Timestamp, token::certificate::Certificate};
    let key = SigningKey::generate().unwrap();
    let (from, until) = (Timestamp::from_secs(home.now - 100), Timestamp::from_secs(until));
    let certificate = Certificate::of_own(&key, home.config.issuer.as_str(), from, until).unwrap();
    (key, certificate.to_pem())
}

#[test]
fn iso_2_a_user_of_a_partner_gets_tokens_with_the_ids_of_this_system() {
    let mut two = Two::new();
    scenario_64(&mut two);
    assert_eq!(two.partner.steps, [Step::iso(2)]);
}

/// Scenario 64, as far as tokens go.
#[test]
fn scenario_64_a_visitor_gets_tokens_of_the_partner_without_any_link_to_the_home() {
    scenario_64(&mut Two::new());
}

fn scenario_64(two: &mut Two) {
    let token = two.token();
    // The home is out of reach from here on: it is not even there.
    two.partner.pass(20 * DAY);
    let tokens = two.partner.tokens(present(&token)).unwrap();
    let access = claims(tokens.access_token.expose());
    assert_eq!(access["iss"], "https://idms.b.example");
    assert_eq!(access["aud"], "sip:b.example");
    assert_eq!(access["mcptt_id"], "sip:ptt-visitor-1@b.example");
    assert_eq!(access["client_id"], CLIENT);
    assert_eq!(access["scope"], "openid 3gpp:mc:ptt_service");
    assert_ne!(access["sub"], two.subject.as_str());
    assert_eq!(header(tokens.access_token.expose())["typ"], "at+jwt");
    let id = claims(tokens.id_token.unwrap().expose());
    assert_eq!((&id["aud"], &id["sub"]), (&json!(CLIENT), &access["sub"]));
    assert_eq!(id["mcptt_id"], "sip:ptt-visitor-1@b.example");
    assert!(id.get("mcvideo_id").is_none(), "only what the scope is about: {id}");
    assert_eq!(tokens.refresh_token, None, "it would outlive the permission to migrate");
}

#[test]
fn a_security_token_names_its_client_its_partner_and_itself() {
    let mut two = Two::new();
    let token = two.token();
    let says = claims(&token);
    assert_eq!(says["iss"], "https://idms.a.example");
    assert_eq!(says["sub"], two.subject.as_str());
    assert_eq!(says["aud"], json!([CLIENT, "https://idms.b.example"]));
    assert_eq!(says["exp"].as_u64().unwrap() - says["iat"].as_u64().unwrap(), 30 * DAY);
    assert_eq!(says["jti"].as_str().unwrap().len(), 22);
    assert_eq!(header(&token)["alg"], "ES256");
    assert_eq!(two.home.stored(RecordKind::IdmsIssued), 1);
}

/// Scenario 65.
#[test]
fn scenario_65_a_token_of_a_revoked_certificate_is_refused() {
    let mut two = Two::new();
    let token = two.token();
    assert!(two.partner.tokens(present(&token)).is_ok());
    let fingerprint = two.home.own_keys()[0].certificate.fingerprint();
    let reason = "the home told us by telephone".to_owned();
    two.partner.do_manage(management::Request::Revoke { fingerprint, reason: reason.clone() });
    assert_eq!(two.refused(&token), "signature, or certificate revoked or over");
    let revoked = IdmsNote::TrustRevoked { issuer: issuer('a'), fingerprint };
    assert!(two.partner.notes.contains(&revoked));
    two.partner.restart();
    two.refused(&token);
    let management::Answer::Trust(listed) = two.partner.manage(management::Request::ListTrust)
    else {
        panic!("no list")
    };
    assert_eq!(listed[0].revoked.as_ref().map(|(_, why)| why), Some(&reason));
    // No file brings it back.
    let imported = two.partner.trust(&mut two.home);
    assert!(
        matches!(imported, management::Answer::Imported { added, known: 1, .. } if added.is_empty())
    );
    two.refused(&token);
}

#[test]
fn a_new_certificate_of_a_revoked_key_is_refused() {
    use migcore::{time::Timestamp, token::certificate::Certificate};
    let mut two = Two::new();
    let (key, pem) = certified(&two.home, START + 1_000);
    two.partner.import(issuer('a'), &pem);
    let fingerprint = TrustFile::read(&pem).unwrap().certificates[0].fingerprint();
    let revoke = management::Request::Revoke { fingerprint, reason: String::new() };
    two.partner.do_manage(revoke);
    let (from, until) = (Timestamp::from_secs(START), Timestamp::from_secs(START + 2_000));
    let again = Certificate::of_own(&key, "https://idms.a.example", from, until).unwrap();
    let refused = management::Answer::Refused(management::Refusal::Revoked);
    assert_eq!(two.partner.import(issuer('a'), &again.to_pem()), refused);
}

#[test]
fn what_was_revoked_stays_so_when_its_certificate_is_over_and_others_take_its_room() {
    use migcore::{
        api::idms_management::CERTIFICATES_MAX, time::Timestamp, token::certificate::Certificate,
    };
    let mut two = Two::new();
    let (key, pem) = certified(&two.home, START + 1_000);
    two.partner.import(issuer('a'), &pem);
    let fingerprint = TrustFile::read(&pem).unwrap().certificates[0].fingerprint();
    two.partner.do_manage(management::Request::Revoke { fingerprint, reason: String::new() });
    two.partner.pass(1_001);
    for _ in 0..2 * CERTIFICATES_MAX {
        let (_, other) = certified(&two.home, START + 1_100);
        if let management::Answer::Refused(refusal) = two.partner.import(issuer('a'), &other) {
            assert_eq!(refusal, management::Refusal::Full("certificates of this issuer"));
            two.partner.pass(100); // those before are over
        }
    }
    let (from, until) = (Timestamp::from_secs(START), Timestamp::from_secs(START + 20_000));
    let again = Certificate::of_own(&key, "https://idms.a.example", from, until).unwrap();
    let refused = management::Answer::Refused(management::Refusal::Revoked);
    assert_eq!(two.partner.import(issuer('a'), &again.to_pem()), refused);
}

/// Scenario 66.
#[test]
fn scenario_66_a_key_that_was_rolled_over_is_good_until_its_certificate_ends() {
    let mut two = Two::new();
    let old = two.token();
    two.pass(1);
    let rotated = two.home.manage(management::Request::RotateKey { from: None });
    assert!(matches!(rotated, management::Answer::Own(keys) if keys.len() == 2 && keys[1].signs));
    let new = two.token();
    assert_ne!(header(&old)["kid"], header(&new)["kid"]);
    // The partner does not know the new key before the file is there, and both after it.
    assert!(two.partner.tokens(present(&old)).is_ok());
    two.refused(&new);
    let imported = two.partner.trust(&mut two.home);
    assert!(
        matches!(imported, management::Answer::Imported { added, known: 1, .. } if added.len() == 1)
    );
    assert!(two.partner.tokens(present(&old)).is_ok() && two.partner.tokens(present(&new)).is_ok());

    // A certificate that ends before the token does: refused after its end.
    let (key, pem) = certified(&two.home, START + 1_000);
    two.partner.import(issuer('a'), &pem);
    let short = two.forged(&key, |_| {});
    two.partner.pass(998);
    assert!(two.partner.tokens(present(&short)).is_ok());
    two.partner.pass(1);
    assert_eq!(two.refused(&short), "signature, or certificate revoked or over");
}

#[test]
fn keys_roll_over_by_themselves_and_partners_can_have_the_next_one_before_it_signs() {
    let mut two = Two::new();
    assert_eq!(two.home.own_keys().len(), 1);
    two.home.pass(335 * DAY);
    let keys = two.home.own_keys();
    assert_eq!(keys.iter().map(|key| key.signs).collect::<Vec<_>>(), [true, false]);
    assert_eq!(keys[1].signs_from.as_secs(), START + 365 * DAY);
    two.partner.pass(335 * DAY);
    two.partner.trust(&mut two.home);
    two.pass(29 * DAY);
    let old = two.token();
    two.pass(2 * DAY);
    let new = two.token();
    assert_ne!(header(&old)["kid"], header(&new)["kid"]);
    assert!(two.partner.tokens(present(&old)).is_ok() && two.partner.tokens(present(&new)).is_ok());
    // The old key goes when nothing of it can hold any more; what it was is not needed for it.
    two.home.pass(40 * DAY);
    assert_eq!(two.home.own_keys().len(), 1);
    assert_eq!(two.home.stored(RecordKind::IdmsKey), 1);
    two.home.restart();
    assert_eq!(two.home.own_keys().len(), 1);
}

/// Scenario 67.
#[test]
fn scenario_67_a_token_that_expired_29_seconds_ago_is_taken_and_31_seconds_ago_is_not() {
    let mut two = Two::new();
    let token = two.token();
    two.partner.pass(30 * DAY + 29);
    assert!(two.partner.tokens(present(&token)).is_ok());
    two.partner.pass(2);
    assert_eq!(two.refused(&token), "time or audience");
}

#[test]
fn a_token_issued_31_seconds_in_the_future_is_refused_and_29_is_not() {
    let mut two = Two::new();
    let key = two.known_key();
    for (ahead, taken) in [(29, true), (31, false)] {
        let token = two.forged(&key, |claims| claims["iat"] = json!(START + ahead));
        assert_eq!(two.partner.tokens(present(&token)).is_ok(), taken, "{ahead} s");
    }
}

/// Scenario 68.
#[test]
fn scenario_68_a_token_for_another_system_is_refused() {
    let mut two = Two::new();
    let key = two.known_key();
    for audience in [
        json!([CLIENT, "https://idms.c.example"]),
        json!([CLIENT]),
        json!("https://idms.b.example"),
        json!([CLIENT, "https://idms.b.example/"]),
        json!([CLIENT, "sip:b.example"]),
    ] {
        let token = two.forged(&key, |claims| claims["aud"] = audience.clone());
        assert_eq!(two.refused(&token), "time or audience", "{audience}");
    }
}

/// Scenario 69.
#[test]
fn scenario_69_a_token_of_an_unknown_issuer_is_refused() {
    let mut two = Two::new();
    let key = two.known_key();
    for (issuer, why) in [
        (json!("https://idms.c.example"), "unknown issuer"),
        (json!("https://IDMS.a.example"), "unknown issuer"),
        (json!("https://idms.b.example"), "unknown issuer"),
        (json!("eve"), "unknown issuer"),
        (json!(7), "unknown issuer"),
        (json!(null), "unknown issuer"),
    ] {
        let token = two.forged(&key, |claims| claims["iss"] = issuer.clone());
        assert_eq!(two.refused(&token), why, "{issuer}");
    }
}

#[test]
fn a_partner_signs_for_itself_and_not_for_another_partner() {
    let mut two = Two::new();
    let mut third = World::new('c');
    two.partner.trust(&mut third);
    two.partner.add_visitor('c', &two.subject.clone(), "visitor-2");
    let key = two.known_key();
    let token = two.forged(&key, |claims| claims["iss"] = json!("https://idms.c.example"));
    assert_eq!(two.refused(&token), "signature, or certificate revoked or over");
    // And no file makes one system's key another's.
    let pem = two.home.export();
    let refused = management::Answer::Refused(management::Refusal::OfAnother);
    assert_eq!(two.partner.import(issuer('c'), &pem), refused);
}

/// Scenario 70.
#[test]
fn scenario_70_a_user_without_a_profile_here_is_refused() {
    let mut two = Two::new();
    two.home.add_user("bob", 'b');
    let token = two.home.security_token("bob", 'b', None);
    assert_eq!(two.refused(&token), "user may not migrate here");
}

#[test]
fn a_user_who_may_not_migrate_is_refused_from_then_on() {
    let mut two = Two::new();
    let token = two.token();
    assert!(two.partner.tokens(present(&token)).is_ok());
    let (issuer, subject) = (issuer('a'), two.subject.clone());
    let services = services("visitor-1", "b.example");
    let visitor = Visitor { issuer, subject, services, may_migrate: false };
    two.partner.do_manage(management::Request::PutVisitor(visitor));
    assert_eq!(two.refused(&token), "user may not migrate here");
}

#[test]
fn the_deny_list_stops_a_user_or_a_single_token_and_survives_a_restart() {
    let mut two = Two::new();
    let (lost, other) = (two.token(), two.token());
    let id = claims(&lost)["jti"].as_str().unwrap().to_owned();
    two.partner.do_manage(management::Request::Deny(Denied::Token(issuer('a'), id)));
    assert_eq!(two.refused(&lost), "deny list");
    assert!(two.partner.tokens(present(&other)).is_ok());
    let user = Denied::Subject(issuer('a'), two.subject.clone());
    two.partner.do_manage(management::Request::Deny(user.clone()));
    two.partner.restart();
    assert_eq!(two.refused(&lost), "deny list");
    assert_eq!(two.refused(&other), "deny list");
    two.partner.do_manage(management::Request::Allow(user));
    assert!(two.partner.tokens(present(&other)).is_ok());
}

#[test]
fn an_operator_leaves_a_note_with_each_change_of_who_may_come() {
    let mut two = Two::new();
    let visitor = |may_migrate| {
        management::Request::PutVisitor(Visitor {
            issuer: issuer('a'),
            subject: "somebody".to_owned(),
            services: migcore::token::claims::ServiceIds::default(),
            may_migrate,
        })
    };
    let denied = || Denied::Token(issuer('a'), "abc".to_owned());
    for (request, changed) in [
        (visitor(true), Some(true)),
        (visitor(true), None),
        (visitor(false), Some(false)),
        (visitor(true), Some(true)),
        (management::Request::DeleteVisitor(issuer('a'), "somebody".to_owned()), Some(false)),
        (management::Request::Deny(denied()), Some(false)),
        (management::Request::Deny(denied()), None),
        (management::Request::Allow(denied()), Some(true)),
    ] {
        two.partner.notes.clear();
        two.partner.do_manage(request.clone());
        let noted =
            changed.map(|may_come| IdmsNote::VisitsChanged { issuer: issuer('a'), may_come });
        assert_eq!(two.partner.notes, Vec::from_iter(noted), "{request:?}");
    }
}

/// Scenario 71: bound to the client that presented it first.
#[test]
fn scenario_71_a_token_replayed_by_a_second_device_is_refused() {
    let mut two = Two::new();
    let (own, stolen) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let token = two.home.security_token("alice", 'b', Some(&own));
    assert_eq!(claims(&token)["cnf"]["jkt"], own.thumbprint().as_str());
    let proof = two.partner.proof(&own);
    let tokens = two.partner.tokens(with_proof(present(&token), Some(proof))).unwrap();
    assert_eq!(tokens.kind, TokenKind::DPoP);
    assert_eq!(claims(tokens.access_token.expose())["cnf"]["jkt"], own.thumbprint().as_str());
    // The second device has the token and not the key.
    let proof = two.partner.proof(&stolen);
    let replayed = two.partner.tokens(with_proof(present(&token), Some(proof)));
    assert_eq!(replayed, Err(Refusal::InvalidGrant));
    assert_eq!(two.refused(&token), "proof key of another");
}

#[test]
fn a_token_without_a_key_belongs_to_the_key_that_presented_it_first() {
    let mut two = Two::new();
    let token = two.token();
    let (own, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let proof = two.partner.proof(&own);
    assert!(two.partner.tokens(with_proof(present(&token), Some(proof))).is_ok());
    let proof = two.partner.proof(&other);
    let replayed = two.partner.tokens(with_proof(present(&token), Some(proof)));
    assert_eq!(replayed, Err(Refusal::InvalidGrant));
    assert_eq!(two.refused(&token), "token of another client");
}

#[test]
fn a_token_of_one_client_used_by_another_is_refused() {
    let mut two = Two::new();
    let token = two.token();
    let stolen = two.partner.tokens(by_client(present(&token), "other-client"));
    assert_eq!(stolen, Err(Refusal::InvalidGrant));
    assert!(two.partner.tokens(present(&token)).is_ok());
    // Not even if the home names both clients: it is the first one's.
    let key = two.known_key();
    let both = two.forged(&key, |claims| {
        claims["aud"] = json!([CLIENT, "other-client", "https://idms.b.example"]);
    });
    assert!(two.partner.tokens(present(&both)).is_ok());
    let second = two.partner.tokens(by_client(present(&both), "other-client"));
    assert_eq!(second, Err(Refusal::InvalidGrant));
    assert_eq!(two.partner.last_refusal(), Some("token of another client"));
}

/// The answer of the partner's token endpoint got lost; days later the client asks again.
#[test]
fn a_lost_answer_of_the_partners_token_endpoint_is_repeated_until_the_token_expires() {
    let mut two = Two::new();
    let token = two.token();
    let first = two.partner.tokens(present(&token)).unwrap();
    let commits = two.partner.commits.len();
    let again = two.partner.tokens(present(&token)).unwrap();
    assert_ne!(first.access_token, again.access_token);
    assert_eq!(two.partner.commits.len(), commits, "a repeat changes nothing");
    for _ in 0..29 {
        two.partner.pass(DAY);
        two.partner.restart();
        assert!(two.partner.tokens(present(&token)).is_ok());
    }
    let firsts = two
        .partner
        .notes
        .iter()
        .filter(|note| matches!(note, IdmsNote::SecurityTokenTaken { first: true, .. }));
    assert_eq!(firsts.count(), 1);
}

#[test]
fn a_replay_after_a_restart_meets_whose_the_token_is() {
    let mut two = Two::new();
    let key = two.known_key();
    let token = two.forged(&key, |claims| {
        claims["aud"] = json!([CLIENT, "other-client", "https://idms.b.example"]);
    });
    assert!(two.partner.tokens(present(&token)).is_ok());
    two.partner.restart();
    let replayed = two.partner.tokens(by_client(present(&token), "other-client"));
    assert_eq!(replayed, Err(Refusal::InvalidGrant));
    assert_eq!(two.partner.last_refusal(), Some("token of another client"));
    assert!(two.partner.tokens(present(&token)).is_ok());
}

#[test]
fn what_was_presented_is_forgotten_when_it_could_not_be_taken_any_more() {
    let mut two = Two::new();
    let token = two.token();
    assert!(two.partner.tokens(present(&token)).is_ok());
    two.partner.pass(30 * DAY + 29);
    assert_eq!(two.partner.stored(RecordKind::IdmsPresented), 1);
    two.partner.pass(2);
    assert_eq!(two.partner.stored(RecordKind::IdmsPresented), 0);
    two.home.pass(31 * DAY);
    assert_eq!(two.home.stored(RecordKind::IdmsIssued), 0);
}

#[test]
fn a_proof_of_a_key_is_taken_once_also_across_a_restart() {
    let mut two = Two::new();
    let key = SigningKey::generate().unwrap();
    let token = two.home.security_token("alice", 'b', Some(&key));
    let proof = two.partner.proof(&key);
    let asked = |proof: &String| with_proof(present(&token), Some(proof.clone()));
    assert!(two.partner.tokens(asked(&proof)).is_ok());
    assert_eq!(two.partner.tokens(asked(&proof)), Err(Refusal::InvalidProof));
    two.partner.pass(1);
    two.partner.restart();
    assert_eq!(two.partner.tokens(asked(&proof)), Err(Refusal::InvalidProof));
    let fresh = two.partner.proof(&key);
    assert!(two.partner.tokens(asked(&fresh)).is_ok());
}

/// Scenario 72.
#[test]
fn scenario_72_alg_none_and_hs256_with_the_public_key_are_refused() {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
    let mut two = Two::new();
    let token = two.token();
    let payload = token.split('.').nth(1).unwrap();
    for none in ["none", "None", "NONE"] {
        let header = BASE64.encode(format!(r#"{{"alg":"{none}"}}"#));
        assert_eq!(two.refused(&format!("{header}.{payload}.")), "no security token");
    }
    let certificate = two.home.own_keys()[0].certificate.clone();
    let jwk = String::from(certificate.key().clone());
    for key in [jwk, certificate.to_pem()] {
        let signed = format!("{}.{payload}", BASE64.encode(r#"{"alg":"HS256","typ":"JWT"}"#));
        let mut hmac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
        hmac.update(signed.as_bytes());
        let signature = BASE64.encode(hmac.finalize().into_bytes());
        assert_eq!(two.refused(&format!("{signed}.{signature}")), "no security token");
    }
}

#[test]
fn a_token_that_names_its_own_key_or_anybodys_is_refused() {
    let mut two = Two::new();
    let eve = SigningKey::generate().unwrap();
    let jwk: Value = serde_json::from_str(&String::from(eve.public().clone())).unwrap();
    let good = two.token();
    let claims = claims(&good);
    for header in [
        json!({"alg": "ES256", "kid": header(&good)["kid"]}),
        json!({"alg": "ES256", "kid": eve.thumbprint().as_str()}),
        json!({"alg": "ES256", "jwk": jwk}),
        json!({"alg": "ES256", "jku": "https://eve.example/jwks.json"}),
        json!({"alg": "ES256", "x5u": "https://eve.example/chain.pem"}),
        json!({"alg": "ES256"}),
        json!({"alg": "RS256", "kid": header(&good)["kid"]}),
    ] {
        let token = signed_with(&eve, &header, &claims);
        assert_eq!(two.refused(&token), "signature, or certificate revoked or over", "{header}");
    }
}

#[test]
fn other_tokens_of_the_home_are_no_security_tokens() {
    let mut two = Two::new();
    let tokens = two.home.log_in("alice", None);
    two.refused(tokens.access_token.expose());
    two.refused(tokens.id_token.unwrap().expose());
    two.refused(tokens.refresh_token.unwrap().expose());
}

#[test]
fn oversized_and_deeply_nested_tokens_are_refused() {
    let mut two = Two::new();
    let key = two.known_key();
    let long = two.forged(&key, |claims| claims["x"] = json!("x".repeat(9_000)));
    assert_eq!(two.refused(&long), "no security token");
    let mut nested = json!(1);
    for _ in 0..20 {
        nested = json!([nested]);
    }
    let deep = two.forged(&key, |claims| claims["x"] = nested);
    two.refused(&deep);
    for id in ["", &"x".repeat(200)] {
        let token = two.forged(&key, |claims| claims["jti"] = json!(id));
        two.refused(&token);
    }
    let endless = two.forged(&key, |claims| claims["exp"] = json!(START + 400 * DAY));
    assert_eq!(two.refused(&endless), "a longer lifetime than is taken here");
}

/// Scenario 74.
#[test]
fn scenario_74_old_scope_names_are_aliases_at_both_endpoints() {
    let mut two = Two::new();
    let code = {
        let mut parameters = parameters();
        parameters.scope = "openid 3gpp:mcptt:ptt_server".to_owned();
        two.home.code("alice", parameters)
    };
    let tokens = two.home.tokens(redeem(&code)).unwrap();
    let scope = "openid 3gpp:mc:ptt_service";
    assert_eq!(claims(tokens.access_token.expose())["scope"], scope);
    let token = two.token();
    let old = "openid 3gpp:mcptt:ptt_server";
    let tokens = two.partner.tokens(present_for(&token, Some(old))).unwrap();
    assert_eq!(claims(tokens.access_token.expose())["scope"], scope);
}

#[test]
fn a_scope_that_is_unknown_or_not_for_this_user_is_refused() {
    let mut two = Two::new();
    let token = two.token();
    let visitor = Visitor {
        issuer: issuer('a'),
        subject: two.subject.clone(),
        services: migcore::token::claims::ServiceIds {
            mcvideo_id: None,
            ..services("visitor-1", "b.example")
        },
        may_migrate: true,
    };
    two.partner.do_manage(management::Request::PutVisitor(visitor));
    for scope in ["openid profile", "3gpp:mc:video_service", "openid 3gpp:mc:ptt_service  openid"] {
        let refused = two.partner.tokens(present_for(&token, Some(scope)));
        assert_eq!(refused, Err(Refusal::InvalidScope), "{scope}");
    }
    let all = two.partner.tokens(present_for(&token, None)).unwrap();
    let scope = claims(all.access_token.expose())["scope"].as_str().unwrap().to_owned();
    assert!(scope.contains("3gpp:mc:data_service") && !scope.contains("video"), "{scope}");
}

#[test]
fn a_confidential_client_must_be_who_it_says() {
    let mut two = Two::new();
    let token = two.token();
    let secret = BearerToken::parse("22-characters-or-more-drawn").unwrap();
    two.partner.add_client_with(CLIENT, |client| {
        client.authentication = ClientAuthentication::Secret(secret.digest());
    });
    let by = |id: &str, secret: &str| TokenRequest {
        client: ClientCredential::Secret(id.to_owned(), SecretText::new(secret)),
        ..present(&token)
    };
    assert!(two.partner.tokens(by(CLIENT, secret.expose())).is_ok());
    // With another one, and for a client that does not exist: the same.
    for request in [by(CLIENT, "22-characters-or-more-other"), by("no-client", secret.expose())] {
        assert_eq!(two.partner.tokens(request), Err(Refusal::InvalidClient));
    }
    // By its name alone it is one that does not exist.
    for request in [present(&token), by_client(present(&token), "no-client")] {
        assert_eq!(two.partner.tokens(request), Err(Refusal::InvalidGrant));
    }
}

#[test]
fn whether_a_public_client_exists_is_told_to_nobody_who_has_nothing_of_its_own() {
    let mut two = Two::new();
    let token = two.token();
    two.partner.add_client_with("has-a-key", |client| client.requires_proof = true);
    let access = two.home.log_in("alice", None).access_token;
    for client in [CLIENT, "has-a-key", "no-client", "no client"] {
        let asked = |request| by_client(request, client);
        if client != CLIENT {
            let mine = two.partner.tokens(asked(present(&token)));
            assert_eq!(mine, Err(Refusal::InvalidGrant), "{client}");
        }
        assert_eq!(two.partner.tokens(asked(present("nothing"))), Err(Refusal::InvalidGrant));
        assert_eq!(two.partner.tokens(asked(redeem("code"))), Err(Refusal::InvalidGrant));
        let old = refresh(&SecretText::new("n".repeat(54)), None);
        assert_eq!(two.partner.tokens(asked(old)), Err(Refusal::InvalidGrant));
        // What can be no name tells nothing of names.
        let is_name = client != "no client";
        let expected = if is_name { Refusal::InvalidRequest } else { Refusal::InvalidGrant };
        let of_home = two.partner.tokens(asked(exchange(&access, 'b')));
        assert_eq!(of_home, Err(expected), "{client}");
    }
}

#[test]
fn nothing_that_a_client_was_given_outlives_it() {
    let mut world = World::new('a');
    world.add_client(CLIENT);
    world.add_user("alice", 'b');
    let tokens = world.log_in("alice", None);
    let (kept, code) = (tokens.refresh_token.unwrap(), world.code("alice", parameters()));
    world.do_manage(management::Request::DeleteClient(ClientId::parse(CLIENT).unwrap()));
    for request in [refresh(&kept, None), redeem(&code)] {
        assert_eq!(world.tokens(request), Err(Refusal::InvalidGrant));
    }
    let exchanged = world.tokens(exchange(&tokens.access_token, 'b'));
    assert_eq!(exchanged, Err(Refusal::InvalidRequest));
}

#[test]
fn a_client_signs_an_assertion_for_this_server_once() {
    let mut two = Two::new();
    let token = two.token();
    let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    two.partner.add_client_with(CLIENT, |client| {
        client.authentication = ClientAuthentication::Keys(vec![key.public().clone()]);
    });
    let says = |change: &dyn Fn(&mut Value)| {
        let mut claims = json!({
            "iss": CLIENT, "sub": CLIENT, "aud": "https://idms.b.example/token", "jti": "1",
            "iat": START, "exp": START + 60,
        });
        change(&mut claims);
        claims
    };
    let mut ask = |key: &SigningKey, claims: &Value| {
        let client =
            ClientCredential::Assertion(None, SecretText::new(key.sign("JWT", claims).unwrap()));
        two.partner.tokens(TokenRequest { client, ..present(&token) })
    };
    let good = says(&|_| {});
    assert!(ask(&key, &good).is_ok());
    assert_eq!(ask(&key, &good), Err(Refusal::InvalidClient), "a second time");
    assert_eq!(
        ask(&other, &says(&|claims| claims["jti"] = json!("2"))),
        Err(Refusal::InvalidClient)
    );
    for (name, value) in [
        ("aud", json!("https://idms.c.example/token")),
        ("sub", json!("other-client")),
        ("iss", json!("no-client")),
        ("exp", json!(START - 31)),
        ("exp", json!(START + 3_600)),
        ("iat", json!(null)),
    ] {
        let wrong = says(&|claims| {
            claims["jti"] = json!(format!("{name} {value}"));
            claims[name] = value.clone();
        });
        assert_eq!(ask(&key, &wrong), Err(Refusal::InvalidClient), "{name} {value}");
    }
    assert!(ask(&key, &says(&|claims| claims["jti"] = json!("3"))).is_ok());
}

#[test]
fn only_partners_of_the_user_get_a_security_token_and_only_from_the_users_own_access_token() {
    let mut two = Two::new();
    two.home.add_user_with("carol", |user| user.partners.clear());
    let access = two.home.log_in("alice", None).access_token;
    for partner in ['c', 'a'] {
        assert_eq!(two.home.tokens(exchange(&access, partner)), Err(Refusal::InvalidTarget));
    }
    let of_carol = two.home.log_in("carol", None).access_token;
    assert_eq!(two.home.tokens(exchange(&of_carol, 'b')), Err(Refusal::InvalidTarget));
    // Another client's access token, one of another system, one that expired, and no access token.
    let by_other = by_client(exchange(&access, 'b'), "other-client");
    assert_eq!(two.home.tokens(by_other), Err(Refusal::InvalidRequest));
    let security_token = SecretText::new(two.token());
    assert_eq!(two.home.tokens(exchange(&security_token, 'b')), Err(Refusal::InvalidRequest));
    two.home.pass(3_600 + 31);
    assert_eq!(two.home.tokens(exchange(&access, 'b')), Err(Refusal::InvalidRequest));
}

#[test]
fn without_storage_nothing_is_given_and_nothing_is_the_clients_fault() {
    let mut two = Two::new();
    let token = two.token();
    let access = two.home.log_in("alice", None).access_token;
    (two.home.has_storage, two.partner.has_storage) = (false, false);
    assert_eq!(two.home.tokens(exchange(&access, 'b')), Err(Refusal::Unavailable));
    assert_eq!(two.partner.tokens(present(&token)), Err(Refusal::Unavailable));
    two.partner.has_storage = true;
    assert!(two.partner.tokens(present(&token)).is_ok());
}

#[test]
fn a_table_that_is_full_refuses_as_our_own_trouble() {
    let mut two = Two::new();
    let tokens = [two.token(), two.token()];
    two.partner = World::with('b', |config| config.presented_max = 1);
    two.partner.add_client(CLIENT);
    two.partner.trust(&mut two.home);
    two.partner.add_visitor('a', &two.subject.clone(), "visitor-1");
    assert!(two.partner.tokens(present(&tokens[0])).is_ok());
    assert_eq!(two.partner.tokens(present(&tokens[1])), Err(Refusal::Unavailable));
    assert_eq!(two.partner.full, ["security tokens presented"]);
    assert!(two.partner.tokens(present(&tokens[0])).is_ok());
}

#[test]
fn a_list_of_revoked_certificates_counts_for_what_is_imported_before_and_after_it() {
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer,
        KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
    };
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let signer = Issuer::from_params(&authority, &authority_key);
    let mut two = Two::new();
    let mut certify = |serial: u64| {
        let key = SigningKey::generate().unwrap();
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from(serial));
        let pair = KeyPair::try_from(key.pkcs8().expose()).unwrap();
        let pem = params.signed_by(&pair, &signer).unwrap().pem();
        (two.forged(&key, |_| {}), pem)
    };
    let ((first, first_pem), (second, second_pem)) = (certify(5), certify(6));
    let revoked = [5_u64, 6].map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: date_time_ymd(2030, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2030, 1, 1),
        next_update: date_time_ymd(2031, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: revoked.into(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&signer).unwrap().pem().unwrap();
    two.partner.import(issuer('a'), &(authority_pem + &first_pem));
    assert!(two.partner.tokens(present(&first)).is_ok());
    let imported = two.partner.import(issuer('a'), &list);
    assert!(matches!(imported, management::Answer::Imported { revoked, .. } if revoked.len() == 1));
    two.refused(&first);
    two.partner.restart();
    let imported = two.partner.import(issuer('a'), &second_pem);
    assert!(matches!(imported, management::Answer::Imported { revoked, .. } if revoked.len() == 1));
    two.refused(&second);
    // The authority's own key signs certificates and lists, not tokens.
    let of_authority = migcore::secret::SecretBytes::new(authority_key.serialized_der());
    let of_authority = SigningKey::from_pkcs8(of_authority).unwrap();
    let token = two.forged(&of_authority, |_| {});
    assert_eq!(two.refused(&token), "signature, or certificate revoked or over");
}

#[test]
fn an_rsa_key_of_a_partner_is_accepted() {
    use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
    // A key for this test alone, made by `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048`, with its
    // certificate by `openssl req -x509`.
    let pem = include_str!("idms_harness/rsa-certificate.pem");
    let der = pem_octets(include_str!("idms_harness/rsa-key.pem"));
    let mut two = Two::new();
    two.partner.import(issuer('a'), pem);
    let payload = two.token().split('.').nth(1).unwrap().to_owned();
    let encode = |octets: &[u8]| {
        use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
        BASE64_URL_SAFE_NO_PAD.encode(octets)
    };
    let signed = format!("{}.{payload}", encode(br#"{"alg":"RS256"}"#));
    let pair = RsaKeyPair::from_pkcs8(&der).unwrap();
    let mut signature = vec![0; pair.public().modulus_len()];
    let random = ring::rand::SystemRandom::new();
    pair.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).unwrap();
    let token = format!("{signed}.{}", encode(&signature));
    assert!(two.partner.tokens(present(&token)).is_ok());
}

fn pem_octets(pem: &str) -> Vec<u8> {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let lines = pem.lines().filter(|line| !line.starts_with('-'));
    BASE64_STANDARD.decode(lines.collect::<String>()).unwrap()
}
