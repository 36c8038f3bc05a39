//! What somebody learns who tries identities at a SIP core: nothing, be it refused or challenged.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

mod common;
mod sip_core_bench;

use std::time::Duration;

use migcore::{
    aka::{Sqn, digest::decode_nonce},
    diameter::cx::{ResultCode, ServerAssignmentType},
    outbox::Note,
    sip_core::Config,
};
use sip_core_bench::*;

const REFUSALS: [ResultCode; 4] = [
    ResultCode::USER_UNKNOWN,
    ResultCode::IDENTITIES_DONT_MATCH,
    ResultCode::ROAMING_NOT_ALLOWED,
    ResultCode::AUTHORIZATION_REJECTED,
];

/// A SIP core whose database knows the user, or refuses it.
fn bench(refuses: Option<ResultCode>) -> Bench {
    let mut config = Config::for_domain("b.example");
    config.decoy_challenge = true;
    let mut bench = Bench::with(config);
    bench.database = refuses.map_or(Database::Serves, Database::Refuses);
    bench
}

/// An answer with what is drawn for each left out: the nonce and the tag.
fn shape(reply: &Reply) -> String {
    let text = match reply.header("WWW-Authenticate") {
        Some(_) => reply.text.replace(&reply.nonce(), "NONCE"),
        None => reply.text.clone(),
    };
    let tag = text.split(";tag=").nth(2).unwrap().split("\r\n").next().unwrap().to_owned();
    text.replace(&tag, &format!("{} CHARACTERS", tag.len()))
}

/// A wrong response to a challenge, whoever it was sent to.
fn wrong(register: &Register, nonce: &str) -> Register {
    let answer = format!("response=\"{}\"", "0".repeat(32));
    let authorization = register.authorization.replace("response=\"\"", &answer);
    let authorization = authorization.replace("nonce=\"\"", &format!("nonce=\"{nonce}\""));
    let authorization = authorization + ", qop=auth, nc=00000001, cnonce=\"c\"";
    let branch = format!("wrong{}", register.cseq);
    Register { authorization, ..register.clone() }.cseq(register.cseq + 1).branch(&branch)
}

#[test]
fn whoever_may_not_be_here_is_challenged_as_a_user_is_and_refused_as_one_with_a_wrong_key() {
    let mut known = bench(None);
    let challenge = known.send(&initial());
    let refused = known.send(&wrong(&initial(), &challenge.nonce()));
    assert_eq!((challenge.status(), refused.status()), (401, 403));
    for result in REFUSALS {
        let mut bench = bench(Some(result));
        let decoy = bench.send(&initial());
        assert_eq!(shape(&decoy), shape(&challenge), "{result:?}");
        assert_eq!(bench.notes, [Note::DecoyChallenge]);
        let (rand, autn) = decode_nonce(&decoy.nonce()).unwrap();
        assert_eq!(autn[6..8], [0x80, 0], "AMF, which a real AUTN has there");
        assert_ne!(rand, [0; 16]);
        let answered = bench.send(&wrong(&initial(), &decoy.nonce()));
        assert_eq!(shape(&answered), shape(&refused), "{result:?}");
        assert_eq!(bench.assignments, [ServerAssignmentType::AuthenticationFailure]);
    }
}

#[test]
fn such_a_challenge_is_as_stable_and_as_short_lived_as_any_other() {
    for refuses in [None, Some(ResultCode::USER_UNKNOWN)] {
        let mut bench = bench(refuses);
        let first = bench.send(&initial());
        let again = bench.send(&initial().branch("on-another-way"));
        assert_eq!(again.nonce(), first.nonce(), "a repeat of the request, whatever its way");
        let other = bench.send(&Register { call_id: "call-2", ..initial() }.branch("other"));
        assert_ne!(other.nonce(), first.nonce());

        let stale = |reply: &Reply| {
            let header = reply.header("WWW-Authenticate").unwrap();
            (reply.status(), header.contains("stale=true"))
        };
        let spent = wrong(&initial(), &first.nonce());
        assert_eq!(bench.send(&spent).status(), 403);
        let reused = bench.send(&spent.clone().cseq(7).branch("reused"));
        assert_eq!(stale(&reused), (401, true), "good for one response");
        let next = bench.send(&initial().cseq(20).branch("next"));
        bench.pass(Duration::from_secs(240));
        let late = bench.send(&wrong(&initial().cseq(20), &next.nonce()));
        assert_eq!(stale(&late), (401, true), "for reg-await-auth");
    }
}

#[test]
fn auts_for_it_is_refused_as_a_wrong_one_is() {
    let auts = milenage().auts(&[7; 16], Sqn::new(5_000, 0, 5));
    let shapes = [None, Some(ResultCode::USER_UNKNOWN)].map(|refuses| {
        let mut bench = bench(refuses);
        let nonce = bench.send(&initial()).nonce();
        // A database that knows the user finds MAC-S wrong.
        let result = refuses.unwrap_or(ResultCode::UNABLE_TO_COMPLY);
        bench.database = Database::Refuses(result);
        let mut register = wrong(&initial(), &nonce);
        let auts = migcore::aka::digest::encode_auts(&auts);
        register.authorization += &format!(", auts=\"{auts}\"");
        let refused = bench.send(&register);
        assert_eq!(refused.status(), 403);
        shape(&refused)
    });
    assert_eq!(shapes[0], shapes[1]);
}

#[test]
fn many_identities_take_no_more_room_than_there_is() {
    let mut config = Config::for_domain("b.example");
    (config.decoy_challenge, config.decoys_max) = (true, 3);
    let mut bench = Bench::with(config);
    bench.database = Database::Refuses(ResultCode::USER_UNKNOWN);
    let of = |number: u32| {
        let mut register = initial().branch(&format!("of-{number}"));
        register.authorization =
            register.authorization.replace(IMPI, &format!("nobody-{number}@b.example"));
        register
    };
    let nonces: Vec<String> = (0..5).map(|number| bench.send(&of(number)).nonce()).collect();
    // Those that gave way are challenged again, so they come last.
    for (number, status) in [(2, 403), (3, 403), (4, 403), (0, 401), (1, 401)] {
        let answer =
            bench.send(&wrong(&of(number), &nonces[number as usize]).branch(&format!("a{number}")));
        assert_eq!(answer.status(), status, "{number}: the oldest two have given way");
    }
}

/// Lets the database answer after some time; returns when the UE is answered, and with what.
fn answered_after(bench: &mut Bench, took: Duration) -> (Duration, u16) {
    let began = bench.now;
    bench.database = match bench.database {
        Database::Serves => Database::Silent,
        database => database,
    };
    let vectors = bench.vector_requests.len();
    assert!(bench.send_on(udp(), &initial().text()).is_none(), "it leaves later");
    assert_eq!(bench.vector_requests.len(), vectors + 1);
    bench.pass(took);
    for reply in std::mem::take(&mut bench.silent) {
        bench.with_core(|core, ctx| core.handle_answer(ctx, reply));
    }
    for _ in 0..2_000 {
        if let Some(reply) = bench.replies.pop() {
            return (bench.now.since(began), reply.status());
        }
        bench.pass(Duration::from_millis(1));
    }
    panic!("no answer");
}

#[test]
fn answers_leave_at_a_common_time_whoever_was_asked() {
    let ms = Duration::from_millis;
    for (decoy, database, status) in [
        (false, Database::Refuses(ResultCode::USER_UNKNOWN), 403),
        (true, Database::Refuses(ResultCode::USER_UNKNOWN), 401),
        (true, Database::Serves, 401),
    ] {
        let mut config = Config::for_domain("b.example");
        (config.decoy_challenge, config.refusal_after) = (decoy, ms(100));
        let mut bench = Bench::with(config);
        bench.database = database;
        assert_eq!(answered_after(&mut bench, ms(30)), (ms(100), status));
    }
    let mut config = Config::for_domain("b.example");
    config.refusal_after = ms(100);
    let mut bench = Bench::with(config);
    let challenge = bench.send(&initial());
    assert_eq!(challenge.status(), 401, "without decoys a challenge leaves at once");
    let refused = bench.send(&wrong(&initial(), &challenge.nonce()));
    assert_eq!(refused.status(), 403, "and what was challenged is refused at once");
}

#[test]
fn what_is_found_later_than_that_leaves_at_the_next_multiple_of_it() {
    let ms = Duration::from_millis;
    for (found, leaves) in [(99, 100), (100, 200), (150, 200), (199, 200), (200, 300)] {
        let mut config = Config::for_domain("b.example");
        (config.decoy_challenge, config.refusal_after) = (true, ms(100));
        let mut bench = Bench::with(config);
        assert_eq!(answered_after(&mut bench, ms(found)), (ms(leaves), 401), "found at {found}");
        let is_late = bench.notes.contains(&Note::AnswerLate);
        assert_eq!(is_late, found >= 100, "found at {found}");
    }
}
