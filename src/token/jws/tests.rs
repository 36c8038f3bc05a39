use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::*;
use crate::token::key::SigningKey;

/// RFC 7515 appendix A.1 to A.3: what is signed there.
const CLAIMS: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

#[derive(Debug, Deserialize, Eq, PartialEq)]
struct Joe {
    iss: String,
    exp: u64,
}

fn key(json: &str) -> VerifyingKey {
    VerifyingKey::try_from(json.to_owned()).unwrap()
}

fn verify(token: &str, key: &VerifyingKey) -> Result<Joe, JwsError> {
    Unverified::parse(token)?.verify(key, Algorithm::ACCEPTED)?.claims()
}

fn encoded(json: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(json)
}

fn joe() -> Joe {
    Joe { iss: "joe".to_owned(), exp: 1_300_819_380 }
}

fn rsa_of_appendix_a_2() -> (VerifyingKey, String) {
    let key = key(
        r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}"#,
    );
    let token = format!(
        "eyJhbGciOiJSUzI1NiJ9.{CLAIMS}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
    );
    (key, token)
}

fn ec_of_appendix_a_3() -> (VerifyingKey, String) {
    let key = key(
        r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
    );
    let token = format!(
        "eyJhbGciOiJFUzI1NiJ9.{CLAIMS}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    );
    (key, token)
}

#[test]
fn the_example_of_rfc_7515_appendix_a_2_verifies() {
    let (key, token) = rsa_of_appendix_a_2();
    assert_eq!(verify(&token, &key), Ok(joe()));
}

#[test]
fn the_example_of_rfc_7515_appendix_a_3_verifies() {
    let (key, token) = ec_of_appendix_a_3();
    assert_eq!(verify(&token, &key), Ok(joe()));
}

#[test]
fn what_a_key_signed_it_verifies_and_no_other_does() {
    let (own, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let token = own.sign("JWT", &serde_json::json!({"iss": "joe", "exp": 1_300_819_380})).unwrap();
    assert_eq!(verify(&token, own.public()), Ok(joe()));
    assert_eq!(verify(&token, other.public()), Err(JwsError::Signature));
    let unverified = Unverified::parse(&token).unwrap();
    assert_eq!(unverified.key_id(), Some(own.thumbprint().as_str()));
    assert_eq!(unverified.issuer().as_deref(), Ok("joe"));
}

#[test]
fn a_changed_claim_or_signature_does_not_verify() {
    let (key, token) = ec_of_appendix_a_3();
    let other = token.replace(CLAIMS, &encoded(r#"{"iss":"eve","exp":1300819380}"#));
    assert_eq!(verify(&other, &key), Err(JwsError::Signature));
    let (rest, signature) = token.rsplit_once('.').unwrap();
    for signature in ["", "AA", &signature.replace('D', "E"), &encoded(&"\0".repeat(64))] {
        assert_eq!(verify(&format!("{rest}.{signature}"), &key), Err(JwsError::Signature));
    }
}

/// RFC 7515 appendix A.5, and every way of writing it.
#[test]
fn alg_none_is_refused_however_it_is_written() {
    let (key, _) = ec_of_appendix_a_3();
    for none in ["none", "None", "NONE", "nOnE", ""] {
        for signature in ["", "AAAA"] {
            let header = encoded(&format!(r#"{{"alg":"{none}"}}"#));
            let token = format!("{header}.{CLAIMS}.{signature}");
            assert_eq!(verify(&token, &key), Err(JwsError::Algorithm), "{none}");
        }
    }
    assert_eq!(verify(&format!("eyJhbGciOiJub25lIn0.{CLAIMS}."), &key), Err(JwsError::Algorithm));
}

#[test]
fn hs256_keyed_with_the_public_key_is_refused_in_every_form_of_the_key() {
    for (key, _) in [ec_of_appendix_a_3(), rsa_of_appendix_a_2()] {
        let json = String::from(key.clone());
        let point = BASE64_URL_SAFE_NO_PAD.decode(json.split('"').nth(11).unwrap_or_default());
        for octets in [json.clone().into_bytes(), point.unwrap_or_default()] {
            let signed = format!("{}.{CLAIMS}", encoded(r#"{"alg":"HS256","typ":"JWT"}"#));
            let mut hmac = Hmac::<Sha256>::new_from_slice(&octets).unwrap();
            hmac.update(signed.as_bytes());
            let signature = BASE64_URL_SAFE_NO_PAD.encode(hmac.finalize().into_bytes());
            assert_eq!(verify(&format!("{signed}.{signature}"), &key), Err(JwsError::Algorithm));
        }
    }
}

#[test]
fn a_key_is_of_one_algorithm_whatever_the_header_says() {
    let ((rsa, by_rsa), (ec, by_ec)) = (rsa_of_appendix_a_2(), ec_of_appendix_a_3());
    assert_eq!(verify(&by_rsa, &ec), Err(JwsError::Signature));
    assert_eq!(verify(&by_ec, &rsa), Err(JwsError::Signature));
    let renamed = by_ec.replace("eyJhbGciOiJFUzI1NiJ9", &encoded(r#"{"alg":"RS256"}"#));
    assert_eq!(verify(&renamed, &ec), Err(JwsError::Signature));
}

#[test]
fn the_verifier_decides_which_algorithms_it_takes() {
    let (key, token) = rsa_of_appendix_a_2();
    let token = Unverified::parse(&token).unwrap();
    assert!(
        token.verify(&key, &[Algorithm::Es256]).is_err_and(|error| error == JwsError::Algorithm)
    );
    assert!(token.verify(&key, &[Algorithm::Rs256]).is_ok());
}

#[test]
fn a_key_that_the_token_brings_along_verifies_nothing() {
    let (own, eve) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let jwk = String::from(eve.public().clone());
    for with in ["jwk", "jku", "x5u", "x5c"] {
        let value = if with == "jwk" { &jwk } else { "\"https://eve.example/keys\"" };
        let header = encoded(&format!(r#"{{"alg":"ES256","{with}":{value}}}"#));
        let token = eve.sign("JWT", &serde_json::json!({"iss": "joe", "exp": 1})).unwrap();
        let mut parts = token.split('.').skip(1);
        let token =
            format!("{header}.{}.{}", parts.next().unwrap(), parts.next().unwrap_or_default());
        assert_eq!(verify(&token, own.public()), Err(JwsError::Signature), "{with}");
    }
}

/// RFC 7515 appendix E.
#[test]
fn a_critical_parameter_is_refused_whatever_it_is() {
    let (key, _) = ec_of_appendix_a_3();
    for crit in [r#"["http://example.invalid/UNDEFINED"]"#, r#"["b64"]"#, "[]", "null", "1"] {
        let header = encoded(&format!(r#"{{"alg":"ES256","crit":{crit},"b64":false}}"#));
        assert_eq!(
            verify(&format!("{header}.{CLAIMS}.AAAA"), &key),
            Err(JwsError::Critical),
            "{crit}"
        );
    }
}

#[test]
fn what_is_no_compact_serialization_is_malformed() {
    let (key, token) = ec_of_appendix_a_3();
    let header = token.split('.').next().unwrap();
    for wrong in [
        String::new(),
        "..".to_owned(),
        header.to_owned(),
        format!("{header}.{CLAIMS}"),
        format!("{token}.AAAA"),
        format!("{token}="),
        format!(" {token}"),
        token.replace("eyJ", "+yJ"),
        format!("{}.{CLAIMS}.AAAA", encoded("[]")),
        format!("{}.{CLAIMS}.AAAA", encoded("\"ES256\"")),
        format!("{}.{CLAIMS}.AAAA", encoded(r#"{"alg":"ES256"} {}"#)),
    ] {
        assert_eq!(verify(&wrong, &key), Err(JwsError::Malformed), "{wrong}");
    }
    // Without the header parameter, with it twice, and with something else in its place.
    for header in ["{}", r#"{"alg":"ES256","alg":"none"}"#, r#"{"alg":1}"#, r#"{"alg":null}"#] {
        let token = format!("{}.{CLAIMS}.AAAA", encoded(header));
        assert_eq!(verify(&token, &key), Err(JwsError::Claims), "{header}");
    }
}

#[test]
fn no_two_texts_are_the_same_token() {
    let (key, token) = ec_of_appendix_a_3();
    // The last character of 64 octets has four bits to spare.
    let last = &token[..token.len() - 1];
    for other in ["R", "S", "T"].map(|character| format!("{last}{character}")) {
        let verified = verify(&other, &key);
        assert!(other == token || verified == Err(JwsError::Malformed), "{verified:?}");
    }
}

#[test]
fn an_oversized_token_is_refused_before_it_is_decoded() {
    let (key, token) = ec_of_appendix_a_3();
    let long = token.replace(CLAIMS, &"A".repeat(TOKEN_OCTETS_MAX));
    assert_eq!(verify(&long, &key), Err(JwsError::TooLong));
    let header =
        encoded(&format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(HEADER_OCTETS_MAX)));
    assert_eq!(verify(&format!("{header}.{CLAIMS}.AAAA"), &key), Err(JwsError::TooLong));
    // Not even base64: it is not looked at.
    assert_eq!(verify(&"\u{e4}".repeat(1 << 20), &key), Err(JwsError::TooLong));
}

#[test]
fn deeply_nested_json_is_refused_before_it_is_parsed() {
    let own = SigningKey::generate().unwrap();
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        serde_json::from_str::<serde_json::Value>(&format!(
            r#"{{"iss":"joe","exp":1,"x":{open}{close}}}"#
        ))
    };
    let token = |depth| own.sign("JWT", &nested(depth).unwrap()).unwrap();
    assert!(verify(&token(JSON_DEPTH_MAX - 1), own.public()).is_ok());
    assert_eq!(verify(&token(JSON_DEPTH_MAX), own.public()), Err(JwsError::TooDeep));
    let header = encoded(&format!(r#"{{"alg":"ES256","x":{}"#, "[".repeat(1_000)));
    assert_eq!(verify(&format!("{header}.{CLAIMS}.AAAA"), own.public()), Err(JwsError::TooDeep));
}

#[test]
fn brackets_in_text_do_not_nest() {
    assert_eq!(depth(br#"{"a":"[[[[\"[[[[","b":[{}]}"#), 3);
    assert_eq!(depth(b"]]]]"), 0);
}

#[test]
fn a_type_is_compared_without_case_and_prefix() {
    for (typ, shown) in [("JWT", "jwt"), ("application/at+jwt", "at+jwt"), ("AT+JWT", "at+jwt")] {
        let header = encoded(&format!(r#"{{"alg":"ES256","typ":"{typ}"}}"#));
        let token = format!("{header}.{CLAIMS}.AAAA");
        assert_eq!(
            Unverified::parse(&token).ok().and_then(|token| token.token_type()).as_deref(),
            Some(shown)
        );
    }
}

#[test]
fn no_private_key_prints() {
    let own = SigningKey::generate().unwrap();
    let again = SigningKey::from_pkcs8(own.pkcs8().clone()).unwrap();
    assert_eq!(again.thumbprint(), own.thumbprint());
    let shown = format!("{own:?} {:?} {:?}", own.pkcs8(), own.public());
    let expected = format!(
        "SigningKey({}) SecretBytes(138 octets) VerifyingKey(ES256)",
        own.thumbprint().as_str()
    );
    assert_eq!(shown, expected);
}
