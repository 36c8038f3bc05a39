//! The AVPs of the base protocol (RFC 6733 section 4.5) and of Cx (TS 29.229 clause 6.3).
//!
//! An AVP that is not here is unknown: it is ignored, or refused if its M bit is set.

use super::avp::{AvpId, FLAG_MANDATORY, FLAG_VENDOR};

/// Vendor-Id of 3GPP.
pub const VENDOR_3GPP: u32 = 10_415;

/// What is known of an AVP.
#[derive(Debug)]
pub struct Definition {
    /// Which AVP.
    pub id: AvpId,
    /// Its name in the specification.
    pub name: &'static str,
    /// The format of its data.
    pub format: Format,
    /// Whether we set the M bit.
    pub mandatory: bool,
}

impl Definition {
    /// The flags that we send it with.
    pub const fn flags(&self) -> u8 {
        let vendor = if self.id.vendor == 0 { 0 } else { FLAG_VENDOR };
        let mandatory = if self.mandatory { FLAG_MANDATORY } else { 0 };
        vendor | mandatory
    }
}

/// Formats of AVP data (RFC 6733 sections 4.2 and 4.3), as far as they are checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// Any octets.
    OctetString,
    /// UTF-8 text; also what is derived from it: `DiameterIdentity`, `DiameterURI`.
    Text,
    /// 4 octets; Enumerated and Time too.
    Unsigned32,
    /// 2 octets of address family, then the address.
    Address,
    /// AVPs.
    Grouped,
}

impl Format {
    /// The least number of octets that data of this format has.
    pub const fn octets_min(self) -> usize {
        match self {
            Self::OctetString | Self::Text | Self::Grouped => 0,
            Self::Unsigned32 => 4,
            Self::Address => 6,
        }
    }

    /// Whether data of this format can have this number of octets.
    pub const fn allows_octets(self, octets: usize) -> bool {
        match self {
            Self::OctetString | Self::Text | Self::Grouped => true,
            Self::Unsigned32 => octets == 4,
            Self::Address => octets == 6 || octets == 18,
        }
    }
}

/// Defines each AVP as a static, the look-up of all of them, and for the tests a table of them.
macro_rules! definitions {
    ($($ident:ident = $vendor:tt, $code:literal, $name:literal, $format:ident, $mandatory:literal;)*) => {
        $(
            #[doc = concat!("The AVP ", $name, ".")]
            pub static $ident: Definition = Definition {
                id: AvpId { vendor: $vendor, code: $code },
                name: $name,
                format: Format::$format,
                mandatory: $mandatory,
            };
        )*

        /// Returns what is known of an AVP.
        pub fn definition(id: AvpId) -> Option<&'static Definition> {
            match (id.vendor, id.code) {
                $(($vendor, $code) => Some(&$ident),)*
                _ => None,
            }
        }

        #[cfg(test)]
        static ALL: &[&Definition] = &[$(&$ident),*];
    };
}

definitions! {
    USER_NAME = 0, 1, "User-Name", Text, true;
    FRAMED_IP_ADDRESS = 0, 8, "Framed-IP-Address", OctetString, true;
    CLASS = 0, 25, "Class", OctetString, true;
    SESSION_TIMEOUT = 0, 27, "Session-Timeout", Unsigned32, true;
    PROXY_STATE = 0, 33, "Proxy-State", OctetString, true;
    EVENT_TIMESTAMP = 0, 55, "Event-Timestamp", Unsigned32, true;
    FRAMED_INTERFACE_ID = 0, 96, "Framed-Interface-Id", OctetString, true;
    FRAMED_IPV6_PREFIX = 0, 97, "Framed-IPv6-Prefix", OctetString, true;
    DIGEST_REALM = 0, 104, "Digest-Realm", Text, true;
    DIGEST_QOP = 0, 110, "Digest-QoP", Text, true;
    DIGEST_ALGORITHM = 0, 111, "Digest-Algorithm", Text, true;
    DIGEST_HA1 = 0, 121, "Digest-HA1", Text, true;
    HOST_IP_ADDRESS = 0, 257, "Host-IP-Address", Address, true;
    AUTH_APPLICATION_ID = 0, 258, "Auth-Application-Id", Unsigned32, true;
    ACCT_APPLICATION_ID = 0, 259, "Acct-Application-Id", Unsigned32, true;
    VENDOR_SPECIFIC_APPLICATION_ID = 0, 260, "Vendor-Specific-Application-Id", Grouped, true;
    REDIRECT_HOST_USAGE = 0, 261, "Redirect-Host-Usage", Unsigned32, true;
    REDIRECT_MAX_CACHE_TIME = 0, 262, "Redirect-Max-Cache-Time", Unsigned32, true;
    SESSION_ID = 0, 263, "Session-Id", Text, true;
    ORIGIN_HOST = 0, 264, "Origin-Host", Text, true;
    SUPPORTED_VENDOR_ID = 0, 265, "Supported-Vendor-Id", Unsigned32, true;
    VENDOR_ID = 0, 266, "Vendor-Id", Unsigned32, true;
    FIRMWARE_REVISION = 0, 267, "Firmware-Revision", Unsigned32, false;
    RESULT_CODE = 0, 268, "Result-Code", Unsigned32, true;
    PRODUCT_NAME = 0, 269, "Product-Name", Text, false;
    DISCONNECT_CAUSE = 0, 273, "Disconnect-Cause", Unsigned32, true;
    AUTH_SESSION_STATE = 0, 277, "Auth-Session-State", Unsigned32, true;
    ORIGIN_STATE_ID = 0, 278, "Origin-State-Id", Unsigned32, true;
    FAILED_AVP = 0, 279, "Failed-AVP", Grouped, true;
    PROXY_HOST = 0, 280, "Proxy-Host", Text, true;
    ERROR_MESSAGE = 0, 281, "Error-Message", Text, false;
    ROUTE_RECORD = 0, 282, "Route-Record", Text, true;
    DESTINATION_REALM = 0, 283, "Destination-Realm", Text, true;
    PROXY_INFO = 0, 284, "Proxy-Info", Grouped, true;
    REDIRECT_HOST = 0, 292, "Redirect-Host", Text, true;
    DESTINATION_HOST = 0, 293, "Destination-Host", Text, true;
    ERROR_REPORTING_HOST = 0, 294, "Error-Reporting-Host", Text, false;
    ORIGIN_REALM = 0, 296, "Origin-Realm", Text, true;
    EXPERIMENTAL_RESULT = 0, 297, "Experimental-Result", Grouped, true;
    EXPERIMENTAL_RESULT_CODE = 0, 298, "Experimental-Result-Code", Unsigned32, true;
    INBAND_SECURITY_ID = 0, 299, "Inband-Security-Id", Unsigned32, true;
    DRMP = 0, 301, "DRMP", Unsigned32, false;
    VISITED_NETWORK_IDENTIFIER = VENDOR_3GPP, 600, "Visited-Network-Identifier", OctetString, true;
    PUBLIC_IDENTITY = VENDOR_3GPP, 601, "Public-Identity", Text, true;
    SERVER_NAME = VENDOR_3GPP, 602, "Server-Name", Text, true;
    SERVER_CAPABILITIES = VENDOR_3GPP, 603, "Server-Capabilities", Grouped, true;
    MANDATORY_CAPABILITY = VENDOR_3GPP, 604, "Mandatory-Capability", Unsigned32, true;
    OPTIONAL_CAPABILITY = VENDOR_3GPP, 605, "Optional-Capability", Unsigned32, true;
    USER_DATA = VENDOR_3GPP, 606, "User-Data", OctetString, true;
    SIP_NUMBER_AUTH_ITEMS = VENDOR_3GPP, 607, "SIP-Number-Auth-Items", Unsigned32, true;
    SIP_AUTHENTICATION_SCHEME = VENDOR_3GPP, 608, "SIP-Authentication-Scheme", Text, true;
    SIP_AUTHENTICATE = VENDOR_3GPP, 609, "SIP-Authenticate", OctetString, true;
    SIP_AUTHORIZATION = VENDOR_3GPP, 610, "SIP-Authorization", OctetString, true;
    SIP_AUTHENTICATION_CONTEXT = VENDOR_3GPP, 611, "SIP-Authentication-Context", OctetString, true;
    SIP_AUTH_DATA_ITEM = VENDOR_3GPP, 612, "SIP-Auth-Data-Item", Grouped, true;
    SIP_ITEM_NUMBER = VENDOR_3GPP, 613, "SIP-Item-Number", Unsigned32, true;
    SERVER_ASSIGNMENT_TYPE = VENDOR_3GPP, 614, "Server-Assignment-Type", Unsigned32, true;
    DEREGISTRATION_REASON = VENDOR_3GPP, 615, "Deregistration-Reason", Grouped, true;
    REASON_CODE = VENDOR_3GPP, 616, "Reason-Code", Unsigned32, true;
    REASON_INFO = VENDOR_3GPP, 617, "Reason-Info", Text, true;
    CHARGING_INFORMATION = VENDOR_3GPP, 618, "Charging-Information", Grouped, true;
    PRIMARY_EVENT_CHARGING_FUNCTION_NAME = VENDOR_3GPP, 619, "Primary-Event-Charging-Function-Name", Text, true;
    SECONDARY_EVENT_CHARGING_FUNCTION_NAME = VENDOR_3GPP, 620, "Secondary-Event-Charging-Function-Name", Text, true;
    PRIMARY_CHARGING_COLLECTION_FUNCTION_NAME = VENDOR_3GPP, 621, "Primary-Charging-Collection-Function-Name", Text, true;
    SECONDARY_CHARGING_COLLECTION_FUNCTION_NAME = VENDOR_3GPP, 622, "Secondary-Charging-Collection-Function-Name", Text, true;
    USER_AUTHORIZATION_TYPE = VENDOR_3GPP, 623, "User-Authorization-Type", Unsigned32, true;
    USER_DATA_ALREADY_AVAILABLE = VENDOR_3GPP, 624, "User-Data-Already-Available", Unsigned32, true;
    CONFIDENTIALITY_KEY = VENDOR_3GPP, 625, "Confidentiality-Key", OctetString, true;
    INTEGRITY_KEY = VENDOR_3GPP, 626, "Integrity-Key", OctetString, true;
    SUPPORTED_FEATURES = VENDOR_3GPP, 628, "Supported-Features", Grouped, true;
    FEATURE_LIST_ID = VENDOR_3GPP, 629, "Feature-List-ID", Unsigned32, true;
    FEATURE_LIST = VENDOR_3GPP, 630, "Feature-List", Unsigned32, true;
    ASSOCIATED_IDENTITIES = VENDOR_3GPP, 632, "Associated-Identities", Grouped, true;
    ORIGINATING_REQUEST = VENDOR_3GPP, 633, "Originating-Request", Unsigned32, true;
    WILDCARDED_PUBLIC_IDENTITY = VENDOR_3GPP, 634, "Wildcarded-Public-Identity", Text, false;
    SIP_DIGEST_AUTHENTICATE = VENDOR_3GPP, 635, "SIP-Digest-Authenticate", Grouped, false;
    WILDCARDED_IMPU = VENDOR_3GPP, 636, "Wildcarded-IMPU", Text, false;
    UAR_FLAGS = VENDOR_3GPP, 637, "UAR-Flags", Unsigned32, false;
    LOOSE_ROUTE_INDICATION = VENDOR_3GPP, 638, "Loose-Route-Indication", Unsigned32, false;
    SCSCF_RESTORATION_INFO = VENDOR_3GPP, 639, "SCSCF-Restoration-Info", Grouped, false;
    LIA_FLAGS = VENDOR_3GPP, 653, "LIA-Flags", Unsigned32, false;
    SAR_FLAGS = VENDOR_3GPP, 655, "SAR-Flags", Unsigned32, false;
    LINE_IDENTIFIER = 13_019, 500, "Line-Identifier", OctetString, true;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_is_found_by_its_identity() {
        for expected in ALL {
            let found = definition(expected.id).expect(expected.name);
            assert_eq!(found.name, expected.name);
        }
    }

    #[test]
    fn a_code_of_another_vendor_is_another_avp() {
        assert!(definition(AvpId { vendor: 0, code: 623 }).is_none());
        assert!(definition(AvpId { vendor: VENDOR_3GPP, code: 263 }).is_none());
    }
}
