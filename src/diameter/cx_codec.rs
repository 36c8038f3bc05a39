//! The Cx commands that roles exchange, as messages (TS 29.229 clauses 6.1.3, 6.1.4, 6.1.7, 6.1.8).
//!
//! Strict out: AVPs in the order of the grammar, M bits as specified, one authentication item.
//! Tolerant in: any order, missing M bits, unknown optional AVPs, missing item numbers.

use bytes::BytesMut;

use super::{
    avp::{Avp, AvpWriter},
    context::{NO_STATE_MAINTAINED, RequestContext, write_cx_application, write_origin},
    cx::{
        Answer, MultimediaAuthAnswer, MultimediaAuthRequest, Request, ResultCode, Resync,
        SCHEME_AKA_V1, ServerAssignmentAnswer, ServerAssignmentRequest, ServerAssignmentType,
    },
    dictionary::{self as avp, Definition},
    local::{DiameterIdentity, Origin},
    message::{
        self, APPLICATION_CX, FLAG_PROXIABLE, FLAG_REQUEST, Header, Message, MessageTooLong,
        command,
    },
    user_data::{self, IMPUS_MAX},
    validate::{Occurrence, Rejection, check, code, forbidden, once, optional, up_to},
};
use crate::{
    aka::AuthVector,
    identity::{Impi, Impu, UserIdentity},
    secret::SecretBytes,
};

/// Longest Server-Name, octets.
pub const SERVER_NAME_OCTETS_MAX: usize = 1_024;
/// Longest SIP-Authentication-Scheme, octets.
pub const SCHEME_OCTETS_MAX: usize = 64;

/// Where a request is addressed to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Destination {
    /// Destination-Realm.
    pub realm: DiameterIdentity,
    /// Destination-Host: only this node may answer. Without it, agents choose one.
    pub host: Option<DiameterIdentity>,
}

/// What every Cx request begins with.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// Session-Id, see [`LocalNode::next_session_id`](super::local::LocalNode::next_session_id).
    pub session_id: &'a str,
    /// Hop-by-Hop Identifier.
    pub hop_by_hop: u32,
    /// End-to-End Identifier.
    pub end_to_end: u32,
    /// Who asks.
    pub origin: &'a Origin,
    /// Who is asked.
    pub destination: &'a Destination,
}

/// Encodes a request.
///
/// # Errors
///
/// [`MessageTooLong`]; nothing is written then.
pub fn encode_request(
    envelope: &Envelope<'_>,
    request: &Request,
    out: &mut BytesMut,
) -> Result<(), MessageTooLong> {
    let command = command_of(request);
    message::write(out, &request_header(envelope, command), |writer| {
        write_envelope(writer, envelope);
        match request {
            Request::MultimediaAuth(request) => write_multimedia_auth(writer, request),
            Request::ServerAssignment(request) => write_server_assignment(writer, request),
        }
    })
}

/// Encodes the answer to the request that `context` is of.
///
/// # Errors
///
/// [`EncodeAnswerError`]; nothing is written then, and the request is still to be answered.
pub fn encode_answer(
    context: &RequestContext,
    origin: &Origin,
    answer: &Answer,
    out: &mut BytesMut,
) -> Result<(), EncodeAnswerError> {
    let (command, result) = match answer {
        Answer::MultimediaAuth(answer) => {
            if answer.result.is_success() && answer.vector.is_none() {
                return Err(EncodeAnswerError::MissingVector);
            }
            (command::MULTIMEDIA_AUTH, answer.result)
        }
        Answer::ServerAssignment(answer) => (command::SERVER_ASSIGNMENT, answer.result),
    };
    if command != context.command() {
        return Err(EncodeAnswerError::OtherCommand);
    }
    let error = matches!(result, ResultCode::Base(3_000..=3_999));
    message::write(out, &context.answer_header(error), |writer| {
        context.write_session_id(writer);
        write_answer_start(writer, origin, result, error);
        match answer {
            Answer::MultimediaAuth(answer) => {
                context.write_identities(writer);
                if let Some(vector) = answer.vector.as_ref().filter(|_| result.is_success()) {
                    write_vector(writer, &answer.scheme, vector);
                }
            }
            Answer::ServerAssignment(answer) if !error => {
                write_server_assignment_answer(writer, answer);
            }
            Answer::ServerAssignment(_) => {}
        }
        context.write_proxy_info(writer);
    })?;
    Ok(())
}

/// An answer that cannot be sent. Ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EncodeAnswerError {
    /// The answer is of another command than the request.
    #[error("answer is of another command than the request")]
    OtherCommand,
    /// Success without a vector.
    #[error("successful answer has no vector")]
    MissingVector,
    /// The profile is too long.
    #[error(transparent)]
    TooLong(#[from] MessageTooLong),
}

/// Decodes and checks a request of the Cx application.
///
/// # Errors
///
/// The [`Rejection`] to answer with. The peer's fault.
pub fn decode_request(message: &Message<'_>) -> Result<Request, Rejection> {
    if message.header.is_error() {
        return Err(Rejection::new(code::INVALID_HDR_BITS, "E bit in a request"));
    }
    if message.header.application != APPLICATION_CX {
        return Err(Rejection::new(code::APPLICATION_UNSUPPORTED, "application is not Cx"));
    }
    match message.header.command {
        command::MULTIMEDIA_AUTH => read_multimedia_auth(message).map(Request::MultimediaAuth),
        command::SERVER_ASSIGNMENT => {
            read_server_assignment(message).map(Request::ServerAssignment)
        }
        _ => Err(Rejection::new(code::COMMAND_UNSUPPORTED, "command is not served")),
    }
}

/// Decodes the answer to `asked`. What the answer does not echo is taken from the request.
///
/// # Errors
///
/// [`InvalidAnswer`]: the answer says nothing that could be relied on. The peer's fault.
pub fn decode_answer(message: &Message<'_>, asked: &Request) -> Result<Answer, InvalidAnswer> {
    let Header { command, application, .. } = message.header;
    if message.header.is_request() || (application, command) != (APPLICATION_CX, command_of(asked))
    {
        return Err(InvalidAnswer::OtherCommand);
    }
    if message.avps().any(|avp| avp.is_err()) {
        return Err(InvalidAnswer::Malformed);
    }
    let result = read_result(message)?;
    match asked {
        Request::MultimediaAuth(asked) => {
            read_multimedia_auth_answer(message, asked, result).map(Answer::MultimediaAuth)
        }
        Request::ServerAssignment(asked) => {
            read_server_assignment_answer(message, asked, result).map(Answer::ServerAssignment)
        }
    }
}

/// An answer that is dropped, as if none had come. The peer's fault.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
pub enum InvalidAnswer {
    /// The answer is of another command than the request with its Hop-by-Hop Identifier.
    #[error("answer is of another command than the request")]
    OtherCommand,
    /// Its AVPs cannot be read.
    #[error("answer is malformed")]
    Malformed,
    /// Not exactly one of Result-Code and Experimental-Result of 3GPP.
    #[error("answer has no result or two")]
    Result,
    /// It echoes other identities than the request had.
    #[error("answer is about another user")]
    OtherUser,
    /// Success without a complete AKA vector.
    #[error("successful answer has no valid vector")]
    Vector,
    /// User-Data is no valid profile.
    #[error("answer has an invalid profile")]
    UserData,
}

const fn command_of(request: &Request) -> u32 {
    match request {
        Request::MultimediaAuth(_) => command::MULTIMEDIA_AUTH,
        Request::ServerAssignment(_) => command::SERVER_ASSIGNMENT,
    }
}

pub(super) const fn request_header(envelope: &Envelope<'_>, command: u32) -> Header {
    Header {
        flags: FLAG_REQUEST | FLAG_PROXIABLE,
        command,
        application: APPLICATION_CX,
        hop_by_hop: envelope.hop_by_hop,
        end_to_end: envelope.end_to_end,
    }
}

fn write_envelope(writer: &mut AvpWriter<'_>, envelope: &Envelope<'_>) {
    writer.text(&avp::SESSION_ID, envelope.session_id);
    write_cx_application(writer);
    writer.unsigned32(&avp::AUTH_SESSION_STATE, NO_STATE_MAINTAINED);
    write_origin(writer, envelope.origin);
    writer.text(&avp::DESTINATION_REALM, envelope.destination.realm.as_str());
    if let Some(host) = &envelope.destination.host {
        writer.text(&avp::DESTINATION_HOST, host.as_str());
    }
}

fn write_multimedia_auth(writer: &mut AvpWriter<'_>, request: &MultimediaAuthRequest) {
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

fn write_server_assignment(writer: &mut AvpWriter<'_>, request: &ServerAssignmentRequest) {
    if let Some(impi) = &request.impi {
        writer.text(&avp::USER_NAME, impi.as_str());
    }
    for impu in &request.impus {
        writer.text(&avp::PUBLIC_IDENTITY, impu.as_str());
    }
    writer.text(&avp::SERVER_NAME, &request.server_name);
    writer.unsigned32(&avp::SERVER_ASSIGNMENT_TYPE, request.assignment as u32);
    let available = u32::from(request.user_data_already_available);
    writer.unsigned32(&avp::USER_DATA_ALREADY_AVAILABLE, available);
}

/// Writes what follows Session-Id in every Cx answer.
pub(super) fn write_answer_start(
    writer: &mut AvpWriter<'_>,
    origin: &Origin,
    result: ResultCode,
    error: bool,
) {
    if error {
        write_origin(writer, origin);
        write_result(writer, result);
    } else {
        write_cx_application(writer);
        write_result(writer, result);
        writer.unsigned32(&avp::AUTH_SESSION_STATE, NO_STATE_MAINTAINED);
        write_origin(writer, origin);
    }
}

fn write_result(writer: &mut AvpWriter<'_>, result: ResultCode) {
    match result {
        ResultCode::Base(code) => writer.unsigned32(&avp::RESULT_CODE, code),
        ResultCode::Experimental(code) => writer.group(&avp::EXPERIMENTAL_RESULT, |members| {
            members.unsigned32(&avp::VENDOR_ID, avp::VENDOR_3GPP);
            members.unsigned32(&avp::EXPERIMENTAL_RESULT_CODE, code);
        }),
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

fn write_server_assignment_answer(writer: &mut AvpWriter<'_>, answer: &ServerAssignmentAnswer) {
    if let Some(impi) = &answer.impi {
        writer.text(&avp::USER_NAME, impi.as_str());
    }
    if let Some(user_data) = &answer.user_data {
        writer.text(&avp::USER_DATA, &user_data::encode(user_data));
    }
}

const MULTIMEDIA_AUTH_REQUEST: &[Occurrence] = &[
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

fn read_multimedia_auth(message: &Message<'_>) -> Result<MultimediaAuthRequest, Rejection> {
    check(message.avps(), MULTIMEDIA_AUTH_REQUEST)?;
    check_cx(message)?;
    let identity = UserIdentity {
        impi: read(message, &avp::USER_NAME, |avp| Impi::parse(avp.text()?).ok())?,
        impu: read(message, &avp::PUBLIC_IDENTITY, |avp| Impu::parse(avp.text()?).ok())?,
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

const SERVER_ASSIGNMENT_REQUEST: &[Occurrence] = &[
    once(&avp::SESSION_ID),
    once(&avp::VENDOR_SPECIFIC_APPLICATION_ID),
    once(&avp::AUTH_SESSION_STATE),
    once(&avp::ORIGIN_HOST),
    once(&avp::ORIGIN_REALM),
    once(&avp::DESTINATION_REALM),
    optional(&avp::DESTINATION_HOST),
    optional(&avp::USER_NAME),
    up_to(IMPUS_MAX, &avp::PUBLIC_IDENTITY),
    once(&avp::SERVER_NAME),
    once(&avp::SERVER_ASSIGNMENT_TYPE),
    once(&avp::USER_DATA_ALREADY_AVAILABLE),
    forbidden(&avp::RESULT_CODE),
    forbidden(&avp::EXPERIMENTAL_RESULT),
];

fn read_server_assignment(message: &Message<'_>) -> Result<ServerAssignmentRequest, Rejection> {
    check(message.avps(), SERVER_ASSIGNMENT_REQUEST)?;
    check_cx(message)?;
    let impi = match message.find(&avp::USER_NAME) {
        Some(_) => Some(read(message, &avp::USER_NAME, |avp| Impi::parse(avp.text()?).ok())?),
        None => None,
    };
    let public_identity = |avp: Avp<'_>| {
        let parsed = avp.text().and_then(|text| Impu::parse(text).ok());
        parsed.ok_or_else(|| Rejection::invalid_value(&avp))
    };
    Ok(ServerAssignmentRequest {
        impi,
        impus: message
            .avps()
            .all(&avp::PUBLIC_IDENTITY)
            .map(public_identity)
            .collect::<Result<_, _>>()?,
        server_name: read(message, &avp::SERVER_NAME, read_server_name)?,
        assignment: read(message, &avp::SERVER_ASSIGNMENT_TYPE, |avp| {
            assignment_type(avp.unsigned32()?)
        })?,
        user_data_already_available: read(message, &avp::USER_DATA_ALREADY_AVAILABLE, |avp| {
            match avp.unsigned32()? {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            }
        })?,
    })
}

fn assignment_type(value: u32) -> Option<ServerAssignmentType> {
    use ServerAssignmentType as Type;
    [
        Type::NoAssignment,
        Type::Registration,
        Type::ReRegistration,
        Type::UnregisteredUser,
        Type::TimeoutDeregistration,
        Type::UserDeregistration,
        Type::TimeoutDeregistrationStoreServerName,
        Type::UserDeregistrationStoreServerName,
        Type::AdministrativeDeregistration,
        Type::AuthenticationFailure,
        Type::AuthenticationTimeout,
        Type::DeregistrationTooMuchData,
        Type::AaaUserDataRequest,
        Type::PgwUpdate,
        Type::Restoration,
    ]
    .into_iter()
    .find(|assignment| *assignment as u32 == value)
}

/// Checks what every Cx request says about application and session.
pub(super) fn check_cx(message: &Message<'_>) -> Result<(), Rejection> {
    if let Some(application) = message.find(&avp::VENDOR_SPECIFIC_APPLICATION_ID) {
        let value = |definition| application.member(definition).and_then(|avp| avp.unsigned32());
        let vendor = value(&avp::VENDOR_ID);
        if (vendor, value(&avp::AUTH_APPLICATION_ID))
            != (Some(avp::VENDOR_3GPP), Some(APPLICATION_CX))
        {
            return Err(Rejection::invalid_value(&application));
        }
    }
    match message.find(&avp::AUTH_SESSION_STATE) {
        // Whoever maintains state may ask so; the answer says that we do not.
        Some(state) if state.unsigned32().is_none_or(|value| value > NO_STATE_MAINTAINED) => {
            Err(Rejection::invalid_value(&state))
        }
        _ => Ok(()),
    }
}

/// Reads the first AVP of this definition.
pub(super) fn read<'a, T>(
    message: &Message<'a>,
    definition: &'static Definition,
    value: impl FnOnce(&Avp<'a>) -> Option<T>,
) -> Result<T, Rejection> {
    let avp = message.find(definition).ok_or_else(|| Rejection::missing(definition))?;
    value(&avp).ok_or_else(|| Rejection::invalid_value(&avp))
}

pub(super) fn read_server_name(avp: &Avp<'_>) -> Option<String> {
    bounded_text(avp, SERVER_NAME_OCTETS_MAX)
}

fn bounded_text(avp: &Avp<'_>, octets_max: usize) -> Option<String> {
    let text = avp.text().filter(|text| (1..=octets_max).contains(&text.len()))?;
    Some(text.to_owned())
}

/// The authentication item with the lowest SIP-Item-Number; those without a number come last.
fn lowest_item<'a>(message: &Message<'a>) -> Option<Avp<'a>> {
    let number = |item: &Avp<'_>| {
        item.member(&avp::SIP_ITEM_NUMBER).and_then(|avp| avp.unsigned32()).unwrap_or(u32::MAX)
    };
    message.avps().all(&avp::SIP_AUTH_DATA_ITEM).min_by_key(number)
}

pub(super) fn read_result(message: &Message<'_>) -> Result<ResultCode, InvalidAnswer> {
    let base = message.find(&avp::RESULT_CODE);
    let experimental = message.find(&avp::EXPERIMENTAL_RESULT);
    let result = match (base, experimental) {
        (Some(base), None) => base.unsigned32().map(ResultCode::Base),
        (None, Some(experimental)) => {
            let value =
                |definition| experimental.member(definition).and_then(|avp| avp.unsigned32());
            value(&avp::EXPERIMENTAL_RESULT_CODE)
                .filter(|_| value(&avp::VENDOR_ID) == Some(avp::VENDOR_3GPP))
                .map(ResultCode::Experimental)
        }
        _ => None,
    };
    result.ok_or(InvalidAnswer::Result)
}

fn read_multimedia_auth_answer(
    message: &Message<'_>,
    asked: &MultimediaAuthRequest,
    result: ResultCode,
) -> Result<MultimediaAuthAnswer, InvalidAnswer> {
    // A vector of somebody else would let him in as this user.
    check_user_name(message, &asked.identity.impi)?;
    if let Some(echo) = message.find(&avp::PUBLIC_IDENTITY)
        && echo.text().and_then(|text| Impu::parse(text).ok()).as_ref()
            != Some(&asked.identity.impu)
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

fn read_server_assignment_answer(
    message: &Message<'_>,
    asked: &ServerAssignmentRequest,
    result: ResultCode,
) -> Result<ServerAssignmentAnswer, InvalidAnswer> {
    let impi = if let Some(impi) = &asked.impi {
        check_user_name(message, impi)?;
        Some(impi.clone())
    } else {
        let user_name = message.find(&avp::USER_NAME);
        user_name.and_then(|avp| Impi::parse(avp.text()?).ok())
    };
    let user_data = match message.find(&avp::USER_DATA).filter(|_| result.is_success()) {
        Some(avp) => Some(user_data::decode(avp.data).map_err(|_| InvalidAnswer::UserData)?),
        None => None,
    };
    Ok(ServerAssignmentAnswer { result, impi, user_data })
}

/// Checks that User-Name, where it is echoed, is the one that was asked about.
fn check_user_name(message: &Message<'_>, asked: &Impi) -> Result<(), InvalidAnswer> {
    match message.find(&avp::USER_NAME) {
        Some(echo)
            if echo.text().and_then(|text| Impi::parse(text).ok()).as_ref() != Some(asked) =>
        {
            Err(InvalidAnswer::OtherUser)
        }
        _ => Ok(()),
    }
}
