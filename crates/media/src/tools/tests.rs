use super::*;

fn layer(dir: &Path, manifest: bool) {
    std::fs::create_dir_all(dir.join("bin")).unwrap();
    std::fs::write(dir.join("bin/ffmpeg"), b"one").unwrap();
    std::fs::write(dir.join("bin/ffprobe"), b"three").unwrap();
    if manifest {
        let text = r#"{"layer_sha256": "abc", "ffmpeg": {"bytes": 3}, "ffprobe": {"bytes": 5}}"#;
        std::fs::write(dir.join("layer.json"), text).unwrap();
    }
}

#[test]
fn the_layer_is_found_where_it_is_mounted_and_named_by_its_manifest() {
    let dir = tempfile::tempdir().unwrap();
    layer(dir.path(), true);
    let opt = dir.path().display().to_string();
    let tools = Tools::find(|name| (name == "OPT_DIR").then(|| opt.clone())).unwrap();
    assert_eq!(tools.layer_sha256, "abc");
    assert_eq!(tools.ffmpeg, dir.path().canonicalize().unwrap().join("bin/ffmpeg"));
}

#[test]
fn programs_of_ones_own_are_named_by_their_contents() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    layer(dir.path(), true);
    layer(other.path(), false);
    let find = |ffprobe: &Path| {
        let (ffmpeg, ffprobe) = (dir.path().join("bin/ffmpeg"), ffprobe.join("bin/ffprobe"));
        let set = move |name: &str| match name {
            "FFMPEG" => Some(ffmpeg.display().to_string()),
            "FFPROBE" => Some(ffprobe.display().to_string()),
            _ => None,
        };
        Tools::find(set).unwrap().layer_sha256
    };
    assert_eq!(find(dir.path()), "abc");
    let own = find(other.path());
    assert_eq!(own.len(), 64);
    // A manifest that speaks of other files says nothing.
    std::fs::write(dir.path().join("bin/ffprobe"), b"changed").unwrap();
    assert_ne!(find(dir.path()), "abc");
    assert_ne!(find(dir.path()), own);
}

#[test]
fn what_is_missing_is_named_with_what_to_do() {
    let error = Tools::find(|name| (name == "OPT_DIR").then(|| "/nonexistent".to_owned())).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/bin/ffmpeg") && error.contains("build.py") && error.contains("FFMPEG"), "{error}");
}

#[test]
fn listings_are_read() {
    let lines =
        ["Encoders:", " V..... = Video", " ------", " V....D libx264              H.264", " ..C scale  V->V  Scale", " TSC aap AA->A x"];
    assert_eq!(names(&lines.map(str::to_owned)), ["aap", "libx264", "scale"]);
}

#[test]
fn what_can_be_decoded_is_read() {
    let lines = [" D..... = Decoding supported", " -------", " DEV.LS h264  H.264", " .EV.L. x  X", " D.A.L. qcelp  QCELP", " DEVI.S png"];
    assert_eq!(decodable(&lines.map(str::to_owned)).into_iter().collect::<Vec<_>>(), ["h264", "png", "qcelp"]);
}
