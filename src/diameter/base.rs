//! The commands of the base protocol that two peers exchange: capabilities, watchdog, disconnect
//! (RFC 6733 sections 5.3 to 5.5).

use std::net::IpAddr;

use bytes::BytesMut;

use super::{
    avp::AvpWriter,
    context::{RequestContext, write_cx_application, write_origin},
    dictionary as avp,
    local::{DiameterIdentity, LocalNode, Origin},
    message::{
        self, APPLICATION_BASE, APPLICATION_CX, APPLICATION_RELAY, FLAG_REQUEST, Header, Message,
        MessageTooLong, command,
    },
    validate::{Occurrence, Rejection, check, forbidden, once, optional, read},
};

/// Product-Name in capabilities exchanges.
pub const PRODUCT_NAME: &str = "migcore";

/// Result-Code `DIAMETER_SUCCESS`.
const SUCCESS: u32 = 2001;

/// Why a peer takes a connection down (Disconnect-Cause, RFC 6733 section 5.4.3); the discriminant
/// is the wire value.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u32)]
pub enum DisconnectCause {
    /// It restarts: connect again later.
    Rebooting = 0,
    /// It has no resources to spare.
    Busy = 1,
    /// It expects no traffic: do not connect again without need.
    DoNotWantToTalkToYou = 2,
}

impl DisconnectCause {
    const fn from_wire(value: u32) -> Option<Self> {
        match value {
            0 => Some(Self::Rebooting),
            1 => Some(Self::Busy),
            2 => Some(Self::DoNotWantToTalkToYou),
            _ => None,
        }
    }
}

/// What a capabilities exchange says about the peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Capabilities {
    /// Origin-Host and Origin-Realm.
    pub(super) origin: Origin,
    /// Whether it serves Cx, or relays every application.
    pub(super) cx: bool,
}

/// Encodes a CER.
pub(super) fn encode_capabilities_request(
    local: &LocalNode,
    hop_by_hop: u32,
    out: &mut BytesMut,
) -> Result<(), MessageTooLong> {
    let header = request_header(command::CAPABILITIES_EXCHANGE, hop_by_hop, local);
    message::write(out, &header, |writer| write_capabilities(writer, local))
}

/// Encodes a CEA of success.
pub(super) fn encode_capabilities_answer(
    context: &RequestContext,
    local: &LocalNode,
    out: &mut BytesMut,
) -> Result<(), MessageTooLong> {
    message::write(out, &context.answer_header(false), |writer| {
        writer.unsigned32(&avp::RESULT_CODE, SUCCESS);
        write_capabilities(writer, local);
    })
}

/// Encodes a CEA that refuses the peer, in the grammar of the command.
pub(super) fn encode_capabilities_refusal(
    context: &RequestContext,
    local: &LocalNode,
    rejection: &Rejection,
    out: &mut BytesMut,
) -> Result<(), MessageTooLong> {
    let error = rejection.result_code / 1_000 == 3;
    message::write(out, &context.answer_header(error), |writer| {
        writer.unsigned32(&avp::RESULT_CODE, rejection.result_code);
        write_node(writer, local);
        if let Some(failed_avp) = &rejection.failed_avp {
            writer.group(&avp::FAILED_AVP, |members| members.encoded(failed_avp));
        }
    })
}

/// Encodes a DWR.
pub(super) fn encode_watchdog_request(
    local: &LocalNode,
    hop_by_hop: u32,
    out: &mut BytesMut,
) -> Result<(), MessageTooLong> {
    let header = request_header(command::DEVICE_WATCHDOG, hop_by_hop, local);
    message::write(out, &header, |writer| {
        write_origin(writer, local.origin());
        writer.unsigned32(&avp::ORIGIN_STATE_ID, local.origin_state_id());
    })
}

/// Encodes a DWA.
pub(super) fn encode_watchdog_answer(
    context: &RequestContext,
    local: &LocalNode,
    out: &mut BytesMut,
) -> Result<(), MessageTooLong> {
    message::write(out, &context.answer_header(false), |writer| {
        writer.unsigned32(&avp::RESULT_CODE, SUCCESS);
        write_origin(writer, local.origin());
        writer.unsigned32(&avp::ORIGIN_STATE_ID, local.origin_state_id());
    })
}

/// Encodes a DPR.
pub(super) fn encode_disconnect_request(
    local: &LocalNode,
    hop_by_hop: u32,
    cause: DisconnectCause,
    out: &mut BytesMut,
) -> Result<(), MessageTooLong> {
    let header = request_header(command::DISCONNECT_PEER, hop_by_hop, local);
    message::write(out, &header, |writer| {
        write_origin(writer, local.origin());
        writer.unsigned32(&avp::DISCONNECT_CAUSE, cause as u32);
    })
}

/// Encodes a DPA.
pub(super) fn encode_disconnect_answer(
    context: &RequestContext,
    local: &LocalNode,
    out: &mut BytesMut,
) -> Result<(), MessageTooLong> {
    message::write(out, &context.answer_header(false), |writer| {
        writer.unsigned32(&avp::RESULT_CODE, SUCCESS);
        write_origin(writer, local.origin());
    })
}

/// Decodes and checks a CER. Host-IP-Address may be missing: Kamailio sends none.
pub(super) fn decode_capabilities_request(
    message: &Message<'_>,
) -> Result<Capabilities, Rejection> {
    const GRAMMAR: [Occurrence; 6] = [
        once(&avp::ORIGIN_HOST),
        once(&avp::ORIGIN_REALM),
        once(&avp::VENDOR_ID),
        once(&avp::PRODUCT_NAME),
        optional(&avp::ORIGIN_STATE_ID),
        forbidden(&avp::RESULT_CODE),
    ];
    check(message.avps(), &GRAMMAR)?;
    read_capabilities(message)
}

/// Decodes a CEA of success; any other is its Result-Code, 0 if it has none.
pub(super) fn decode_capabilities_answer(message: &Message<'_>) -> Result<Capabilities, u32> {
    let result_code = message.find(&avp::RESULT_CODE).and_then(|avp| avp.unsigned32());
    if result_code.is_none_or(|code| code / 1_000 != 2) {
        return Err(result_code.unwrap_or_default());
    }
    read_capabilities(message).map_err(|_| 0)
}

/// Checks a DWR.
pub(super) fn check_watchdog_request(message: &Message<'_>) -> Result<(), Rejection> {
    const GRAMMAR: [Occurrence; 4] = [
        once(&avp::ORIGIN_HOST),
        once(&avp::ORIGIN_REALM),
        optional(&avp::ORIGIN_STATE_ID),
        forbidden(&avp::RESULT_CODE),
    ];
    check(message.avps(), &GRAMMAR).map(drop)
}

/// Decodes and checks a DPR.
pub(super) fn decode_disconnect_request(
    message: &Message<'_>,
) -> Result<DisconnectCause, Rejection> {
    const GRAMMAR: [Occurrence; 4] = [
        once(&avp::ORIGIN_HOST),
        once(&avp::ORIGIN_REALM),
        once(&avp::DISCONNECT_CAUSE),
        forbidden(&avp::RESULT_CODE),
    ];
    check(message.avps(), &GRAMMAR)?;
    read(message, &avp::DISCONNECT_CAUSE, |avp| DisconnectCause::from_wire(avp.unsigned32()?))
}

fn request_header(command: u32, hop_by_hop: u32, local: &LocalNode) -> Header {
    let end_to_end = local.next_end_to_end();
    Header { flags: FLAG_REQUEST, command, application: APPLICATION_BASE, hop_by_hop, end_to_end }
}

/// Cx is advertised in both ways that peers look for: vendor-specific, and plain.
fn write_capabilities(writer: &mut AvpWriter<'_>, local: &LocalNode) {
    write_node(writer, local);
    writer.unsigned32(&avp::ORIGIN_STATE_ID, local.origin_state_id());
    writer.unsigned32(&avp::SUPPORTED_VENDOR_ID, avp::VENDOR_3GPP);
    writer.unsigned32(&avp::AUTH_APPLICATION_ID, APPLICATION_CX);
    write_cx_application(writer);
}

fn write_node(writer: &mut AvpWriter<'_>, local: &LocalNode) {
    write_origin(writer, local.origin());
    for address in local.host_addresses() {
        write_address(writer, *address);
    }
    writer.unsigned32(&avp::VENDOR_ID, avp::VENDOR_3GPP);
    writer.text(&avp::PRODUCT_NAME, PRODUCT_NAME);
}

/// Address family numbers of IANA: 1 is IPv4, 2 is IPv6.
fn write_address(writer: &mut AvpWriter<'_>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            writer.octets(&avp::HOST_IP_ADDRESS, &[0, 1, a, b, c, d]);
        }
        IpAddr::V6(address) => {
            let mut data = [0; 18];
            for (to, from) in data.iter_mut().zip([0, 2].into_iter().chain(address.octets())) {
                *to = from;
            }
            writer.octets(&avp::HOST_IP_ADDRESS, &data);
        }
    }
}

fn read_capabilities(message: &Message<'_>) -> Result<Capabilities, Rejection> {
    let host = read(message, &avp::ORIGIN_HOST, |avp| DiameterIdentity::parse(avp.text()?).ok())?;
    let realm = read(message, &avp::ORIGIN_REALM, |avp| DiameterIdentity::parse(avp.text()?).ok())?;
    let is_cx =
        |application: Option<u32>| matches!(application, Some(APPLICATION_CX | APPLICATION_RELAY));
    let plain = message.avps().all(&avp::AUTH_APPLICATION_ID).any(|avp| is_cx(avp.unsigned32()));
    let specific = message.avps().all(&avp::VENDOR_SPECIFIC_APPLICATION_ID).any(|avp| {
        let application = avp.member(&avp::AUTH_APPLICATION_ID);
        application.is_some_and(|avp| is_cx(avp.unsigned32()))
    });
    Ok(Capabilities { origin: Origin { host, realm }, cx: plain || specific })
}
