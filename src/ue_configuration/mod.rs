//! The initial MC service UE configuration data: table A.6-1 of TS 23.280 as the document
//! `mcptt-UE-initial-configuration` of TS 24.484 clause 7.2.
//!
//! [`InitialUeConfiguration`] is a valid document and renders in one canonical form; [`Document`] and its
//! parts are what it holds. What a later version of the schema puts into an `anyExt` is kept.
//!
//! The schema is followed, with these decisions:
//!
//! * `Timers` of `on-network` and all of `off-network` may be left out: systems exchange the part of table
//!   A.6-1, which has neither. `on-network` must be there, once, and `off-network` at most once.
//! * What the schema does not name is refused outside of an `anyExt`, whatever its namespace. Only hints
//!   where a schema is (`xsi:schemaLocation`) are dropped, with comments and processing instructions.
//! * Simple values are of the form that their specification gives: PLMN IDs, DNNs, S-NSSAIs, URIs.

mod document;
mod element;
mod extension;
mod fields;
mod owner;
mod read;
mod render;
mod template;
mod timers;
mod values;
mod xml;

use std::fmt;

use zeroize::Zeroizing;

use crate::identity::Plmn;

pub use self::{
    document::{
        AppServerInfo, Credentials, DataNetwork, DefaultUserProfile, Document, Extension, Hplmn,
        ImeiRange, Name, OffNetwork, OnNetwork, SerialNumbers, ServiceConnections, ServiceDetails,
        Slice, TlsTunnelAuthMethod, UeId, UeIdEntry, UserPassword, Vplmn,
    },
    element::Element,
    fields::TEXT_OCTETS_MAX,
    owner::MASK,
    read::{NAMES_MAX, UE_IDS_MAX, VPLMNS_MAX},
    timers::{OffNetworkCounters, OffNetworkTimers, OnNetworkTimers},
    values::{
        DNN_LABEL_OCTETS_MAX, DNN_OCTETS_MAX, PduSessionType, PersonalText, SNssai, Service,
        URI_OCTETS_MAX,
    },
    xml::{ATTRIBUTES_MAX, DEPTH_MAX, ELEMENTS_MAX, NAME_OCTETS_MAX},
};

/// Longest document, octets; as it came and as it renders.
pub const DOCUMENT_OCTETS_MAX: usize = 65_536;
/// Media type of a document (TS 24.484 clause 7.2.2.4).
pub const MEDIA_TYPE: &str = "application/vnd.3gpp.mcptt-ue-init-config+xml";
/// Namespace of a document (TS 24.484 clause 7.2.2.2).
pub const NAMESPACE: &str = "urn:3gpp:mcptt:mcpttUEinitConfig:1.0";
/// XCAP application unique ID of documents (TS 24.484 clause 7.2.2.2).
pub const AUID: &str = "org.3gpp.mcptt.ue-init-config";

/// Local name of the root element.
const ROOT: &str = "mcptt-UE-initial-configuration";

/// The initial UE configuration of one MC system. It holds secrets and names of users: only its domain
/// prints.
#[derive(Clone, Eq, PartialEq)]
pub struct InitialUeConfiguration {
    document: Document,
    /// Length as it renders, octets.
    octets: usize,
}

/// Why a document is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{element} {what}")]
pub struct DocumentError {
    /// The path of the element or attribute that is wrong, such as `on-network/HPLMN@PLMN`.
    pub element: String,
    /// What is wrong with it, and what to write.
    pub what: &'static str,
}

impl InitialUeConfiguration {
    /// Parses and validates a document.
    ///
    /// # Errors
    ///
    /// [`DocumentError`] names the first element that is wrong.
    pub fn parse(document: &str) -> Result<Self, DocumentError> {
        let root = xml::read(document)?;
        let document = read::document(&root)?;
        let octets = Zeroizing::new(render::render(&document, 2 * DOCUMENT_OCTETS_MAX)).len();
        if octets > DOCUMENT_OCTETS_MAX {
            let what = "has too many octets in canonical form: leave out what no UE needs";
            return Err(DocumentError { element: ROOT.to_owned(), what });
        }
        Ok(Self { document, octets })
    }

    /// Validates what a program put together.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`] of the document as it renders.
    pub fn new(document: &Document) -> Result<Self, DocumentError> {
        Self::parse(&Zeroizing::new(render::render(document, DOCUMENT_OCTETS_MAX)))
    }

    /// Renders the document. The text holds secrets: who keeps it has to protect it.
    pub fn render(&self) -> String {
        render::render(&self.document, self.octets)
    }

    /// What the document says.
    pub const fn document(&self) -> &Document {
        &self.document
    }

    /// The domain of the MC system, a URI or a domain name.
    pub fn domain(&self) -> &str {
        &self.document.domain
    }

    /// The servers that a UE is told of.
    pub const fn servers(&self) -> &AppServerInfo {
        &self.document.on_network.servers
    }

    /// The data networks or PDNs to use in `plmn`: those of the visited PLMN if it is listed, else those of
    /// the home PLMN.
    pub fn connections_in(&self, plmn: &Plmn) -> &ServiceConnections {
        let hplmn = &self.document.on_network.hplmn;
        let visited = hplmn.vplmns.iter().find(|vplmn| vplmn.plmn == *plmn);
        visited.map_or(&hplmn.service, |vplmn| &vplmn.service)
    }

    /// The server of a service, if the document has details of it.
    pub fn server_uri(&self, service: Service) -> Option<&str> {
        self.document.on_network.extensions.iter().find_map(|extension| {
            let Extension::ServiceDetails(of, details) = extension else { return None };
            (*of == service).then_some(details.server_uri.as_str())
        })
    }

    /// The label of the MC service UE. Empty or absent where a system tells another one: that must not
    /// remove a label set before (TS 23.280 clause 10.17.2.13, NOTE 2).
    pub fn label(&self) -> Option<&str> {
        self.document.extensions.iter().find_map(|extension| {
            let Extension::Label(label) = extension else { return None };
            Some(label.as_str())
        })
    }
}

impl fmt::Debug for InitialUeConfiguration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InitialUeConfiguration({}, {} octets)", self.domain(), self.octets)
    }
}

impl serde::Serialize for InitialUeConfiguration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(self.render()))
    }
}

impl<'de> serde::Deserialize<'de> for InitialUeConfiguration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}
