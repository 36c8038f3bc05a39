//! Line charts as SVG, drawn here: no script, nothing to fetch. Colors come from the style sheet of the page,
//! and lines differ by dashes too, so that they are told apart on paper.

use std::fmt::Write;

/// The picture, in units that are pixels on a phone.
const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 250.0;

/// Where the lines are.
const LEFT: f64 = 52.0;
const RIGHT: f64 = 392.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 212.0;

/// Half of what the label of a tick may take.
const LABEL_ROOM: f64 = 16.0;

/// Where the names of the lines begin.
const LEGEND: f64 = 112.0;
const LEGEND_OF_MANY: f64 = 60.0;

/// Most points of one line that are drawn.
const POINTS_MAX: usize = 1_000;

/// A chart of some lines over one axis.
pub(super) struct Chart<'a> {
    /// What it shows, for those who do not see it.
    pub(super) title: &'a str,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line<'a>>,
}

/// An axis: what is at its ends and between.
pub(super) struct Axis {
    pub(super) name: &'static str,
    pub(super) low: f64,
    pub(super) high: f64,
    /// Positions with their labels.
    pub(super) ticks: Vec<(f64, String)>,
}

/// One line.
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) points: Vec<(f64, f64)>,
}

impl Chart<'_> {
    /// Writes the picture.
    pub(super) fn to_svg(&self) -> String {
        let mut out = String::new();
        // Writing to memory cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Self { title, x, y, lines } = self;
        write!(out, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">")?;
        for (at, label) in &y.ticks {
            let at = self.y_of(*at);
            write!(out, "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>")?;
            write!(
                out,
                "<text x=\"{}\" y=\"{:.1}\" class=\"end\">{label}</text>",
                LEFT - 5.0,
                at + 3.5
            )?;
        }
        for (at, label) in &x.ticks {
            let at = self.x_of(*at);
            write!(out, "<path class=\"grid\" d=\"M{at:.1} {TOP}V{BOTTOM}\"/>")?;
            // The last one may have no room on its right.
            let (at, class) = if at > RIGHT - LABEL_ROOM { (WIDTH, "end") } else { (at, "middle") };
            write!(
                out,
                "<text x=\"{at:.1}\" y=\"{}\" class=\"{class}\">{label}</text>",
                BOTTOM + 14.0
            )?;
        }
        write!(out, "<path class=\"axis\" d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\"/>")?;
        let middle = f64::midpoint(LEFT, RIGHT);
        write!(
            out,
            "<text x=\"{middle}\" y=\"{}\" class=\"middle\">{}</text>",
            HEIGHT - 6.0,
            x.name
        )?;
        write!(out, "<text x=\"2\" y=\"12\">{}</text>", y.name)?;
        let legend = if lines.len() > 3 { LEGEND_OF_MANY } else { LEGEND };
        #[expect(clippy::cast_precision_loss, reason = "a few lines")]
        let step = (RIGHT - legend) / lines.len().max(3) as f64;
        for (number, line) in lines.iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "a few lines")]
            let at = legend + step * number as f64;
            let kind = number + 1;
            write!(out, "<path class=\"line l{kind}\" d=\"M{at:.0} 8h18\"/>")?;
            write!(out, "<text x=\"{:.0}\" y=\"12\">{}</text>", at + 22.0, line.name)?;
            let every = line.points.len().div_ceil(POINTS_MAX).max(1);
            let mut verb = 'M';
            write!(out, "<path class=\"line l{kind}\" d=\"")?;
            for (x, y) in line.points.iter().step_by(every) {
                write!(out, "{verb}{:.1} {:.1}", self.x_of(*x), self.y_of(*y))?;
                verb = 'L';
            }
            out.push_str("\"/>");
        }
        out.push_str("</svg>");
        Ok(())
    }

    fn x_of(&self, value: f64) -> f64 {
        LEFT + self.x.share(value) * (RIGHT - LEFT)
    }

    fn y_of(&self, value: f64) -> f64 {
        BOTTOM - self.y.share(value) * (BOTTOM - TOP)
    }
}

impl Axis {
    /// An axis from 0 to about `high`, with round numbers at it.
    pub(super) fn linear(name: &'static str, high: f64) -> Self {
        let high = if high > 0.0 { high } else { 1.0 };
        let wanted = high / 4.0;
        let power = 10_f64.powf(wanted.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * power);
        let step = step.into_iter().find(|step| *step >= wanted).unwrap_or(wanted);
        let ticks: Vec<_> = (0..=5_u8)
            .map(|number| f64::from(number) * step)
            .take_while(|at| *at < high + step)
            .map(|at| (at, rounded(at)))
            .collect();
        let high = ticks.last().map_or(1.0, |(at, _)| *at);
        Self { name, low: 0.0, high, ticks }
    }

    /// The same, but it ends where the values do.
    pub(super) fn until(name: &'static str, high: f64) -> Self {
        let mut axis = Self::linear(name, high);
        if high > 0.0 {
            axis.high = high;
            axis.ticks.retain(|(at, _)| *at <= high);
        }
        axis
    }

    /// An axis of powers of ten, whose positions are logarithms.
    pub(super) fn logarithmic(
        name: &'static str,
        low: f64,
        high: f64,
        label: impl Fn(f64) -> String,
    ) -> Self {
        let (low, high) = (low.log10().floor(), high.log10().ceil());
        let high = high.max(low + 1.0);
        let mut ticks = Vec::new();
        let mut at = low;
        while at <= high {
            ticks.push((at, label(10_f64.powf(at))));
            at += 1.0;
        }
        Self { name, low, high, ticks }
    }

    fn share(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

/// A number for an axis.
fn rounded(value: f64) -> String {
    match value {
        1_000_000.0.. => format!("{} M", value / 1e6),
        10_000.0.. => format!("{} k", value / 1e3),
        _ => format!("{}", (value * 100.0).round() / 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_round_numbers_and_room_for_the_highest() {
        for (high, ticks) in [
            (0.0, &["0", "0.25", "0.5", "0.75", "1"][..]),
            (7.0, &["0", "2", "4", "6", "8"]),
            (40_000.0, &["0", "10 k", "20 k", "30 k", "40 k"]),
            (910.0, &["0", "250", "500", "750", "1000"]),
        ] {
            let axis = Axis::linear("", high);
            let labels: Vec<_> = axis.ticks.iter().map(|(_, label)| label.as_str()).collect();
            assert_eq!(labels, ticks, "{high}");
            assert!(axis.high >= high);
        }
    }

    #[test]
    fn a_point_is_drawn_in_its_place() {
        let chart = Chart {
            title: "t",
            x: Axis::linear("x", 8.0),
            y: Axis::logarithmic("y", 1.0, 100.0, |at| format!("{at}")),
            lines: vec![Line { name: "l", points: vec![(0.0, 0.0), (8.0, 2.0), (4.0, 1.0)] }],
        };
        let svg = chart.to_svg();
        assert!(svg.contains("d=\"M52.0 212.0L392.0 26.0L222.0 119.0\""), "{svg}");
    }
}
