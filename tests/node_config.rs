//! The configuration file: every mistake is named with its line and what to write instead.
#![cfg(feature = "node")]

use std::{collections::BTreeSet, time::Duration};

use migcore::{
    acm::{Mode, Policy},
    api::acm_payload::Kind,
    node::config::{Config, Part, PeerKind, Problem, REFERENCE},
    sip_core::{DefaultHandling, Trigger},
};

const MINIMAL: &str = "[system]\ndomain = \"a.example\"\ninsecure = true\n";

/// The same with TLS.
const WITH_TLS: &str =
    "[system]\ndomain = \"a.example\"\n[tls]\ncertificate = \"c\"\nkey = \"k\"\nca = \"a\"\n";

fn problems(toml: &str) -> Vec<Problem> {
    Config::parse(toml).expect_err(toml)
}

/// The way to the SIP database of the partner of the reference.
const PEER: &str =
    "[[diameter.peers]]\nhost = \"sipdb.b.example\"\nrealm = \"b.example\"\nkind = \"database\"\n";

#[test]
fn a_domain_and_a_word_on_tls_are_all_that_a_configuration_needs() {
    let config = Config::parse(MINIMAL).unwrap();
    assert_eq!(config.system.domain, "a.example");
    assert_eq!(config.diameter.identity.as_str(), "sipdb.a.example");
    assert_eq!(config.sip.vector_timeout, Duration::from_secs(4));
    assert!(config.roles.sip_core && config.roles.sip_database && config.roles.config_server);
    assert_eq!(config.config_server.id.as_str(), "sip:a.example");
    assert!(config.management.unwrap().ip().is_loopback());
}

#[test]
fn the_reference_shows_every_key_with_its_default() {
    let mut shown = Config::parse(REFERENCE).unwrap();
    assert_eq!(shown.diameter.peers.len(), 1);
    assert_eq!(shown.diameter.peers[0].kind, PeerKind::Database);
    shown.diameter.peers.clear();
    assert_eq!(shown, Config::parse(MINIMAL).unwrap());

    for section in [
        "",
        "system",
        "tls",
        "sip",
        "overload",
        "limits",
        "sip_database",
        "config_server",
        "acm",
        "idms",
        "mc_server",
        "diameter",
        "admin",
        "management",
        "storage",
        "log",
    ] {
        let unknown = match section {
            "" => format!("zzzzzz = 1\n{MINIMAL}"),
            "system" => format!("{MINIMAL}zzzzzz = 1\n"),
            _ => format!("{MINIMAL}[{section}]\nzzzzzz = 1\n"),
        };
        let problems = problems(&unknown);
        let known = problems.iter().find_map(|it| it.fix.strip_prefix("remove it; known here: "));
        let known = known.unwrap();
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

/// The partner of the reference, as somebody has it who takes the comment signs away.
fn partner() -> String {
    let lines = REFERENCE.lines().skip_while(|line| *line != "# [[config_server.partners]]");
    let lines = lines.take_while(|line| !line.is_empty());
    lines.map(|line| line.strip_prefix("# ").expect("a comment").to_owned() + "\n").collect()
}

#[test]
fn the_partner_of_the_reference_is_one_and_none_of_its_tokens_prints() {
    let config = Config::parse(&format!("{MINIMAL}{PEER}{}", partner())).unwrap();
    let [partner] = &config.config_server.partners[..] else { panic!("{config:?}") };
    assert_eq!(
        (partner.id.as_str(), partner.url.to_string().as_str()),
        ("sip:b.example", "http://127.0.0.1:8182")
    );
    assert_eq!(partner.areas[1].cell, Some(1_048_833));
    assert_ne!(partner.send_token, partner.accept_token);
    let shown = format!("{config:?}");
    assert!(!shown.contains(partner.send_token.expose()), "{shown}");
    assert!(!shown.contains(partner.accept_token.expose()), "{shown}");
}

#[test]
fn a_mistake_about_a_partner_is_named_and_a_token_is_not_repeated() {
    let known = partner();
    let changed = |from: &str, to: &str| {
        assert!(known.contains(from), "{from}");
        known.replacen(from, to, 1)
    };
    let second = known.replace("sip:b.example", "sip:c.example");
    for (partner, key, fix) in [
        (changed("id = \"sip:b", "id = \"sip:a"), "id", "different from config_server.id"),
        (format!("{known}{known}"), "id", "different from config_server.id"),
        (format!("{known}{second}"), "accept_token", "draw one for each partner"),
        (format!("{known}{second}"), "sip_database", "this partner's own"),
        (format!("{known}{second}"), "send_token", "draw one for each partner"),
        (changed("\"sipdb.b", "\"sipdb.c"), "sip_database", "host = \"sipdb.c.example\""),
        (changed(":8182", ":8182/?a=b"), "url", "http://192.0.2.2:8082"),
        (changed("http://", "http://user@"), "url", "http://192.0.2.2:8082"),
        (changed("http://127", "ftp://127"), "url", "http://192.0.2.2:8082"),
        (changed("-drawn-at-random\"", " drawn\""), "send_token", "drawn at random"),
        (changed("22-others-or-more-drawn-at-random", "22-others"), "accept_token", "22 char"),
        (changed("\"20801\"", "\"2080\""), "areas.plmn", "20801"),
        (changed("plmn = \"20801\"", ""), "areas.plmn", "20801"),
        (changed("cell = 1048833", "cell = 68719476736"), "areas.cell", "68719476735"),
        (changed("tracking_area = ", "tracking = "), "areas.tracking", "tracking_area"),
    ] {
        let problems = problems(&format!("{MINIMAL}{PEER}{partner}"));
        let key = format!("config_server.partners.{key}");
        let found = problems.iter().find(|it| it.key == key && it.fix.contains(fix));
        let found = found.unwrap_or_else(|| panic!("{partner}: {problems:#?}"));
        assert!(!found.to_string().contains("22-"), "{found}");
    }
    let https = problems(&format!("{MINIMAL}{PEER}{}", changed("http://", "https://")));
    assert_eq!(https[0].key, "config_server.partners");
    assert!(
        https[0].fix.contains("write [tls] with certificate, key and ca, or http"),
        "{https:#?}"
    );
}

/// The partner of the ACM server of the reference, without its comment signs.
fn acm_partner() -> String {
    let lines = REFERENCE.lines().skip_while(|line| *line != "# [[acm.partners]]");
    let lines = lines.take_while(|line| !line.is_empty());
    lines.map(|line| line.strip_prefix("# ").expect("a comment").to_owned() + "\n").collect()
}

#[test]
fn the_acm_server_is_off_and_its_partner_of_the_reference_has_the_policies_shown() {
    assert!(!Config::parse(MINIMAL).unwrap().roles.acm);
    let config = Config::parse(&format!("{MINIMAL}{}", acm_partner())).unwrap();
    let ([link], [partner]) = (&config.acm.links[..], &config.acm.server.partners[..]) else {
        panic!("{config:?}")
    };
    assert_eq!((&link.id, &*link.url.to_string()), (&partner.id, "http://127.0.0.1:8184"));
    assert_ne!(link.send_token.digest(), partner.accepted_token);
    assert_eq!((partner.interconnected, &*partner.domains), (true, &["b.example".to_owned()][..]));
    let of = |kind| partner.policies.of(kind);
    assert_eq!(of(Kind::Groups), &Policy::default(), "the reference shows the defaults");
    assert_eq!(of(Kind::Configuration).mode, Mode::ByRule { rejects_difference: false });
    assert_eq!(of(Kind::Update).deciders.as_ref().map(BTreeSet::len), Some(1));
    let terms = partner.agreements.unwrap();
    assert_eq!(terms.valid_for, Duration::from_secs(365 * 86_400));
    assert!(terms.hide_identities);
    assert!(!format!("{config:?}").contains(link.send_token.expose()));
}

#[test]
fn a_mistake_about_the_acm_server_is_named_and_a_token_is_not_repeated() {
    let known = acm_partner();
    let changed = |from: &str, to: &str| {
        assert!(known.contains(from), "{from}");
        known.replacen(from, to, 1)
    };
    let second = known.replace("sip:b.example", "sip:c.example");
    for (partner, key, fix) in [
        (changed("id = \"sip:b", "id = \"sip:a"), "id", "different from acm.id"),
        (format!("{known}{known}"), "id", "different from acm.id"),
        (format!("{known}{second}"), "accept_token", "draw one for each partner"),
        (format!("{known}{second}"), "send_token", "draw one for each partner"),
        (changed("http://", "ftp://"), "url", "http://192.0.2.2:8084"),
        (changed("-drawn-at-random\"", " drawn\""), "send_token", "drawn at random"),
        (changed("[\"b.example\"]", "[]"), "domains", "at least one domain"),
        (changed("[\"b.example\"]", "[\"b..example\"]"), "domains", "b.example"),
        (changed("\"manual\"", "\"manuel\""), "policy.mode", "did you mean \"manual\"?"),
        (
            changed("\"by-rule\"", "\"accept\""),
            "policies.configuration.rejects_difference",
            "mode = \"by-rule\"",
        ),
        (
            changed("policies.update.r", "policies.updates.r"),
            "policies.updates",
            "did you mean update?",
        ),
        (changed("users_max = 100000", "users_max = 100001"), "policy.users_max", "100000"),
        (changed("sip:admin@a", "admin@a"), "policies.update.requesters", "sip:alice@a.example"),
        (changed("valid_for = \"365d\", ", ""), "agreements.valid_for", "\"365d\""),
        (
            changed("interconnected", "interconected"),
            "interconected",
            "did you mean interconnected?",
        ),
    ] {
        let problems = problems(&format!("{MINIMAL}{partner}"));
        let key = format!("acm.partners.{key}");
        let found = problems.iter().find(|it| it.key == key && it.fix.contains(fix));
        let found = found.unwrap_or_else(|| panic!("{partner}: {problems:#?}"));
        assert!(!found.to_string().contains("22-"), "{found}");
    }
    for (section, key, fix) in [
        ("id = \"sip:c.example\"", "id", "write the same in both"),
        ("resend_first = \"6min\"", "resend_first", "from 10ms to 60s"),
        ("resend_first = \"1min\"\nresend_max = \"1s\"", "resend_first", "resend_max longer"),
        ("sessions_max = 0", "sessions_max", "from 1 to 65536"),
        ("alias_choice = \"all\"", "alias_choice", "longest-logged-on"),
        ("answers_pull = \"admin\"", "answers_pull", "sip:alice@a.example"),
    ] {
        let problems = problems(&format!("{MINIMAL}[acm]\n{section}\n"));
        let key = format!("acm.{key}");
        let found = problems.iter().find(|it| it.key == key && it.fix.contains(fix));
        found.unwrap_or_else(|| panic!("{section}: {problems:#?}"));
    }
    let alone = format!("roles = [\"sip_core\", \"acm\"]\n{MINIMAL}{PEER}");
    let alone = alone.replace("\"database\"", "\"own-database\"");
    let problem = &problems(&alone)[0];
    assert_eq!(
        (&*problem.key, &*problem.fix),
        ("roles", "add the role config_server, or take acm out")
    );
    let all = "roles = [\"sip_core\", \"sip_database\", \"config_server\", \"acm\"]";
    let same = format!("{all}\n{MINIMAL}[acm]\nclient_listen = \"127.0.0.1:8081\"\n");
    assert_eq!(problems(&same)[0].key, "acm.client_listen");
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
            "[system]\ndomain = \"a\"\n[overload]\ndelay = \"1s\"\n",
            4,
            "overload.delay",
            "from 5ms to 500ms",
        ),
        (
            "[system]\ndomain = \"a\"\n[overload]\nreceive_buffer = 65535\n",
            4,
            "overload.receive_buffer",
            "from 65536 to",
        ),
        (
            "[system]\ndomain = \"a\"\n[limits]\nsource_burst = 7\n",
            4,
            "limits.source_burst",
            "give both",
        ),
        (
            "[system]\ndomain = \"a\"\n[limits]\nexempt = [\"192.0.2.0/33\"]\n",
            4,
            "limits.exempt",
            "192.0.2.0/28",
        ),
        (
            "[system]\ndomain = \"a\"\n[limits]\nidentity_rate = 1000001\n",
            4,
            "limits.identity_rate",
            "from 0 to 1000000",
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
            "roles = [\"config_server\"]\n[system]\ndomain = \"a\"\n",
            1,
            "roles",
            "add the role sip_database",
        ),
        (
            "[system]\ndomain = \"a\"\n[config_server]\naccess_timeout = \"10s\"\n",
            4,
            "config_server.access_timeout",
            "from 100ms to 9s",
        ),
        (
            "[system]\ndomain = \"a\"\n[config_server]\nid = \"b.example\"\n",
            4,
            "config_server.id",
            "sip:b.example",
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
        (
            "[system]\ndomain = \"a\"\n[admin]\nlisten = \"127.0.0.1:8081\"\n[config_server]\n\
             listen_partners = \"127.0.0.1:5060\"\n",
            6,
            "config_server.listen_partners",
            "a port of its own",
        ),
        (
            "[system]\ndomain = \"a\"\n[admin]\nlisten = \"127.0.0.1:8081\"\n[config_server]\n",
            5,
            "config_server.listen",
            "a port of its own",
        ),
        (
            "[system]\ndomain = \"a\"\n[storage]\nengine = \"embeded\"\n",
            4,
            "storage.engine",
            "did you mean \"embedded\"?",
        ),
        (
            "[system]\ndomain = \"a\"\n[storage]\ndirectory = \"\"\n",
            4,
            "storage.directory",
            "write a path",
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
    let toml = "[system]\nnome = \"x\"\ninsecure = true\n[sip]\nlisten = []\nexpires_min = \"1 week\"\n[log]\nformat = \"xml\"\n";
    let found: Vec<String> = problems(toml).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "line 1: system.domain is missing; write domain = \"ims.example\"",
            "line 2: system.nome is not a known key; did you mean name?",
            "line 5: sip.listen is an empty list; write at least one, or leave it out",
            "line 6: sip.expires_min = \"1 week\" is no such duration; write a number and ms, s, min, h or d, such as \"4s\"; from 1s to 4294967295s",
            "line 8: log.format = \"xml\" is unknown; write one of text, json",
        ]
    );
}

#[test]
fn with_certificates_everything_speaks_tls_but_what_says_insecure() {
    let config = Config::parse(WITH_TLS).unwrap();
    assert!(config.sip.listen.is_empty() && config.sip.listen_tls.len() == 1, "{:?}", config.sip);
    assert_eq!(config.diameter.listen.unwrap().port(), 5658);
    assert!(config.plaintext().is_empty() && Part::ALL.iter().all(|part| config.speaks_tls(*part)));

    let plain = "[sip]\ninsecure = true\n[admin]\nlisten = \"127.0.0.1:0\"\ninsecure = true\n";
    let config = Config::parse(&format!("{WITH_TLS}{plain}")).unwrap();
    assert_eq!(config.plaintext(), [Part::Sip, Part::Admin]);
    assert_eq!((config.sip.listen.len(), config.sip.listen_tls.len()), (1, 1), "over both");
    let without = Config::parse(MINIMAL).unwrap().plaintext();
    let served = [Part::Sip, Part::Diameter, Part::Admin, Part::Management, Part::ConfigServer];
    assert_eq!(without, served);
}

#[test]
fn nothing_goes_without_tls_unless_the_configuration_says_so() {
    let silent = "[system]\ndomain = \"a.example\"\n";
    let found = problems(silent);
    assert_eq!(found.len(), 1, "said once: {found:#?}");
    assert_eq!((found[0].line, &*found[0].key), (1, "system.insecure"));
    for fix in ["write [tls]", "trust dev-ca", "insecure = true here, for all parts"] {
        assert!(found[0].fix.contains(fix), "{}", found[0]);
    }

    let of_one =
        format!("roles = [\"sip_core\", \"sip_database\"]\n{silent}[sip]\ninsecure = true\n");
    let keys: Vec<String> = problems(&of_one).into_iter().map(|it| it.key).collect();
    assert_eq!(
        keys,
        ["diameter.insecure", "admin.insecure", "management.insecure"],
        "what it serves"
    );
    let of_each = ["diameter", "admin", "management"]
        .map(|part| format!("[{part}]\nlisten = \"127.0.0.1:0\"\ninsecure = true\n"));
    let config = Config::parse(&(of_one + &of_each.concat())).unwrap();
    assert_eq!(config.plaintext(), [Part::Sip, Part::Diameter, Part::Admin, Part::Management]);

    let both = WITH_TLS.replace("[tls]", "insecure = true\n[tls]");
    let found = problems(&both);
    assert_eq!((found.len(), found[0].line, &*found[0].key), (1, 3, "system.insecure"));
    assert!(found[0].fix.contains("leave out [tls]"), "{}", found[0]);
}

#[test]
fn what_contradicts_itself_about_tls_is_named() {
    let with_partner = partner().replace("http://", "https://");
    let peer_of = |system: &str| format!("{PEER}{system}");
    let of_b = "[[tls.partners]]\nid = \"sip:b.example\"\nca = \"b\"\n";
    for (toml, key, what) in [
        (
            format!("{WITH_TLS}[sip]\nlisten = [\"127.0.0.1:5060\"]\n"),
            "sip.listen",
            "insecure = true",
        ),
        (
            format!("{MINIMAL}[sip]\nlisten_tls = [\"127.0.0.1:5061\"]\n"),
            "sip.listen_tls",
            "write [tls]",
        ),
        (
            "[system]\ndomain = \"a.example\"\n[tls]\nkey = \"k\"\nca = \"a\"\n".to_owned(),
            "tls.certificate",
            "is missing",
        ),
        (format!("{WITH_TLS}{PEER}"), "diameter.peers", "write system = "),
        (
            format!("{WITH_TLS}{}", peer_of("system = \"sip:b.example\"\n")),
            "tls.partners",
            "write [[tls.partners]] with id = \"sip:b.example\" and ca",
        ),
        (format!("{WITH_TLS}{PEER}{with_partner}"), "tls.partners", "config_server.partners names"),
        (format!("{WITH_TLS}{of_b}{PEER}{}", partner()), "config_server.partners", "write https"),
        (
            format!("{WITH_TLS}{of_b}{PEER}[config_server]\ninsecure = true\n{with_partner}"),
            "config_server.partners",
            "leave that out, or write http",
        ),
        (
            format!("{WITH_TLS}{}", of_b.replace("b.ex", "a.ex")),
            "tls.partners",
            "write its authority as tls.ca",
        ),
        (format!("{WITH_TLS}{of_b}{of_b}"), "tls.partners.id", "is used before"),
    ] {
        let problems = problems(&toml);
        let is_it = |it: &&Problem| it.key == key && it.to_string().contains(what);
        assert!(problems.iter().any(|it| is_it(&it)), "{toml}\n{problems:#?}");
    }
    let good = format!("{WITH_TLS}{of_b}{PEER}{with_partner}");
    let system = Config::parse(&good).unwrap().system_of(&"sipdb.b.example".parse().unwrap());
    assert_eq!(system.unwrap().as_str(), "sip:b.example", "by the partner");
}

#[test]
fn application_servers_are_read_with_their_criteria_and_what_does_not_fit_is_told() {
    let server = "[[sip.application_servers]]\nuri = \"sip:mc.a.example\"\naddress = \"tcp:127.0.0.1:5070\"\n";
    let criterion = "priority = 7\ntrigger = [\"initial\", \"end\"]\ndefault_handling = \"terminated\"\n\
        include_request = true\nservices = [\"sip:mcptt@a.example\"]\n";
    let config = Config::parse(&format!("{MINIMAL}{server}{criterion}")).unwrap();
    let [server_read] = &config.sip.application_servers[..] else { panic!("one server") };
    let trigger = Trigger { initial: true, refresh: false, end: true };
    assert_eq!((server_read.priority, server_read.trigger), (7, trigger));
    assert_eq!(server_read.default_handling, DefaultHandling::Terminated);
    assert!(server_read.includes_request && !server_read.includes_response);
    for (more, what) in [
        (server.replace("tcp:", "sctp:"), "is no transport and address"),
        (server.replace("tcp:", "tls:"), "over TLS, which needs a certificate"),
        (format!("{server}{server}"), "twice"),
        (format!("{server}trigger = [\"later\"]\n"), "is unknown"),
        (server.repeat(40), "are too many"),
    ] {
        let found = problems(&format!("{MINIMAL}{more}"));
        assert!(found.iter().any(|it| it.what.contains(what)), "{what}: {found:?}");
    }
}

#[test]
fn an_mc_server_says_whose_access_tokens_it_takes() {
    let roles = |roles: &str| format!("roles = [{roles}]\n{MINIMAL}");
    let alone = roles("\"sip_core\", \"sip_database\", \"mc_server\"");
    let found = problems(&alone);
    assert!(found.iter().any(|it| it.what == "does not say whose access tokens are taken"));
    let beside = roles("\"sip_core\", \"sip_database\", \"idms\", \"mc_server\"");
    assert!(Config::parse(&beside).unwrap().roles.mc_server);
    let named = "[mc_server]\nissuer = \"https://idms.a.example\"\n";
    assert!(
        problems(&format!("{alone}{named}"))
            .iter()
            .any(|it| it.what.contains("needs certificates"))
    );
    let both = format!("{alone}{named}certificates = \"idms.pem\"\n");
    assert!(Config::parse(&both).unwrap().mc_server.issuer.is_some());
}
