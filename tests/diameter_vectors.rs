//! The codec against foreign messages: every field is read as published, and written as received.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by a panic"
)]

mod diameter_support;

use bytes::BytesMut;
use diameter_support::{
    OwnedAvp, Vectors, avps_of, build, changed, hex, message, octets_of, origin, unhex,
};
use migcore::{
    aka::digest::{Ha1, Ha1Algorithm},
    diameter::{
        avp::{AvpReader, AvpWriter},
        context::{RequestContext, encode_rejection},
        cx::{
            Answer, MultimediaAuthAnswer, MultimediaAuthRequest, Request, ResultCode, Resync,
            SCHEME_AKA_V1, SCHEME_SIP_DIGEST, ServerAssignmentType, SipDigest,
        },
        cx_codec::{
            Destination, Envelope, InvalidAnswer, decode_answer, decode_other_answer,
            decode_other_request, decode_request, encode_answer, encode_other_answer,
            encode_other_request, encode_request,
        },
        cx_other::{OtherAnswer, OtherRequest, Server},
        dictionary::{self, Format, definition},
        local::Origin,
        message::{self as wire, FLAG_REQUEST, Message},
        user_data,
        validate::Rejection,
    },
    identity::{Impi, Impu, UserIdentity},
};
use serde_json::Value;

#[test]
fn every_vector_reads_as_published_and_writes_as_received() {
    let vectors = Vectors::load();
    let mut read = 0;
    for vector in vectors.all("messages").chain(vectors.all("captured_messages")) {
        let id = &vector["id"];
        let octets = octets_of(vector);
        let message = message(&octets);
        let header = &vector["header"];
        assert_eq!(header["command_code"], message.header.command, "{id}");
        assert_eq!(header["application_id"], message.header.application, "{id}");
        assert_eq!(header["flags"], format!("{:02x}", message.header.flags), "{id}");
        assert_eq!(header["hop_by_hop"], format!("{:08x}", message.header.hop_by_hop), "{id}");
        assert_eq!(header["end_to_end"], format!("{:08x}", message.header.end_to_end), "{id}");
        let mut out = BytesMut::new();
        wire::write(&mut out, &message.header, |writer| {
            copy_as_published(message.avps(), vector["avps"].as_array().unwrap(), writer);
        })
        .unwrap();
        assert_eq!(hex(&out), hex(&octets), "{id}");
        read += 1;
    }
    assert_eq!(read, 34 + 4);
}

/// Compares each AVP with its published form and writes it again, groups member by member.
fn copy_as_published(reader: AvpReader<'_>, published: &[Value], writer: &mut AvpWriter<'_>) {
    let avps: Vec<_> = reader.map(Result::unwrap).collect();
    assert_eq!(avps.len(), published.len());
    for (avp, published) in avps.into_iter().zip(published) {
        let definition = definition(avp.id).expect("every AVP of the vectors is known");
        assert_eq!(published["code"], avp.id.code);
        assert_eq!(published["vendor_id"], avp.id.vendor);
        assert_eq!(published["flags"], format!("{:02x}", avp.flags));
        assert_eq!(published["length"], avp.octets.len());
        assert_eq!(published["name"].as_str().unwrap(), definition.name);
        match definition.format {
            Format::Grouped => {
                let members = published["avps"].as_array().unwrap();
                writer.group_with_flags(avp.id, avp.flags, |writer| {
                    copy_as_published(avp.group(), members, writer);
                });
                continue;
            }
            Format::Unsigned32 => assert_eq!(published["value"], avp.unsigned32().unwrap()),
            Format::OctetString if published["value_hex"].is_string() => {
                assert_eq!(published["value_hex"], hex(avp.data));
            }
            Format::OctetString | Format::Text => {
                assert_eq!(published["value"], avp.text().unwrap());
            }
            Format::Address => {}
        }
        writer.avp(avp.id, avp.flags, avp.data);
    }
}

/// The envelope that a request came in.
fn with_envelope<T>(request: &Message<'_>, use_it: impl FnOnce(&Envelope<'_>) -> T) -> T {
    let text = |definition| request.find(definition).map(|avp| avp.text().unwrap());
    let identity = |definition| text(definition).map(|text| text.parse().unwrap());
    let origin = Origin {
        host: identity(&dictionary::ORIGIN_HOST).unwrap(),
        realm: identity(&dictionary::ORIGIN_REALM).unwrap(),
    };
    let destination = Destination {
        realm: identity(&dictionary::DESTINATION_REALM).unwrap(),
        host: identity(&dictionary::DESTINATION_HOST),
    };
    use_it(&Envelope {
        session_id: text(&dictionary::SESSION_ID).unwrap(),
        hop_by_hop: request.header.hop_by_hop,
        end_to_end: request.header.end_to_end,
        origin: &origin,
        destination: &destination,
    })
}

#[test]
fn requests_become_values_and_the_same_octets_again() {
    let vectors = Vectors::load();
    for id in [
        "mar-aka",
        "mar-aka-forwarded-to-primary",
        "mar-resync",
        "mar-scheme-unknown",
        "sar-registration",
        "sar-user-deregistration",
        "sar-authentication-timeout",
    ] {
        let octets = vectors.octets(id);
        let message = message(&octets);
        let request = decode_request(&message).expect(id);
        let mut out = BytesMut::new();
        with_envelope(&message, |envelope| encode_request(envelope, &request, &mut out)).unwrap();
        assert_eq!(hex(&out), hex(&octets), "{id}");
    }
}

#[test]
fn requests_that_no_role_serves_become_values_and_the_same_octets_again() {
    let vectors = Vectors::load();
    for id in ["uar", "lir", "rtr", "ppr"] {
        let octets = with_minimal_profile(&vectors.octets(id));
        let message = message(&octets);
        let request = decode_other_request(&message).expect(id);
        let mut out = BytesMut::new();
        with_envelope(&message, |envelope| encode_other_request(envelope, &request, &mut out))
            .unwrap();
        assert_eq!(hex(&out), hex(&octets), "{id}");
    }
    let rtr = vectors.octets("rtr");
    let OtherRequest::RegistrationTermination(rtr) = decode_other_request(&message(&rtr)).unwrap()
    else {
        panic!("an RTR")
    };
    assert_eq!(rtr.info.as_deref(), Some("migration ended"));
}

/// The profiles of the vectors have filter criteria, which we neither keep nor write.
fn with_minimal_profile(octets: &[u8]) -> Vec<u8> {
    changed(octets, |avps| {
        for avp in avps.iter_mut().filter(|avp| avp.id == dictionary::USER_DATA.id) {
            avp.data = user_data::encode(&user_data::decode(&avp.data).unwrap()).into_bytes();
        }
    })
}

fn mar_of(vectors: &Vectors, id: &str) -> MultimediaAuthRequest {
    let octets = vectors.octets(id);
    match decode_request(&message(&octets)).expect(id) {
        Request::MultimediaAuth(request) => request,
        Request::ServerAssignment(_) => panic!("{id} is an MAR"),
    }
}

#[test]
fn the_order_of_avps_and_missing_m_bits_do_not_change_the_meaning() {
    let vectors = Vectors::load();
    let expected = MultimediaAuthRequest {
        identity: UserIdentity {
            impi: Impi::parse("inbound-4711@sip.partner.example").unwrap(),
            impu: Impu::parse("sip:inbound-4711@sip.partner.example").unwrap(),
        },
        scheme: SCHEME_AKA_V1.into(),
        resync: None,
        server_name: "sip:scscf.sip.partner.example:6060".into(),
    };
    for id in ["mar-aka", "mar-aka-kamailio-style", "mar-retransmitted", "kamailio-mar"] {
        assert_eq!(mar_of(&vectors, id), expected, "{id}");
    }
    let unknown = MultimediaAuthRequest { scheme: "Unknown".into(), ..expected };
    assert_eq!(mar_of(&vectors, "mar-scheme-unknown"), unknown);
}

#[test]
fn a_resynchronisation_carries_rand_and_auts() {
    let vectors = Vectors::load();
    let published = vectors.all("captured_messages").find(|v| v["id"] == "kamailio-mar-resync");
    let published = &published.unwrap()["resync"];
    let octets = |name: &str| unhex(published[name].as_str().unwrap());
    let expected = Resync {
        rand: octets("rand").try_into().unwrap(),
        auts: octets("auts").try_into().unwrap(),
    };
    assert_eq!(mar_of(&vectors, "kamailio-mar-resync").resync, Some(expected));
    let resync = mar_of(&vectors, "mar-resync").resync.unwrap();
    assert_eq!(hex(&resync.rand), "101112131415161718191a1b1c1d1e1f");
    assert_eq!(hex(&resync.auts), "e69e760422268cb8a1224724d935");
}

#[test]
fn a_server_assignment_has_its_type_and_says_whether_the_profile_is_there() {
    let vectors = Vectors::load();
    for (id, assignment, available) in [
        ("sar-registration", ServerAssignmentType::Registration, false),
        ("sar-user-deregistration", ServerAssignmentType::UserDeregistration, true),
        ("sar-authentication-timeout", ServerAssignmentType::AuthenticationTimeout, true),
    ] {
        let octets = vectors.octets(id);
        let Ok(Request::ServerAssignment(request)) = decode_request(&message(&octets)) else {
            panic!("{id}")
        };
        assert_eq!(request.assignment, assignment, "{id}");
        assert_eq!(request.user_data_already_available, available, "{id}");
    }
}

/// The request that an answer is to: its header with the R bit, and the AVPs that are echoed.
fn context_of_answer(answer: &[u8]) -> RequestContext {
    let mut header = message(answer).header;
    header.flags = FLAG_REQUEST | header.flags & wire::FLAG_PROXIABLE;
    let echoed = [&dictionary::SESSION_ID, &dictionary::USER_NAME, &dictionary::PUBLIC_IDENTITY];
    let is_echoed = |avp: &OwnedAvp| echoed.iter().any(|definition| definition.id == avp.id);
    let avps: Vec<_> = avps_of(answer).into_iter().filter(is_echoed).collect();
    let request = build(&header, &avps);
    let mut context = RequestContext::new(0, header);
    context.keep(&message(&request)).unwrap();
    context
}

#[test]
fn answers_become_values_and_the_same_octets_again() {
    let vectors = Vectors::load();
    let mar = Request::MultimediaAuth(mar_of(&vectors, "mar-aka"));
    let octets = vectors.octets("sar-registration");
    let sar = decode_request(&message(&octets)).unwrap();
    for (id, asked) in [
        ("maa-aka", &mar),
        ("maa-user-unknown", &mar),
        ("maa-auth-scheme-not-supported", &mar),
        ("saa-success", &sar),
        ("saa-identities-dont-match", &sar),
    ] {
        let octets = changed(&with_minimal_profile(&vectors.octets(id)), |avps| {
            avps.retain(|avp| avp.id != dictionary::CHARGING_INFORMATION.id);
        });
        let answer = decode_answer(&message(&octets), asked).expect(id);
        let mut out = BytesMut::new();
        let context = context_of_answer(&octets);
        encode_answer(&context, &origin(diameter_support::DATABASE), &answer, &mut out).unwrap();
        // An SAA of failure need not name the user; ours does when the role says so.
        let user_name = dictionary::USER_NAME.id;
        let expected = if id == "saa-identities-dont-match" {
            changed(&octets, |avps| {
                let impi = b"inbound-4711@sip.partner.example";
                avps.push(OwnedAvp::new(user_name.vendor, user_name.code, 0x40, impi));
            })
        } else {
            octets
        };
        assert_eq!(hex(&out), hex(&expected), "{id}");
    }
}

#[test]
fn answers_that_no_role_asks_for_become_values_and_the_same_octets_again() {
    let vectors = Vectors::load();
    for id in [
        "uaa-first-registration",
        "uaa-subsequent-registration",
        "uaa-user-unknown",
        "lia-success",
        "rta",
    ] {
        let octets = vectors.octets(id);
        let answer = decode_other_answer(&message(&octets)).expect(id);
        let mut out = BytesMut::new();
        let origin = origin(diameter_support::DATABASE);
        let origin = Origin {
            host: message(&octets)
                .find(&dictionary::ORIGIN_HOST)
                .and_then(|avp| avp.text()?.parse().ok())
                .unwrap(),
            ..origin
        };
        encode_other_answer(&context_of_answer(&octets), &origin, &answer, &mut out).unwrap();
        assert_eq!(hex(&out), hex(&octets), "{id}");
    }
    let octets = vectors.octets("uaa-first-registration");
    let Ok(OtherAnswer::UserAuthorization(answer)) = decode_other_answer(&message(&octets)) else {
        panic!("a UAA")
    };
    assert_eq!(answer.result, ResultCode::FIRST_REGISTRATION);
    let Some(Server::Capabilities(capabilities)) = answer.server else { panic!("capabilities") };
    assert_eq!((capabilities.mandatory, capabilities.optional), (vec![1, 17], vec![3]));
}

#[test]
fn of_several_vectors_the_one_with_the_lowest_item_number_is_taken() {
    let vectors = Vectors::load();
    let asked = Request::MultimediaAuth(mar_of(&vectors, "mar-aka"));
    let one = vectors.octets("maa-aka");
    let two = vectors.octets("maa-aka-two-items");
    let Answer::MultimediaAuth(one) = decode_answer(&message(&one), &asked).unwrap() else {
        panic!("an MAA")
    };
    let Answer::MultimediaAuth(two) = decode_answer(&message(&two), &asked).unwrap() else {
        panic!("an MAA")
    };
    assert_eq!(two, one);
    let vector = one.vector.unwrap();
    assert_eq!(hex(&vector.rand), "101112131415161718191a1b1c1d1e1f");
    assert_eq!(hex(&vector.autn), "68faa537396c80002717b0773e50885b");
    assert_eq!(hex(vector.xres.expose()), "4ac5a154cccd27e4");
    assert_eq!(hex(vector.ck.expose()), "fa2b98b6daced31f5e984f46114f1fc7");
    assert_eq!(hex(vector.ik.expose()), "61ace72dbe482feaca8383a256a4204b");
}

#[test]
fn what_sip_digest_is_checked_with_is_read_as_it_was_written() {
    let vectors = Vectors::load();
    let asked = MultimediaAuthRequest { scheme: "Unknown".into(), ..mar_of(&vectors, "mar-aka") };
    let request = Request::MultimediaAuth(asked.clone());
    let context = context_of_answer(&vectors.octets("maa-aka"));
    for algorithm in [Ha1Algorithm::Md5, Ha1Algorithm::Sha256] {
        let ha1 = Ha1::compute(algorithm, "guest@b.example", "b.example", b"a password");
        let digest = SipDigest { realm: "b.example".to_owned(), ha1 };
        let sent = MultimediaAuthAnswer {
            result: ResultCode::SUCCESS,
            identity: asked.identity.clone(),
            scheme: SCHEME_SIP_DIGEST.into(),
            vector: None,
            digest: Some(Box::new(digest)),
        };
        let mut octets = BytesMut::new();
        let answer = Answer::MultimediaAuth(sent.clone());
        encode_answer(&context, &origin(diameter_support::DATABASE), &answer, &mut octets).unwrap();
        let read = decode_answer(&message(&octets), &request).unwrap();
        assert_eq!(read, Answer::MultimediaAuth(sent));
    }
    let neither = MultimediaAuthAnswer {
        result: ResultCode::SUCCESS,
        identity: asked.identity,
        scheme: SCHEME_SIP_DIGEST.into(),
        vector: None,
        digest: None,
    };
    let answer = Answer::MultimediaAuth(neither);
    assert!(
        encode_answer(&context, &origin(diameter_support::DATABASE), &answer, &mut BytesMut::new())
            .is_err()
    );
}

#[test]
fn error_answers_keep_the_pair_that_was_asked_about() {
    let vectors = Vectors::load();
    let asked = mar_of(&vectors, "mar-aka");
    for (id, result) in [
        ("maa-user-unknown", ResultCode::USER_UNKNOWN),
        ("maa-auth-scheme-not-supported", ResultCode::AUTH_SCHEME_NOT_SUPPORTED),
        ("maa-redirect", ResultCode::Base(3006)),
        ("maa-unable-to-deliver", ResultCode::UNABLE_TO_DELIVER),
        ("maa-missing-avp", ResultCode::Base(5005)),
    ] {
        let octets = vectors.octets(id);
        let asked_request = Request::MultimediaAuth(asked.clone());
        let Ok(Answer::MultimediaAuth(answer)) = decode_answer(&message(&octets), &asked_request)
        else {
            panic!("{id}")
        };
        assert_eq!((answer.result, &answer.identity), (result, &asked.identity), "{id}");
        assert_eq!(answer.vector, None, "{id}");
    }
}

#[test]
fn rejections_have_the_published_formats() {
    let vectors = Vectors::load();
    for (id, rejection) in [
        ("maa-missing-avp", Rejection::missing(&dictionary::USER_NAME)),
        ("maa-unable-to-deliver", Rejection::new(3002, "no route to mc.primary.example")),
    ] {
        let octets = vectors.octets(id);
        let origin_host = message(&octets).find(&dictionary::ORIGIN_HOST).unwrap();
        let origin_realm = message(&octets).find(&dictionary::ORIGIN_REALM).unwrap();
        let origin = Origin {
            host: origin_host.text().unwrap().parse().unwrap(),
            realm: origin_realm.text().unwrap().parse().unwrap(),
        };
        let mut out = BytesMut::new();
        encode_rejection(&context_of_answer(&octets), &origin, &rejection, &mut out).unwrap();
        assert_eq!(hex(&out), hex(&octets), "{id}");
    }
}

#[test]
fn an_answer_that_cannot_be_relied_on_is_refused() {
    let vectors = Vectors::load();
    let asked = Request::MultimediaAuth(mar_of(&vectors, "mar-aka"));
    let maa = vectors.octets("maa-aka");
    let result = OwnedAvp::new(0, 268, 0x40, &2001_u32.to_be_bytes());
    let replace = |id, data: &[u8]| {
        changed(&maa, |avps| {
            avps.iter_mut().find(|avp| avp.id == id).unwrap().data = data.to_vec();
        })
    };
    let cases = [
        (changed(&maa, |avps| avps.retain(|avp| avp.id.code != 268)), InvalidAnswer::Result),
        (
            changed(&vectors.octets("maa-user-unknown"), |avps| avps.push(result.clone())),
            InvalidAnswer::Result,
        ),
        (changed(&maa, |avps| avps.retain(|avp| avp.id.code != 612)), InvalidAnswer::Vector),
        (
            replace(dictionary::USER_NAME.id, b"inbound-4712@sip.partner.example"),
            InvalidAnswer::OtherUser,
        ),
        (
            replace(dictionary::PUBLIC_IDENTITY.id, b"sip:inbound-4712@sip.partner.example"),
            InvalidAnswer::OtherUser,
        ),
        (vectors.octets("saa-success"), InvalidAnswer::OtherCommand),
        (vectors.octets("mar-aka"), InvalidAnswer::OtherCommand),
    ];
    for (octets, expected) in cases {
        assert_eq!(decode_answer(&message(&octets), &asked).unwrap_err(), expected);
    }
    let mut broken = maa;
    let last = broken.len() - 20 - 28 - 28 + 7;
    broken[last] = 200;
    // Inside a group the vector is incomplete; at the top the answer is malformed.
    assert_eq!(decode_answer(&message(&broken), &asked).unwrap_err(), InvalidAnswer::Vector);
    broken[27] = 7;
    assert_eq!(decode_answer(&message(&broken), &asked).unwrap_err(), InvalidAnswer::Malformed);
}

#[test]
fn an_item_without_its_number_is_accepted() {
    let vectors = Vectors::load();
    let asked = Request::MultimediaAuth(mar_of(&vectors, "mar-aka"));
    let maa = changed(&vectors.octets("maa-aka"), |avps| {
        let item = avps.iter_mut().find(|avp| avp.id.code == 612).unwrap();
        item.data.drain(..16);
    });
    let Ok(Answer::MultimediaAuth(answer)) = decode_answer(&message(&maa), &asked) else {
        panic!("an MAA")
    };
    assert!(answer.vector.is_some());
}
