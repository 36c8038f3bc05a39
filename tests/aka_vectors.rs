//! The `aka` module against numbers made by others: MILENAGE of TS 35.207 and TS 35.208, digests of
//! RFC 2617, RFC 7616, RFC 3310 and RFC 4169. See `sip-fixtures/aka/README.md`.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests, where a panic is the failure"
)]

use migcore::{
    aka::{
        AuthVector, MacFailure, Milenage, Sqn,
        digest::{
            self, Algorithm, DigestInput, Ha1, Ha1Algorithm, Qop, QopInput, WrongResponse,
            decode_auts, decode_nonce, encode_auts, encode_nonce,
        },
        opc_from_op,
    },
    secret::{Secret, SecretBytes},
};
use serde_json::Value;

const MILENAGE: &str = include_str!("../sip-fixtures/aka/milenage-ts35208.json");
const DIGEST: &str = include_str!("../sip-fixtures/aka/digest-aka.json");

#[test]
fn the_kernel_of_milenage_is_aes_128() {
    let blocks = cases(MILENAGE, "aes128_kernel_kat_ts35207_s3");
    for block in &blocks {
        // OPc = E_K(OP) xor OP, so that the OPc of a plaintext shows its ciphertext.
        let (key, plaintext) = (octets(block, "key"), octets(block, "plaintext"));
        let opc = opc_from_op(&Secret::new(key), &Secret::new(plaintext));
        assert_eq!(xor(opc.expose(), &plaintext), bytes(block, "ciphertext"));
    }
    assert_eq!(blocks.len(), 6);
}

#[test]
fn milenage_gives_all_quantities_of_the_21_published_sets() {
    let sets = cases(MILENAGE, "sets");
    for set in &sets {
        let name = text(set, "set");
        let ue = subscriber(set);
        let (rand, amf) = (octets(set, "rand"), octets(set, "amf"));
        let sqn = Sqn::from_octets(octets(set, "sqn"));
        let vector = ue.vector(&rand, sqn, amf);

        assert_eq!(vector.rand, rand, "{name}");
        assert_eq!(vector.xres.expose(), bytes(set, "f2"), "f2 of {name}");
        assert_eq!(vector.ck.expose(), bytes(set, "f3"), "f3 of {name}");
        assert_eq!(vector.ik.expose(), bytes(set, "f4"), "f4 of {name}");
        assert_eq!(vector.autn[8..], bytes(set, "f1"), "f1 of {name}");
        assert_eq!(xor(&vector.autn, &sqn.to_octets()), bytes(set, "f5"), "f5 of {name}");
        assert_eq!(vector.autn.to_vec(), bytes(&set["derived"], "autn"), "AUTN of {name}");

        let auts = ue.auts(&rand, sqn);
        assert_eq!(xor(&auts, &sqn.to_octets()), bytes(set, "f5star"), "f5* of {name}");
        assert_eq!(auts[6..], bytes(&set["derived"], "f1star_amf0000"), "f1* of {name}");
        assert_eq!(auts.to_vec(), bytes(&set["derived"], "auts_sqnms_eq_sqn"), "AUTS of {name}");
        assert_eq!(ue.verify_auts(&rand, &auts), Ok(sqn), "SQN_MS of {name}");
    }
    assert_eq!(sets.len(), 21);
}

#[test]
fn the_ue_accepts_the_autn_of_every_set_and_refuses_it_with_any_bit_changed() {
    let sets = cases(MILENAGE, "sets");
    for set in &sets {
        let ue = subscriber(set);
        let rand = octets(set, "rand");
        let autn: [u8; 16] = octets(&set["derived"], "autn");
        let answer = ue.verify_autn(&rand, &autn).unwrap();
        assert_eq!(answer.sqn.to_octets().to_vec(), bytes(set, "sqn"));
        assert_eq!(answer.amf.to_vec(), bytes(set, "amf"));
        assert_eq!(answer.res.expose(), bytes(set, "f2"));
        assert_eq!(answer.ck.expose(), bytes(set, "f3"));
        assert_eq!(answer.ik.expose(), bytes(set, "f4"));
        for bit in 0..128 {
            assert_eq!(ue.verify_autn(&rand, &flipped(autn, bit)), Err(MacFailure), "bit {bit}");
        }
        for bit in 0..128 {
            assert_eq!(ue.verify_autn(&flipped(rand, bit), &autn), Err(MacFailure), "bit {bit}");
        }
    }
    assert_eq!(sets.len(), 21);
}

#[test]
fn the_network_refuses_an_auts_with_any_bit_changed_and_one_over_the_amf_of_the_challenge() {
    let sets = cases(MILENAGE, "sets");
    for set in &sets {
        let network = subscriber(set);
        let rand = octets(set, "rand");
        let auts: [u8; 14] = octets(&set["derived"], "auts_sqnms_eq_sqn");
        for bit in 0..112 {
            assert_eq!(network.verify_auts(&rand, &flipped(auts, bit)), Err(MacFailure), "{bit}");
        }
        // f1star of the published sets covers the set's AMF, which is never 0000.
        let mut over_amf = auts;
        over_amf[6..].copy_from_slice(&bytes(set, "f1star"));
        assert_eq!(network.verify_auts(&rand, &over_amf), Err(MacFailure), "{}", text(set, "set"));
    }
    assert_eq!(sets.len(), 21);
}

#[test]
fn the_autn_and_auts_of_another_implementation_are_ours() {
    let material = cases(DIGEST, "published_aka_material");
    for case in &material {
        let (inputs, expected) = (&case["inputs"], &case["expected"]);
        let ue = subscriber(inputs);
        let rand = octets(inputs, "rand");
        let sqn = Sqn::from_octets(octets(inputs, "sqn"));
        let vector = ue.vector(&rand, sqn, octets(inputs, "amf"));
        assert_eq!(vector.autn.to_vec(), bytes(expected, "autn"));
        assert_eq!(vector.xres.expose(), bytes(expected, "res"));
        let auts = ue.auts(&rand, sqn);
        assert_eq!(auts.to_vec(), bytes(expected, "auts"));
        assert_eq!(auts[6..], bytes(expected, "mac_s_with_amf_0000"));
        let mut over_amf = auts;
        over_amf[6..].copy_from_slice(&bytes(expected, "mac_s_with_amf_8000"));
        assert_eq!(ue.verify_auts(&rand, &over_amf), Err(MacFailure));
    }
    assert_eq!(material.len(), 1);
}

#[test]
fn a_password_by_its_ha1_gives_the_published_responses_and_takes_no_other() {
    let mut checked = 0;
    for case in cases(DIGEST, "published") {
        let Some(algorithm) = Ha1Algorithm::parse(text(&case, "algorithm")) else { continue };
        let inputs = &case["inputs"];
        let qop = QopInput {
            qop: Qop::parse(text(inputs, "qop")).unwrap(),
            nc: text(inputs, "nc"),
            cnonce: text(inputs, "cnonce"),
        };
        let input = DigestInput {
            username: text(inputs, "username"),
            realm: text(inputs, "realm"),
            method: text(inputs, "method"),
            uri: text(inputs, "uri"),
            nonce: text(inputs, "nonce"),
            qop: Some(qop),
            body: &[],
        };
        let password = text(inputs, "password_utf8").as_bytes();
        let ha1 = Ha1::compute(algorithm, input.username, input.realm, password);
        let response = text(&case["expected"], "response");
        let [computed, rspauth] = ha1.both(&input);
        assert_eq!(computed.as_str(), response);
        if let Some(expected) = case["expected"]["ha1"].as_str() {
            assert_eq!(ha1.to_hex().as_str(), expected);
        }
        assert_eq!(Ha1::from_hex(algorithm, &ha1.to_hex()), Some(ha1.clone()));
        assert_eq!(ha1.verify(&input, response).unwrap().rspauth, Some(rspauth));
        let wrong = format!("{}{}", &response[1..], &response[..1]);
        for wrong in [&wrong, "", &response[1..]] {
            assert!(ha1.verify(&input, wrong).is_err(), "{wrong}");
        }
        checked += 1;
    }
    assert_eq!(checked, 3, "RFC 2617, and RFC 7616 twice");
}

#[test]
fn the_digest_gives_the_published_responses() {
    let published = cases(DIGEST, "published");
    for case in &published {
        let inputs = &case["inputs"];
        let (algorithm, password) = match text(case, "algorithm") {
            // The published plain digests differ from the AKA ones in the password alone.
            "MD5" => {
                (Algorithm::AkaV1Md5, SecretBytes::new(text(inputs, "password_utf8").as_bytes()))
            }
            "SHA-256" => {
                (Algorithm::AkaV2Sha256, SecretBytes::new(text(inputs, "password_utf8").as_bytes()))
            }
            name => {
                let algorithm = Algorithm::parse(name).unwrap();
                let (res, ck, ik) =
                    (bytes(inputs, "xres"), bytes(inputs, "ck"), bytes(inputs, "ik"));
                let password = digest::password(algorithm, &res, &ck, &ik);
                assert_eq!(password.expose(), text(&case["derived"], "password_ascii").as_bytes());
                (algorithm, password)
            }
        };
        let input = digest_input(inputs, text(inputs, "nonce"));
        let response = digest::response(algorithm, &input, password.expose());
        assert_eq!(response.as_str(), text(&case["expected"], "response"), "{}", text(case, "id"));
    }
    assert_eq!(published.len(), 4);
}

#[test]
fn a_challenge_is_answered_and_verified_as_computed_elsewhere() {
    let (mut answered, mut rspauths, mut refused) = (0, 0, 0);
    for case in computed(|expected| expected["auts"].is_null()) {
        let (id, inputs, derived) = (text(&case, "id"), &case["inputs"], &case["derived"]);
        let algorithm = Algorithm::parse(text(&case, "algorithm")).unwrap();
        let vector = challenge(&case);
        let nonce = text(derived, "nonce");
        assert_eq!(decode_nonce(nonce), Some((vector.rand, vector.autn)), "{id}");
        if text(inputs, "nonce_server_data").is_empty() {
            assert_eq!(encode_nonce(&vector.rand, &vector.autn).as_str(), nonce, "{id}");
        }

        let ue = subscriber(inputs).verify_autn(&vector.rand, &vector.autn).expect(id);
        let password = digest::password(algorithm, ue.res.expose(), ue.ck.expose(), ue.ik.expose());
        assert_eq!(password.expose(), bytes(derived, "password_hex"), "{id}");
        let input = digest_input(inputs, nonce);
        let response = digest::response(algorithm, &input, password.expose());
        assert_eq!(response.as_str(), text(&case["expected"], "response"), "{id}");
        let verified = digest::verify(algorithm, &input, &vector, response.as_str()).expect(id);
        answered += 1;

        if let Some(rspauth) = case["expected"]["rspauth"].as_str() {
            let ours = digest::rspauth(algorithm, &input, password.expose());
            assert_eq!(ours.as_str(), rspauth, "{id}");
            assert_eq!(verified.rspauth, Some(ours), "{id}");
            rspauths += 1;
        }
        for (mistake, response) in case["known_wrong"].as_object().into_iter().flatten() {
            let response = response.as_str().unwrap();
            let verdict = digest::verify(algorithm, &input, &vector, response);
            assert_eq!(verdict.unwrap_err(), WrongResponse, "{mistake} of {id}");
            refused += 1;
        }
    }
    assert_eq!((answered, rspauths, refused), (20, 18, 12));
}

#[test]
fn a_synchronization_failure_is_answered_and_recovered_as_computed_elsewhere() {
    let resynchronizations = computed(|expected| expected["auts"].is_string());
    for case in &resynchronizations {
        let (id, inputs, expected) = (text(case, "id"), &case["inputs"], &case["expected"]);
        let algorithm = Algorithm::parse(text(case, "algorithm")).unwrap();
        let vector = challenge(case);
        let ue = subscriber(inputs);
        assert!(ue.verify_autn(&vector.rand, &vector.autn).is_ok(), "{id}");

        let sqn_ms = Sqn::from_octets(octets(inputs, "sqn_ms"));
        let auts = ue.auts(&vector.rand, sqn_ms);
        assert_eq!(encode_auts(&auts), text(expected, "auts"), "{id}");
        assert_eq!(auts.to_vec(), bytes(&case["derived"], "auts_hex"), "{id}");
        let input = digest_input(inputs, text(&case["derived"], "nonce"));
        let response = digest::response(algorithm, &input, &[]);
        assert_eq!(response.as_str(), text(expected, "response"), "{id}");
        assert!(digest::verify(algorithm, &input, &vector, response.as_str()).is_err(), "{id}");

        let received = decode_auts(text(expected, "auts")).unwrap();
        let authorization = [&vector.rand[..], &received[..]].concat();
        assert_eq!(authorization, bytes(expected, "cx_sip_authorization_hex"), "{id}");
        let recovered = subscriber(inputs).verify_auts(&vector.rand, &received).expect(id);
        assert_eq!(recovered.to_octets().to_vec(), bytes(expected, "sqn_ms_recovered"), "{id}");
    }
    assert_eq!(resynchronizations.len(), 4);
}

/// The vector of a computed case, checked against the case.
fn challenge(case: &Value) -> AuthVector {
    let (id, inputs, derived) = (text(case, "id"), &case["inputs"], &case["derived"]);
    let sqn = Sqn::from_octets(octets(inputs, "sqn"));
    let vector = subscriber(inputs).vector(&octets(inputs, "rand"), sqn, octets(inputs, "amf"));
    assert_eq!(vector.autn.to_vec(), bytes(derived, "autn"), "{id}");
    assert_eq!(vector.xres.expose(), bytes(derived, "xres"), "{id}");
    assert_eq!(vector.ck.expose(), bytes(derived, "ck"), "{id}");
    assert_eq!(vector.ik.expose(), bytes(derived, "ik"), "{id}");
    vector
}

/// The MILENAGE of K and OP, after checking that `OPc` is what the case says.
fn subscriber(inputs: &Value) -> Milenage {
    let k = Secret::new(octets(inputs, "k"));
    let opc = opc_from_op(&k, &Secret::new(octets(inputs, "op")));
    assert_eq!(opc.expose().to_vec(), bytes(inputs, "opc"));
    Milenage::new(&k, &opc)
}

fn digest_input<'a>(inputs: &'a Value, nonce: &'a str) -> DigestInput<'a> {
    let qop = inputs["qop"].as_str().map(|qop| QopInput {
        qop: Qop::parse(qop).unwrap(),
        nc: text(inputs, "nc"),
        cnonce: text(inputs, "cnonce"),
    });
    DigestInput {
        username: text(inputs, "username"),
        realm: text(inputs, "realm"),
        method: text(inputs, "method"),
        uri: text(inputs, "uri"),
        nonce,
        qop,
        body: inputs["body_utf8"].as_str().unwrap_or_default().as_bytes(),
    }
}

fn computed(keep: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut all = cases(DIGEST, "computed");
    assert_eq!(all.len(), 24);
    all.retain(|case| keep(&case["expected"]));
    all
}

fn cases(file: &str, member: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(file).unwrap();
    file[member].as_array().unwrap().clone()
}

fn text<'a>(object: &'a Value, member: &str) -> &'a str {
    object[member].as_str().unwrap_or_else(|| panic!("no {member} in {object}"))
}

fn octets<const N: usize>(object: &Value, member: &str) -> [u8; N] {
    bytes(object, member).try_into().unwrap()
}

fn bytes(object: &Value, member: &str) -> Vec<u8> {
    let digits = text(object, member);
    assert!(digits.len().is_multiple_of(2), "{member} {digits}");
    (0..digits.len())
        .step_by(2)
        .map(|place| u8::from_str_radix(&digits[place..place + 2], 16).unwrap())
        .collect()
}

/// The xor of the first octets of both, as many as the shorter has.
fn xor(left: &[u8], right: &[u8]) -> Vec<u8> {
    left.iter().zip(right).map(|(a, b)| a ^ b).collect()
}

fn flipped<const N: usize>(mut octets: [u8; N], bit: usize) -> [u8; N] {
    octets[bit / 8] ^= 1 << (bit % 8);
    octets
}
