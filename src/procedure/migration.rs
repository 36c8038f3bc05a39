//! Connectivity to the partner MC system for migration: TR 23.781 clause 6.2 (solution 2), 25 steps.
//!
//! Errata of the text, resolved here: step 7 refers to "step 2" and means step 3; step 21 names the
//! private identity twice and means the public one the second time; steps 17 to 20 say "the primary
//! MC system's identities" also where step 7 gave outbound ones: they are always the pair of step 7,
//! and only the primary's SIP database translates outbound to real.

use super::{Entity, Row};
use crate::step::Step;

use Entity::{
    PartnerConfigServer, PartnerSipCore, PartnerSipDatabase, PrimaryConfigServer,
    PrimarySipDatabase, Ue,
};

/// The 25 steps, in order.
pub const STEPS: [Row; 25] = [
    code(
        1,
        (Ue, Some(PrimaryConfigServer)),
        "asks for connection details of a partner MC system",
        "ue/configuration_client.rs::ask",
        "step_1_asks_for_connection_details_with_the_users_wish_and_location",
    ),
    code(
        2,
        (PrimaryConfigServer, None),
        "checks that the user may migrate",
        "config_server/details.rs::check_user_may_migrate",
        "step_2_lets_nobody_go_who_may_not_migrate",
    ),
    code(
        3,
        (PrimaryConfigServer, None),
        "chooses the partner: by wish or by location",
        "config_server/choice.rs::choose",
        "step_3_takes_the_partner_asked_for_else_one_by_location",
    ),
    code(
        4,
        (PrimaryConfigServer, Some(PrimarySipDatabase)),
        "asks for outbound migration identities",
        "config_server/details.rs::ask_for_outbound",
        "step_4_asks_for_an_outbound_pair_for_use_at_the_chosen_partner",
    ),
    code(
        5,
        (PrimarySipDatabase, None),
        "lends an outbound pair and binds it to the real one",
        "sip_database/outbound.rs::bind_outbound",
        "step_5_lends_an_outbound_pair_and_binds_it_to_the_real_one",
    ),
    code(
        6,
        (PrimarySipDatabase, Some(PrimaryConfigServer)),
        "answers with the outbound pair",
        "sip_database/outbound.rs::bind_outbound",
        "step_6_answers_with_the_outbound_pair_after_it_is_durable",
    ),
    code(
        7,
        (PrimaryConfigServer, Some(PartnerConfigServer)),
        "asks the partner for access",
        "config_server/details.rs::ask_partner",
        "step_7_asks_the_chosen_partner_under_the_pair_lent",
    ),
    code(
        8,
        (PartnerConfigServer, None),
        "checks that this system and this user may come here",
        "config_server/access.rs::check_user_may_come",
        "step_8_checks_the_peer_and_then_its_user",
    ),
    code(
        9,
        (PartnerConfigServer, Some(PartnerSipDatabase)),
        "asks for inbound migration identities",
        "config_server/access.rs::ask_for_inbound",
        "step_9_asks_for_an_inbound_pair_under_the_agreement",
    ),
    code(
        10,
        (PartnerSipDatabase, None),
        "lends an inbound pair and binds it to the primary-side one",
        "sip_database/inbound.rs::bind_inbound",
        "step_10_lends_an_inbound_pair_and_binds_it_to_the_primary_side_one",
    ),
    code(
        11,
        (PartnerSipDatabase, Some(PartnerConfigServer)),
        "answers with the inbound pair",
        "sip_database/inbound.rs::bind_inbound",
        "step_11_answers_with_the_inbound_pair_after_it_is_durable",
    ),
    code(
        12,
        (PartnerConfigServer, Some(PrimaryConfigServer)),
        "grants access: inbound pair, configuration",
        "config_server/access.rs::grant",
        "step_12_grants_the_inbound_pair_with_the_configuration_of_the_system",
    ),
    code(
        13,
        (PrimaryConfigServer, Some(Ue)),
        "answers with inbound pair and configuration",
        "config_server/details.rs::answer_details",
        "step_13_answers_with_the_inbound_pair_and_the_configuration",
    ),
    code(
        14,
        (Ue, None),
        "establishes bearers and authenticates the MC service user",
        "ue/configuration_client.rs::prepare_access",
        "step_14_prepares_access_with_nothing_but_the_answer",
    ),
    code(
        15,
        (Ue, Some(PartnerSipCore)),
        "registers by SIP with the inbound pair",
        "ue/agent.rs::register",
        "step_15_registers_with_the_inbound_pair",
    ),
    code(
        16,
        (PartnerSipCore, Some(PartnerSipDatabase)),
        "asks for authentication information on the inbound pair",
        "sip_core/challenge.rs::request_vector",
        "step_16_asks_its_database_for_one_vector",
    ),
    code(
        17,
        (PartnerSipDatabase, None),
        "finds the primary SIP database and the primary-side pair by the binding",
        "sip_database/forward.rs::forward",
        "step_17_finds_the_primary_by_the_binding",
    ),
    code(
        18,
        (PartnerSipDatabase, Some(PrimarySipDatabase)),
        "asks the primary for authentication information on the primary-side pair",
        "sip_database/forward.rs::forward",
        "step_18_asks_the_primary_with_the_primary_side_pair",
    ),
    code(
        19,
        (PrimarySipDatabase, Some(PartnerSipDatabase)),
        "recognizes the pair and answers with a vector and the pair it was asked with",
        "sip_database/vectors.rs::answer_partner",
        "step_19_answers_with_a_vector_and_the_pair_it_was_asked_with",
    ),
    code(
        20,
        (PartnerSipDatabase, None),
        "translates the primary-side pair back to the inbound one",
        "sip_database/forward.rs::translate_back",
        "step_20_translates_back_to_the_inbound_pair",
    ),
    code(
        21,
        (PartnerSipDatabase, Some(PartnerSipCore)),
        "answers with the vector on the inbound pair",
        "sip_database/forward.rs::translate_back",
        "step_21_answers_the_core_with_the_vector",
    ),
    code(
        22,
        (PartnerSipCore, Some(Ue)),
        "challenges the UE",
        "sip_core/challenge.rs::challenge",
        "step_22_challenges_with_rand_and_autn",
    ),
    code(
        23,
        (Ue, Some(PartnerSipCore)),
        "answers the challenge with the primary's ISIM key",
        "ue/agent.rs::answer_challenge",
        "step_23_answers_with_the_home_key_and_the_inbound_identity",
    ),
    code(
        24,
        (PartnerSipCore, Some(Ue)),
        "verifies the answer and confirms the registration",
        "sip_core/registered.rs::confirm",
        "step_24_confirms_only_a_verified_and_durable_registration",
    ),
    code(
        25,
        (Ue, None),
        "is registered in the partner MC system",
        "ue/agent.rs::registered",
        "step_25_is_registered_with_what_the_sip_core_granted",
    ),
];

const fn code(
    number: u8,
    (by, to): (Entity, Option<Entity>),
    what: &'static str,
    function: &'static str,
    test: &'static str,
) -> Row {
    Row { step: Step::mig(number), by, to, what, function, test }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_25_steps_in_order() {
        let labels: Vec<String> = STEPS.iter().map(|row| row.step.to_string()).collect();
        let wanted: Vec<String> = (1..=25).map(|number| format!("MIG-{number}")).collect();
        assert_eq!(labels, wanted);
    }
}
