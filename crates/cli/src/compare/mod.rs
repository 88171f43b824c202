//! `fanreel compare`: two encodes of one film, as a table and as a plot over time.

mod svg;

use std::path::Path;

use anyhow::Context;
use media::{Comparison, Score};
use pipeline::Fault;
use serde::Serialize;

use crate::{
    args::{CompareArgs, Global},
    end::{End, usage},
    film, plan, screen, text,
};

/// One metric over the film.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Summary {
    mean: f64,
    /// Of the worst picture in a hundred.
    low: f64,
    min: f64,
    /// When the worst picture is shown, seconds from the first.
    min_at: f64,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    vmaf: Summary,
    ssim: Summary,
    psnr: Summary,
    #[serde(flatten)]
    comparison: &'a Comparison,
}

pub async fn run(args: &CompareArgs, global: &Global) -> anyhow::Result<End> {
    let films = film::read(&[args.reference.clone(), args.other.clone()])?;
    let [reference, other] = films.as_slice() else { return Err(usage("name two files")) };
    if let Some(svg) = &args.svg {
        writable(svg)?;
    }
    let scratch = tempfile::Builder::new().prefix("fanreel-").tempdir().context("no temporary folder can be made")?;
    let encoder = plan::encoder(&args.platform)?;
    let comparison = match encoder.compare(&reference.stamp.path, &other.stamp.path, scratch.path()).await {
        Ok(comparison) => comparison,
        Err(Fault::Reject(reason)) => return Ok(refused(&reason, global)),
        Err(fault) => return Err(fault.into()),
    };
    if let Some(svg) = &args.svg {
        let names = (reference.name(), other.name());
        std::fs::write(svg, svg::plot(&screen::clean(&names.0), &screen::clean(&names.1), &comparison.pictures))
            .with_context(|| format!("{} cannot be written", svg.display()))?;
    }
    let report = Report {
        vmaf: summary(&comparison.pictures, |p| p.vmaf),
        ssim: summary(&comparison.pictures, |p| p.ssim),
        psnr: summary(&comparison.pictures, |p| p.psnr),
        comparison: &comparison,
    };
    if global.json {
        screen::json(&report);
    } else {
        screen::out(&page(&reference.name(), &other.name(), &report));
    }
    Ok(End::Done)
}

/// Told before minutes are spent.
fn writable(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() || !folder.is_dir() {
        return Err(usage(format!("--svg {}: name a file in a folder that there is", path.display())));
    }
    Ok(())
}

fn refused(reason: &str, global: &Global) -> End {
    if global.json {
        screen::json(&serde_json::json!({ "compared": false, "reason": reason }));
    } else {
        screen::out(reason);
    }
    End::Failed
}

fn summary(pictures: &[Score], of: impl Fn(&Score) -> f64) -> Summary {
    let mut values: Vec<f64> = pictures.iter().map(&of).collect();
    let worst = pictures.iter().min_by(|a, b| of(a).total_cmp(&of(b)));
    #[expect(clippy::cast_precision_loss, reason = "a number of pictures")]
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    values.sort_by(f64::total_cmp);
    Summary {
        mean,
        low: values.get(values.len() / 100).copied().unwrap_or_default(),
        min: worst.map_or(0.0, &of),
        min_at: worst.map_or(0.0, |picture| picture.seconds),
    }
}

fn page(reference: &str, other: &str, report: &Report<'_>) -> String {
    let side = |name: &str, side: &media::Side| {
        vec![
            name.to_owned(),
            side.codec.clone(),
            format!("{}×{}", side.width, side.height),
            text::bytes(side.bytes),
            text::bitrate(side.bitrate),
        ]
    };
    let (one, two) = (&report.comparison.reference, &report.comparison.other);
    let metric = |name: &str, digits: usize, of: &Summary| {
        vec![
            name.to_owned(),
            format!("{:.digits$}", of.mean),
            format!("{:.digits$}", of.low),
            format!("{:.digits$}", of.min),
            format!("{:.2} s", of.min_at),
        ]
    };
    let mut lines = vec![
        screen::table(&["picture of", "codec", "size", "bytes", "bitrate"], &[3, 4], vec![side(reference, one), side(other, two)]),
        String::new(),
        screen::table(
            &["of the second", "mean", "worst 1 %", "worst", "at"],
            &[1, 2, 3, 4],
            vec![metric("VMAF", 2, &report.vmaf), metric("SSIM", 4, &report.ssim), metric("PSNR of luma, dB", 2, &report.psnr)],
        ),
        String::new(),
        format!("{} pictures, each at the same time in both files", report.comparison.pictures.len()),
    ];
    lines.extend(report.comparison.notes.iter().cloned());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_picture_is_named_with_its_time() {
        let pictures: Vec<Score> =
            (0..200).map(|n| Score { seconds: f64::from(n), psnr: 40.0, ssim: 1.0, vmaf: if n == 7 { 10.0 } else { 90.0 } }).collect();
        let found = summary(&pictures, |p| p.vmaf);
        assert!((found.mean - 89.6).abs() < 1e-9 && (found.min_at - 7.0).abs() < 1e-9, "{found:?}");
        assert!((found.min - 10.0).abs() < 1e-9 && (found.low - 90.0).abs() < 1e-9, "{found:?}");
        assert!(summary(&[], |p| p.vmaf).min.abs() < 1e-9);
    }
}
