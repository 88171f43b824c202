//! How fast this machine is: measured once, and kept beside the person's other caches.

use std::{
    fs,
    path::{Path, PathBuf},
};

use media::FfmpegEncoder;
use pipeline::encoder::Encoder;
use serde::{Deserialize, Serialize};

/// Bytes of the kept file that are read.
const MAX_BYTES: u64 = 4096;

/// What is kept. Another layer is measured anew.
#[derive(Debug, Deserialize, Serialize)]
struct Kept {
    layer: String,
    /// Of the calibration's clip.
    cpu_seconds: f64,
}

/// CPU-seconds of the calibration's clip. What cannot be kept is measured again the next time.
pub async fn seconds(encoder: &FfmpegEncoder, cache: Option<&Path>, scratch: &Path) -> anyhow::Result<f64> {
    let file = cache.map(|dir| dir.join("fanreel").join("speed.json"));
    if let Some(kept) = file.as_deref().and_then(read).filter(|kept| kept.layer == encoder.layer()) {
        return Ok(kept.cpu_seconds);
    }
    let cpu_seconds = encoder.measure_speed(scratch).await?;
    if let Some(file) = file {
        let _ = write(&file, &Kept { layer: encoder.layer().to_owned(), cpu_seconds });
    }
    Ok(cpu_seconds)
}

fn read(file: &Path) -> Option<Kept> {
    let small = fs::metadata(file).ok()?.len() <= MAX_BYTES;
    let kept: Kept = serde_json::from_slice(&fs::read(file).ok().filter(|_| small)?).ok()?;
    (kept.cpu_seconds > 0.0 && kept.cpu_seconds.is_finite()).then_some(kept)
}

/// Whole or not at all: another `fanreel plan` may read it meanwhile.
fn write(file: &Path, kept: &Kept) -> std::io::Result<()> {
    let dir = file.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf);
    fs::create_dir_all(&dir)?;
    let part = tempfile::NamedTempFile::new_in(&dir)?;
    fs::write(part.path(), serde_json::to_vec(kept)?)?;
    part.persist(file).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_and_nonsense_is_measured_anew() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("deep/speed.json");
        assert!(read(&file).is_none());
        write(&file, &Kept { layer: "l".into(), cpu_seconds: 0.4 }).unwrap();
        assert_eq!(read(&file).map(|kept| kept.layer), Some("l".to_owned()));
        for nonsense in ["", "{}", r#"{"layer":"l","cpu_seconds":0}"#, r#"{"layer":"l","cpu_seconds":-1}"#] {
            fs::write(&file, nonsense).unwrap();
            assert!(read(&file).is_none(), "{nonsense}");
        }
    }
}
