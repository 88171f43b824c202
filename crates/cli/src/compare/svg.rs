//! Scores over time as an SVG picture: one panel a metric, a line of means and a band from worst to best. Pure.

use std::fmt::Write as _;

use media::Score;

const WIDTH: u32 = 960;
const PANEL: u32 = 150;
const GAP: u32 = 46;
const LEFT: u32 = 56;
const RIGHT: u32 = 16;
const TOP: u32 = 40;
/// Columns of a panel: pictures that fall into the same one are drawn as its band.
const COLUMNS: usize = 888;

/// A metric, its unit for the title, and how its scale is rounded.
struct Metric {
    title: &'static str,
    step: f64,
    of: fn(&Score) -> f64,
    color: &'static str,
}

const METRICS: [Metric; 3] = [
    Metric { title: "VMAF", step: 5.0, of: |s| s.vmaf, color: "#1f6fb4" },
    Metric { title: "SSIM", step: 0.02, of: |s| s.ssim, color: "#2a8a4a" },
    Metric { title: "PSNR of luma, dB", step: 5.0, of: |s| s.psnr, color: "#a8591c" },
];

/// The scores of `other` against `reference`.
pub fn plot(reference: &str, other: &str, pictures: &[Score]) -> String {
    let height = TOP + (PANEL + GAP) * 3;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n<text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{} against {}</text>\n",
        escaped(other),
        escaped(reference)
    );
    let end = pictures.last().map_or(0.0, |last| last.seconds).max(1e-3);
    for (number, metric) in (0u32..).zip(&METRICS) {
        panel(&mut svg, metric, pictures, end, TOP + number * (PANEL + GAP));
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, metric: &Metric, pictures: &[Score], end: f64, top: u32) {
    let columns = columns(metric, pictures, end);
    let low = columns.iter().map(|c| c.low).fold(f64::INFINITY, f64::min);
    let high = columns.iter().map(|c| c.high).fold(f64::NEG_INFINITY, f64::max);
    let scale = || ((low / metric.step).floor() * metric.step, (high / metric.step).ceil() * metric.step);
    let (floor, ceiling) = if low.is_finite() && high.is_finite() { scale() } else { (0.0, 1.0) };
    let ceiling = if ceiling > floor { ceiling } else { floor + metric.step };
    let y = |value: f64| f64::from(top) + f64::from(PANEL) * (1.0 - (value - floor) / (ceiling - floor));
    let x = |seconds: f64| f64::from(LEFT) + f64::from(WIDTH - LEFT - RIGHT) * seconds / end;
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{}\">{}</text>", top - 6, metric.title);
    for part in 0..=4u32 {
        let value = floor + (ceiling - floor) * f64::from(part) / 4.0;
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/><text x=\"{label}\" y=\"{at:.1}\" dy=\"4\" text-anchor=\"end\">{}</text>",
            number(value, metric.step),
            at = y(value),
            right = WIDTH - RIGHT,
            label = LEFT - 6
        );
    }
    for part in 0..=4u32 {
        let seconds = end * f64::from(part) / 4.0;
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{seconds:.1} s</text>", x(seconds), top + PANEL + 16);
    }
    let mut band = String::new();
    let upper = columns.iter().map(|c| (c.seconds, c.high));
    let lower = columns.iter().rev().map(|c| (c.seconds, c.low));
    for (seconds, value) in upper.chain(lower) {
        let _ = write!(band, "{:.1},{:.1} ", x(seconds), y(value));
    }
    let line = columns.iter().fold(String::new(), |mut line, c| {
        let _ = write!(line, "{:.1},{:.1} ", x(c.seconds), y(c.mean));
        line
    });
    let _ = writeln!(svg, "<polygon points=\"{}\" fill=\"{}\" fill-opacity=\"0.2\"/>", band.trim_end(), metric.color);
    let _ = writeln!(svg, "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\"/>", line.trim_end(), metric.color);
}

struct Column {
    seconds: f64,
    low: f64,
    high: f64,
    mean: f64,
}

/// Pictures gathered into at most [`COLUMNS`] stretches of even length.
fn columns(metric: &Metric, pictures: &[Score], end: f64) -> Vec<Column> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a column's number")]
    let column = |picture: &Score| ((picture.seconds / end * COLUMNS as f64) as usize).min(COLUMNS - 1);
    pictures
        .chunk_by(|a, b| column(a) == column(b))
        .map(|these| {
            let values = || these.iter().map(metric.of);
            #[expect(clippy::cast_precision_loss, reason = "pictures of a column")]
            let count = these.len() as f64;
            Column {
                seconds: these.iter().map(|picture| picture.seconds).sum::<f64>() / count,
                low: values().fold(f64::INFINITY, f64::min),
                high: values().fold(f64::NEG_INFINITY, f64::max),
                mean: values().sum::<f64>() / count,
            }
        })
        .collect()
}

fn number(value: f64, step: f64) -> String {
    if step < 1.0 { format!("{value:.3}") } else { format!("{value:.0}") }
}

/// Names come from other people.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(seconds: f64, vmaf: f64) -> Score {
        Score { seconds, psnr: 40.0, ssim: 0.98, vmaf }
    }

    #[test]
    fn a_long_film_is_drawn_in_columns_that_show_the_worst_picture() {
        let mut pictures: Vec<Score> = (0..20_000).map(|n| picture(f64::from(n) / 30.0, 90.0)).collect();
        pictures[10_000].vmaf = 12.0;
        let columns = columns(&METRICS[0], &pictures, pictures.last().unwrap().seconds);
        assert!(columns.len() <= COLUMNS && columns.iter().map(|c| c.low).fold(f64::INFINITY, f64::min) < 13.0);
        let svg = plot("a", "b", &pictures);
        assert!(svg.len() < 200_000, "{}", svg.len());
        assert_eq!((svg.matches("<polyline").count(), svg.matches("<polygon").count()), (3, 3));
        assert!(svg.contains(">10</text>") && svg.contains(">90</text>"), "the scale holds all that is drawn");
    }

    #[test]
    fn a_name_is_text_and_one_picture_or_none_is_drawn_as_well() {
        let svg = plot("<script>&\"", "b", &[picture(0.0, 50.0)]);
        assert!(svg.contains("&lt;script&gt;&amp;&quot;") && !svg.contains("<script>") && !svg.contains("NaN") && !svg.contains("inf"));
        assert!(!plot("a", "b", &[]).contains("NaN") && !plot("a", "b", &[]).contains("inf"));
    }
}
