//! The types of the document: every element that the schema of TS 24.484 clause 7.2.2.3 names.
//!
//! Fields are in the order of the schema. A field `extensions` is the content of the element's `anyExt`;
//! an `anyExt` without content and none are the same.

use super::{
    element::Element,
    timers::{OffNetworkCounters, OffNetworkTimers, OnNetworkTimers},
    values::{PduSessionType, PersonalText, SNssai, Service},
};
use crate::{identity::Plmn, secret::SecretText};

/// The document `mcptt-UE-initial-configuration`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Document {
    /// The domain of the MC system, a URI or a domain name.
    pub domain: String,
    /// XUI of the user that the document is for, a URI.
    pub xui_uri: Option<PersonalText>,
    /// Instance ID of the UE that the document is for, a URN.
    pub instance_id_urn: Option<PersonalText>,
    /// Names of the configuration, one for each language.
    pub names: Vec<Name>,
    /// The UEs that the document is for; all if there is none.
    pub ue_id: Option<UeId>,
    /// The user profile that applies before a user has logged on.
    pub default_user_profile: Option<DefaultUserProfile>,
    /// The on-network part.
    pub on_network: OnNetwork,
    /// The off-network part. An exchange between systems may leave it out.
    pub off_network: Option<OffNetwork>,
    /// `anyExt`: the label of the MC service UE, and what later versions add.
    pub extensions: Vec<Extension>,
}

/// `name`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Name {
    /// `xml:lang`.
    pub language: Option<String>,
    /// `index`.
    pub index: Option<String>,
    /// The name, without white space around it.
    pub text: String,
}

/// `mcptt-UE-id`: the UEs that a document is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UeId {
    /// `index`.
    pub index: Option<String>,
    /// Each UE or range of UEs.
    pub ids: Vec<UeIdEntry>,
    /// `anyExt`.
    pub extensions: Vec<Extension>,
}

/// A UE or a range of UEs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum UeIdEntry {
    /// `Instance-ID-URN`.
    InstanceIdUrn(PersonalText),
    /// `IMEI-range`.
    ImeiRange(ImeiRange),
}

/// `IMEI-range`: UEs of one type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImeiRange {
    /// `index`.
    pub index: Option<String>,
    /// Type allocation code, 8 digits.
    pub tac: String,
    /// The UEs of this type that are meant; all if there is none.
    pub serial_numbers: Vec<SerialNumbers>,
    /// `anyExt`.
    pub extensions: Vec<Extension>,
}

/// Serial numbers of UEs, 6 digits each.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SerialNumbers {
    /// `SNR`: one.
    One(PersonalText),
    /// `SNR-range`: from `Low-SNR` to `High-SNR`, both included.
    Range {
        /// `index`.
        index: Option<String>,
        /// `Low-SNR`.
        low: PersonalText,
        /// `High-SNR`.
        high: PersonalText,
        /// `anyExt`.
        extensions: Vec<Extension>,
    },
}

/// `Default-user-profile`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DefaultUserProfile {
    /// `User-ID`, a URI.
    pub user_id: PersonalText,
    /// `user-profile-index`.
    pub user_profile_index: u8,
    /// `index`.
    pub index: Option<String>,
}

/// `on-network`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OnNetwork {
    /// `index`.
    pub index: Option<String>,
    /// `Timers`. Mandatory in the schema; an exchange between systems may carry table A.6-1 only.
    pub timers: Option<OnNetworkTimers>,
    /// `HPLMN`.
    pub hplmn: Hplmn,
    /// `App-Server-Info`.
    pub servers: AppServerInfo,
    /// `GMS-URI`.
    pub gms_uri: String,
    /// `group-creation-XUI`, a URI.
    pub group_creation_xui: PersonalText,
    /// `GMS-XCAP-root-URI`.
    pub gms_xcap_root_uri: String,
    /// `CMS-XCAP-root-URI`.
    pub cms_xcap_root_uri: String,
    /// `integrity-protection-enabled`: of what, TS 33.180 says.
    pub integrity_protection_enabled: bool,
    /// `confidentiality-protection-enabled`: of what, TS 33.180 says.
    pub confidentiality_protection_enabled: bool,
    /// `anyExt`: details of the services, S-NSSAIs, data networks.
    pub extensions: Vec<Extension>,
}

/// `HPLMN`: the home PLMN that the data pertains to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hplmn {
    /// `PLMN`.
    pub plmn: Plmn,
    /// `service`: what to use in this PLMN.
    pub service: ServiceConnections,
    /// `VPLMN`: what to use in visited PLMNs.
    pub vplmns: Vec<Vplmn>,
    /// `anyExt`.
    pub extensions: Vec<Extension>,
}

/// `VPLMN`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Vplmn {
    /// `PLMN`.
    pub plmn: Plmn,
    /// `service`: what to use in this PLMN.
    pub service: ServiceConnections,
    /// `anyExt`.
    pub extensions: Vec<Extension>,
}

/// `service`: the data networks (DNN) or PDNs (APN) of the services in one PLMN.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceConnections {
    /// `MCPTT-to-con-ref`: of the MC services.
    pub mc_services: String,
    /// `MC-common-core-to-con-ref`: of the MC common core services.
    pub common_core: String,
    /// `MC-ID-to-con-ref`: of the MC identity management service.
    pub identity_management: String,
    /// `anyExt`: the S-NSSAIs of the services.
    pub extensions: Vec<Extension>,
}

/// `App-Server-Info`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AppServerInfo {
    /// `idms-auth-endpoint`, an HTTP URI.
    pub idms_auth_endpoint: String,
    /// `idms-token-endpoint`, an HTTP URI.
    pub idms_token_endpoint: String,
    /// `http-proxy`, an HTTP URI. Where there is no proxy, the element is empty.
    pub http_proxy: Option<String>,
    /// `gms`, a URI.
    pub gms: String,
    /// `cms`, a URI.
    pub cms: String,
    /// `kms`, a URI.
    pub kms: String,
    /// `tls-tunnel-auth-method`.
    pub tls_tunnel_auth_method: TlsTunnelAuthMethod,
    /// `anyExt`: location management server, client ID of the IdM client.
    pub extensions: Vec<Extension>,
}

/// `tls-tunnel-auth-method`: how UE and HTTP proxy authenticate each other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsTunnelAuthMethod {
    /// `mutual-authentication`: by both; else by the proxy alone.
    pub mutual_authentication: bool,
    /// `x509`: a certificate.
    pub x509: Option<String>,
    /// `key`: a pre-shared key.
    pub key: Option<SecretText>,
    /// `anyExt`.
    pub extensions: Vec<Extension>,
}

/// `off-network`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OffNetwork {
    /// `index`.
    pub index: Option<String>,
    /// `Timers`. Mandatory in the schema; an exchange between systems may carry table A.6-1 only.
    pub timers: Option<OffNetworkTimers>,
    /// `Counters`. Mandatory in the schema; an exchange between systems may carry table A.6-1 only.
    pub counters: Option<OffNetworkCounters>,
    /// `anyExt`.
    pub extensions: Vec<Extension>,
}

/// An element of an `anyExt`. The schema lets each stand in any `anyExt`; where it belongs, its type says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Extension {
    /// `MCPTT-Service-Details` and its like; in `on-network`.
    ServiceDetails(Service, ServiceDetails),
    /// `SNSSAI`; in `on-network`.
    Slice(Slice),
    /// `DN-Info`; in `on-network`. The schema has its type but declares no element; this is our name.
    DataNetwork(DataNetwork),
    /// `MCPTT-ref-SNSSAI` and its like: the slice of a service; in `service`.
    SliceOf(Service, SNssai),
    /// `PDU-Session-Type`; in the details of a service. The schema has its type but declares no element;
    /// this is our name.
    PduSessionType(PduSessionType),
    /// `lms`: location management server, a URI; in `App-Server-Info`.
    Lms(String),
    /// `Idm-Client-Id`: OAuth 2.0 client ID of the UE's IdM client; in `App-Server-Info`.
    IdmClientId(String),
    /// `mcServiceUELabel`: label of the MC service UE; in the root. Blank where a system tells another.
    Label(String),
    /// Anything else, unchanged.
    Other(Element),
}

/// Details of a service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceDetails {
    /// `IPv6-Required`: reached over IPv6; else over IPv4.
    pub ipv6_required: bool,
    /// `Server-URI`.
    pub server_uri: String,
    /// `anyExt`: the PDU session type.
    pub extensions: Vec<Extension>,
}

/// `SNSSAI`: a network slice and how to be admitted to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Slice {
    /// `SNSSAI`.
    pub s_nssai: SNssai,
    /// `NSSAA-Server`: authenticates for this slice, a URI.
    pub nssaa_server: Option<String>,
    /// `credentials`.
    pub credentials: Option<Credentials>,
    /// `anyExt`.
    pub extensions: Vec<Extension>,
}

/// `DN-Info`: a data network and how to be admitted to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DataNetwork {
    /// `DNN`.
    pub dnn: String,
    /// `DN-AAA-Server`: authenticates for this data network, a URI.
    pub aaa_server: Option<String>,
    /// `credentials`.
    pub credentials: Option<Credentials>,
    /// `Pap-parameters`.
    pub pap: Option<UserPassword>,
    /// `Chap-parameters`.
    pub chap: Option<UserPassword>,
    /// `anyExt`.
    pub extensions: Vec<Extension>,
}

/// `credentials`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credentials {
    /// `ID`.
    pub id: Option<PersonalText>,
    /// `anyExt`.
    pub extensions: Vec<Extension>,
}

/// The parameters of PAP and of CHAP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UserPassword {
    /// `user-name`.
    pub user_name: PersonalText,
    /// `password`.
    pub password: SecretText,
}
