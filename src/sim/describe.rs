//! Messages in a few words for the trace, without identities.

use crate::{
    api::{configuration, connection_details, migration_identity::Answer, system_access},
    diameter::cx,
    outbox::Message,
};

/// A message in a few words, without identities.
pub(super) fn describe(message: &Message) -> String {
    match message {
        Message::Sip { octets, .. } => describe_sip(octets),
        Message::CxRequest { request: cx::Request::MultimediaAuth(request), .. } => {
            format!("MAR{}", if request.resync.is_some() { " with AUTS" } else { "" })
        }
        Message::CxRequest { request: cx::Request::ServerAssignment(request), .. } => {
            format!("SAR {:?}", request.assignment)
        }
        Message::CxAnswer { answer: cx::Answer::MultimediaAuth(answer), .. } => {
            format!("MAA {:?}", answer.result)
        }
        Message::CxAnswer { answer: cx::Answer::ServerAssignment(answer), .. } => {
            format!("SAA {:?}", answer.result)
        }
        Message::Management { answer: Answer::Refused(refusal), .. } => {
            format!("management answer: {refusal}")
        }
        Message::Management { .. } => "management answer".to_owned(),
        Message::ManagementRequest { .. } => "management request".to_owned(),
        Message::ConnectionDetailsRequest(_) => "connection details request".to_owned(),
        Message::ConnectionDetails {
            answer: connection_details::Answer::Refused(refusal), ..
        } => {
            format!("connection details answer: {refusal}")
        }
        Message::ConnectionDetails { .. } => "connection details answer".to_owned(),
        Message::SystemAccessRequest { .. } => "system access request".to_owned(),
        Message::SystemAccess { answer: system_access::Answer::Refused(refusal), .. } => {
            format!("system access answer: {refusal}")
        }
        Message::SystemAccess { .. } => "system access answer".to_owned(),
        Message::Configuration { answer: configuration::Answer::Refused(refusal), .. } => {
            format!("configuration answer: {refusal}")
        }
        Message::Configuration { .. } => "configuration answer".to_owned(),
        Message::Registration { .. } => "registration answer".to_owned(),
        Message::ConfigurationRequest { .. } => "configuration request".to_owned(),
        Message::Acm(_) => "ACM message".to_owned(),
        Message::Idms(_) => "message of an identity management server".to_owned(),
    }
}

/// The start line's kind and a digest of all octets.
pub(super) fn describe_sip(octets: &[u8]) -> String {
    let line = octets.split(|octet| *octet == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let words = match line.strip_prefix("SIP/2.0 ") {
        Some(rest) => rest.to_owned(),
        None => line.split(' ').next().unwrap_or_default().to_owned(),
    };
    format!("{words} #{:08x}", super::trace::digest(octets))
}
