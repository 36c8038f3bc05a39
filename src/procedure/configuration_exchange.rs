//! Exchange of initial MC service UE configuration data: TR 23.700-38, 17 steps. The primary tells the partner
//! how the partner's users reach it.
//!
//! Errata of the text, resolved here: in step 13 it is the server that stores the response, for its client is
//! logged off; step 15 tells of a pending response, not of a request; the manual branch that step 4 refers to
//! is steps 6 to 11. A step of a client or of a person is reported by the server that it reaches.

use super::{Entity, Row};
use crate::step::Step;

use Entity::{
    PartnerAcmClient, PartnerAcmServer, PartnerAdministrator, PrimaryAcmClient, PrimaryAcmServer,
    PrimaryAdministrator,
};

/// The 17 steps, in order.
pub const STEPS: [Row; 17] = [
    row(
        1,
        (PrimaryAcmClient, Some(PrimaryAcmServer)),
        "sends the initial configuration of the primary",
        "acm/begin.rs::begin",
        "xcfg_1_to_5_the_partner_stores_the_request_and_says_that_a_person_must_look",
    ),
    row(
        2,
        (PrimaryAcmServer, None),
        "checks that the user may send it",
        "acm/begin.rs::check_may_request",
        "xcfg_1_to_5_the_partner_stores_the_request_and_says_that_a_person_must_look",
    ),
    row(
        3,
        (PrimaryAcmServer, Some(PartnerAcmServer)),
        "forwards the request",
        "acm/delivery.rs::send_outgoing",
        "xcfg_1_to_5_the_partner_stores_the_request_and_says_that_a_person_must_look",
    ),
    row(
        4,
        (PartnerAcmServer, None),
        "verifies and stores the request; policy decides who answers",
        "acm/incoming.rs::store_request",
        "xcfg_1_to_5_the_partner_stores_the_request_and_says_that_a_person_must_look",
    ),
    row(
        5,
        (PartnerAcmServer, Some(PrimaryAcmServer)),
        "says that a person must look",
        "acm/delivery.rs::send_incoming",
        "xcfg_1_to_5_the_partner_stores_the_request_and_says_that_a_person_must_look",
    ),
    row(
        6,
        (PartnerAdministrator, Some(PartnerAcmClient)),
        "logs on",
        "acm/session.rs::log_on",
        "xcfg_6_to_12_the_partners_administrator_is_told_reads_and_decides",
    ),
    row(
        7,
        (PartnerAcmServer, Some(PartnerAcmClient)),
        "tells that something is pending",
        "acm/notify.rs::notify_session",
        "xcfg_6_to_12_the_partners_administrator_is_told_reads_and_decides",
    ),
    row(
        8,
        (PartnerAcmClient, Some(PartnerAcmServer)),
        "asks what is pending",
        "acm/listing.rs::list",
        "xcfg_6_to_12_the_partners_administrator_is_told_reads_and_decides",
    ),
    row(
        9,
        (PartnerAcmServer, Some(PartnerAcmClient)),
        "delivers the stored request",
        "acm/fetch.rs::fetch_request",
        "xcfg_6_to_12_the_partners_administrator_is_told_reads_and_decides",
    ),
    row(
        10,
        (PartnerAdministrator, Some(PartnerAcmClient)),
        "checks the content and decides",
        "acm/decision.rs::decide",
        "xcfg_6_to_12_the_partners_administrator_is_told_reads_and_decides",
    ),
    row(
        11,
        (PartnerAcmClient, Some(PartnerAcmServer)),
        "answers the request",
        "acm/decision.rs::decide",
        "xcfg_6_to_12_the_partners_administrator_is_told_reads_and_decides",
    ),
    row(
        12,
        (PartnerAcmServer, Some(PrimaryAcmServer)),
        "forwards the response",
        "acm/delivery.rs::send_incoming",
        "xcfg_6_to_12_the_partners_administrator_is_told_reads_and_decides",
    ),
    row(
        13,
        (PrimaryAcmServer, None),
        "stores the response",
        "acm/response.rs::store_response",
        "xcfg_13_to_17_the_response_waits_for_its_administrator",
    ),
    row(
        14,
        (PrimaryAdministrator, Some(PrimaryAcmClient)),
        "logs on",
        "acm/session.rs::log_on",
        "xcfg_13_to_17_the_response_waits_for_its_administrator",
    ),
    row(
        15,
        (PrimaryAcmServer, Some(PrimaryAcmClient)),
        "tells that a response is pending",
        "acm/notify.rs::notify_session",
        "xcfg_13_to_17_the_response_waits_for_its_administrator",
    ),
    row(
        16,
        (PrimaryAcmClient, Some(PrimaryAcmServer)),
        "asks what is pending",
        "acm/listing.rs::list",
        "xcfg_13_to_17_the_response_waits_for_its_administrator",
    ),
    row(
        17,
        (PrimaryAcmServer, Some(PrimaryAcmClient)),
        "delivers the response",
        "acm/fetch.rs::fetch_response",
        "xcfg_13_to_17_the_response_waits_for_its_administrator",
    ),
];

const fn row(
    number: u8,
    (by, to): (Entity, Option<Entity>),
    what: &'static str,
    function: &'static str,
    test: &'static str,
) -> Row {
    Row { step: Step::xcfg(number), by, to, what, function, test }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_17_steps_in_order() {
        let labels: Vec<String> = STEPS.iter().map(|row| row.step.to_string()).collect();
        let wanted: Vec<String> = (1..=17).map(|number| format!("XCFG-{number}")).collect();
        assert_eq!(labels, wanted);
    }
}
