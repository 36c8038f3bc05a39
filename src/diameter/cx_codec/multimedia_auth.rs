//! MAR and MAA: the vector request and its answer (TS 29.229 clauses 6.1.7 and 6.1.8).

use std::borrow::Cow;

use super::{
    super::{
        avp::{Avp, AvpWriter, Occurred},
        context::RequestContext,
        cx::{
            MultimediaAuthAnswer, MultimediaAuthRequest, Resync, SCHEME_AKA_V1, SCHEME_SIP_DIGEST,
            SCHEME_UNKNOWN, SipDigest,
        },
        dictionary::{self as avp, Definition},
        message::Message,
        validate::{Occurrence, Rejection, check, forbidden, once, optional, required, up_to},
    },
    InvalidAnswer,
    parts::{
        bounded_text, check_cx, check_public_identity, check_user_name, read_impi, read_impu,
        read_result, read_server_name,
    },
};
use crate::{
    aka::{
        AuthVector,
        digest::{Ha1, Ha1Algorithm, Qop},
    },
    identity::UserIdentity,
    secret::SecretBytes,
};

/// Longest SIP-Authentication-Scheme, octets.
pub const SCHEME_OCTETS_MAX: usize = 64;

pub(super) fn write_request(writer: &mut AvpWriter<'_>, request: &MultimediaAuthRequest) {
    writer.text(&avp::USER_NAME, request.identity.impi.as_str());
    writer.text(&avp::PUBLIC_IDENTITY, request.identity.impu.as_str());
    writer.group(&avp::SIP_AUTH_DATA_ITEM, |item| {
        item.text(&avp::SIP_AUTHENTICATION_SCHEME, &request.scheme);
        if let Some(Resync { rand, auts }) = &request.resync {
            let mut authorization = [0; RESYNC_OCTETS];
            for (to, from) in authorization.iter_mut().zip(rand.iter().chain(auts)) {
                *to = *from;
            }
            item.octets(&avp::SIP_AUTHORIZATION, &authorization);
        }
    });
    writer.unsigned32(&avp::SIP_NUMBER_AUTH_ITEMS, 1);
    writer.text(&avp::SERVER_NAME, &request.server_name);
}

/// RAND || AUTS, octets.
const RESYNC_OCTETS: usize = 30;

pub(super) fn write_answer(
    writer: &mut AvpWriter<'_>,
    context: &RequestContext,
    answer: &MultimediaAuthAnswer,
) {
    context.write_identities(writer);
    if !answer.result.is_success() {
        return;
    }
    if let Some(vector) = &answer.vector {
        write_vector(writer, &answer.scheme, vector);
    } else if let Some(digest) = &answer.digest {
        write_digest(writer, digest);
    }
}

fn write_vector(writer: &mut AvpWriter<'_>, scheme: &str, vector: &AuthVector) {
    let mut authenticate = [0; CHALLENGE_OCTETS];
    for (to, from) in authenticate.iter_mut().zip(vector.rand.iter().chain(&vector.autn)) {
        *to = *from;
    }
    writer.unsigned32(&avp::SIP_NUMBER_AUTH_ITEMS, 1);
    writer.group(&avp::SIP_AUTH_DATA_ITEM, |item| {
        item.unsigned32(&avp::SIP_ITEM_NUMBER, 1);
        item.text(&avp::SIP_AUTHENTICATION_SCHEME, scheme);
        item.octets(&avp::SIP_AUTHENTICATE, &authenticate);
        item.octets(&avp::SIP_AUTHORIZATION, vector.xres.expose());
        item.octets(&avp::CONFIDENTIALITY_KEY, vector.ck.expose());
        item.octets(&avp::INTEGRITY_KEY, vector.ik.expose());
    });
}

/// The quality of protection is what all SIP cores offer at least.
fn write_digest(writer: &mut AvpWriter<'_>, digest: &SipDigest) {
    writer.unsigned32(&avp::SIP_NUMBER_AUTH_ITEMS, 1);
    writer.group(&avp::SIP_AUTH_DATA_ITEM, |item| {
        item.text(&avp::SIP_AUTHENTICATION_SCHEME, SCHEME_SIP_DIGEST);
        item.group(&avp::SIP_DIGEST_AUTHENTICATE, |digests| {
            digests.text(&avp::DIGEST_REALM, &digest.realm);
            digests.text(&avp::DIGEST_ALGORITHM, digest.ha1.algorithm().as_str());
            digests.text(&avp::DIGEST_QOP, Qop::Auth.as_str());
            digests.text(&avp::DIGEST_HA1, &digest.ha1.to_hex());
        });
    });
}

/// RAND || AUTN, octets.
const CHALLENGE_OCTETS: usize = 32;

const GRAMMAR: [Occurrence; 14] = [
    once(&avp::SESSION_ID),
    once(&avp::VENDOR_SPECIFIC_APPLICATION_ID),
    once(&avp::AUTH_SESSION_STATE),
    once(&avp::ORIGIN_HOST),
    once(&avp::ORIGIN_REALM),
    once(&avp::DESTINATION_REALM),
    optional(&avp::DESTINATION_HOST),
    once(&avp::USER_NAME),
    once(&avp::PUBLIC_IDENTITY),
    up_to(AUTH_ITEMS_MAX, &avp::SIP_AUTH_DATA_ITEM),
    once(&avp::SIP_NUMBER_AUTH_ITEMS),
    once(&avp::SERVER_NAME),
    forbidden(&avp::RESULT_CODE),
    forbidden(&avp::EXPERIMENTAL_RESULT),
];

/// Most authentication items in a request. The grammar has one; the lowest number counts.
const AUTH_ITEMS_MAX: usize = 8;

pub(super) fn read_request(message: &Message<'_>) -> Result<MultimediaAuthRequest, Rejection> {
    let [_, application, session_state, _, _, _, _, user_name, impu, items, _, server_name, ..] =
        check(message.avps(), &GRAMMAR)?;
    check_cx(&application, &session_state)?;
    let identity = UserIdentity {
        impi: required(user_name.first, &avp::USER_NAME, read_impi)?,
        impu: required(impu.first, &avp::PUBLIC_IDENTITY, read_impu)?,
    };
    let item =
        lowest_item(message, &items).ok_or_else(|| Rejection::missing(&avp::SIP_AUTH_DATA_ITEM))?;
    let wanted = [&avp::SIP_AUTHENTICATION_SCHEME, &avp::SIP_AUTHORIZATION];
    let [scheme, authorization] = item.group().firsts(wanted);
    let inside = |rejection: Rejection| rejection.inside(&avp::SIP_AUTH_DATA_ITEM);
    let scheme = required(scheme, &avp::SIP_AUTHENTICATION_SCHEME, read_scheme).map_err(inside)?;
    let resync = match authorization.filter(|_| is_aka(&scheme)) {
        None => None,
        authorization => {
            let resync = required(authorization, &avp::SIP_AUTHORIZATION, read_resync);
            Some(resync.map_err(inside)?)
        }
    };
    let server_name = required(server_name.first, &avp::SERVER_NAME, read_server_name)?;
    Ok(MultimediaAuthRequest { identity, scheme, resync, server_name })
}

/// Reads a scheme: the usual ones without a copy.
fn read_scheme(avp: &Avp<'_>) -> Option<Cow<'static, str>> {
    const USUAL: [&str; 3] = [SCHEME_AKA_V1, SCHEME_UNKNOWN, SCHEME_SIP_DIGEST];
    match USUAL.into_iter().find(|usual| avp.data == usual.as_bytes()) {
        Some(usual) => Some(usual.into()),
        None => bounded_text(avp, SCHEME_OCTETS_MAX).map(Cow::Owned),
    }
}

/// Whether SIP-Authorization is RAND || AUTS; other schemes are for the role to refuse.
fn is_aka(scheme: &str) -> bool {
    let prefix = scheme.get(..10).unwrap_or_default();
    prefix.eq_ignore_ascii_case("Digest-AKA") || scheme.eq_ignore_ascii_case(SCHEME_UNKNOWN)
}

fn read_resync(authorization: &Avp<'_>) -> Option<Resync> {
    let (rand, auts) = authorization.data.split_first_chunk()?;
    Some(Resync { rand: *rand, auts: auts.try_into().ok()? })
}

pub(super) fn read_answer(
    message: &Message<'_>,
    asked: &MultimediaAuthRequest,
) -> Result<MultimediaAuthAnswer, InvalidAnswer> {
    let [base, experimental, user_name, impu, items] = message.avps().gather([
        &avp::RESULT_CODE,
        &avp::EXPERIMENTAL_RESULT,
        &avp::USER_NAME,
        &avp::PUBLIC_IDENTITY,
        &avp::SIP_AUTH_DATA_ITEM,
    ]);
    let result = read_result(base.first, experimental.first)?;
    // A vector of somebody else would let him in as this user.
    check_user_name(user_name.first, &asked.identity.impi)?;
    check_public_identity(impu.first, &asked.identity.impu)?;
    let item = lowest_item(message, &items).filter(|_| result.is_success());
    let members = item.as_ref().map(|item| item.group().firsts(ITEM)).unwrap_or_default();
    let [scheme, ..] = members;
    let vector = read_vector(members);
    let digest = item.filter(|_| vector.is_none()).and_then(|item| read_digest(&item));
    if result.is_success() && vector.is_none() && digest.is_none() {
        return Err(InvalidAnswer::Vector);
    }
    let scheme = match scheme.as_ref().and_then(read_scheme) {
        Some(scheme) => scheme,
        None if digest.is_some() => SCHEME_SIP_DIGEST.into(),
        None if asked.scheme.eq_ignore_ascii_case(SCHEME_UNKNOWN) => SCHEME_AKA_V1.into(),
        None => asked.scheme.clone(),
    };
    let identity = asked.identity.clone();
    Ok(MultimediaAuthAnswer { result, identity, scheme, vector, digest: digest.map(Box::new) })
}

/// The members of an authentication item that an answer is read from.
static ITEM: [&Definition; 5] = [
    &avp::SIP_AUTHENTICATION_SCHEME,
    &avp::SIP_AUTHENTICATE,
    &avp::SIP_AUTHORIZATION,
    &avp::CONFIDENTIALITY_KEY,
    &avp::INTEGRITY_KEY,
];

fn read_vector(item: [Option<Avp<'_>>; 5]) -> Option<AuthVector> {
    let [_, challenge, xres, ck, ik] = item.map(|avp| avp.map(|avp| avp.data));
    let (rand, autn) = challenge?.split_first_chunk()?;
    let is_key = |octets: &&[u8]| matches!(octets.len(), 16 | 32);
    Some(AuthVector {
        rand: *rand,
        autn: autn.try_into().ok()?,
        xres: xres.filter(|octets| (4..=16).contains(&octets.len())).map(SecretBytes::new)?,
        ck: ck.filter(is_key).map(SecretBytes::new)?,
        ik: ik.filter(is_key).map(SecretBytes::new)?,
    })
}

/// Reads what SIP Digest is checked with. An algorithm that is not named is MD5; one that is not known is of no use,
/// and neither is a quality of protection without `auth`.
fn read_digest(item: &Avp<'_>) -> Option<SipDigest> {
    let digests = item.member(&avp::SIP_DIGEST_AUTHENTICATE)?;
    let wanted = [&avp::DIGEST_REALM, &avp::DIGEST_ALGORITHM, &avp::DIGEST_QOP, &avp::DIGEST_HA1];
    let [realm, algorithm, qop, ha1] = digests.group().firsts(wanted);
    let algorithm = match algorithm {
        Some(named) => Ha1Algorithm::parse(&bounded_text(&named, SCHEME_OCTETS_MAX)?)?,
        None => Ha1Algorithm::Md5,
    };
    if let Some(offered) = qop {
        let offered = bounded_text(&offered, SCHEME_OCTETS_MAX)?;
        offered.split(',').find_map(|qop| Qop::parse(qop.trim()).filter(|it| *it == Qop::Auth))?;
    }
    let ha1 = Ha1::from_hex(algorithm, std::str::from_utf8(ha1?.data).ok()?)?;
    Some(SipDigest { realm: bounded_text(&realm?, REALM_OCTETS_MAX)?, ha1 })
}

/// Longest Digest-Realm, octets: as long as a domain name.
const REALM_OCTETS_MAX: usize = 255;

/// The authentication item with the lowest SIP-Item-Number; those without a number come last.
fn lowest_item<'a>(message: &Message<'a>, items: &Occurred<'a>) -> Option<Avp<'a>> {
    if items.count <= 1 {
        return items.first;
    }
    let number = |item: &Avp<'_>| {
        item.member(&avp::SIP_ITEM_NUMBER).and_then(|avp| avp.unsigned32()).unwrap_or(u32::MAX)
    };
    message.avps().all(&avp::SIP_AUTH_DATA_ITEM).min_by_key(number)
}
