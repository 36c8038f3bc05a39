//! UAR, LIR, RTR, PPR and their answers (TS 29.229 clauses 6.1.1, 6.1.2, 6.1.5, 6.1.6, 6.1.9 to
//! 6.1.12).

use bytes::BytesMut;

use super::{
    super::{
        avp::{Avp, AvpWriter},
        context::RequestContext,
        cx_other::{
            LocationInfoRequest, OtherAnswer, OtherRequest, PushProfileRequest, ReasonCode,
            RegistrationTerminationRequest, Server, ServerAnswer, ServerCapabilities,
            UserAuthorizationRequest, UserAuthorizationType,
        },
        dictionary as avp,
        local::Origin,
        message::{self, APPLICATION_CX, Message, MessageTooLong, command},
        user_data::{self, IMPUS_MAX},
        validate::{Occurrence, Rejection, check, code, once, optional, read},
    },
    EncodeAnswerError, Envelope, InvalidAnswer, SERVER_NAME_OCTETS_MAX,
    parts::{
        bounded_text, check_cx, read_impi, read_impu, read_impus, read_result, request_header,
        write_answer_start, write_envelope,
    },
};

/// Longest Visited-Network-Identifier, octets.
const VISITED_NETWORK_OCTETS_MAX: usize = 253;
/// Longest Reason-Info, octets.
const REASON_INFO_OCTETS_MAX: usize = 1_024;
/// Most capabilities or names of each kind in Server-Capabilities.
const CAPABILITIES_MAX: usize = 64;

/// Encodes a request that no role serves.
///
/// # Errors
///
/// [`MessageTooLong`]; nothing is written then.
pub fn encode_other_request(
    envelope: &Envelope<'_>,
    request: &OtherRequest,
    out: &mut BytesMut,
) -> Result<(), MessageTooLong> {
    let (command, to_sip_core) = match request {
        OtherRequest::UserAuthorization(_) => (command::USER_AUTHORIZATION, false),
        OtherRequest::LocationInfo(_) => (command::LOCATION_INFO, false),
        OtherRequest::RegistrationTermination(_) => (command::REGISTRATION_TERMINATION, true),
        OtherRequest::PushProfile(_) => (command::PUSH_PROFILE, true),
    };
    message::write(out, &request_header(envelope, command), |writer| {
        write_envelope(writer, envelope, to_sip_core);
        match request {
            OtherRequest::UserAuthorization(request) => write_user_authorization(writer, request),
            OtherRequest::LocationInfo(request) => {
                writer.text(&avp::PUBLIC_IDENTITY, request.impu.as_str());
            }
            OtherRequest::RegistrationTermination(request) => {
                write_registration_termination(writer, request);
            }
            OtherRequest::PushProfile(request) => {
                writer.text(&avp::USER_NAME, request.impi.as_str());
                if let Some(user_data) = &request.user_data {
                    writer.text(&avp::USER_DATA, &user_data::encode(user_data));
                }
            }
        }
    })
}

/// Encodes the answer to a request that no role serves.
///
/// # Errors
///
/// [`EncodeAnswerError`]; nothing is written then.
pub fn encode_other_answer(
    context: &RequestContext,
    origin: &Origin,
    answer: &OtherAnswer,
    out: &mut BytesMut,
) -> Result<(), EncodeAnswerError> {
    let (command, result, server) = match answer {
        OtherAnswer::UserAuthorization(ServerAnswer { result, server }) => {
            (command::USER_AUTHORIZATION, *result, server.as_ref())
        }
        OtherAnswer::LocationInfo(ServerAnswer { result, server }) => {
            (command::LOCATION_INFO, *result, server.as_ref())
        }
        OtherAnswer::RegistrationTermination(result) => {
            (command::REGISTRATION_TERMINATION, *result, None)
        }
        OtherAnswer::PushProfile(result) => (command::PUSH_PROFILE, *result, None),
    };
    if command != context.command() {
        return Err(EncodeAnswerError::OtherCommand);
    }
    let error = result.is_protocol_error();
    message::write(out, &context.answer_header(error), |writer| {
        context.write_session_id(writer);
        write_answer_start(writer, origin, result, error);
        if let Some(server) = server.filter(|_| !error) {
            write_server(writer, server);
        }
        context.write_proxy_info(writer);
    })?;
    Ok(())
}

/// Decodes and checks a request that no role serves.
///
/// # Errors
///
/// The [`Rejection`] to answer with. The peer's fault.
pub fn decode_other_request(message: &Message<'_>) -> Result<OtherRequest, Rejection> {
    if message.header.application != APPLICATION_CX {
        return Err(Rejection::new(code::APPLICATION_UNSUPPORTED, "application is not Cx"));
    }
    match message.header.command {
        command::USER_AUTHORIZATION => {
            read_user_authorization(message).map(OtherRequest::UserAuthorization)
        }
        command::LOCATION_INFO => read_location_info(message).map(OtherRequest::LocationInfo),
        command::REGISTRATION_TERMINATION => {
            read_registration_termination(message).map(OtherRequest::RegistrationTermination)
        }
        command::PUSH_PROFILE => read_push_profile(message).map(OtherRequest::PushProfile),
        _ => Err(Rejection::new(code::COMMAND_UNSUPPORTED, "command is unknown")),
    }
}

/// Decodes the answer to a request that no role serves.
///
/// # Errors
///
/// [`InvalidAnswer`]. The peer's fault.
pub fn decode_other_answer(message: &Message<'_>) -> Result<OtherAnswer, InvalidAnswer> {
    if message.header.is_request() || message.header.application != APPLICATION_CX {
        return Err(InvalidAnswer::OtherCommand);
    }
    if message.avps().any(|avp| avp.is_err()) {
        return Err(InvalidAnswer::Malformed);
    }
    let [base, experimental] =
        message.avps().firsts([&avp::RESULT_CODE, &avp::EXPERIMENTAL_RESULT]);
    let result = read_result(base, experimental)?;
    Ok(match message.header.command {
        command::USER_AUTHORIZATION => {
            OtherAnswer::UserAuthorization(ServerAnswer { result, server: read_server(message) })
        }
        command::LOCATION_INFO => {
            OtherAnswer::LocationInfo(ServerAnswer { result, server: read_server(message) })
        }
        command::REGISTRATION_TERMINATION => OtherAnswer::RegistrationTermination(result),
        command::PUSH_PROFILE => OtherAnswer::PushProfile(result),
        _ => return Err(InvalidAnswer::OtherCommand),
    })
}

fn write_user_authorization(writer: &mut AvpWriter<'_>, request: &UserAuthorizationRequest) {
    writer.text(&avp::USER_NAME, request.impi.as_str());
    writer.text(&avp::PUBLIC_IDENTITY, request.impu.as_str());
    writer.octets(&avp::VISITED_NETWORK_IDENTIFIER, &request.visited_network);
    writer.unsigned32(&avp::USER_AUTHORIZATION_TYPE, request.authorization as u32);
}

fn read_user_authorization(message: &Message<'_>) -> Result<UserAuthorizationRequest, Rejection> {
    const GRAMMAR: [Occurrence; 11] = [
        once(&avp::SESSION_ID),
        once(&avp::VENDOR_SPECIFIC_APPLICATION_ID),
        once(&avp::AUTH_SESSION_STATE),
        once(&avp::ORIGIN_HOST),
        once(&avp::ORIGIN_REALM),
        once(&avp::DESTINATION_REALM),
        optional(&avp::DESTINATION_HOST),
        once(&avp::USER_NAME),
        once(&avp::PUBLIC_IDENTITY),
        once(&avp::VISITED_NETWORK_IDENTIFIER),
        optional(&avp::USER_AUTHORIZATION_TYPE),
    ];
    let [_, application, session_state, ..] = check(message.avps(), &GRAMMAR)?;
    check_cx(&application, &session_state)?;
    let authorization = match message.find(&avp::USER_AUTHORIZATION_TYPE) {
        Some(avp) => authorization_type(&avp).ok_or_else(|| Rejection::invalid_value(&avp))?,
        None => UserAuthorizationType::Registration,
    };
    Ok(UserAuthorizationRequest {
        impi: read(message, &avp::USER_NAME, read_impi)?,
        impu: read(message, &avp::PUBLIC_IDENTITY, read_impu)?,
        visited_network: read(message, &avp::VISITED_NETWORK_IDENTIFIER, |avp| {
            (avp.data.len() <= VISITED_NETWORK_OCTETS_MAX).then(|| avp.data.to_vec())
        })?,
        authorization,
    })
}

fn authorization_type(avp: &Avp<'_>) -> Option<UserAuthorizationType> {
    match avp.unsigned32()? {
        0 => Some(UserAuthorizationType::Registration),
        1 => Some(UserAuthorizationType::DeRegistration),
        2 => Some(UserAuthorizationType::RegistrationAndCapabilities),
        _ => None,
    }
}

fn read_location_info(message: &Message<'_>) -> Result<LocationInfoRequest, Rejection> {
    const GRAMMAR: [Occurrence; 8] = [
        once(&avp::SESSION_ID),
        once(&avp::VENDOR_SPECIFIC_APPLICATION_ID),
        once(&avp::AUTH_SESSION_STATE),
        once(&avp::ORIGIN_HOST),
        once(&avp::ORIGIN_REALM),
        once(&avp::DESTINATION_REALM),
        optional(&avp::DESTINATION_HOST),
        once(&avp::PUBLIC_IDENTITY),
    ];
    let [_, application, session_state, ..] = check(message.avps(), &GRAMMAR)?;
    check_cx(&application, &session_state)?;
    Ok(LocationInfoRequest { impu: read(message, &avp::PUBLIC_IDENTITY, read_impu)? })
}

fn write_server(writer: &mut AvpWriter<'_>, server: &Server) {
    match server {
        Server::Name(name) => writer.text(&avp::SERVER_NAME, name),
        Server::Capabilities(capabilities) => {
            writer.group(&avp::SERVER_CAPABILITIES, |members| {
                for capability in &capabilities.mandatory {
                    members.unsigned32(&avp::MANDATORY_CAPABILITY, *capability);
                }
                for capability in &capabilities.optional {
                    members.unsigned32(&avp::OPTIONAL_CAPABILITY, *capability);
                }
                for name in &capabilities.names {
                    members.text(&avp::SERVER_NAME, name);
                }
            });
        }
    }
}

fn read_server(message: &Message<'_>) -> Option<Server> {
    if let Some(name) = message.find(&avp::SERVER_NAME) {
        return bounded_text(&name, SERVER_NAME_OCTETS_MAX).map(Server::Name);
    }
    let group = message.find(&avp::SERVER_CAPABILITIES)?;
    let members = |definition| group.group().all(definition).take(CAPABILITIES_MAX);
    let name = |avp: Avp<'_>| bounded_text(&avp, SERVER_NAME_OCTETS_MAX);
    Some(Server::Capabilities(ServerCapabilities {
        mandatory: members(&avp::MANDATORY_CAPABILITY).filter_map(|a| a.unsigned32()).collect(),
        optional: members(&avp::OPTIONAL_CAPABILITY).filter_map(|a| a.unsigned32()).collect(),
        names: members(&avp::SERVER_NAME).filter_map(name).collect(),
    }))
}

/// RTR and PPR name the SIP core: Destination-Host is required, Destination-Realm is not.
const TO_SIP_CORE: [Occurrence; 7] = [
    once(&avp::SESSION_ID),
    once(&avp::VENDOR_SPECIFIC_APPLICATION_ID),
    once(&avp::AUTH_SESSION_STATE),
    once(&avp::ORIGIN_HOST),
    once(&avp::ORIGIN_REALM),
    once(&avp::DESTINATION_HOST),
    once(&avp::USER_NAME),
];

fn write_registration_termination(
    writer: &mut AvpWriter<'_>,
    request: &RegistrationTerminationRequest,
) {
    writer.text(&avp::USER_NAME, request.impi.as_str());
    for impu in &request.impus {
        writer.text(&avp::PUBLIC_IDENTITY, impu.as_str());
    }
    writer.group(&avp::DEREGISTRATION_REASON, |members| {
        members.unsigned32(&avp::REASON_CODE, request.reason as u32);
        if let Some(info) = &request.info {
            members.text(&avp::REASON_INFO, info);
        }
    });
}

fn read_registration_termination(
    message: &Message<'_>,
) -> Result<RegistrationTerminationRequest, Rejection> {
    let [_, application, session_state, ..] = check(message.avps(), &TO_SIP_CORE)?;
    check_cx(&application, &session_state)?;
    let impus = read_impus(message)?;
    if impus.len() > IMPUS_MAX {
        return Err(Rejection::new(code::UNABLE_TO_COMPLY, "too many public identities"));
    }
    let (reason, info) = read(message, &avp::DEREGISTRATION_REASON, |group| {
        let reason = match group.member(&avp::REASON_CODE)?.unsigned32()? {
            0 => ReasonCode::PermanentTermination,
            1 => ReasonCode::NewServerAssigned,
            2 => ReasonCode::ServerChange,
            3 => ReasonCode::RemoveSCscf,
            _ => return None,
        };
        let info = group.member(&avp::REASON_INFO);
        Some((reason, info.and_then(|info| bounded_text(&info, REASON_INFO_OCTETS_MAX))))
    })?;
    Ok(RegistrationTerminationRequest {
        impi: read(message, &avp::USER_NAME, read_impi)?,
        impus: impus.into_vec(),
        reason,
        info,
    })
}

fn read_push_profile(message: &Message<'_>) -> Result<PushProfileRequest, Rejection> {
    let [_, application, session_state, ..] = check(message.avps(), &TO_SIP_CORE)?;
    check_cx(&application, &session_state)?;
    let impi = read(message, &avp::USER_NAME, read_impi)?;
    let user_data = match message.find(&avp::USER_DATA) {
        Some(avp) => {
            let decoded = user_data::decode(avp.data);
            Some(decoded.map_err(|_| Rejection::invalid_value(&avp))?)
        }
        None => None,
    };
    Ok(PushProfileRequest { impi, user_data })
}
