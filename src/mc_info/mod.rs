//! What an MC client tells an MC server of itself in the body of a SIP request: the documents `mcptt-info`,
//! `mcvideo-info` and `mcdata-info` (TS 24.379 annex F.1, TS 24.281 annex F.1, TS 24.282 annex D.1) as far as service
//! authorisation is concerned, and its service settings ([`settings`]).
//!
//! A document is read once, without a tree, and bounded; what else is in it is passed over.

mod read;
pub mod settings;

use std::fmt::{self, Write};

use quick_xml::escape::escape;

pub use self::read::InfoError;
use crate::{secret::SecretText, user_profile::ProfileService};

/// Longest identifier of a client, octets.
pub const CLIENT_ID_OCTETS_MAX: usize = 255;

/// What a client says. The token never prints.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct ServiceInfo {
    /// The access token that the identity management server gave to the client.
    pub access_token: Option<SecretText>,
    /// The MC client ID, a URN.
    pub client_id: Option<String>,
}

/// The names of one service in SIP.
#[derive(Clone, Copy, Debug)]
struct Names {
    media_type: &'static str,
    namespace: &'static str,
    feature_tag: &'static str,
    icsi: &'static str,
}

const fn names(service: ProfileService) -> Names {
    match service {
        ProfileService::Mcptt => Names {
            media_type: "application/vnd.3gpp.mcptt-info+xml",
            namespace: "urn:3gpp:ns:mcpttInfo:1.0",
            feature_tag: "+g.3gpp.mcptt",
            icsi: "urn:urn-7:3gpp-service.ims.icsi.mcptt",
        },
        ProfileService::Mcvideo => Names {
            media_type: "application/vnd.3gpp.mcvideo-info+xml",
            namespace: "urn:3gpp:ns:mcvideoInfo:1.0",
            feature_tag: "+g.3gpp.mcvideo",
            icsi: "urn:urn-7:3gpp-service.ims.icsi.mcvideo",
        },
        ProfileService::Mcdata => Names {
            media_type: "application/vnd.3gpp.mcdata-info+xml",
            namespace: "urn:3gpp:ns:mcdataInfo:1.0",
            feature_tag: "+g.3gpp.mcdata.sds",
            icsi: "urn:urn-7:3gpp-service.ims.icsi.mcdata",
        },
    }
}

/// Media type of the document of a service.
pub const fn media_type(service: ProfileService) -> &'static str {
    names(service).media_type
}

/// The media feature tag by which a client says that it has a service, as a parameter of Contact. For data, that of the
/// short data service.
pub const fn feature_tag(service: ProfileService) -> &'static str {
    names(service).feature_tag
}

/// The IMS communication service identifier of a service.
pub const fn icsi(service: ProfileService) -> &'static str {
    names(service).icsi
}

/// The service that a parameter of Contact is the media feature tag of. Data has one for each of its parts.
pub fn service_of_feature_tag(name: &str) -> Option<ProfileService> {
    let name = name.to_ascii_lowercase();
    ProfileService::ALL.into_iter().find(|service| match service {
        ProfileService::Mcdata => name == "+g.3gpp.mcdata" || name.starts_with("+g.3gpp.mcdata."),
        ProfileService::Mcptt | ProfileService::Mcvideo => name == feature_tag(*service),
    })
}

/// The parameters of a Contact that has these services: their feature tags, and all ICSIs in one parameter (TS 24.379
/// clause 7.2.1). Each begins with its semicolon.
pub fn contact_parameters(services: &[ProfileService]) -> String {
    let mut parameters = String::new();
    for service in services {
        parameters.push(';');
        parameters.push_str(feature_tag(*service));
    }
    if !services.is_empty() {
        let icsis = services.iter().map(|service| icsi(*service).replace(':', "%3A"));
        let icsis: Vec<String> = icsis.collect();
        let _ = write!(parameters, ";+g.3gpp.icsi-ref=\"{}\"", icsis.join(",")); // a String takes everything
    }
    parameters
}

impl ServiceInfo {
    /// Reads the document of a service.
    ///
    /// # Errors
    ///
    /// [`InfoError`]: the first thing that is wrong.
    pub fn parse(service: ProfileService, document: &str) -> Result<Self, InfoError> {
        read::read(service, document)
    }

    /// Writes the document of a service, nothing of it encrypted.
    pub fn render(&self, service: ProfileService) -> SecretText {
        let name = service.as_str();
        let token = self.access_token.as_ref().map(SecretText::expose);
        let fields = [("access-token", token), ("client-id", self.client_id.as_deref())];
        let octets = fields.iter().filter_map(|(_, value)| value.map(str::len)).sum::<usize>();
        // Never grown, unless something is escaped, so that no copy of the token is left behind.
        let mut document = String::with_capacity(octets + 1_024);
        let mut write = |part: &str| document.push_str(part);
        write("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<");
        for part in [name, "info xmlns=\"", names(service).namespace, "\"><", name, "-Params>"] {
            write(part);
        }
        for (field, value) in fields {
            let Some(value) = value else { continue };
            for part in ["<", name, "-", field, " type=\"Normal\"><", name, "String>"] {
                write(part);
            }
            write(&escape(value));
            for part in ["</", name, "String></", name, "-", field, ">"] {
                write(part);
            }
        }
        for part in ["</", name, "-Params></", name, "info>\r\n"] {
            write(part);
        }
        SecretText::new(document)
    }
}

/// Shows what is there, not what it is.
impl fmt::Debug for ServiceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceInfo")
            .field("access_token", &self.access_token)
            .field("has_client_id", &self.client_id.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rendered_reads_as_it_was() {
        for service in ProfileService::ALL {
            for token in [None, Some(SecretText::new("a.b.c<&>\"'"))] {
                for client_id in [None, Some("urn:uuid:<1>".to_owned())] {
                    let info = ServiceInfo { access_token: token.clone(), client_id };
                    let document = info.render(service);
                    assert_eq!(ServiceInfo::parse(service, document.expose()), Ok(info));
                }
            }
        }
    }

    #[test]
    fn a_token_never_prints() {
        let access_token = Some(SecretText::new("header.claims.signature"));
        let info = ServiceInfo { access_token, client_id: Some("urn:uuid:1".to_owned()) };
        let shown = format!("{info:?} {:?}", info.render(ProfileService::Mcptt));
        assert!(!shown.contains("claims") && !shown.contains("uuid"), "{shown}");
    }

    #[test]
    fn a_contact_says_its_services_by_their_tags_and_one_list_of_icsis() {
        let parameters = contact_parameters(&[ProfileService::Mcptt, ProfileService::Mcdata]);
        assert_eq!(
            parameters,
            ";+g.3gpp.mcptt;+g.3gpp.mcdata.sds;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.mcptt,\
             urn%3Aurn-7%3A3gpp-service.ims.icsi.mcdata\""
        );
        for (name, service) in [
            ("+G.3gpp.mcptt", Some(ProfileService::Mcptt)),
            ("+g.3gpp.mcvideo", Some(ProfileService::Mcvideo)),
            ("+g.3gpp.mcdata.fd", Some(ProfileService::Mcdata)),
            ("+g.3gpp.mcdatax", None),
            ("+g.3gpp.mcptt.x", None),
            ("+sip.instance", None),
        ] {
            assert_eq!(service_of_feature_tag(name), service, "{name}");
        }
    }
}
