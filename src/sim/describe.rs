//! Messages in a few words for the trace, without identities.

use crate::{
    api::{
        acm_client, acm_interconnection, configuration, connection_details,
        migration_identity::Answer, system_access,
    },
    diameter::cx,
    outbox::{AcmMessage, Message},
};

/// A message in a few words, without identities.
pub(super) fn describe(message: &Message) -> String {
    match message {
        Message::Sip { octets, .. } | Message::SipRequest { octets, .. } => describe_sip(octets),
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
        Message::Acm(message) => describe_acm(message),
        Message::Idms(_) => "message of an identity management server".to_owned(),
    }
}

/// A message of an ACM server or of a functional alias controlling server.
fn describe_acm(message: &AcmMessage) -> String {
    use acm_interconnection::{Answer, Request};
    match message {
        AcmMessage::Request { request: Request::Submit(it), .. } => {
            format!("ACM request: {}", it.payload.kind().as_str())
        }
        AcmMessage::Request { request: Request::Pending(_), .. } => {
            "ACM request: pending".to_owned()
        }
        AcmMessage::Request { request: Request::Cancel(_), .. } => "ACM request: cancel".to_owned(),
        AcmMessage::Request { request: Request::Decided(it), .. } => {
            format!("ACM request: decided {}", it.result.as_str())
        }
        AcmMessage::Answer { answer: Answer::Decided(it), .. } => {
            format!("ACM answer: decided {}", it.result.as_str())
        }
        AcmMessage::Answer { answer: Answer::Refused(it), .. } => {
            format!("ACM answer: refused {}", it.code.as_str())
        }
        AcmMessage::Answer { answer, .. } => format!("ACM answer: {answer:?}"),
        AcmMessage::Client { answer: acm_client::Answer::Refused(it), .. } => {
            format!("ACM client answer: refused {}", it.code.as_str())
        }
        AcmMessage::Client { answer, .. } => {
            let what = match answer {
                acm_client::Answer::Begun(_) => "begun",
                acm_client::Answer::Decided(_) => "decided",
                acm_client::Answer::AlreadyDecided(_) => "already decided",
                acm_client::Answer::LoggedOn(_) => "logged on",
                acm_client::Answer::Item(_) => "item",
                acm_client::Answer::Page(_) => "page",
                acm_client::Answer::Done
                | acm_client::Answer::Groups(_)
                | acm_client::Answer::Progress(_)
                | acm_client::Answer::Refused(_)
                | acm_client::Answer::NotAuthenticated => "other",
            };
            format!("ACM client answer: {what}")
        }
        AcmMessage::Notification { notification, .. } => {
            let what = if notification.is_response { "response" } else { "request" };
            format!("notification: {} {what} pending", notification.kind.as_str())
        }
        AcmMessage::Management { .. } => "ACM management answer".to_owned(),
        AcmMessage::UserConfigurationRequest { .. } => "user configuration request".to_owned(),
        AcmMessage::UserConfiguration(reply) => match &reply.outcome {
            Ok(Some(own)) => format!("user configuration of revision {}", own.revision),
            Ok(None) => "no user configuration".to_owned(),
            Err(_) => "user configuration unavailable".to_owned(),
        },
        AcmMessage::SubscribeAliases => "aliases subscribed".to_owned(),
        AcmMessage::AliasEvent(_) => "alias event".to_owned(),
        AcmMessage::Aliases { .. } => "alias management answer".to_owned(),
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
