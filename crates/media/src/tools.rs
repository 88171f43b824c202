//! Where ffmpeg and ffprobe are, and what they can do.

use std::{
    collections::BTreeSet,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use pipeline::Fault;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    args::Command,
    cell::{self, CellReport, Limits, Lines},
    dir::CellDir,
    verdict::verdict,
};

/// The two programs of the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    pub ffmpeg: PathBuf,
    pub ffprobe: PathBuf,
    /// Names both programs: from the layer's manifest, or of the files themselves where there is none. Lower-case hex.
    pub layer_sha256: String,
}

/// Why there are no tools.
#[derive(Debug, thiserror::Error)]
pub enum ToolsError {
    #[error("there is no {program} at {path}: build the layer with layers/ffmpeg/build.py, or set {setting}", path = path.display())]
    Missing { program: &'static str, path: PathBuf, setting: &'static str },
    #[error("{path} cannot be read: {error}", path = path.display())]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error("{program} does not run here: {text}")]
    Broken { program: &'static str, text: String },
    /// Not the program's doing: it may run the next time.
    #[error(transparent)]
    Passing(Fault),
}

/// What the build of ffmpeg at hand can do, and what the cell holds here. For people, and for early refusals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    pub ffmpeg_version: String,
    pub ffprobe_version: String,
    pub layer_sha256: String,
    /// Names of ffmpeg, sorted.
    pub encoders: Vec<String>,
    pub decoders: Vec<String>,
    pub filters: Vec<String>,
    /// Of the tools that fanreel uses, those that are absent.
    pub missing: Vec<String>,
    pub cell: CellReport,
}

/// `layer.json` beside `bin/`, as layers/ffmpeg/build.py writes it.
#[derive(Deserialize)]
struct Manifest {
    layer_sha256: String,
    ffmpeg: ManifestFile,
    ffprobe: ManifestFile,
}
#[derive(Deserialize)]
struct ManifestFile {
    bytes: u64,
}

const ENCODERS: &[&str] = &["libx264", "libx265", "libsvtav1", "libvpx-vp9", "libopus", "aac"];
const DECODERS: &[&str] = &["h264", "hevc", "libdav1d", "vp9", "prores", "mpeg2video", "aac", "opus"];
const FILTERS: &[&str] = &["scale", "zscale", "tonemap", "bwdif", "libvmaf"];
const LISTING: Limits = Limits { wall: Duration::from_secs(30), cpu_seconds: 30, memory_bytes: 8 << 30, file_bytes: 1 << 20 };

impl Tools {
    /// Finds the programs by settings: `FFMPEG` and `FFPROBE`, else in `OPT_DIR/bin` where a platform mounts layers,
    /// else in `/opt/bin`, where Lambda does.
    pub fn find(var: impl Fn(&str) -> Option<String>) -> Result<Self, ToolsError> {
        let setting = |name: &str| var(name).filter(|value| !value.is_empty());
        let bin = PathBuf::from(setting("OPT_DIR").unwrap_or_else(|| "/opt".to_owned())).join("bin");
        let find = |program: &'static str, name: &'static str| {
            let path = setting(name).map_or_else(|| bin.join(program), PathBuf::from);
            let path = path.canonicalize().ok().filter(|path| path.is_file());
            let missing =
                || ToolsError::Missing { program, path: setting(name).map_or_else(|| bin.join(program), PathBuf::from), setting: name };
            path.ok_or_else(missing)
        };
        let (ffmpeg, ffprobe) = (find("ffmpeg", "FFMPEG")?, find("ffprobe", "FFPROBE")?);
        let layer_sha256 = match manifest(&ffmpeg, &ffprobe) {
            Some(sha256) => sha256,
            None => layer_of(&[&ffmpeg, &ffprobe])?,
        };
        Ok(Self { ffmpeg, ffprobe, layer_sha256 })
    }

    /// Asks both programs what they are, in cells in the directory for temporary files.
    pub async fn capabilities(&self) -> Result<Capabilities, ToolsError> {
        let scratch = &std::env::temp_dir();
        let (ffmpeg, cell) = self.list("ffmpeg", &["-version"], scratch).await?;
        let (ffprobe, _) = self.list("ffprobe", &["-version"], scratch).await?;
        let (encoders, _) = self.list("ffmpeg", &["-hide_banner", "-encoders"], scratch).await?;
        let (decoders, _) = self.list("ffmpeg", &["-hide_banner", "-decoders"], scratch).await?;
        let (filters, _) = self.list("ffmpeg", &["-hide_banner", "-filters"], scratch).await?;
        let (encoders, decoders, filters) = (names(&encoders), names(&decoders), names(&filters));
        let missing = [(ENCODERS, &encoders), (DECODERS, &decoders), (FILTERS, &filters)];
        let missing = missing.iter().flat_map(|(wanted, have)| wanted.iter().filter(|name| !have.iter().any(|own| own == *name)));
        Ok(Capabilities {
            ffmpeg_version: version(&ffmpeg),
            ffprobe_version: version(&ffprobe),
            layer_sha256: self.layer_sha256.clone(),
            missing: missing.map(|name| (*name).to_owned()).collect(),
            encoders,
            decoders,
            filters,
            cell,
        })
    }

    /// The first line that `ffmpeg` or `ffprobe` says of itself; what went wrong where it says nothing.
    pub async fn version(&self, program: &'static str) -> String {
        match self.list(program, &["-version"], &std::env::temp_dir()).await {
            Ok((lines, _)) => lines.into_iter().next().unwrap_or_default(),
            Err(error) => error.to_string(),
        }
    }

    /// ffmpeg's names of the codecs that it decodes.
    pub async fn decodable(&self) -> Result<BTreeSet<String>, ToolsError> {
        let (lines, _) = self.list("ffmpeg", &["-hide_banner", "-codecs"], &std::env::temp_dir()).await?;
        Ok(decodable(&lines))
    }

    async fn list(&self, program: &'static str, args: &[&str], scratch: &Path) -> Result<(Vec<String>, CellReport), ToolsError> {
        let broken = |fault: Fault| match fault {
            Fault::Retry(_) | Fault::Early(_) | Fault::Killed(_) => ToolsError::Passing(fault),
            other => ToolsError::Broken { program, text: other.to_string() },
        };
        let path = if program == "ffprobe" { &self.ffprobe } else { &self.ffmpeg };
        let dir = CellDir::new(scratch).map_err(broken)?;
        let command = Command::new(path, args.iter().map(|arg| (*arg).to_owned()).collect());
        let outcome = cell::run(command, dir.path().to_owned(), LISTING, None, Keep::default()).await;
        let outcome = outcome.map_err(broken)?;
        match outcome.stopped.or(verdict(outcome.ended, &outcome.stderr)) {
            Some(fault) => Err(broken(fault)),
            None => Ok((outcome.sink.0, outcome.report)),
        }
    }
}

/// Keeps what a listing prints.
#[derive(Default)]
struct Keep(Vec<String>);
impl Lines for Keep {
    fn line(&mut self, line: &[u8]) -> Result<(), Fault> {
        if self.0.len() >= 10_000 {
            return Err(Fault::escalate(pipeline::Shortage::Tool, "it prints without end"));
        }
        self.0.push(String::from_utf8_lossy(line).into_owned());
        Ok(())
    }
}

/// The manifest's name of the layer, if it speaks of these two files.
fn manifest(ffmpeg: &Path, ffprobe: &Path) -> Option<String> {
    let bin = ffmpeg.parent()?;
    let text = std::fs::read(bin.parent()?.join("layer.json")).ok()?;
    let manifest: Manifest = serde_json::from_slice(&text).ok()?;
    let length = |path: &Path| std::fs::metadata(path).ok().map(|meta| meta.len());
    let same = ffprobe.parent()? == bin && length(ffmpeg)? == manifest.ffmpeg.bytes && length(ffprobe)? == manifest.ffprobe.bytes;
    same.then_some(manifest.layer_sha256)
}

/// As build.py names a layer: sha256 over the programs' sha256, in hex, one a line.
fn layer_of(programs: &[&Path]) -> Result<String, ToolsError> {
    let mut layer = Sha256::new();
    for path in programs {
        let hash = file_sha256(path).map_err(|error| ToolsError::Unreadable { path: path.to_path_buf(), error })?;
        layer.update(format!("{hash}\n"));
    }
    Ok(hex::encode(layer.finalize()))
}

/// Lower-case hex.
pub fn file_sha256(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0u8; 256 * 1024];
    loop {
        let count = file.read(&mut block)?;
        if count == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(block.get(..count).unwrap_or_default());
    }
}

/// `ffmpeg version n9.0.2-17 Copyright …`: the third word.
fn version(lines: &[String]) -> String {
    let word = lines.first().and_then(|line| line.split_ascii_whitespace().nth(2));
    word.unwrap_or("unknown").to_owned()
}

/// ` V....D libx264   H.264 …`: the second word of lines whose first is made of flags.
fn names(lines: &[String]) -> Vec<String> {
    let mut names: Vec<String> = lines
        .iter()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let (flags, name) = (words.next()?, words.next()?);
            let is_flags = flags.len() <= 6 && flags.bytes().all(|byte| byte == b'.' || byte == b'|' || byte.is_ascii_uppercase());
            (is_flags && name != "=").then(|| name.to_owned())
        })
        .collect();
    names.sort_unstable();
    names
}

/// ` DEV.LS h264   H.264 …`: the second word of lines whose flags begin with `D`. The legend's words are `=`.
fn decodable(lines: &[String]) -> BTreeSet<String> {
    let name = |line: &String| {
        let mut words = line.split_ascii_whitespace();
        let (flags, name) = (words.next()?, words.next()?);
        (flags.len() == 6 && flags.starts_with('D') && name != "=").then(|| name.to_owned())
    };
    lines.iter().filter_map(name).collect()
}

#[cfg(test)]
mod tests;
