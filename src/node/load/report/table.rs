//! The report as a table for a terminal.

use std::fmt::Write;

use super::{PERCENTILES, Report, Summary, mebibytes, time};

/// Writes the report for people.
pub(in crate::node::load) fn to_table(report: &Report) -> String {
    let mut out = String::new();
    // Writing to memory cannot fail.
    let _ = write_all(&mut out, report);
    out
}

fn write_all(out: &mut String, report: &Report) -> std::fmt::Result {
    let setting = &report.setting;
    let counts = &report.facts.counts;
    writeln!(
        out,
        "{} to {} over {}, {}, {} subscribers, {} thread{}",
        setting.workload,
        setting.target,
        setting.transport,
        setting.arrival,
        setting.subscribers,
        setting.threads,
        if setting.threads == 1 { "" } else { "s" },
    )?;
    writeln!(
        out,
        "  {} begun in {:.1} s ({:.0}/s), {} succeeded ({:.0}/s), {} failed; all over after {:.1} s",
        counts.started,
        report.offered.as_secs_f64(),
        report.offered_per_s,
        counts.succeeded,
        report.facts.registrations_per_s,
        counts.failed,
        report.took.as_secs_f64(),
    )?;
    writeln!(
        out,
        "  {} retransmissions, {} resynchronizations, {} tried again",
        counts.retransmissions, counts.resynchronizations, counts.retried
    )?;
    if counts.compared > 0 {
        writeln!(out, "  {} identities were compared with each other", counts.compared)?;
    }
    write_latencies(out, report)?;
    write_failures(out, report)?;
    write_trials(out, report)?;
    write_generator(out, report)?;
    for judged in &report.judged {
        let outcome = if judged.broken { "BROKEN" } else { "kept" };
        writeln!(out, "threshold {}: {outcome} (it is {})", judged.expression, judged.shown())?;
    }
    if report.is_valid() {
        return writeln!(out, "verdict: valid");
    }
    writeln!(out, "verdict: INVALID: these figures are about the generator")?;
    for reason in &report.reasons {
        writeln!(out, "  {}: {}; {}", reason.what, reason.why, reason.fix)?;
    }
    Ok(())
}

fn write_latencies(out: &mut String, report: &Report) -> std::fmt::Result {
    write!(out, "\n{:<20}{:>10}", "latency", "count")?;
    for (name, _) in PERCENTILES {
        write!(out, "{name:>11}")?;
    }
    writeln!(out, "{:>11}", "max")?;
    for (name, summary) in report.rows() {
        write_row(out, name, summary)?;
    }
    for (step, status, summary) in &report.codes {
        write_row(out, &format!("  {} {status}", step.name()), summary)?;
    }
    Ok(())
}

fn write_row(out: &mut String, name: &str, summary: &Summary) -> std::fmt::Result {
    write!(out, "{name:<20}{:>10}", summary.count())?;
    if summary.count() > 0 {
        for (_, percent) in PERCENTILES {
            write!(out, "{:>11}", time(summary.latencies.percentile(percent)))?;
        }
        write!(out, "{:>11}", time(summary.latencies.0.max()))?;
    }
    writeln!(out)
}

fn write_failures(out: &mut String, report: &Report) -> std::fmt::Result {
    if report.failures.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nfailures")?;
    for failures in &report.failures {
        let first = u64::from(failures.first) + 1;
        writeln!(out, "{:>10}  {} (first: subscriber {first})", failures.count, failures.cause)?;
        writeln!(out, "{:>10}  -> {}", "", failures.cause.advice())?;
    }
    Ok(())
}

fn write_trials(out: &mut String, report: &Report) -> std::fmt::Result {
    if report.trials.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nsearch{:>14}{:>14}{:>12}{:>10}", "rate", "succeeded/s", "p99", "failures")?;
    for trial in &report.trials {
        let outcome = match (&*trial.invalid, trial.kept) {
            ([], true) => "kept".to_owned(),
            ([], false) => "broken".to_owned(),
            (why, _) => format!("INVALID: {}", why.join(", ")),
        };
        writeln!(
            out,
            "{:>20.0}{:>14.0}{:>12}{:>10}  {outcome}",
            trial.rate,
            trial.registrations_per_s,
            time(trial.p99_us),
            trial.failures
        )?;
    }
    Ok(())
}

fn write_generator(out: &mut String, report: &Report) -> std::fmt::Result {
    let lateness = &report.lateness.latencies;
    let noun = report.noun();
    writeln!(
        out,
        "\ngenerator: {:.1} us of a core for each {noun}, {}; requests left {} late at p99",
        report.cpu_us_each(),
        mebibytes(report.resident_octets),
        time(lateness.percentile(99.0))
    )?;
    out.push_str("  its threads computed for");
    for effort in &report.efforts {
        write!(out, " {:.0} %", effort.cpu_share() * 100.0)?;
    }
    out.push_str(" of the time, and waited for a core for");
    for effort in &report.efforts {
        write!(out, " {:.0} %", effort.waited_share() * 100.0)?;
    }
    let dropped: u64 = report.efforts.iter().map(|effort| effort.dropped).sum();
    writeln!(out, "; {dropped} datagrams dropped")?;
    if let Some(server) = &report.server {
        writeln!(
            out,
            "deployed: {:.1} us of a core for each {noun}, {}, {} datagrams dropped",
            server.cpu_us_each,
            mebibytes(server.resident_octets),
            server.dropped,
        )?;
    }
    Ok(())
}
