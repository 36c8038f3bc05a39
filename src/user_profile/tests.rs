use super::*;
use crate::identity::Plmn;

const PLAIN: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<mcptt-user-profile \
     xmlns=\"urn:3gpp:mcptt:user-profile:1.0\" XUI-URI=\"sip:alice@a.example\" user-profile-index=\"0\">\n  \
     <ProfileName>one &amp; only</ProfileName>\n  <Common index=\"0\"/>\n</mcptt-user-profile>\n";

fn profile(text: &str) -> Result<UserProfile, ProfileError> {
    UserProfile::parse(ProfileService::Mcptt, text)
}

fn partner(domain: &str) -> MigratablePartner {
    let plmn = Plmn::parse("20801").unwrap();
    let configuration = InitialUeConfiguration::for_domain(domain, plmn).unwrap();
    let system = McSystemId::parse(&format!("sip:{domain}")).unwrap();
    MigratablePartner { system, configuration: Arc::new(configuration) }
}

#[test]
fn the_documents_of_partners_come_out_of_a_profile_as_they_went_in() {
    let any_ext = |inside: &str| PLAIN.replace("</mcptt", &format!("{inside}</mcptt"));
    let prefixed = "<p:mcptt-user-profile xmlns:p=\"urn:3gpp:mcptt:user-profile:1.0\"><p:anyExt>\
                    <x xmlns=\"urn:other\">1</x></p:anyExt><p:Common/></p:mcptt-user-profile>";
    let partners = [partner("b.example"), partner("c.example")];
    for text in [
        PLAIN.to_owned(),
        any_ext("<anyExt></anyExt>"),
        any_ext("<anyExt a='1' />"),
        any_ext("<anyExt/>"),
        any_ext("<anyExt><FunctionalAliasList/></anyExt>"),
        prefixed.to_owned(),
    ] {
        let plain = profile(&text).unwrap();
        assert_eq!(plain.partners().unwrap(), []);
        let full = plain.with_partners(&partners).unwrap();
        assert_eq!(full.partners().unwrap(), partners, "{}", full.as_str());
        for MigratablePartner { configuration, .. } in &partners {
            let document = configuration.render();
            let (_, document) = document.split_once("?>").unwrap();
            assert!(full.as_str().contains(document), "unchanged, octet for octet");
        }
        // What was there is still there, and no partner is there twice.
        let added = full.as_str().len() - text.len();
        assert!(added > 2 * 1_000 && full.as_str().contains("Common"), "{}", full.as_str());
        assert_eq!(full.with_partners(&partners).unwrap(), full);
    }
}

#[test]
fn no_profile_carries_more_partners_than_a_ue_takes() {
    let many: Vec<_> = (0..20).map(|n| partner(&format!("b{n}.example"))).collect();
    let full = profile(PLAIN).unwrap().with_partners(&many).unwrap();
    assert_eq!(full.partners().unwrap(), many[..PARTNERS_MAX]);
}

#[test]
fn what_is_no_profile_of_the_service_is_refused_with_the_reason() {
    let root = "<mcptt-user-profile xmlns=\"urn:3gpp:mcptt:user-profile:1.0\">";
    let inside = |text: &str| format!("{root}<anyExt>{text}</anyExt></mcptt-user-profile>");
    let (open, close) =
        ("<MigratablePartnerMCPTTSystemInfo>", "</MigratablePartnerMCPTTSystemInfo>");
    let id = "<PartnerMCPTTSystemId>sip:b.example</PartnerMCPTTSystemId>";
    let empty = "<mcptt-UE-initial-configuration xmlns=\"urn:3gpp:mcptt:mcpttUEinitConfig:1.0\"></mcptt-UE-initial-configuration>";
    for (text, what) in [
        (String::new(), "well-formed"),
        ("<a>".to_owned(), "root element"),
        (PLAIN.replace("</ProfileName>", ""), "well-formed"),
        (PLAIN.replace("user-profile:1.0", "user-profile:2.0"), "root element"),
        (PLAIN.replace("mcptt-user-profile", "mcdata-user-profile"), "root element"),
        (format!("{PLAIN}{PLAIN}"), "well-formed"),
        (format!("{PLAIN} text"), "well-formed"),
        (PLAIN.replace("?>\n<", "?><!DOCTYPE a [<!ENTITY b \"c\">]><"), "document type"),
        (PLAIN.replace("&amp;", "&b;"), "entity"),
        (PLAIN.replace("index=\"0\"/>", "index=\"0\" index=\"1\"/>"), "attribute"),
        (
            "<mcptt-user-profile xmlns=\"urn:3gpp:mcptt:user-profile:1.0\"/>".to_owned(),
            "no content",
        ),
        (inside(&format!("{open}{close}")), "without its ID"),
        (inside(&format!("{open}{id}{close}")), "without its UE"),
        (inside(&format!("{open}{id}{empty}{close}")), "not valid"),
        (inside(&format!("{open}{}{empty}{close}", id.replace("sip:", "b "))), "ID"),
        (inside(&"<a>".repeat(50)), "too deeply"),
        (inside(&"a".repeat(PROFILE_OCTETS_MAX)), "octets"),
    ] {
        let error = profile(&text).expect_err(&text).to_string();
        assert!(error.contains(what), "{error} should say {what}: {text}");
    }
}

#[test]
fn the_path_of_a_document_is_that_of_its_specification() {
    let paths = ProfileService::ALL.map(|service| service.document_path("sip:a@b", 3));
    assert_eq!(paths[0], "org.3gpp.mcptt.user-profile/users/sip:a@b/mcptt-user-profile-3.xml");
    assert_eq!(paths[2], "org.3gpp.mcdata.user-profile/users/sip:a@b/mcdata-user-profile-3.xml");
    for service in ProfileService::ALL {
        assert_eq!(ProfileService::parse(service.as_str()), Some(service));
    }
}
