//! Two files through libvmaf.

use std::path::PathBuf;

use super::{Command, ffmpeg_global, guarded, words};

/// Names inside the cell.
pub const REFERENCE: &str = "reference";
pub const OTHER: &str = "other";
/// Where libvmaf writes what it found.
pub const REPORT: &str = "report";
/// Shortest side that VMAF is asked about, pixels.
const MIN_SIDE: u32 = 128;

/// What is held against what.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Stream indexes.
    pub reference: u32,
    pub other: u32,
    /// Of the reference as it is shown, pixels.
    pub size: (u32, u32),
    /// The reference has more than eight bits.
    pub deep: bool,
}

/// Picture by picture in their order: times were compared before. The other is scaled to the reference's size.
pub fn measure(ffmpeg: &PathBuf, shape: Shape) -> Command {
    let (width, height) = shape.size;
    let times = MIN_SIDE.div_ceil(width.min(height).max(1));
    let grow = if times > 1 { format!(",scale=iw*{times}:ih*{times}:flags=neighbor") } else { String::new() };
    let format = if shape.deep { "yuv420p10le" } else { "yuv420p" };
    // Numbers are compared as they are coded, but for their range. A file that says nothing of its colours is not converted from what ffmpeg
    // takes them for to what the other one says: `notes` tells where they differ.
    let colors = "scale=out_range=tv,setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709";
    let even = format!("settb=1/25,setpts=N,setsar=1,{colors},format={format}{grow}");
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut args = ffmpeg_global();
    for name in [REFERENCE, OTHER] {
        args.extend(guarded("file"));
        args.extend(words(&format!("-threads 1 -i {name}")));
    }
    args.push("-filter_complex".to_owned());
    args.push(format!(
        "[0:{}]{even}[a];[1:{}]{colors},scale={width}:{height}:flags=bicubic,{even}[b];\
         [b][a]libvmaf=log_fmt=json:log_path={REPORT}:n_threads={threads}:feature=name=psnr|name=float_ssim",
        shape.reference, shape.other
    ));
    args.extend(words("-f null -"));
    Command::new(ffmpeg, args)
}
