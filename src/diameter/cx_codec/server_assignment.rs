//! SAR and SAA: the report of a registration and its answer (TS 29.229 clauses 6.1.3 and 6.1.4).

use super::{
    super::{
        avp::AvpWriter,
        context::RequestContext,
        cx::{ServerAssignmentAnswer, ServerAssignmentRequest, ServerAssignmentType},
        dictionary as avp,
        message::Message,
        user_data::{self, IMPUS_MAX},
        validate::{Occurrence, Rejection, check, forbidden, once, optional, required, up_to},
    },
    InvalidAnswer,
    parts::{check_cx, check_user_name, read_impi, read_impus, read_result, read_server_name},
};

pub(super) fn write_request(writer: &mut AvpWriter<'_>, request: &ServerAssignmentRequest) {
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

pub(super) fn write_answer(
    writer: &mut AvpWriter<'_>,
    context: &RequestContext,
    answer: &ServerAssignmentAnswer,
) {
    match &answer.impi {
        Some(impi) if !context.has_user_name() => writer.text(&avp::USER_NAME, impi.as_str()),
        _ => context.write_identities(writer),
    }
    if let Some(user_data) = &answer.user_data {
        writer.text(&avp::USER_DATA, &user_data::encode(user_data));
    }
}

const GRAMMAR: [Occurrence; 14] = [
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

pub(super) fn read_request(message: &Message<'_>) -> Result<ServerAssignmentRequest, Rejection> {
    let [
        _,
        application,
        session_state,
        _,
        _,
        _,
        _,
        user_name,
        _,
        server_name,
        assignment,
        user_data_already_available,
        ..,
    ] = check(message.avps(), &GRAMMAR)?;
    check_cx(&application, &session_state)?;
    let impi = match user_name.first {
        None => None,
        user_name => Some(required(user_name, &avp::USER_NAME, read_impi)?),
    };
    Ok(ServerAssignmentRequest {
        impi,
        impus: read_impus(message)?,
        server_name: required(server_name.first, &avp::SERVER_NAME, read_server_name)?,
        assignment: required(assignment.first, &avp::SERVER_ASSIGNMENT_TYPE, |avp| {
            assignment_type(avp.unsigned32()?)
        })?,
        user_data_already_available: required(
            user_data_already_available.first,
            &avp::USER_DATA_ALREADY_AVAILABLE,
            |avp| match avp.unsigned32()? {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            },
        )?,
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

pub(super) fn read_answer(
    message: &Message<'_>,
    asked: &ServerAssignmentRequest,
) -> Result<ServerAssignmentAnswer, InvalidAnswer> {
    let wanted = [&avp::RESULT_CODE, &avp::EXPERIMENTAL_RESULT, &avp::USER_NAME, &avp::USER_DATA];
    let [base, experimental, user_name, user_data] = message.avps().firsts(wanted);
    let result = read_result(base, experimental)?;
    let impi = if let Some(impi) = &asked.impi {
        check_user_name(user_name, impi)?;
        Some(impi.clone())
    } else {
        user_name.and_then(|avp| read_impi(&avp))
    };
    let user_data = match user_data.filter(|_| result.is_success()) {
        Some(avp) => Some(user_data::decode(avp.data).map_err(|_| InvalidAnswer::UserData)?),
        None => None,
    };
    Ok(ServerAssignmentAnswer { result, impi, user_data })
}
