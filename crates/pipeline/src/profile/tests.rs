use proptest::prelude::*;

use super::*;
use crate::plan::{Channels, Hdr, OnDamage, Output};

#[test]
fn the_built_in_file_is_good_and_its_first_profile_is_what_all_start_from() {
    let read = parse(BUILT_IN, &Profiles::default()).unwrap();
    assert_eq!(
        read.iter().map(|profile| profile.name.as_str()).collect::<Vec<_>>(),
        ["h264", "h264-medium", "h264-vmaf", "hevc", "av1", "vp9"]
    );
    let h264 = h264();
    assert_eq!((h264.preset.as_str(), h264.crf, h264.chunk_ms, h264.gop_ms, h264.audio_bitrate), ("veryfast", 23, 6_000, 2_000, 128_000));
    let rungs: Vec<_> = h264.ladder.iter().map(|rung| (rung.short_side, rung.maxrate, rung.bufsize)).collect();
    let reference = [(1080, 5_350_000, 7_500_000), (720, 2_996_000, 4_200_000), (480, 1_498_000, 2_100_000), (360, 856_000, 1_200_000)];
    assert_eq!(rungs, reference);
    assert!(read.iter().all(|profile| rules::wrong(profile).is_empty()));
}

#[test]
fn a_file_of_ones_own_adds_and_replaces() {
    let text = "[small]\nlike = 'hevc'\nhdr = 'keep'\nchannels = 'stereo'\noutputs = ['hls']\nchunk_ms = 2_000\n\
                ladder = [{ short_side = 240, maxrate = 300_000, bufsize = 400_000 }]\n\n[smaller]\nlike = 'small'\ncrf = 40\n\n[h264]\ncrf = 20\n";
    let profiles = Profiles::with(text).unwrap();
    let small = profiles.get("small").unwrap();
    assert_eq!((small.hdr, small.channels, small.loudness), (Hdr::Keep, Channels::Stereo, None));
    assert_eq!((small.ladder.len(), small.chunk_ms, small.outputs.as_slice()), (1, 2_000, &[Output::Hls][..]));
    assert_eq!(profiles.get("smaller").unwrap(), Profile { name: "smaller".into(), crf: 40, ..small });
    assert_eq!(profiles.get("h264").unwrap(), Profile { crf: 20, ..h264() });
    assert!(profiles.get("theora").unwrap_err().contains("there are h264-medium, h264-vmaf, hevc, av1, vp9, small, smaller, h264"));
}

#[test]
fn all_that_is_wrong_is_named_at_once_with_its_line_and_its_fix() {
    let text = r#"crf = 3
[Fast]
preset = "quick"
crf = 52
[a]
like = "b"
codec = "theora"
presett = "fast"
chunk_ms = 5000
gop_ms = 2000
deinterlace = "yes"
[c]
codec = "av1"
preset = "fast"
hdr = "maybe"
crf = -1
outputs = []
loudness = 3
target = { metric = "psnr", scores = 1 }
[d]
hdr = "keep"
outputs = ["hls", "mp3"]
audio_bitrate = 1
ladder = [
    { short_side = 720, maxrate = 1_000_000, bufsize = 3_000_000 },
]
[e]
ladder = [{ short_side = 480, maxrate = 100_000, bufsize = 100_000 }, { short_side = 720, maxrate = 100_000, bufsize = 100_000 }]
gop_ms = 0
[f]
ladder = [{ short_side = 721, maxrate = 100_000, bufsize = 100_000 }]
"#;
    insta::assert_snapshot!(Profiles::with(text).unwrap_err().to_string());
}

#[test]
fn what_cannot_be_is_refused() {
    let told = Profiles::with("[a]\noutputs = ['mp4']\n").unwrap_err().to_string();
    assert!(told.starts_with("line 2: a.outputs: the playlists of HLS"), "{told}");
    let told = Profiles::with("[a]\non_damage = 'ignore'\noutputs = ['mp3']\n").unwrap_err().to_string();
    assert_eq!(told.lines().count(), 2, "{told}");
}

#[test]
fn a_profile_says_what_becomes_of_the_sound() {
    let profiles =
        Profiles::with("[a]\nchannels = 'keep'\nloudness = -23\noutputs = ['hls', 'audio']\n[b]\nlike = 'a'\nloudness = false\n").unwrap();
    let a = profiles.get("a").unwrap();
    assert_eq!((a.channels, a.loudness, a.outputs.as_slice()), (Channels::Keep, Some(-23.0), &[Output::Hls, Output::Audio][..]));
    assert_eq!(profiles.get("b").unwrap().loudness, None);
    let told = Profiles::with("[a]\nloudness = 'loud'\n").unwrap_err().to_string();
    assert!(told.starts_with("line 2: loudness: write LUFS"), "{told}");
}

#[test]
fn a_profile_may_take_a_part_for_the_whole() {
    let profiles = Profiles::with("[a]\non_damage = 'partial'\n[b]\nlike = 'a'\non_damage = 'fail'\n").unwrap();
    let told = |name| profiles.get(name).unwrap().on_damage;
    assert_eq!((told("a"), told("b"), told("h264")), (OnDamage::Partial, OnDamage::Fail, OnDamage::Fail));
}

#[test]
fn pictures_are_outputs_beside_hls() {
    let profiles = Profiles::with("[a]\noutputs = ['hls', 'preview', 'poster', 'sprite']\n").unwrap();
    assert_eq!(profiles.get("a").unwrap().outputs, [Output::Hls, Output::Poster, Output::Sprite, Output::Preview]);
    let told = Profiles::with("[a]\noutputs = ['sprite']\n").unwrap_err().to_string();
    assert!(told.starts_with("line 2: a.outputs: the playlists of HLS"), "{told}");
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    let told = |text: &str| Profiles::with(text).unwrap_err().to_string();
    assert!(told("[a]\ncrf = \n").starts_with("line 2: "), "{}", told("[a]\ncrf = \n"));
    assert!(told("").contains("it holds 0 profiles"));
    assert!(told(&"#".repeat(MAX_BYTES + 1)).contains("bytes"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in prop_oneof![".{0,200}", prop::collection::vec(prop::sample::select(vec![
        "[a]\n", "crf", "=", "1", "-1", "1e9", "\"x\"", "\n", "ladder", "[", "]", "{", "}", ",", "short_side", "target", "outputs", "like = 'h264'\n", "é",
    ]), 0..30).prop_map(|parts| parts.concat())]) {
        if let Ok(profiles) = Profiles::with(&text) {
            // What is taken obeys the rules.
            prop_assert!(profiles.iter().all(|profile| rules::wrong(profile).is_empty()));
        }
    }
}
