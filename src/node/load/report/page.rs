//! The report as one HTML page that stands alone: style and pictures are in it, no script, nothing to fetch.

use std::fmt::{self, Write};

use hdrhistogram::Histogram;

use super::{
    PERCENTILES, Point, Report, Summary,
    chart::{Axis, Chart, Line},
    mebibytes, time,
};

/// The style sheet: light and dark, phone and paper.
const STYLE: &str = include_str!("page.css");

/// Points of a distribution for each power of ten.
const POINTS_PER_DECADE: u8 = 16;

/// Classes of a distribution for each power of ten.
const CLASSES_PER_DECADE: u8 = 10;

/// The rarest share that a distribution shows: 10^-6.
const DECADES_MAX: u8 = 6;

/// Writes the page.
pub(in crate::node::load) fn to_page(report: &Report) -> String {
    let mut out = String::new();
    // Writing to memory cannot fail.
    let _ = write_page(&mut out, report);
    out
}

fn write_page(out: &mut String, report: &Report) -> fmt::Result {
    let setting = &report.setting;
    let title = format!("migcore load: {} to {}", setting.workload, setting.target);
    let title = Escaped(&title);
    write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <link rel=\"icon\" href=\"data:,\"><title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>"
    )?;
    write!(
        out,
        "<p class=\"soft\">{}, over {}, {}, {} subscribers, {} thread{}, seed {}, migcore {}</p>",
        to_the_second(&report.started_at.to_rfc3339()),
        setting.transport,
        Escaped(&setting.arrival),
        setting.subscribers,
        setting.threads,
        if setting.threads == 1 { "" } else { "s" },
        setting.seed,
        env!("CARGO_PKG_VERSION"),
    )?;
    write_verdict(out, report)?;
    write_tiles(out, report)?;
    out.push_str("<div class=\"charts\">");
    for (caption, chart) in charts(report) {
        write!(out, "<figure><figcaption>{caption}</figcaption>{}</figure>", chart.to_svg())?;
    }
    out.push_str("</div>");
    write_latencies(out, report)?;
    write_failures(out, report)?;
    write_thresholds(out, report)?;
    write_trials(out, report)?;
    write_generator(out, report)?;
    out.push_str("</body></html>\n");
    Ok(())
}

fn write_verdict(out: &mut String, report: &Report) -> fmt::Result {
    if report.is_valid() {
        return write!(
            out,
            "<div class=\"verdict\"><b>Valid.</b> The generator was neither late nor saturated, and lost nothing.</div>"
        );
    }
    write!(
        out,
        "<div class=\"verdict bad\"><b>INVALID.</b> These figures are about the generator:"
    )?;
    for reason in &report.reasons {
        write!(out, "<p><b>{}</b>: {}; {}.</p>", reason.what, Escaped(&reason.why), reason.fix)?;
    }
    out.push_str("</div>");
    Ok(())
}

fn write_tiles(out: &mut String, report: &Report) -> fmt::Result {
    let counts = &report.facts.counts;
    let registration = &report.facts.registration.latencies;
    let mut tiles = vec![
        (format!("{:.0}/s", report.facts.registrations_per_s), "succeeded"),
        (format!("{:.0}/s", report.offered_per_s), "offered"),
        (time(registration.percentile(50.0)), "p50"),
        (time(registration.percentile(99.0)), "p99"),
        (format!("{}", counts.failed), "failed"),
        (format!("{}", counts.retransmissions), "retransmissions"),
    ];
    if let Some(server) = &report.server {
        tiles.push((format!("{:.1} us", server.cpu_us_each), "of a core each, deployed"));
        tiles.push((mebibytes(server.resident_octets), "deployed"));
    }
    out.push_str("<div class=\"tiles\">");
    for (value, name) in tiles {
        write!(out, "<div class=\"tile\"><b>{value}</b><span>{name}</span></div>")?;
    }
    out.push_str("</div>");
    Ok(())
}

/// The pictures, with their captions.
fn charts(report: &Report) -> Vec<(&'static str, Chart<'static>)> {
    let mut charts = Vec::new();
    if report.facts.registration.count() > 0 {
        charts.push(("Latency distribution", distribution(report)));
        charts.push(("Latency by percentile", by_percentile(report)));
    }
    let end =
        report.timeline.last().map_or(1.0, |point| point.at_s + report.interval.as_secs_f64());
    let over_time = |value: fn(&Point) -> f64| -> Vec<(f64, f64)> {
        report.timeline.iter().map(|point| (point.at_s, value(point))).collect()
    };
    let lines = vec![
        Line { name: "begun", points: over_time(|point| point.started_per_s) },
        Line { name: "succeeded", points: over_time(|point| point.succeeded_per_s) },
        Line { name: "failed", points: over_time(|point| point.failed_per_s) },
    ];
    let high = lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y).fold(0.0, f64::max);
    let (x, y) = (Axis::until("seconds", end), Axis::linear("per second", high));
    let title = "registrations begun, succeeded and failed a second, over time";
    charts.push(("Rate and failures over time", Chart { title, x, y, lines }));
    if report.facts.registration.count() > 0 {
        charts.push(("Latency over time", latency_over_time(report, end)));
    }
    charts
}

/// How many took how long, percent of all, by classes of equal width on an axis of powers of ten.
fn distribution(report: &Report) -> Chart<'static> {
    let rows = report.rows();
    let latencies = || rows.iter().map(|(_, summary)| &summary.latencies.0);
    let low = latencies().filter(|of| !of.is_empty()).map(Histogram::min).min().unwrap_or(1).max(1);
    let high = latencies().map(Histogram::max).max().unwrap_or(1).max(low + 1);
    #[expect(clippy::cast_precision_loss, reason = "microseconds")]
    let x = Axis::logarithmic("latency", low as f64, high as f64, decade);
    let mut lines = Vec::new();
    for (name, summary) in rows {
        let mut points = vec![(x.low, 0.0)];
        let mut at = x.low;
        while at < x.high {
            let end = at + 1.0 / f64::from(CLASSES_PER_DECADE);
            let share = share_between(summary, at, end);
            points.extend([(at, share), (end, share)]);
            at = end;
        }
        points.push((x.high, 0.0));
        lines.push(Line { name, points });
    }
    let highest = lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y).fold(0.0, f64::max);
    let title = "share of latencies, of the whole and of each step";
    Chart { title, x, y: Axis::linear("% of all", highest), lines }
}

/// The share of latencies from one power of ten to another one, the latter not included; percent.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "microseconds up to an hour, and counts"
)]
fn share_between(summary: &Summary, from: f64, to: f64) -> f64 {
    let [from, to] = [from, to].map(|power| 10_f64.powf(power).ceil() as u64);
    let Some(last) = to.checked_sub(1).filter(|last| *last >= from) else { return 0.0 };
    let count = summary.latencies.0.count_between(from, last);
    100.0 * count as f64 / summary.count().max(1) as f64
}

/// Latencies by percentile: the rarer, the farther right, a power of ten each.
fn by_percentile(report: &Report) -> Chart<'static> {
    let mut lines = Vec::new();
    let (mut low, mut high) = (f64::MAX, 1.0_f64);
    for (name, summary) in report.rows() {
        let mut points = Vec::new();
        for step in 0..=DECADES_MAX * POINTS_PER_DECADE {
            let decades = f64::from(step) / f64::from(POINTS_PER_DECADE);
            let rarer = 10_f64.powf(-decades);
            #[expect(clippy::cast_precision_loss, reason = "a count")]
            if (summary.count() as f64) * rarer < 1.0 {
                break;
            }
            #[expect(clippy::cast_precision_loss, reason = "microseconds")]
            let micros = summary.latencies.percentile(100.0 * (1.0 - rarer)).max(1) as f64;
            (low, high) = (low.min(micros), high.max(micros));
            points.push((decades, micros.log10()));
        }
        lines.push(Line { name, points });
    }
    let widest = lines.iter().filter_map(|line| line.points.last()).map(|(x, _)| *x);
    let widest = widest.fold(1.0, f64::max);
    let labels = ["0", "90", "99", "99.9", "99.99", "99.999", "99.9999"];
    let ticks = (0..=DECADES_MAX).zip(labels).map(|(at, label)| (f64::from(at), label.to_owned()));
    let ticks = ticks.take_while(|(at, _)| *at <= widest).collect();
    let x = Axis { name: "percentile", low: 0.0, high: widest, ticks };
    let y = Axis::logarithmic("latency", low.min(high), high, decade);
    Chart { title: "latency by percentile, of the whole and of each step", x, y, lines }
}

fn latency_over_time(report: &Report, end: f64) -> Chart<'static> {
    #[expect(clippy::cast_precision_loss, reason = "microseconds")]
    let over_time = |value: fn(&Point) -> u64| -> Vec<(f64, f64)> {
        let points = report.timeline.iter().filter(|point| point.succeeded_per_s > 0.0);
        points.map(|point| (point.at_s, (value(point).max(1) as f64).log10())).collect()
    };
    let lines = vec![
        Line { name: "p50", points: over_time(|point| point.p50_us) },
        Line { name: "p99", points: over_time(|point| point.p99_us) },
    ];
    let values = || lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y);
    let low = values().fold(f64::MAX, f64::min).min(9.0);
    let high = values().fold(0.0, f64::max);
    let y = Axis::logarithmic("latency", 10_f64.powf(low), 10_f64.powf(high), decade);
    let title = "median and 99th percentile of the latency, over time";
    Chart { title, x: Axis::until("seconds", end), y, lines }
}

/// A power of ten of microseconds.
fn decade(micros: f64) -> String {
    match micros {
        1e6.. => format!("{} s", micros / 1e6),
        1e3.. => format!("{} ms", micros / 1e3),
        _ => format!("{micros} us"),
    }
}

fn write_latencies(out: &mut String, report: &Report) -> fmt::Result {
    out.push_str("<h2>Latency</h2><div class=\"wide\"><table><tr><th></th><th>count</th>");
    for (name, _) in PERCENTILES {
        write!(out, "<th>{name}</th>")?;
    }
    out.push_str("<th>max</th></tr>");
    for (name, summary) in report.rows() {
        write_row(out, name, summary)?;
    }
    for (step, status, summary) in &report.codes {
        write_row(out, &format!("{} {status}", step.name()), summary)?;
    }
    out.push_str("</table></div>");
    Ok(())
}

fn write_row(out: &mut String, name: &str, summary: &Summary) -> fmt::Result {
    write!(out, "<tr><td>{name}</td><td>{}</td>", summary.count())?;
    for (_, percent) in PERCENTILES {
        write!(out, "<td>{}</td>", time(summary.latencies.percentile(percent)))?;
    }
    write!(out, "<td>{}</td></tr>", time(summary.latencies.0.max()))
}

fn write_failures(out: &mut String, report: &Report) -> fmt::Result {
    if report.failures.is_empty() {
        return Ok(());
    }
    out.push_str("<h2>Failures</h2><div class=\"wide\"><table><tr><th>count</th><th class=\"text\">cause</th><th class=\"text\">what to do</th></tr>");
    for failures in &report.failures {
        let cause = failures.cause.to_string();
        let advice = failures.cause.advice();
        write!(
            out,
            "<tr><td>{}</td><td class=\"text\">{}</td><td class=\"text\">{}</td></tr>",
            failures.count,
            Escaped(&cause),
            Escaped(advice)
        )?;
    }
    out.push_str("</table></div>");
    Ok(())
}

fn write_thresholds(out: &mut String, report: &Report) -> fmt::Result {
    if report.judged.is_empty() {
        return Ok(());
    }
    out.push_str("<h2>Thresholds</h2><div class=\"wide\"><table><tr><th>fails if</th><th>value</th><th>outcome</th></tr>");
    for judged in &report.judged {
        let outcome = if judged.broken { "BROKEN" } else { "kept" };
        let expression = Escaped(&judged.expression);
        let value = judged.shown();
        write!(out, "<tr><td>{expression}</td><td>{value}</td><td>{outcome}</td></tr>")?;
    }
    out.push_str("</table></div>");
    Ok(())
}

fn write_trials(out: &mut String, report: &Report) -> fmt::Result {
    if report.trials.is_empty() {
        return Ok(());
    }
    out.push_str("<h2>Search</h2><div class=\"wide\"><table><tr><th>rate</th><th>succeeded/s</th><th>p99</th><th>failures</th><th>outcome</th></tr>");
    for trial in &report.trials {
        let outcome = match (&*trial.invalid, trial.kept) {
            ([], true) => "kept".to_owned(),
            ([], false) => "broken".to_owned(),
            (why, _) => format!("INVALID: {}", why.join(", ")),
        };
        write!(
            out,
            "<tr><td>{:.0}</td><td>{:.0}</td><td>{}</td><td>{}</td><td>{outcome}</td></tr>",
            trial.rate,
            trial.registrations_per_s,
            time(trial.p99_us),
            trial.failures
        )?;
    }
    out.push_str("</table></div>");
    Ok(())
}

fn write_generator(out: &mut String, report: &Report) -> fmt::Result {
    out.push_str(
        "<h2>The generator itself</h2><div class=\"wide\"><table><tr><th>thread</th><th>computed</th>\
         <th>waited for its core</th><th>datagrams dropped</th></tr>",
    );
    for (number, effort) in report.efforts.iter().enumerate() {
        write!(
            out,
            "<tr><td>{number}</td><td>{:.0} %</td><td>{:.0} %</td><td>{}</td></tr>",
            effort.cpu_share() * 100.0,
            effort.waited_share() * 100.0,
            effort.dropped
        )?;
    }
    let lateness = &report.lateness.latencies;
    write!(
        out,
        "</table></div><p>It spent {:.1} us of a core for each {}, and has {} of memory. Requests left late by {} at \
         p50, {} at p99. Latency counts from the intended time.</p>",
        report.cpu_us_each(),
        report.noun(),
        mebibytes(report.resident_octets),
        time(lateness.percentile(50.0)),
        time(lateness.percentile(99.0))
    )
}

/// A time without its fraction of a second.
fn to_the_second(time: &str) -> String {
    time.split_once('.').map_or(time.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}

/// Text for HTML.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}
