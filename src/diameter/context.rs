//! What is kept of a received request to answer it, and the answers that reject it
//! (RFC 6733 sections 6.2 and 7.2).

use std::fmt;

use bytes::BytesMut;

use super::{
    avp::{Avp, AvpWriter},
    dictionary as avp,
    local::Origin,
    message::{
        self, APPLICATION_CX, FLAG_ERROR, FLAG_PROXIABLE, Header, Message, MessageTooLong, command,
    },
    validate::{Rejection, code},
};

/// Longest Session-Id, octets.
pub const SESSION_ID_OCTETS_MAX: usize = 1_024;
/// Most octets of all Proxy-Info AVPs of a request together.
pub const PROXY_INFO_OCTETS_MAX: usize = 4_096;

/// What is kept of a received request to answer it. Consumed by the one answer.
pub struct RequestContext {
    /// The connection that it came by, and that the answer must leave by.
    pub(super) connection: u64,
    header: Header,
    /// What the answer repeats, encoded: Session-Id, then the identities as received, then the Proxy-Info AVPs in
    /// the order received. Identities as received, because an S-CSCF looks its own vector request up by the text
    /// that it sent: what is echoed must not be the canonical form.
    echo: BytesMut,
    /// Where the identities begin in `echo`.
    identities_at: usize,
    /// Where the Proxy-Info AVPs begin in `echo`.
    proxy_info_at: usize,
    has_user_name: bool,
}

impl RequestContext {
    /// Keeps the header of a request that came by this connection.
    pub fn new(connection: u64, header: Header) -> Self {
        Self {
            connection,
            header,
            echo: BytesMut::new(),
            identities_at: 0,
            proxy_info_at: 0,
            has_user_name: false,
        }
    }

    /// Keeps what the AVPs of `request` say, as far as they can be read.
    ///
    /// # Errors
    ///
    /// The [`Rejection`] if what must be kept is too long.
    pub fn keep(&mut self, request: &Message<'_>) -> Result<(), Rejection> {
        let wanted = [&avp::SESSION_ID, &avp::USER_NAME, &avp::PUBLIC_IDENTITY, &avp::PROXY_INFO];
        let [session_id, user_name, public_identity, proxy_info] = request.avps().firsts(wanted);
        let command = request.header.command;
        let is_vector_request = command == command::MULTIMEDIA_AUTH;
        let echoes_user = is_vector_request || command == command::SERVER_ASSIGNMENT;
        let user_name = user_name.filter(|avp| echoes_user && is_echoed(avp));
        let public_identity = public_identity.filter(|avp| is_vector_request && is_echoed(avp));

        let kept = [session_id, user_name, public_identity];
        let octets = kept.iter().flatten().map(|avp| avp.octets.len() + ROOM_OCTETS).sum();
        self.echo.reserve(octets);
        if let Some(session_id) = session_id {
            if session_id.data.len() > SESSION_ID_OCTETS_MAX {
                return Err(Rejection::invalid_value(&session_id));
            }
            AvpWriter::new(&mut self.echo).octets(&avp::SESSION_ID, session_id.data);
        }
        (self.identities_at, self.proxy_info_at) = (self.echo.len(), self.echo.len());
        if proxy_info.is_some() {
            check_proxy_info(request)?;
        }
        let mut writer = AvpWriter::new(&mut self.echo);
        if let Some(user_name) = user_name {
            writer.octets(&avp::USER_NAME, user_name.data);
        }
        if let Some(public_identity) = public_identity {
            writer.octets(&avp::PUBLIC_IDENTITY, public_identity.data);
        }
        self.has_user_name = user_name.is_some();
        self.proxy_info_at = self.echo.len();
        if proxy_info.is_some() {
            let mut writer = AvpWriter::new(&mut self.echo);
            request.avps().all(&avp::PROXY_INFO).for_each(|avp| writer.copy(&avp));
        }
        Ok(())
    }

    /// Command-Code of the request.
    pub const fn command(&self) -> u32 {
        self.header.command
    }

    /// The End-to-End Identifier of the request, for traces.
    pub const fn end_to_end(&self) -> u32 {
        self.header.end_to_end
    }

    /// The header of the answer.
    pub(super) const fn answer_header(&self, error: bool) -> Header {
        let flags = self.header.flags & FLAG_PROXIABLE | if error { FLAG_ERROR } else { 0 };
        Header { flags, ..self.header }
    }

    pub(super) fn write_session_id(&self, writer: &mut AvpWriter<'_>) {
        writer.encoded(self.echo.get(..self.identities_at).unwrap_or_default());
    }

    /// Echoes the identities of the request.
    pub(super) fn write_identities(&self, writer: &mut AvpWriter<'_>) {
        let identities = self.echo.get(self.identities_at..self.proxy_info_at);
        writer.encoded(identities.unwrap_or_default());
    }

    /// Whether the request had a User-Name.
    pub(super) const fn has_user_name(&self) -> bool {
        self.has_user_name
    }

    pub(super) fn write_proxy_info(&self, writer: &mut AvpWriter<'_>) {
        writer.encoded(self.echo.get(self.proxy_info_at..).unwrap_or_default());
    }
}

impl fmt::Debug for RequestContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestContext").field("header", &self.header).finish_non_exhaustive()
    }
}

/// Longest identity that is echoed, octets; what is longer is rejected anyway.
const ECHO_OCTETS_MAX: usize = 1_024;

/// Octets of room for an AVP beyond those that it came in: it may lack its Vendor-Id and its padding.
const ROOM_OCTETS: usize = 8;

fn is_echoed(avp: &Avp<'_>) -> bool {
    avp.data.len() <= ECHO_OCTETS_MAX
}

fn check_proxy_info(request: &Message<'_>) -> Result<(), Rejection> {
    let mut octets = 0;
    for avp in request.avps().all(&avp::PROXY_INFO) {
        if octets + avp.octets.len() > PROXY_INFO_OCTETS_MAX {
            return Err(Rejection::new(code::UNABLE_TO_COMPLY, "too much Proxy-Info"));
        }
        octets += avp.octets.len().next_multiple_of(4);
    }
    Ok(())
}

/// Encodes the answer that rejects a request. Protocol errors (3xxx) have the E bit and the general
/// error format, permanent failures of Cx commands the format of the command.
///
/// # Errors
///
/// [`MessageTooLong`] is not to be expected: everything in the answer is bounded.
pub fn encode_rejection(
    context: &RequestContext,
    origin: &Origin,
    rejection: &Rejection,
    out: &mut BytesMut,
) -> Result<(), MessageTooLong> {
    let error = rejection.result_code / 1_000 == 3;
    let cx = !error && context.header.application == APPLICATION_CX;
    message::write(out, &context.answer_header(error), |writer| {
        context.write_session_id(writer);
        if cx {
            write_cx_application(writer);
            writer.unsigned32(&avp::RESULT_CODE, rejection.result_code);
            writer.unsigned32(&avp::AUTH_SESSION_STATE, NO_STATE_MAINTAINED);
            write_origin(writer, origin);
        } else {
            write_origin(writer, origin);
            writer.unsigned32(&avp::RESULT_CODE, rejection.result_code);
        }
        match &rejection.failed_avp {
            Some(failed_avp) => {
                writer.group(&avp::FAILED_AVP, |members| members.encoded(failed_avp));
            }
            None => writer.text(&avp::ERROR_MESSAGE, rejection.error_message),
        }
        context.write_identities(writer);
        context.write_proxy_info(writer);
    })
}

/// Auth-Session-State: no session outlives the answer (TS 29.229 clause 5.3).
pub(super) const NO_STATE_MAINTAINED: u32 = 1;

/// Writes Vendor-Specific-Application-Id for Cx.
pub(super) fn write_cx_application(writer: &mut AvpWriter<'_>) {
    writer.group(&avp::VENDOR_SPECIFIC_APPLICATION_ID, |members| {
        members.unsigned32(&avp::VENDOR_ID, avp::VENDOR_3GPP);
        members.unsigned32(&avp::AUTH_APPLICATION_ID, APPLICATION_CX);
    });
}

/// Writes Origin-Host and Origin-Realm.
pub(super) fn write_origin(writer: &mut AvpWriter<'_>, origin: &Origin) {
    writer.text(&avp::ORIGIN_HOST, origin.host.as_str());
    writer.text(&avp::ORIGIN_REALM, origin.realm.as_str());
}
