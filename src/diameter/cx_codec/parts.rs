//! What the Cx commands have in common, written and read.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{
    super::{
        avp::{Avp, AvpWriter, Occurred},
        context::{NO_STATE_MAINTAINED, write_cx_application, write_origin},
        cx::ResultCode,
        dictionary as avp,
        local::{DiameterIdentity, Origin},
        message::{APPLICATION_CX, FLAG_PROXIABLE, FLAG_REQUEST, Header, Message},
        validate::Rejection,
    },
    Envelope, InvalidAnswer, SERVER_NAME_OCTETS_MAX,
};
use crate::identity::{Impi, Impu};

/// The header of a Cx request.
pub(super) const fn request_header(envelope: &Envelope<'_>, command: u32) -> Header {
    Header {
        flags: FLAG_REQUEST | FLAG_PROXIABLE,
        command,
        application: APPLICATION_CX,
        hop_by_hop: envelope.hop_by_hop,
        end_to_end: envelope.end_to_end,
    }
}

/// Writes what every Cx request begins with. RTR and PPR have Destination-Host first.
pub(super) fn write_envelope(
    writer: &mut AvpWriter<'_>,
    envelope: &Envelope<'_>,
    host_first: bool,
) {
    writer.text(&avp::SESSION_ID, envelope.session_id);
    write_cx_application(writer);
    writer.unsigned32(&avp::AUTH_SESSION_STATE, NO_STATE_MAINTAINED);
    write_origin(writer, envelope.origin);
    let host = envelope.destination.host.as_ref().map(DiameterIdentity::as_str);
    if let Some(host) = host.filter(|_| host_first) {
        writer.text(&avp::DESTINATION_HOST, host);
    }
    writer.text(&avp::DESTINATION_REALM, envelope.destination.realm.as_str());
    if let Some(host) = host.filter(|_| !host_first) {
        writer.text(&avp::DESTINATION_HOST, host);
    }
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

/// Checks what every Cx request says about application and session.
pub(super) fn check_cx(
    application: &Occurred<'_>,
    session_state: &Occurred<'_>,
) -> Result<(), Rejection> {
    if let Some(application) = application.first {
        let members = application.group().firsts([&avp::VENDOR_ID, &avp::AUTH_APPLICATION_ID]);
        let [vendor, id] = members.map(|avp| avp.and_then(|avp| avp.unsigned32()));
        if (vendor, id) != (Some(avp::VENDOR_3GPP), Some(APPLICATION_CX)) {
            return Err(Rejection::invalid_value(&application));
        }
    }
    match session_state.first {
        // Whoever maintains state may ask so; the answer says that we do not.
        Some(state) if state.unsigned32().is_none_or(|value| value > NO_STATE_MAINTAINED) => {
            Err(Rejection::invalid_value(&state))
        }
        _ => Ok(()),
    }
}

/// Reads Server-Name.
pub(super) fn read_server_name(avp: &Avp<'_>) -> Option<Arc<str>> {
    bounded(avp, SERVER_NAME_OCTETS_MAX).map(Arc::from)
}

/// Reads text of 1 to `octets_max` octets.
pub(super) fn bounded_text(avp: &Avp<'_>, octets_max: usize) -> Option<String> {
    bounded(avp, octets_max).map(str::to_owned)
}

fn bounded<'a>(avp: &Avp<'a>, octets_max: usize) -> Option<&'a str> {
    avp.text().filter(|text| (1..=octets_max).contains(&text.len()))
}

/// Reads the result: Result-Code or Experimental-Result.
pub(super) fn read_result(
    base: Option<Avp<'_>>,
    experimental: Option<Avp<'_>>,
) -> Result<ResultCode, InvalidAnswer> {
    let result = match (base, experimental) {
        (Some(base), None) => base.unsigned32().map(ResultCode::Base),
        (None, Some(experimental)) => {
            let wanted = [&avp::VENDOR_ID, &avp::EXPERIMENTAL_RESULT_CODE];
            let members = experimental.group().firsts(wanted);
            let [vendor, code] = members.map(|avp| avp.and_then(|avp| avp.unsigned32()));
            code.filter(|_| vendor == Some(avp::VENDOR_3GPP)).map(ResultCode::Experimental)
        }
        _ => None,
    };
    result.ok_or(InvalidAnswer::Result)
}

/// Reads an IMPI.
pub(super) fn read_impi(avp: &Avp<'_>) -> Option<Impi> {
    Impi::parse(avp.text()?).ok()
}

/// Reads an IMPU.
pub(super) fn read_impu(avp: &Avp<'_>) -> Option<Impu> {
    Impu::parse(avp.text()?).ok()
}

/// Reads all Public-Identity AVPs.
pub(super) fn read_impus(message: &Message<'_>) -> Result<SmallVec<[Impu; 1]>, Rejection> {
    let impu = |avp| read_impu(&avp).ok_or_else(|| Rejection::invalid_value(&avp));
    message.avps().all(&avp::PUBLIC_IDENTITY).map(impu).collect()
}

/// Checks that User-Name, where it is echoed, is the one that was asked about.
pub(super) fn check_user_name(echo: Option<Avp<'_>>, asked: &Impi) -> Result<(), InvalidAnswer> {
    let Some(echo) = echo else { return Ok(()) };
    // Mostly it is the very text that was sent: only another one is worth parsing.
    let is_same =
        echo.data == asked.as_str().as_bytes() || read_impi(&echo).as_ref() == Some(asked);
    if is_same { Ok(()) } else { Err(InvalidAnswer::OtherUser) }
}

/// Checks that Public-Identity, where it is echoed, is the one that was asked about.
pub(super) fn check_public_identity(
    echo: Option<Avp<'_>>,
    asked: &Impu,
) -> Result<(), InvalidAnswer> {
    let Some(echo) = echo else { return Ok(()) };
    let is_same =
        echo.data == asked.as_str().as_bytes() || read_impu(&echo).as_ref() == Some(asked);
    if is_same { Ok(()) } else { Err(InvalidAnswer::OtherUser) }
}
