use serde_json::json;

use super::*;
use crate::token::key::SigningKey;

const NOW: Timestamp = Timestamp::from_secs(1_900_000_000);

fn security_token(change: impl FnOnce(&mut SecurityToken)) -> SecurityToken {
    let mut token = SecurityToken {
        iss: "https://idms.a.example".to_owned(),
        sub: "alice".to_owned(),
        aud: Audience::of(["mc-client", "https://idms.b.example"]),
        exp: NumericDate(NOW.as_secs() + 1_000),
        iat: NumericDate(NOW.as_secs() - 1_000),
        nbf: None,
        jti: "1".to_owned(),
        cnf: None,
    };
    change(&mut token);
    token
}

fn check(token: &SecurityToken) -> Result<(), ClaimError> {
    token.check("https://idms.b.example", "mc-client", NOW)
}

#[test]
fn a_token_that_expired_29_seconds_ago_holds_and_31_seconds_ago_does_not() {
    for (ago, outcome) in [(0, Ok(())), (29, Ok(())), (31, Err(ClaimError::Expired))] {
        let token = security_token(|token| token.exp = NumericDate(NOW.as_secs() - ago));
        assert_eq!(check(&token), outcome, "{ago} s");
    }
}

#[test]
fn a_token_issued_29_seconds_from_now_holds_and_31_seconds_from_now_does_not() {
    for (ahead, outcome) in [(29, Ok(())), (31, Err(ClaimError::NotYet))] {
        let at = NumericDate(NOW.as_secs() + ahead);
        assert_eq!(check(&security_token(|token| token.iat = at)), outcome, "{ahead} s");
        assert_eq!(check(&security_token(|token| token.nbf = Some(at))), outcome, "{ahead} s");
    }
}

#[test]
fn a_token_for_another_server_or_another_client_does_not_hold() {
    for audience in [
        Audience::of(["mc-client", "https://idms.c.example"]),
        Audience::of(["other-client", "https://idms.b.example"]),
        Audience::of(["mc-client"]),
        Audience::of(["https://idms.b.example"]),
        Audience::of(["mc-client", "https://idms.b.example/"]),
        Audience::of([]),
    ] {
        let token = security_token(|token| token.aud = audience);
        assert_eq!(check(&token), Err(ClaimError::Audience), "{:?}", token.aud);
    }
}

#[test]
fn an_identifier_that_cannot_be_kept_does_not_hold() {
    for wrong in ["", &"x".repeat(256), "a\nb"] {
        let token = security_token(|token| token.sub = wrong.to_owned());
        assert_eq!(check(&token), Err(ClaimError::Identifier));
        let token = security_token(|token| token.jti = wrong.to_owned());
        assert_eq!(check(&token), Err(ClaimError::Identifier));
    }
}

#[test]
fn claims_read_as_the_rfcs_allow_them_to_be_written() {
    let read = |exp: serde_json::Value, aud: serde_json::Value| {
        let token =
            json!({"iss": "i", "sub": "s", "aud": aud, "exp": exp, "iat": 0, "jti": "j", "x": [1]});
        serde_json::from_value::<SecurityToken>(token).map(|token| (token.exp.0, token.aud)).ok()
    };
    assert_eq!(read(json!(7.9), json!("a")), Some((7, Audience::of(["a"]))));
    assert_eq!(read(json!(7), json!(["a", "b"])), Some((7, Audience::of(["a", "b"]))));
    for (exp, aud) in [
        (json!(-1), json!("a")),
        (json!(1e300), json!("a")),
        (json!("7"), json!("a")),
        (json!(null), json!("a")),
        (json!(7), json!(1)),
        (json!(7), json!([["a"]])),
        (json!(7), json!(vec!["a"; 17])),
    ] {
        assert_eq!(read(exp.clone(), aud.clone()), None, "{exp} {aud}");
    }
}

#[test]
fn a_claim_that_is_there_twice_is_refused() {
    let twice = r#"{"iss":"i","sub":"alice","sub":"bob","aud":"a","exp":1,"iat":0,"jti":"j"}"#;
    assert!(serde_json::from_str::<SecurityToken>(twice).is_err());
}

#[test]
fn an_access_token_verifies_for_its_servers_and_no_other_token_is_taken_for_one() {
    let key = SigningKey::generate().unwrap();
    let claims = json!({
        "iss": "https://idms.a.example", "sub": "alice", "aud": "sip:a.example", "client_id": "mc-client",
        "exp": NOW.as_secs() + 60, "iat": NOW.as_secs(), "jti": "1", "scope": "openid 3gpp:mc:ptt_service",
        "mcptt_id": "sip:alice@a.example",
    });
    let verify = |token: &str, issuer: &str, audience: &str, now| {
        let key_of = |kid: &str| (kid == key.thumbprint().as_str()).then_some(key.public());
        verify_access(token, key_of, issuer, audience, now)
    };
    let (issuer, audience) = ("https://idms.a.example", "sip:a.example");
    let token = key.sign(ACCESS_TOKEN_TYPE, &claims).unwrap();
    let read = verify(&token, issuer, audience, NOW).unwrap();
    assert_eq!(read.scope, Scopes::parse("openid 3gpp:mc:ptt_service").unwrap());
    assert_eq!(serde_json::to_value(&read).unwrap(), claims);

    let of = |error: ClaimError| Err(TokenError::Claim(error));
    assert_eq!(verify(&token, "https://idms.b.example", audience, NOW), of(ClaimError::Issuer));
    assert_eq!(verify(&token, issuer, "sip:b.example", NOW), of(ClaimError::Audience));
    let late = Timestamp::from_secs(NOW.as_secs() + 91);
    assert_eq!(verify(&token, issuer, audience, late), of(ClaimError::Expired));
    let other = key.sign(TOKEN_TYPE, &claims).unwrap();
    assert_eq!(verify(&other, issuer, audience, NOW), Err(TokenError::Jws(JwsError::Type)));
    let stranger = SigningKey::generate().unwrap().sign(ACCESS_TOKEN_TYPE, &claims).unwrap();
    assert_eq!(verify(&stranger, issuer, audience, NOW), Err(TokenError::Jws(JwsError::Signature)));
}

#[test]
fn the_scopes_of_a_user_are_those_of_the_services_with_an_id() {
    let ids = ServiceIds {
        mcptt_id: McServiceId::parse("sip:alice@a.example").ok(),
        ..ServiceIds::default()
    };
    assert_eq!(ids.scopes(), Scopes::PTT | Scopes::OPENID | Scopes::LOCATION);
    assert_eq!(ServiceIds::default().scopes(), Scopes::OPENID | Scopes::LOCATION);
}
