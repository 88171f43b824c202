use proptest::prelude::*;
use quick_xml::{Reader, events::Event};

use super::*;
use crate::{
    plan::{Colors, Hdr, Rendition, VideoCodec},
    profile,
    result::Cost,
};

const JOB: &str = "0123456789abcdef01234567";

fn segments(name: &str, start: i64, durations: &[i64]) -> Vec<SegmentRecord> {
    let starts = durations.iter().scan(start, |at, duration| {
        let this = *at;
        *at += duration;
        Some(this)
    });
    let record = |(number, (start, duration)): (u32, (i64, &i64))| SegmentRecord {
        key: key::segment(&JOB.parse().unwrap(), name, number, u64::from(number) % 3 + 1),
        bytes: 250_000,
        sha256: String::new(),
        start,
        duration: *duration,
        frames: 1,
        samples: crate::samples::SampleTable::default(),
    };
    (0..).zip(starts.zip(durations)).map(record).collect()
}

fn video(base: TimeBase, start: i64, durations: &[i64]) -> (VideoPlan, VideoTrackMade) {
    let rendition = Rendition { name: "360p".into(), width: 640, height: 360, maxrate: 856_000, bufsize: 1_200_000 };
    let plan = VideoPlan {
        index: 0,
        codec: "h264".into(),
        time_base: base,
        origin: 0,
        frames: 1,
        start,
        end: start + durations.iter().sum::<i64>(),
        frame_rate: 29.97,
        deinterlace: false,
        colors: Colors::default(),
        renditions: vec![rendition.clone()],
    };
    let segments = segments("360p", start, durations);
    let codec = "avc1.64001e".to_owned();
    (plan, VideoTrackMade { rendition, codec, init: String::new(), init_sha256: String::new(), segments, durations: durations.to_vec() })
}

fn audio(name: &str, language: &str, title: &str, role: Role, default: bool) -> (AudioPlan, AudioTrackMade) {
    let plan = AudioPlan {
        codec: "aac".into(),
        name: name.into(),
        index: 1,
        position: 0,
        language: language.into(),
        title: title.into(),
        default,
        role,
        channels: 2,
        time_base: TimeBase::MILLIS,
        origin_us: 0,
        start_us: 0,
        end_us: 0,
        silence_us: 0,
        bitrate: 128_000,
        excerpt: None,
    };
    let made = AudioTrackMade {
        name: name.into(),
        language: language.into(),
        codec: "mp4a.40.2".into(),
        init: String::new(),
        init_sha256: String::new(),
        sample_rate: 48_000,
        channels: 2,
        loudness: None,
        segments: segments(name, 0, &[287_744, 288_768, 144_384]),
    };
    (plan, made)
}

fn film(video: Option<(VideoPlan, VideoTrackMade)>, audio: Vec<(AudioPlan, AudioTrackMade)>) -> (Plan, Assembly) {
    let (planned, made): (Vec<_>, Vec<_>) = audio.into_iter().unzip();
    let (picture, pictures) = video.unzip();
    let plan = Plan {
        schema: crate::plan::SCHEMA,
        layer: String::new(),
        profile: profile::h264(),
        source_bytes: 1,
        container: "matroska,webm".into(),
        video: picture,
        audio: planned,
        subtitles: vec![],
        text: None,
        stills: None,
        cut_short: None,
        normalized: None,
        chunks: 1,
        left_out: vec![],
    };
    (
        plan,
        Assembly {
            video: pictures.into_iter().collect(),
            audio: made,
            text: vec![],
            left_out: vec![],
            lost: vec![],
            times: vec![],
            listings: vec![],
            last_frame: 0,
            cost: Cost::default(),
            quality: vec![],
            stills: vec![],
            repeated: 0,
        },
    )
}

/// Elements with their attributes, in order; text content as an element `#`. Refuses what is not well-formed.
fn parsed(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut reader = Reader::from_str(text);
    let (mut elements, mut depth) = (Vec::new(), 0);
    loop {
        let event = reader.read_event().unwrap();
        match &event {
            Event::Eof => break,
            Event::End(_) => depth -= 1,
            Event::Start(element) | Event::Empty(element) => {
                depth += i32::from(matches!(event, Event::Start(_)));
                let attributes = element.attributes().map(|a| a.unwrap());
                let attributes = attributes.map(|a| {
                    let key = String::from_utf8(a.key.as_ref().to_vec()).unwrap();
                    (key, quick_xml::escape::unescape(std::str::from_utf8(&a.value).unwrap()).unwrap().into_owned())
                });
                elements.push((String::from_utf8(element.name().as_ref().to_vec()).unwrap(), attributes.collect()));
            }
            _ => {}
        }
    }
    assert_eq!(depth, 0, "{text}");
    elements
}

fn attribute(element: &(String, Vec<(String, String)>), name: &str) -> Option<String> {
    element.1.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
}

/// Start and duration of every segment of the first representation, as a player reads them.
fn read_back(text: &str) -> Vec<(i64, i64)> {
    let elements = parsed(text);
    let list = elements.iter().skip_while(|e| e.0 != "SegmentTimeline").skip(1).take_while(|e| e.0 == "S");
    let (mut at, mut times) = (0, Vec::new());
    for s in list {
        let number = |name: &str| attribute(s, name).map(|text| text.parse::<i64>().unwrap());
        at = number("t").unwrap_or(at);
        for _ in 0..=number("r").unwrap_or(0) {
            times.push((at, number("d").unwrap()));
            at += number("d").unwrap();
        }
    }
    times
}

#[test]
fn a_film_whose_picture_comes_late_with_two_tracks_of_sound() {
    let base = TimeBase::new(1, 1000).unwrap();
    let tracks = vec![
        audio("audio", "de", "", Role::Main, true),
        audio("audio-2", "en\"><x", "Director's <cut> & \"more\"\u{7}", Role::Commentary, false),
    ];
    let (plan, made) = film(Some(video(base, 1500, &[5005, 5005, 3003])), tracks);
    insta::assert_snapshot!(manifest(&plan, &made));
}

#[test]
fn what_a_track_is_for_is_said_in_the_words_that_players_know() {
    let tracks = [
        ("audio", Role::Main, false),
        ("audio-2", Role::Main, false),
        ("audio-3", Role::Dub, false),
        ("audio-4", Role::Description, false),
        ("audio-5", Role::HearingImpaired, false),
    ];
    let tracks = tracks.map(|(name, role, default)| audio(name, "eng", "", role, default));
    let (plan, made) = film(None, tracks.into());
    let text = manifest(&plan, &made);
    let roles: Vec<_> =
        parsed(&text).iter().filter(|e| e.0 == "Role" || e.0 == "Accessibility").map(|e| attribute(e, "value").unwrap()).collect();
    // Where the source chooses none, the first is chosen.
    assert_eq!(roles, ["main", "alternate", "dub", "1", "description", "2", "enhanced-audio-intelligibility"]);
    assert!(!text.contains("contentType=\"video\""));
}

#[test]
fn text_is_one_file_for_the_whole_film() {
    let (plan, mut made) = film(Some(video(TimeBase::MILLIS, 0, &[6000, 3000])), vec![audio("audio", "eng", "", Role::Main, true)]);
    let track = |name: &str, title: &str, role, forced| {
        let planned = SubtitlePlan {
            name: name.into(),
            index: 2,
            codec: "subrip".into(),
            language: "deu".into(),
            title: title.into(),
            forced,
            role,
            origin_us: 0,
        };
        let key = format!("streams/0123456789abcdef01234567/{name}/segments/seg_0000.4.vtt");
        (planned, TextFile { key, bytes: 9000, sha256: String::new(), cues: 7, dropped: 0, damaged: false })
    };
    made.text = vec![
        track("text", "<für> \"alle\"", Role::Main, false),
        track("text-2", "", Role::HearingImpaired, false),
        track("text-3", "", Role::Main, true),
    ];
    let text = manifest(&plan, &made);
    let sets = text.lines().skip_while(|line| !line.contains("contentType=\"text\"")).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(sets, @r#"
    <AdaptationSet id="2" contentType="text" mimeType="text/vtt" lang="de">
    <Label>&lt;für&gt; &quot;alle&quot;</Label>
    <Role schemeIdUri="urn:mpeg:dash:role:2011" value="subtitle"/>
    <Representation id="text" bandwidth="4794">
    <BaseURL>text/segments/seg_0000.4.vtt</BaseURL>
    </Representation>
    </AdaptationSet>
    <AdaptationSet id="3" contentType="text" mimeType="text/vtt" lang="de">
    <Role schemeIdUri="urn:mpeg:dash:role:2011" value="caption"/>
    <Representation id="text-2" bandwidth="4794">
    <BaseURL>text-2/segments/seg_0000.4.vtt</BaseURL>
    </Representation>
    </AdaptationSet>
    <AdaptationSet id="4" contentType="text" mimeType="text/vtt" lang="de">
    <Role schemeIdUri="urn:mpeg:dash:role:2011" value="forced-subtitle"/>
    <Representation id="text-3" bandwidth="4794">
    <BaseURL>text-3/segments/seg_0000.4.vtt</BaseURL>
    </Representation>
    </AdaptationSet>
    </Period>
    </MPD>
    "#);
    let named: Vec<&str> = urls(&text).filter(|url| url.rsplit('.').next() == Some("vtt")).collect();
    assert_eq!(named, ["text", "text-2", "text-3"].map(|name| format!("{name}/segments/seg_0000.4.vtt")));
    parsed(&text);
}

#[test]
fn hdr_that_is_kept_is_told() {
    let (mut picture, made) = video(TimeBase::MILLIS, 0, &[6000]);
    picture.colors = Colors { primaries: "bt2020".into(), transfer: "smpte2084".into(), matrix: "bt2020nc".into(), ..Colors::default() };
    let (mut plan, made) = film(Some((picture, made)), vec![]);
    assert!(!manifest(&plan, &made).contains("cicp:TransferCharacteristics"), "tone-mapped");
    plan.profile = crate::plan::Profile { hdr: Hdr::Keep, codec: VideoCodec::Hevc, ..profile::h264() };
    assert!(manifest(&plan, &made).contains("cicp:TransferCharacteristics\" value=\"16\""));
}

#[test]
fn rates_are_whole_numbers_or_fractions() {
    let rates = [(30.0, "30"), (29.97, "30000/1001"), (23.976_023_976, "24000/1001"), (59.94, "60000/1001"), (12.5, "12500/1000")];
    for (rate, text) in rates {
        assert_eq!(frame_rate(rate).as_deref(), Some(text));
    }
    for none in [0.0, f64::NAN, f64::INFINITY, -1.0] {
        assert_eq!(frame_rate(none), None);
    }
}

proptest! {
    #[test]
    fn a_player_reads_every_segment_at_its_time(
        (num, den) in (1u32..2000, 1u32..100_000),
        start in 0i64..1_000_000,
        durations in prop::collection::vec(prop_oneof![Just(6000i64), 1i64..20_000], 1..60),
    ) {
        let (plan, made) = film(Some(video(TimeBase::new(num, den).unwrap(), start, &durations)), vec![]);
        let text = manifest(&plan, &made);
        let mut at = start * i64::from(num);
        let expected: Vec<(i64, i64)> = durations.iter().map(|duration| {
            let this = (at, duration * i64::from(num));
            at += this.1;
            this
        }).collect();
        prop_assert_eq!(read_back(&text), expected);
        let named: Vec<&str> = urls(&text).collect();
        let segments = made.video[0].segments.iter().map(|s| format!("360p/{}", key::segment_uri(&s.key)));
        prop_assert_eq!(named, std::iter::once("360p/init.mp4".to_owned()).chain(segments).collect::<Vec<_>>());
        let total = plan.video.as_ref().map(|v| v.time_base.seconds(v.end)).unwrap();
        let told = attribute(&parsed(&text)[0], "mediaPresentationDuration").unwrap();
        let told: f64 = told.trim_start_matches("PT").trim_end_matches('S').parse().unwrap();
        prop_assert!((told - total).abs() < 1e-5, "{told} {total}");
    }

    #[test]
    fn nothing_that_a_source_says_breaks_the_text(language in ".{0,40}", title in "\\PC{0,60}|[<>&\"'\\x00-\\x1f]{0,60}") {
        let (plan, made) = film(None, vec![audio("audio", &language, &title, Role::Main, true)]);
        let elements = parsed(&manifest(&plan, &made));
        prop_assert_eq!(elements.iter().filter(|e| e.0 == "AdaptationSet").count(), 1);
        prop_assert_eq!(elements.iter().filter(|e| e.0 == "SegmentURL").count(), 3);
    }
}
