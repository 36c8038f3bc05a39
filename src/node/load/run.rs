//! One run from its first phase to its report.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use super::{
    Job, LoadError, Workload,
    arrival::{Plan, Spread},
    deploy::{Deployed, Spent},
    effort::resident_octets,
    generator::{Generator, Measured, Run},
    live::Live,
    report::{Facts, Report, Setting, Summary, Trial},
    search::{Found, Search},
    subscribers::Subscribers,
    ues::Manner,
    verdict::{Evidence, Reason, judge},
};
use crate::{node::Clock, outbox::Transport};

/// Registrations under way at a time while UEs register for a refresh.
const WARM_UP_CONCURRENCY: usize = 128;

/// How long all UEs may take to register for a refresh.
const WARM_UP_TIME_MAX: Duration = Duration::from_secs(600);

/// Makes a run.
///
/// # Errors
///
/// [`LoadError`].
pub(super) fn run(
    job: &Job,
    subscribers: &Arc<Subscribers>,
    deployed: Option<&Deployed>,
    stop: Arc<AtomicBool>,
    quiet: bool,
) -> Result<Report, LoadError> {
    let started_at = Clock::start().now();
    let mut live = Live::new(quiet);
    let mut generator = Generator::new(job, subscribers, stop)?;
    if job.workload == Workload::Refresh {
        warm_up(job, subscribers.len(), &mut generator, &mut live)?;
    }
    let before = deployed.map(Deployed::spent);
    let Measurement { measured, plan, trials, own_limit } =
        measure(job, subscribers.len(), &mut generator, &mut live)?;
    let server = deployed.zip(before).filter(|_| trials.is_empty());
    let succeeded = measured.recorder.counts.succeeded;
    let server = server.map(|(deployed, before): (_, Spent)| deployed.report(before, succeeded));
    // Who ends the run from a terminal ends them, too.
    let server = server.filter(|server| server.resident_octets > 0);
    let setting = Setting {
        workload: job.workload.name(),
        target: match &job.allocates_at {
            Some(server) => server.to_string(),
            None => job.target.to_string(),
        },
        transport: match (job.workload, job.transport) {
            (Workload::Identities, _) => "HTTP",
            (Workload::Cx, Transport::Tls) => "Diameter over TLS",
            (Workload::Cx, Transport::Udp | Transport::Tcp) => "Diameter",
            (_, Transport::Udp) => "UDP",
            (_, Transport::Tcp) => "TCP",
            (_, Transport::Tls) => "TLS",
        },
        arrival: described(plan),
        subscribers: subscribers.len(),
        threads: generator.threads(),
        seed: job.seed,
    };
    let mut report = report(job, measured, setting, trials);
    report.reasons.extend(own_limit);
    report.started_at = started_at;
    report.server = server;
    Ok(report)
}

/// All UEs register once.
fn warm_up(
    job: &Job,
    ues: usize,
    generator: &mut Generator,
    live: &mut Live,
) -> Result<(), LoadError> {
    live.begin("registering all".to_owned());
    let run = Run {
        plan: Plan::Closed { concurrency: WARM_UP_CONCURRENCY },
        time: WARM_UP_TIME_MAX,
        count: ues as u64,
        manner: Manner { anew: true, persists: true },
        patience: job.t1 * 64,
    };
    let measured = generator.run(&run, live)?;
    let succeeded = measured.recorder.counts.succeeded;
    live.say(&format!("{succeeded} of {ues} UEs are registered"));
    Ok(())
}

/// What the report is about.
struct Measurement {
    measured: Measured,
    plan: Plan,
    /// Of a search.
    trials: Vec<Trial>,
    own_limit: Option<Reason>,
}

fn measure(
    job: &Job,
    ues: usize,
    generator: &mut Generator,
    live: &mut Live,
) -> Result<Measurement, LoadError> {
    let manner = Manner {
        anew: job.workload != Workload::Refresh,
        persists: job.workload == Workload::Storm,
    };
    if let Some((rate, spread)) = job.search {
        let time = job.duration;
        let search = Search { rate, spread, time, manner, thresholds: &job.thresholds };
        let Found { measured, rate, trials, own_limit } = search.run(generator, live)?;
        let plan = Plan::steady(rate, spread);
        return Ok(Measurement { measured, plan, trials, own_limit });
    }
    live.begin(job.workload.name().to_owned());
    let run = match job.workload {
        Workload::Storm => {
            #[expect(clippy::cast_precision_loss, reason = "a count")]
            let plan = Plan::steady(ues as f64 / job.spread.as_secs_f64(), Spread::Even);
            // A gap more, so that the last one comes too.
            let time = job.spread + Duration::from_secs(1);
            Run { plan, time, count: ues as u64, manner, patience: job.duration }
        }
        Workload::Register
        | Workload::Refresh
        | Workload::Migrate
        | Workload::Identities
        | Workload::Cx => {
            let patience = job.t1 * 64 + Duration::from_secs(1);
            Run { plan: job.plan, time: job.duration, count: job.count, manner, patience }
        }
    };
    let measured = generator.run(&run, live)?;
    Ok(Measurement { measured, plan: run.plan, trials: Vec::new(), own_limit: None })
}

fn report(job: &Job, measured: Measured, setting: Setting, trials: Vec<Trial>) -> Report {
    let rate = measured.rate();
    let Measured { recorder, efforts, offered, took, is_behind, interval, timeline, .. } = measured;
    let evidence = Evidence { recorder: &recorder, efforts: &efforts, is_behind };
    let reasons = judge(&evidence);
    let facts = Facts::new(&recorder, rate);
    let judged = job.thresholds.iter().map(|threshold| threshold.judge(&facts)).collect();
    let codes = recorder.codes.into_iter();
    let codes = codes.map(|code| (code.step, code.status, Summary::new(code.latencies)));
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let offered_per_s = recorder.counts.started as f64 / offered.as_secs_f64().max(1e-9);
    Report {
        setting,
        started_at: crate::time::Timestamp::default(),
        offered,
        took,
        offered_per_s,
        facts,
        codes: codes.collect(),
        failures: recorder.causes,
        reasons,
        lateness: Summary::new(recorder.lateness),
        efforts,
        resident_octets: resident_octets("self"),
        server: None,
        judged,
        interval,
        timeline,
        trials,
    }
}

fn described(plan: Plan) -> String {
    match plan {
        Plan::Open { from, to, ramp, spread } => {
            let spread = if spread == Spread::Poisson { "Poisson" } else { "even" };
            if ramp.is_zero() {
                format!("{to:.0}/s ({spread})")
            } else {
                format!("{from:.0} to {to:.0}/s in {:.0} s ({spread})", ramp.as_secs_f64())
            }
        }
        Plan::Closed { concurrency } => format!("{concurrency} at a time"),
    }
}
