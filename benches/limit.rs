//! What a registration costs a server, held against what the kernel alone takes: a bare echo of as many messages of
//! the same sizes.
//!
//! `cargo bench --bench limit [-- --runs N --seconds N --users N]`. Servers run on the first core, whoever asks them on
//! the second one. Cases take turns, so that what else the machine does concerns all of them. One JSON line a case,
//! medians of the runs:
//!
//! * `c-echo`, `echo`: two exchanges of datagrams with `recvmmsg` and `sendmmsg`, by a program in C and by our own
//!   wrappers; `echo-trains`: with UDP GSO and GRO, which our sockets use towards a peer that sends much by one flow, as
//!   the load generator does; `echo-tcp`: over one connection. Whoever asks has as many requests under way as the UEs.
//! * `local-…`: full AKA registrations (two exchanges, one vector, one digest check, one binding) at the home system.
//! * `forwarded-…`: the same in a partner, the vector fetched over Cx; the processor time of both systems counts.
//! * `…-memory`, `…-embedded`: the storage engine. `…-tcp`: over one connection that carries all UEs.
//!
//! `cpu_us_per_registration` is the processor time of all threads of the servers, in microseconds;
//! `ratio_to_echo` that against the echo over the same transport in the same turn; `registrations_per_s` the rate at
//! saturation.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::pedantic,
    clippy::restriction,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark"
)]

#[path = "limit/echo.rs"]
mod echo;
#[path = "limit/systems.rs"]
mod systems;

mod rig;

use std::time::Duration;

use systems::{Ask, Engine, Pair};
pub use systems::{CLIENT_CORE, SERVER_CORE, Turn};

/// Requests under way at a time.
pub const UNDER_WAY: usize = 512;

struct Plan {
    runs: usize,
    time: Duration,
    users: usize,
    /// Only cases whose name contains this.
    only: String,
}

impl Plan {
    fn from_arguments() -> Self {
        Self {
            runs: rig::number("--runs", 3),
            time: Duration::from_secs(rig::number("--seconds", 1)),
            users: rig::number("--users", 5_000),
            only: rig::text("--only").unwrap_or_default(),
        }
    }
}

struct Case {
    name: String,
    /// The case that it is held against.
    limit: &'static str,
    measure: Box<dyn FnMut() -> Turn>,
    turns: Vec<Turn>,
    ratios: Vec<f64>,
}

impl Case {
    fn new(name: &str, limit: &'static str, measure: impl FnMut() -> Turn + 'static) -> Self {
        let measure = Box::new(measure);
        Self { name: name.to_owned(), limit, measure, turns: Vec::new(), ratios: Vec::new() }
    }
}

fn main() {
    let plan = Plan::from_arguments();
    let mut cases = echo::cases(plan.time);
    for engine in [Engine::Memory, Engine::Embedded] {
        cases.extend(registrations(engine, &plan));
    }
    cases.retain(|case| case.limit == case.name || case.name.contains(&plan.only));
    for _ in 0..plan.runs {
        for case in &mut cases {
            let turn = (case.measure)();
            case.turns.push(turn);
        }
        let costs: Vec<(String, f64)> = cases
            .iter()
            .map(|case| (case.name.clone(), case.turns.last().unwrap().cpu_us))
            .collect();
        for case in &mut cases {
            let limit = costs.iter().find(|(name, _)| name == case.limit).expect("a limit").1;
            case.ratios.push(case.turns.last().unwrap().cpu_us / limit);
        }
    }
    for case in &cases {
        let round = |value: f64| (value * 100.0).round() / 100.0;
        let all = |value: fn(&Turn) -> f64| case.turns.iter().map(value).collect::<Vec<_>>();
        let line = serde_json::json!({
            "case": case.name,
            "cpu_us_per_registration": round(median(all(|turn| turn.cpu_us))),
            "ratio_to_echo": round(median(case.ratios.clone())),
            "registrations_per_s": median(all(|turn| turn.per_s)).round(),
            "cpu_us_of_each_run": all(|turn| turn.cpu_us).into_iter().map(round).collect::<Vec<_>>(),
        });
        println!("{line}");
    }
}

fn registrations(engine: Engine, plan: &Plan) -> Vec<Case> {
    let pair = std::rc::Rc::new(Pair::start(engine, plan.users, 1));
    let name = engine.name();
    let case = |kind: &str, is_forwarded: bool, is_tcp: bool| {
        let pair = std::rc::Rc::clone(&pair);
        let ask = Ask { is_forwarded, is_tcp, under_way: UNDER_WAY, time: plan.time };
        let (suffix, limit) = if is_tcp { ("-tcp", "echo-tcp") } else { ("", "echo") };
        let name = format!("{kind}-{name}{suffix}");
        Case::new(&name, limit, move || pair.register(&ask))
    };
    vec![
        case("local", false, false),
        case("forwarded", true, false),
        case("local", false, true),
        case("forwarded", true, true),
    ]
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
