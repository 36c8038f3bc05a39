//! Each kind of record is kept by one role, which opens it; all others pass it over.
#![allow(clippy::unwrap_used, reason = "test code")]

use migcore::{
    acm, alias_server, config_server, idms, mc_server, sip_database,
    store::{Owner, RecordKind},
};

/// Which roles open records of a kind: what no build has written is damaged for them, and none of theirs for others.
fn openers(kind: RecordKind) -> Vec<Owner> {
    let nothing = &[];
    let opens = [
        (Owner::SipDatabase, sip_database::StoredRecord::decode(kind, nothing).is_err()),
        (Owner::ConfigServer, config_server::StoredRecord::decode(kind, nothing).is_err()),
        (Owner::Acm, acm::StoredRecord::decode(kind, nothing).is_err()),
        (Owner::AliasServer, alias_server::StoredRecord::decode(kind, nothing).is_err()),
        (Owner::Idms, idms::StoredRecord::decode(kind, nothing).is_err()),
        (Owner::McServer, mc_server::StoredRecord::decode(kind, nothing).is_err()),
    ];
    opens.into_iter().filter(|(_, opens)| *opens).map(|(owner, _)| owner).collect()
}

#[test]
fn every_kind_is_opened_by_the_role_that_keeps_it_and_by_no_other() {
    for kind in RecordKind::ALL {
        // A SIP core has one kind, which needs no opener.
        let wanted = Some(kind.owner()).filter(|owner| *owner != Owner::SipCore);
        assert_eq!(openers(kind), Vec::from_iter(wanted), "{}", kind.name());
    }
}

#[test]
fn what_an_engine_seals_has_fields_that_an_export_leaves_out() {
    for kind in RecordKind::ALL.into_iter().filter(|kind| kind.holds_secrets()) {
        let fields = match kind.owner() {
            Owner::SipDatabase => sip_database::StoredRecord::secret_fields(kind),
            Owner::ConfigServer => config_server::StoredRecord::secret_fields(kind),
            Owner::Acm => acm::StoredRecord::secret_fields(kind),
            Owner::Idms => idms::StoredRecord::secret_fields(kind),
            Owner::SipCore | Owner::AliasServer | Owner::McServer => &[],
        };
        assert!(!fields.is_empty(), "{}", kind.name());
    }
}
