//! The configuration file: every mistake is named with its line and what to write instead.
#![cfg(feature = "node")]

use std::time::Duration;

use migcore::node::config::{Config, PeerKind, Problem, REFERENCE};

const MINIMAL: &str = "[system]\ndomain = \"a.example\"\n";

fn problems(toml: &str) -> Vec<Problem> {
    Config::parse(toml).expect_err(toml)
}

#[test]
fn a_domain_is_all_that_a_configuration_needs() {
    let config = Config::parse(MINIMAL).unwrap();
    assert_eq!(config.system.domain, "a.example");
    assert_eq!(config.diameter.identity.as_str(), "sipdb.a.example");
    assert_eq!(config.sip.vector_timeout, Duration::from_secs(4));
    assert!(config.roles.sip_core && config.roles.sip_database);
    assert!(config.management.unwrap().ip().is_loopback());
}

#[test]
fn the_reference_shows_every_key_with_its_default() {
    let mut shown = Config::parse(REFERENCE).unwrap();
    assert_eq!(shown.diameter.peers.len(), 1);
    assert_eq!(shown.diameter.peers[0].kind, PeerKind::Database);
    shown.diameter.peers.clear();
    assert_eq!(shown, Config::parse(MINIMAL).unwrap());

    for section in ["", "system", "sip", "sip_database", "diameter", "admin", "management", "log"] {
        let unknown = match section {
            "" => format!("zzzzzz = 1\n{MINIMAL}"),
            "system" => format!("{MINIMAL}zzzzzz = 1\n"),
            _ => format!("{MINIMAL}[{section}]\nzzzzzz = 1\n"),
        };
        let problem = &problems(&unknown)[0];
        let known = problem.fix.strip_prefix("remove it; known here: ").unwrap();
        for key in known.split(", ") {
            let assignment = format!("{key} = ");
            let table = format!("[{key}]");
            let list = format!("[[{section}.{key}]]");
            assert!(
                REFERENCE
                    .lines()
                    .map(|line| line.trim_start_matches("# "))
                    .any(|line| { line.starts_with(&assignment) || line == table || line == list }),
                "the reference does not show {section}.{key}"
            );
        }
    }
}

#[test]
fn a_mistake_is_named_with_its_line_its_key_and_the_fix() {
    for (toml, line, key, fix) in [
        ("", 1, "system.domain", "write domain = \"ims.example\""),
        ("[system]\ndomain = \"a..b\"\n", 2, "system.domain", "write for example \"ims.example\""),
        ("[system]\ndomain = 7\n", 2, "system.domain", "put it in quotes"),
        ("[sistem]\ndomain = \"a\"\n", 1, "sistem", "did you mean system?"),
        ("[system]\ndomain = \"a\"\ndomane = 1\n", 3, "system.domane", "did you mean domain?"),
        (
            "[system]\ndomain = \"a\"\n[sip]\nlisten = \"0.0.0.0\"\n",
            4,
            "sip.listen",
            "write for example \"127.0.0.1:5060\"",
        ),
        (
            "[system]\ndomain = \"a\"\n[sip]\n\nalgorithms = [\"AKAv1-MD6\"]\n",
            5,
            "sip.algorithms",
            "did you mean \"AKAv1-MD5\"?",
        ),
        (
            "[system]\ndomain = \"a\"\n[sip]\nexpires_default = \"8000000s\"\n",
            4,
            "sip.expires_default",
            "change one of the three",
        ),
        (
            "[system]\ndomain = \"a\"\n[sip]\nvector_timeout = 4\n",
            4,
            "sip.vector_timeout",
            "such as \"4s\"",
        ),
        (
            "[system]\ndomain = \"a\"\n[sip_database]\nind_bits = 9\n",
            4,
            "sip_database.ind_bits",
            "write a whole number from 3 to 8",
        ),
        (
            "roles = [\"sip_core\"]\n[system]\ndomain = \"a\"\n",
            1,
            "diameter.peers",
            "add one, or the role sip_database",
        ),
        (
            "roles = [\"sip_cor\"]\n[system]\ndomain = \"a\"\n",
            1,
            "roles",
            "did you mean \"sip_core\"?",
        ),
        (
            "[system]\ndomain = \"a\"\n[[diameter.peers]]\nhost = \"h\"\nrealm = \"r\"\n",
            3,
            "diameter.peers.kind",
            "write kind = \"database\"",
        ),
        (
            "[system]\ndomain = \"a\"\n[[diameter.peers]]\nhost = \"sipdb.a\"\nrealm = \"r\"\nkind = \"core\"\n",
            4,
            "diameter.peers.host",
            "different from diameter.identity",
        ),
        ("[system]\ndomain = \"a\"\n[log]\nlevel = \"info,=\"\n", 4, "log.level", "\"info\""),
        ("[system]\ndomain = \"a\n", 2, "", "https://toml.io"),
    ] {
        let problems = problems(toml);
        let found = problems
            .iter()
            .any(|problem| problem.line == line && problem.key == key && problem.fix.contains(fix));
        assert!(found, "{toml}: {problems:#?}");
    }
}

#[test]
fn all_mistakes_are_named_at_once_in_the_order_of_the_file() {
    let toml = "[system]\nnome = \"x\"\n[sip]\nlisten = []\nexpires_min = \"1 week\"\n[log]\nformat = \"xml\"\n";
    let found: Vec<String> = problems(toml).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "line 1: system.domain is missing; write domain = \"ims.example\"",
            "line 2: system.nome is not a known key; did you mean name?",
            "line 4: sip.listen is an empty list; write at least one, or leave it out",
            "line 5: sip.expires_min = \"1 week\" is no such duration; write a number and ms, s, min, h or d, such as \"4s\"; from 1s to 4294967295s",
            "line 7: log.format = \"xml\" is unknown; write one of text, json",
        ]
    );
}
