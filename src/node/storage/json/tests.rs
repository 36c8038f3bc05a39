use serde_json::json;

use super::*;
use crate::{identity::Plmn, ue_configuration::InitialUeConfiguration};

const K: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";
const OPC: &str = "cd63cb71954a9f4e48a5994e37a02baf";
const PROFILE: &str =
    "<mcptt-user-profile xmlns=\"urn:3gpp:mcptt:user-profile:1.0\"><Common/></mcptt-user-profile>";
const LONGEST: &str = "2b4c0a9e37f4d1c2b6a7980f1e2d3c4b5a69788796a5b4c3d2e1f00112233445";

/// Records of every kind as a role writes them: usual ones, and ones at the limits.
#[expect(clippy::too_many_lines, reason = "one of each kind")]
fn records() -> Vec<Value> {
    let document = InitialUeConfiguration::for_domain("b.example", Plmn::parse("20801").unwrap());
    let document = document.unwrap().render();
    let (end, never) = ("2031-01-01T00:00:00Z", "+586524-01-19T08:01:49.551615Z");
    let user = json!({"impi": "alice@a.example", "impu": "sip:alice@a.example"});
    let primary =
        json!({"database": "sipdb.a.example", "identity": user, "server_name": "sip:m.a.example"});
    let long = format!("{}@a.example", "x".repeat(243));
    let contact = |number: u32| {
        json!({
            "uri": format!("sip:alice@[2001:db8::{number}]:5060;transport=tcp"),
            "parameters": ";+sip.instance=\"<urn:gsma:imei:90420156-025763-0>\";q=0.5",
            "paths": ["<sip:pcscf.b.example;lr>"], "call_id": "\u{e4}\\\"\u{1}", "cseq": u32::MAX,
            "expires_at": end,
        })
    };
    let visited: Vec<Value> = (4..=255)
        .map(|ind| json!({"database": format!("sipdb{ind}.example"), "ind": ind}))
        .collect();
    let subscriber =
        |impus: Vec<String>, (seq, bits): (u64, u8), visited: &[Value], server: Value| {
            json!({
                "impus": impus, "k": K, "opc": OPC, "amf": "8000", "reserved_seq": seq, "epoch": 3,
                "ind_bits": bits, "visited": visited, "server_name": server, "registered": true,
            })
        };
    let usual = vec!["sip:alice@a.example".to_owned(), "tel:+390612345".to_owned()];
    let many = (0..32).map(|number| format!("sip:{number}@a.example")).collect();
    let allowance = json!({"agreement": u64::MAX, "until": never});
    let inbound = |lease: Value, origin: Value, allowed: &Value| json!({"impu": "sip:mig-1@b.example", "primary": primary, "lease": lease, "origin": origin, "allowed": allowed});
    let generated = json!({"generated": {"pool": "visitors", "n": u64::MAX / 2}});
    let listed = json!({"listed": {"pool": "guests"}});
    let agreement = |id: Value, users: Value| {
        json!({
            "id": id, "ending": false,
            "agreement": {
                "key": {"partner": "sip:b.example", "direction": "outbound", "users": users},
                "valid_from": "1970-01-01T00:00:00Z", "valid_until": end, "hide_identities": true,
            },
        })
    };
    let configuration = json!({
        "revision": 7, "document": document,
        "sip_core": [{"transport": "udp", "address": "192.0.2.1:5060"}],
    });
    let acm = acm_records(&configuration);
    let usual_records = [
        ("subscriber", "alice@a.example", subscriber(usual, (64, 5), &[], Value::Null)),
        (
            "subscriber",
            &long,
            subscriber(many, ((1 << 40) - 1, 8), &visited, json!("sip:core.a.example")),
        ),
        (
            "digest-subscriber",
            "guest@b.example",
            json!({
                "impus": ["sip:guest@b.example"], "realm": "b.example", "ha1": {"md5": K},
                "server_name": null, "registered": false,
            }),
        ),
        (
            "digest-subscriber",
            &long,
            json!({
                "impus": ["sip:guest@b.example"], "realm": "b.example", "ha1": {"sha256": LONGEST},
                "server_name": "sip:core.b.example", "registered": true,
            }),
        ),
        (
            "pool",
            "visitors",
            json!({"direction": "inbound", "source": {"generated": {
                "impi_template": "mig-{id}@b.example", "impu_template": "sip:mig-{id}@b.example",
                "key": LONGEST, "reserved": 1024,
            }}}),
        ),
        (
            "pool",
            "guests",
            json!({"direction": "outbound", "source": {"listed": {
                "quarantine": {"secs": u64::MAX, "nanos": 999_999_999},
            }}}),
        ),
        ("pool-entry", "guests alice@a.example", json!({"identity": user, "place": [end, 7]})),
        (
            "inbound-binding",
            "mig-1@b.example",
            inbound(json!({"reserved": end}), generated, &Value::Null),
        ),
        (
            "inbound-binding",
            "mig-1@b.example",
            inbound(json!({"active": never}), listed.clone(), &allowance),
        ),
        (
            "inbound-binding",
            "mig-1@b.example",
            inbound(json!({"mapped": {"active": true}}), listed, &Value::Null),
        ),
        (
            "outbound-binding",
            "out-1@a.example",
            json!({
                "impu": "sip:out-1@a.example", "user": user, "partner": "sipdb.b.example",
                "lease": {"reserved": "2031-01-01T00:00:00.000001Z"},
                "origin": {"generated": {"pool": "out", "n": 0}}, "allowed": allowance,
            }),
        ),
        (
            "grant",
            "alice@a.example sipdb.b.example",
            json!({
                "user": user, "partner": "sipdb.b.example", "until": never, "allowed": null,
            }),
        ),
        (
            "registration",
            "alice@a.example",
            json!({
                "impus": ["sip:alice@a.example"], "contacts": (0..10).map(contact).collect::<Vec<_>>(),
            }),
        ),
        ("withdrawn-agreement", "18446744073709551615", Value::Null),
        (
            "user",
            "sip:alice@a.example",
            json!({
                "mc_service_id": "sip:alice@a.example", "identity": user, "class": "c".repeat(64),
                "may_migrate": false, "token": LONGEST,
            }),
        ),
        (
            "user-profile",
            "mcptt 0 sip:alice@a.example",
            json!({"revision": 3, "document": ["mcptt", PROFILE]}),
        ),
        (
            "system-configuration-version",
            "sip:b.example 00000000000000000003",
            json!({
                "system": "sip:b.example", "revision": 3, "document": document,
                "sip_core": [{"transport": "tcp", "address": "192.0.2.1:1"}],
                "provenance": {
                    "at": "2031-01-01T00:00:00Z", "decided_by": {"user": "sip:bert@a.example"},
                    "transaction": {"origin": "sip:b.example", "transaction": TRANSACTION},
                },
            }),
        ),
        (
            "mc-client",
            "sip:alice@a.example",
            json!({
                "call_id": "\u{e4}", "cseq": u32::MAX, "registered_until": end, "until": never,
                "authorisations": [
                    {
                        "service": "mcptt", "mc_service_id": "sip:officer@a.example",
                        "client_id": "urn:uuid:1", "until": end,
                        "publication": {
                            "etag": u64::MAX, "until": end,
                            "settings": {"answer_mode": "manual", "profile_index": 255},
                        },
                    },
                    {
                        "service": "mcdata", "mc_service_id": "tel:+390612345", "client_id": null,
                        "until": end, "publication": null,
                    },
                ],
            }),
        ),
        ("agreement", "sip:b.example oe", agreement(Value::Null, json!("everybody"))),
        ("agreement", "sip:b.example ocfire", agreement(json!(7), json!({"class": "fire"}))),
        (
            "agreement",
            "sip:b.example ousip:alice@a.example",
            agreement(json!(1), json!({"user": "sip:alice@a.example"})),
        ),
        (
            "system-configuration",
            "sip:b.example",
            json!({
                "revision": u64::MAX, "document": document,
                "sip_core": [{"transport": "udp", "address": "[2001:db8::1]:5060"}, {"transport": "tcp", "address": "192.0.2.1:1"}],
            }),
        ),
    ];
    usual_records
    .into_iter()
    .map(|(kind, key, record)| (kind, key.to_owned(), record))
    .chain(acm)
    .chain(idms_records())
    .enumerate()
    .map(|(version, (kind, key, record))| {
        json!({"kind": kind, "key": key, "version": version + 1, "record": record})
    })
    .collect()
}

const TRANSACTION: &str = "11111111-2222-4333-8444-555555555555";

/// Records of every kind of an ACM server.
fn acm_records(configuration: &Value) -> Vec<(&'static str, String, Value)> {
    let at = "2031-01-01T00:00:00Z";
    let key = json!({"origin": "sip:a.example", "transaction": TRANSACTION});
    let subject = |kind: &str| {
        json!({
            "envelope": {
                "transaction": TRANSACTION, "origin": "sip:a.example",
                "destination": "sip:b.example", "originator": "sip:anna@a.example",
                "created": at, "expires": at, "revision": u64::MAX, "digest": LONGEST,
            },
            "parties": {
                "requester_alias": null, "target_id": "sip:bert@b.example",
                "target_alias": "sip:driver@b.example",
            },
            "kind": kind, "number": 3, "octets": 4_096,
        })
    };
    let response = json!({
        "key": key, "system": "sip:b.example", "handler_id": "sip:bert@b.example",
        "handler_alias": null, "target_id": "sip:anna@a.example", "result": "ok-partial",
        "text": "some", "elements": ["sip:user-1@a.example"], "decided": at,
    });
    let of_all = format!("sip:a.example {TRANSACTION}");
    vec![
        (
            "acm-outgoing",
            TRANSACTION.to_owned(),
            json!({
                "subject": subject("update"), "state": "responded",
                "history": [{"at": at, "state": "authorised"}], "response": response, "settled": false,
            }),
        ),
        (
            "acm-incoming",
            of_all.clone(),
            json!({
                "subject": subject("please-send"), "state": "deciding", "indicated": true,
                "fetched": true, "differing": ["sip_core"],
                "accepted_by": {"id": "sip:bert@b.example", "alias": null}, "response": null,
            }),
        ),
        (
            "acm-payload",
            of_all.clone(),
            json!({
                "payload": {"update": {
                    "users": ["sip:user-1@a.example"], "configuration": configuration,
                }},
            }),
        ),
        (
            "acm-configuration-set",
            of_all.clone(),
            json!({
                "key": key, "configuration": configuration,
            }),
        ),
        (
            "acm-migrant",
            "in sip:a.example sip:user-1@a.example".to_owned(),
            json!({
                "way": "inbound", "other": "sip:a.example", "user": "sip:user-1@a.example",
                "added_by": key, "configuration": {"key": key, "revision": 7, "label": "Engine 12"},
            "agreement": "to-put",
            }),
        ),
        (
            "acm-group",
            "sip:a.example sip:g1@a.example".to_owned(),
            json!({
                "home": "sip:a.example", "id": "sip:g1@a.example", "revision": 9,
                "withdrawn": at, "told_by": key, "offered_to": ["sip:b.example"],
            }),
        ),
        (
            "acm-user",
            "sip:anna@a.example".to_owned(),
            json!({
                "mc_service_id": "sip:anna@a.example", "token": LONGEST,
                "may_request": ["configuration", "groups"], "may_decide": [],
            }),
        ),
        (
            "acm-session",
            "00000000000000ff".to_owned(),
            json!({
                "user": "sip:anna@a.example", "since": at,
            }),
        ),
        ("acm-revision", "out configuration sip:b.example".to_owned(), json!({"revision": 7})),
        ("acm-stray", of_all, json!({"from": "sip:a.example", "at": at, "response": response})),
        (
            "alias-holder",
            "sip:driver@a.example sip:anna@a.example".to_owned(),
            json!({
                "alias": "sip:driver@a.example", "user": "sip:anna@a.example", "shared": true,
                "since": at, "place": 3,
            }),
        ),
    ]
}

/// Records of every kind of an identity management server.
fn idms_records() -> Vec<(&'static str, String, Value)> {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

    use crate::{
        time::Timestamp,
        token::{certificate::Certificate, key::SigningKey},
    };
    let (at, issuer) = ("2031-01-01T00:00:00Z", "https://idms.a.example");
    let (name, other) = ("AAAAAAAAAAAAAAAAAAAAAA", "AQEBAQEBAQEBAQEBAQEBAQ");
    let key = SigningKey::generate().unwrap();
    let (from, until) = (Timestamp::from_secs(1_900_000_000), Timestamp::from_secs(2_000_000_000));
    let certificate = Certificate::of_own(&key, issuer, from, until).unwrap();
    let certificate = serde_json::to_value(certificate).unwrap();
    let thumbprint = key.thumbprint().as_str().to_owned();
    let services =
        json!({"mcptt_id": "sip:alice@a.example", "mcvideo_id": null, "mcdata_id": null});
    vec![
        (
            "idms-client",
            "mc-client".to_owned(),
            json!({
                "id": "mc-client", "redirect_uris": ["com.example.app:/back"],
                "authentication": {"secret": LONGEST}, "requires_proof": true,
                "scopes": "openid 3gpp:mc:ptt_service",
            }),
        ),
        (
            "idms-user",
            "alice".to_owned(),
            json!({
                "name": "alice",
                "password": "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$Gpj7qOY5RCXJvcMzqcdQqvgR3wcPX7SleI4c9NtXk6E",
                "subject": name, "services": services, "partners": [issuer], "is_enabled": true,
            }),
        ),
        (
            "idms-key",
            thumbprint.clone(),
            json!({
                "pkcs8": BASE64_URL_SAFE_NO_PAD.encode(key.pkcs8().expose()),
                "certificate": certificate, "signs_from": at,
            }),
        ),
        (
            "idms-refresh",
            other.to_owned(),
            json!({
                "id": vec![1; 16], "subject": name, "client": "mc-client", "scopes": "openid",
                "proof_key": thumbprint, "digest": LONGEST, "expires": at,
            }),
        ),
        (
            "idms-issued",
            name.to_owned(),
            json!({
                "id": name, "subject": name, "client": "mc-client", "partner": issuer,
                "issued": at, "expires": at,
            }),
        ),
        (
            "idms-issuer",
            issuer.to_owned(),
            json!({
                "issuer": issuer, "lists": [],
                "certificates": [{
                    "certificate": certificate, "imported": at,
                    "revoked": {"at": at, "reason": "stolen"},
                }],
            }),
        ),
        (
            "idms-visitor",
            format!("{issuer} bob"),
            json!({
                "visitor": {
                    "issuer": issuer, "subject": "bob", "services": services, "may_migrate": true,
                },
                "local_subject": name,
            }),
        ),
        ("idms-denied", format!("{issuer} s bob"), json!({"subject": [issuer, "bob"]})),
        (
            "idms-presented",
            format!("{issuer} 1"),
            json!({
                "issuer": issuer, "id": "1", "client": "mc-client", "proof_key": null,
                "first": at, "until": at,
            }),
        ),
    ]
}

fn octets(stored: &StoredRecord) -> Vec<u8> {
    stored.mutation().value.unwrap()
}

#[test]
fn a_record_of_every_kind_comes_back_octet_for_octet() {
    let records = records();
    for kind in RecordKind::ALL {
        assert!(records.iter().any(|record| record["kind"] == kind.name()), "{kind:?}");
    }
    for json in records {
        let stored = StoredRecord::from_json(json.clone()).unwrap_or_else(|error| {
            panic!("{error}: {json}");
        });
        let value = octets(&stored);
        let (kind, key, version) = (stored.kind, stored.key.as_bytes(), stored.version);
        let record = Record { kind, key, version, value: &value };
        let shown = to_json(&record, Secrets::Shown).unwrap();
        assert_eq!(shown, json);
        let again = StoredRecord::from_json(shown).unwrap();
        assert_eq!((again.version, octets(&again)), (version, value.clone()));
        assert_eq!(*again.mutation().key, *key);
    }
}

#[test]
fn a_hidden_secret_is_null_and_is_asked_for_on_import() {
    let mut asked = Vec::new();
    for json in records() {
        let stored = StoredRecord::from_json(json.clone()).unwrap();
        let hidden = stored.to_json(Secrets::Hidden).unwrap();
        let text = hidden.to_string();
        for secret in [K, OPC, LONGEST, "<?xml", "mcptt-UE-initial-configuration"] {
            assert!(!text.contains(secret), "{text}");
        }
        match StoredRecord::from_json(hidden.clone()) {
            Ok(_) => assert_eq!(hidden, json, "nothing was hidden"),
            Err(ImportError::SecretMissing { field }) => asked.push(field),
            Err(error) => panic!("{error}"),
        }
    }
    asked.dedup();
    assert_eq!(
        asked,
        [
            "record.k",
            "record.ha1",
            "record.source.generated.key",
            "record.token",
            "record.document",
            "record.subject.envelope.digest",
            "record.payload",
            "record.configuration",
            "record.token",
            "record.authentication",
            "record.password",
            "record.pkcs8",
            "record.digest"
        ]
    );
}

/// A record of `kind`, changed, and what is told of it.
fn told(kind: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut json = records().into_iter().find(|record| record["kind"] == kind).unwrap();
    change(&mut json);
    StoredRecord::from_json(json).unwrap_err().to_string()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_no_role_wrote_is_refused_with_field_and_reason() {
    type Change = fn(&mut Value);
    let cases: &[(&str, Change, &str)] = &[
        (
            "acm-outgoing",
            |it| it["record"]["response"] = Value::Null,
            "record.response is not of the state",
        ),
        (
            "acm-outgoing",
            |it| it["record"]["subject"]["envelope"]["digest"] = json!("00"),
            "record.subject.envelope.digest",
        ),
        ("acm-incoming", |it| it["key"] = json!("x"), "key is not origin and transaction"),
        (
            "acm-migrant",
            |it| it["record"]["way"] = json!("outbound"),
            "key is not way, system and user",
        ),
        (
            "acm-session",
            |it| it["key"] = json!("+0000000000000ff"),
            "key is not 16 hexadecimal digits",
        ),
        ("grant", |it| *it = json!([]), "the line is no JSON object"),
        ("grant", |it| it["kind"] = json!("lease"), "kind is no kind of record"),
        ("grant", |it| it["version"] = json!(0), "version is no number of a commit"),
        ("grant", |it| it["version"] = json!(u64::MAX), "version is no number of a commit"),
        ("grant", |it| it["key"] = json!(7), "key is no text"),
        ("grant", |it| it["more"] = json!(7), "the line has more than kind, key, version"),
        ("grant", |it| it["key"] = json!("bob@a.example sipdb.b.example"), "key is not user.impi"),
        (
            "grant",
            |it| it["record"]["until"] = json!("tomorrow"),
            "record.until is no date and time",
        ),
        (
            "grant",
            |it| it["record"]["until"] = json!(7),
            "record.until is wrong, expected a string",
        ),
        (
            "grant",
            |it| it["record"]["x"] = json!(7),
            "record has a field that this release does not",
        ),
        (
            "grant",
            |it| it["record"]["user"]["impu"] = json!("sip:x"),
            "record.user.impu Impu has no user",
        ),
        (
            "grant",
            |it| drop(it["record"].as_object_mut().unwrap().remove("allowed")),
            "record.allowed is missing",
        ),
        (
            "grant",
            |it| drop(it["record"].as_object_mut().unwrap().remove("until")),
            "record.until is missing",
        ),
        (
            "subscriber",
            |it| it["record"]["k"] = json!("4x"),
            "record.k is not 32 hexadecimal digits",
        ),
        (
            "subscriber",
            |it| it["record"]["opc"] = json!(K.to_uppercase()),
            "record.opc is not in the form",
        ),
        (
            "subscriber",
            |it| it["record"]["amf"] = json!("80000"),
            "record.amf is not 4 hexadecimal",
        ),
        ("subscriber", |it| it["record"]["impus"] = json!([]), "record.impus has none"),
        (
            "subscriber",
            |it| it["record"]["impus"][1] = json!("SIP:x@y"),
            "record.impus[1] is not in the form",
        ),
        (
            "subscriber",
            |it| it["record"]["reserved_seq"] = json!(1_u64 << 43),
            "record.reserved_seq has more",
        ),
        ("subscriber", |it| it["record"]["ind_bits"] = json!(9), "record.ind_bits is not 3 to 8"),
        (
            "subscriber",
            |it| it["record"]["visited"] = json!([{"database": "d", "ind": 32}]),
            "record.visited has an ind of more than ind_bits bits",
        ),
        ("subscriber", |it| it["key"] = json!("alice@A.example"), "key is not a private identity"),
        (
            "subscriber",
            |it| {
                it["record"]["visited"] =
                    json!([{"database": "d", "ind": 4}, {"database": "e", "ind": 4}]);
            },
            "record.visited has",
        ),
        ("pool", |it| it["key"] = json!("a b"), "key is not a pool name"),
        (
            "pool",
            |it| it["record"]["source"]["generated"]["impi_template"] = json!("x@y"),
            "record.source has templates",
        ),
        (
            "pool",
            |it| it["record"]["source"]["generated"]["reserved"] = json!(u64::MAX),
            "record.reserved is more",
        ),
        (
            "pool-entry",
            |it| it["record"]["place"][1] = json!(u64::MAX),
            "record.place has an order",
        ),
        (
            "inbound-binding",
            |it| it["record"]["lease"] = json!({"lent": "x"}),
            "record.lease is wrong, expected one of",
        ),
        (
            "inbound-binding",
            |it| it["record"]["primary"]["server_name"] = json!(""),
            "record.primary.server_name is empty",
        ),
        ("registration", |it| it["record"]["contacts"] = json!([]), "record.contacts has none"),
        ("withdrawn-agreement", |it| it["key"] = json!("07"), "key is not the number"),
        (
            "mc-client",
            |it| it["record"]["authorisations"][1]["service"] = json!("mcptt"),
            "record.authorisations has two of one service",
        ),
        ("user", |it| it["record"]["class"] = json!(""), "record.class has not 1 to 64"),
        (
            "agreement",
            |it| it["record"]["agreement"]["valid_from"] = json!("2031-01-01T00:00:00Z"),
            "record.agreement.valid_until is not",
        ),
        (
            "system-configuration",
            |it| it["record"]["sip_core"] = json!([]),
            "record.sip_core has not 1",
        ),
        ("system-configuration", |it| it["record"]["document"] = json!("<x/>"), "record.document"),
    ];
    for (kind, change, expected) in cases {
        let message = told(kind, change);
        assert!(message.starts_with(expected), "{kind}: {message}, not {expected}");
    }
}

#[test]
fn no_value_of_a_record_is_repeated() {
    const SECRET: &str = "465b5ce8, expected b199b49faa5f0a2ee238a6bc";
    for kind in RecordKind::ALL.map(RecordKind::name) {
        let json = records().into_iter().find(|record| record["kind"] == kind).unwrap();
        let paths = paths(&json);
        for path in paths {
            for value in [json!(SECRET), json!({SECRET: SECRET}), json!([SECRET, {SECRET: 1}])] {
                let message = told(kind, |json| *json.pointer_mut(&path).unwrap() = value.clone());
                assert!(
                    !message.contains("465b") && !message.contains("a6bc"),
                    "{path}: {message}"
                );
            }
        }
    }
}

/// The JSON pointers of all values that are replaced for the worse, whatever they are replaced with.
fn paths(json: &Value) -> Vec<String> {
    let mut found = vec![String::new()];
    let inner: Vec<(String, &Value)> = match json {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(values) => {
            values.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for (name, value) in inner {
        // Texts that may be anything.
        let of_transactions = ["text", "elements", "differing", "label", "reason"];
        let others = ["parameters", "paths", "call_id", "client_id", "uri", "server_name", "class"];
        if !of_transactions.contains(&name.as_str()) && !others.contains(&name.as_str()) {
            found.extend(paths(value).into_iter().map(|path| format!("/{name}{path}")));
        }
    }
    found
}
