//! MAR and MAA: the vector request and its answer (TS 29.229 clauses 6.1.7 and 6.1.8).

use super::{
    super::{
        avp::{Avp, AvpWriter},
        context::RequestContext,
        cx::{MultimediaAuthAnswer, MultimediaAuthRequest, ResultCode, Resync, SCHEME_AKA_V1},
        dictionary as avp,
        message::Message,
        validate::{Occurrence, Rejection, check, forbidden, once, optional, read, up_to},
    },
    InvalidAnswer,
    parts::{bounded_text, check_cx, check_user_name, read_impi, read_impu, read_server_name},
};
use crate::{aka::AuthVector, identity::UserIdentity, secret::SecretBytes};

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
    if let Some(vector) = answer.vector.as_ref().filter(|_| answer.result.is_success()) {
        write_vector(writer, &answer.scheme, vector);
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

/// RAND || AUTN, octets.
const CHALLENGE_OCTETS: usize = 32;

const GRAMMAR: &[Occurrence] = &[
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
    check(message.avps(), GRAMMAR)?;
    check_cx(message)?;
    let identity = UserIdentity {
        impi: read(message, &avp::USER_NAME, read_impi)?,
        impu: read(message, &avp::PUBLIC_IDENTITY, read_impu)?,
    };
    let item = lowest_item(message).ok_or(Rejection::missing(&avp::SIP_AUTH_DATA_ITEM))?;
    let scheme = item.member(&avp::SIP_AUTHENTICATION_SCHEME).ok_or_else(|| {
        Rejection::missing(&avp::SIP_AUTHENTICATION_SCHEME).inside(&avp::SIP_AUTH_DATA_ITEM)
    })?;
    let scheme = bounded_text(&scheme, SCHEME_OCTETS_MAX)
        .ok_or_else(|| Rejection::invalid_value(&scheme).inside(&avp::SIP_AUTH_DATA_ITEM))?;
    let resync = match item.member(&avp::SIP_AUTHORIZATION).filter(|_| is_aka(&scheme)) {
        Some(authorization) => Some(read_resync(authorization.data).ok_or_else(|| {
            Rejection::invalid_value(&authorization).inside(&avp::SIP_AUTH_DATA_ITEM)
        })?),
        None => None,
    };
    let server_name = read(message, &avp::SERVER_NAME, read_server_name)?;
    Ok(MultimediaAuthRequest { identity, scheme, resync, server_name })
}

/// Whether SIP-Authorization is RAND || AUTS; other schemes are for the role to refuse.
fn is_aka(scheme: &str) -> bool {
    let prefix = scheme.get(..10).unwrap_or_default();
    prefix.eq_ignore_ascii_case("Digest-AKA") || scheme.eq_ignore_ascii_case("Unknown")
}

fn read_resync(authorization: &[u8]) -> Option<Resync> {
    let (rand, auts) = authorization.split_first_chunk()?;
    Some(Resync { rand: *rand, auts: auts.try_into().ok()? })
}

pub(super) fn read_answer(
    message: &Message<'_>,
    asked: &MultimediaAuthRequest,
    result: ResultCode,
) -> Result<MultimediaAuthAnswer, InvalidAnswer> {
    // A vector of somebody else would let him in as this user.
    check_user_name(message, &asked.identity.impi)?;
    if let Some(echo) = message.find(&avp::PUBLIC_IDENTITY)
        && read_impu(&echo).as_ref() != Some(&asked.identity.impu)
    {
        return Err(InvalidAnswer::OtherUser);
    }
    let item = lowest_item(message).filter(|_| result.is_success());
    let vector = item.as_ref().and_then(read_vector);
    if result.is_success() && vector.is_none() {
        return Err(InvalidAnswer::Vector);
    }
    let scheme = item.and_then(|item| item.member(&avp::SIP_AUTHENTICATION_SCHEME));
    let scheme = match scheme.and_then(|scheme| bounded_text(&scheme, SCHEME_OCTETS_MAX)) {
        Some(scheme) => scheme,
        None if asked.scheme.eq_ignore_ascii_case("Unknown") => SCHEME_AKA_V1.to_owned(),
        None => asked.scheme.clone(),
    };
    Ok(MultimediaAuthAnswer { result, identity: asked.identity.clone(), scheme, vector })
}

fn read_vector(item: &Avp<'_>) -> Option<AuthVector> {
    let octets = |definition| item.member(definition).map(|avp| avp.data);
    let secret = |definition, allowed: fn(usize) -> bool| {
        octets(definition).filter(|octets| allowed(octets.len())).map(SecretBytes::new)
    };
    let (rand, autn) = octets(&avp::SIP_AUTHENTICATE)?.split_first_chunk()?;
    Some(AuthVector {
        rand: *rand,
        autn: autn.try_into().ok()?,
        xres: secret(&avp::SIP_AUTHORIZATION, |octets| (4..=16).contains(&octets))?,
        ck: secret(&avp::CONFIDENTIALITY_KEY, |octets| matches!(octets, 16 | 32))?,
        ik: secret(&avp::INTEGRITY_KEY, |octets| matches!(octets, 16 | 32))?,
    })
}

/// The authentication item with the lowest SIP-Item-Number; those without a number come last.
fn lowest_item<'a>(message: &Message<'a>) -> Option<Avp<'a>> {
    let number = |item: &Avp<'_>| {
        item.member(&avp::SIP_ITEM_NUMBER).and_then(|avp| avp.unsigned32()).unwrap_or(u32::MAX)
    };
    message.avps().all(&avp::SIP_AUTH_DATA_ITEM).min_by_key(number)
}
