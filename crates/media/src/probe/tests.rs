use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<SourceReport, Fault> {
    let mut index = Index::default();
    for line in text.lines() {
        index.line(line.as_bytes())?;
    }
    index.finish()
}

const FILM: &str = "\
packet|codec_type=audio|stream_index=1|pts=-19392|dts=-19392|duration=1024|size=171|pos=48|flags=KD_|side_datum/skip_samples:skip_samples=19392|side_datum/skip_samples:discard_padding=0
packet|codec_type=video|stream_index=0|pts=-4096|dts=-5120|duration=512|size=4640|pos=219|flags=KD_
packet|codec_type=audio|stream_index=1|pts=-64|dts=-64|duration=1024|size=9|pos=5000|flags=K__
packet|codec_type=audio|stream_index=1|pts=960|dts=960|duration=1024|size=9|pos=5009|flags=K__|side_datum/skip_samples:skip_samples=0|side_datum/skip_samples:discard_padding=24
packet|codec_type=video|stream_index=0|pts=N/A|dts=-4608|duration=512|size=41|pos=5270|flags=___
packet|codec_type=data|stream_index=2|pts=0|dts=0|size=5|pos=N/A|flags=K__
stream|index=0|codec_name=h264|codec_type=video|width=320|height=180|sample_aspect_ratio=4:3|pix_fmt=yuv420p|color_transfer=unknown|field_order=progressive|r_frame_rate=24/1|avg_frame_rate=240/11|time_base=1/12288|disposition:attached_pic=0|disposition:timed_thumbnails=1|tag:language=a\\|codec_name=evil|side_datum/display_matrix:rotation=-90
stream|index=1|codec_name=aac|codec_type=audio|sample_rate=48000|channels=2|r_frame_rate=0/0|avg_frame_rate=0/0|time_base=1/48000|tag:language=deu
stream|index=2|codec_type=data|time_base=1/90000
format|format_name=mov,mp4,m4a,3gp,3g2,mj2
";

#[test]
fn a_film_is_read() {
    insta::assert_json_snapshot!(read(FILM).unwrap());
}

/// Two packets a picture, 40 ms each, which the container counts as 50 a second; the last picture is a frame.
#[test]
fn a_second_field_is_no_picture_and_no_keyframe() {
    let packet =
        |n: usize, pts: i64| format!("packet|codec_type=video|stream_index=0|pts={pts}|dts={pts}|size=9|pos={}|flags=K__\n", n * 10);
    let packets: String = [0, 20, 40, 40, 80].into_iter().enumerate().map(|(n, pts)| packet(n, pts)).collect();
    let track = "stream|index=0|codec_name=h264|codec_type=video|width=320|height=180|r_frame_rate=50/1|time_base=1/1000\n";
    let of = |second_fields: Vec<u64>| {
        let mut index = Index { found: Found { second_fields, ..Found::default() }, ..Index::default() };
        for line in format!("{packets}{track}format|format_name=matroska,webm\n").lines() {
            index.line(line.as_bytes()).unwrap();
        }
        let track = index.finish().unwrap().video.remove(0);
        let told: Vec<(bool, bool)> = track.packets.iter().map(|packet| (packet.shown, packet.key)).collect();
        (told, track.frame_rate)
    };
    let (first, second) = ((true, true), (false, false));
    assert_eq!(of(vec![10, 30]), (vec![first, second, first, second, first], 25.0));
    assert_eq!(of(vec![11, 31]), (vec![first; 5], 50.0), "other places");
}

/// A picture has 40 ms by its parameter set.
#[test]
fn an_mp4_has_fields_where_many_packets_are_shorter_than_a_picture() {
    let of = |steps: &[i64]| {
        let mut track = read(FILM).unwrap().video.remove(0);
        let times = (0..=steps.len()).map(|n| steps.iter().take(n).sum::<i64>());
        track.time_base = TimeBase::MILLIS;
        track.packets = times.map(|at| Packet { pts: Some(at), dts: Some(at), pos: None, size: 9, key: true, shown: true }).collect();
        are_fields(&track, 0.04)
    };
    assert!(of(&[20; 50]) && of(&[20]) && of(&[[40; 10], [20; 10]].concat()));
    assert!(!of(&[40; 50]) && !of(&[39; 50]) && !of(&[]));
    assert!(!of(&[&[40; 49][..], &[10]].concat()), "a film that was joined once");
}

/// As ffprobe tells of a transport stream: the tracks of its program, the first of them not in a line of its own, then all.
#[test]
fn the_first_track_is_the_first_though_its_program_tells_of_it_later() {
    let track = |index: u32, kind: &str| {
        format!("stream|index={index}|codec_name=h264|codec_type={kind}|width=320|height=180|sample_rate=48000|time_base=1/90000\n")
    };
    let tracks = [(0, "video"), (1, "video"), (2, "audio"), (3, "audio")].map(|(index, kind)| track(index, kind));
    let text = format!("program|{}\n{}format|format_name=mpegts\n", tracks.concat(), tracks.concat());
    let report = read(&text).unwrap();
    assert_eq!(report.video.iter().map(|track| track.index).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(report.audio.iter().map(|track| (track.index, track.position)).collect::<Vec<_>>(), [(2, 0), (3, 1)]);
}

#[test]
fn sound_and_text_of_another_program_are_left_out() {
    let track = |index: u32, kind: &str, width: u32| {
        format!("stream|index={index}|codec_name=x|codec_type={kind}|width={width}|height=180|sample_rate=48000|time_base=1/90000\n")
    };
    let of = |size: u32, programs: &[&[usize]]| {
        let tracks = [track(0, "video", size), track(1, "audio", 0), track(2, "subtitle", 0), track(3, "video", 320), track(4, "audio", 0)];
        let told = |program: &&[usize]| format!("program|{}\n", program.iter().map(|at| tracks[*at].as_str()).collect::<String>());
        let text = format!("{}{}format|format_name=mpegts\n", programs.iter().map(told).collect::<String>(), tracks.concat());
        let report = read(&text).unwrap();
        let sound: Vec<u32> = report.audio.iter().map(|track| track.index).collect();
        (sound, report.subtitles.len(), report.video.len(), report.other)
    };
    assert_eq!(
        of(640, &[&[0, 1], &[3, 4, 2]]),
        (vec![1], 0, 2, vec!["4:audio:x (another program)".into(), "2:subtitle:x (another program)".into()])
    );
    assert_eq!(of(0, &[&[0, 1], &[3, 4, 2]]), (vec![4], 1, 2, vec!["1:audio:x (another program)".into()]), "a picture that never comes");
    assert_eq!(of(640, &[&[0, 1, 2, 3, 4]]), (vec![1, 4], 1, 2, vec![]));
    assert_eq!(of(640, &[&[0, 1, 2], &[3, 1, 4]]).0, [1], "both have the first sound");
    assert_eq!(of(640, &[&[3, 4]]), (vec![1, 4], 1, 2, vec![]), "in no program");
    assert!(of(640, &[]).3.is_empty());
}

#[test]
fn sound_begins_where_the_decoder_begins_to_play() {
    // A priming that is dropped with a flag; one that stands in a packet; none.
    let audio = "stream|index=0|codec_name=aac|codec_type=audio|sample_rate=48000|channels=2|time_base=TB\nformat|format_name=x\n";
    let first = |packets: &str, base: &str| {
        let text = format!("{packets}\n{}", audio.replace("TB", base));
        read(&text).unwrap().audio[0].first_pts
    };
    let packet = |pts: i64, flags: &str, skip: u32| {
        format!("packet|codec_type=audio|stream_index=0|pts={pts}|duration=1|flags={flags}|side_datum/skip_samples:skip_samples={skip}")
    };
    assert_eq!(first(&[packet(-1024, "KD_", 1024), packet(0, "K__", 0)].join("\n"), "1/48000"), Some(0));
    assert_eq!(first(&[packet(-7, "K__", 312), packet(14, "K__", 0)].join("\n"), "1/1000"), Some(0));
    assert_eq!(first(&[packet(37_376, "K__", 0), packet(38_400, "K__", 0)].join("\n"), "1/48000"), Some(37_376));
    assert_eq!(first(&[packet(-1024, "KD_", 0), packet(5, "K__", 0)].join("\n"), "1/48000"), Some(5));
}

#[test]
fn too_much_is_refused_by_name() {
    let big = FILM.replace("width=320|height=180", "width=16000|height=16000");
    assert!(matches!(read(&big), Err(Fault::Reject(text)) if text.contains("16000 × 16000")));
    let many = FILM.replace("stream_index=2", "stream_index=64");
    assert!(matches!(read(&many), Err(Fault::Reject(text)) if text.contains("64 tracks")));
}

#[test]
fn a_probe_that_says_nothing_is_not_the_files_fault() {
    assert!(matches!(read(""), Err(Fault::Escalate { reason: Shortage::Tool, .. })));
    assert!(matches!(read("format|format_name=wav\n"), Err(Fault::Reject(_))));
}

#[test]
fn what_a_probe_cannot_read_within_its_limits_is_the_files_fault() {
    assert!(matches!(unreadable(Ended::Exit(1), "input: Out of memory"), Some(Fault::Reject(text)) if text.contains("tables")));
    assert!(matches!(unreadable(Ended::Signal(libc::SIGXCPU), ""), Some(Fault::Reject(text)) if text.contains("300 s")));
    let packed = "this file requires zlib support compiled in\nError: Function not implemented";
    assert!(matches!(unreadable(Ended::Exit(1), packed), Some(Fault::Reject(text)) if text.contains("headers")));
    assert!(matches!(unreadable(Ended::Exit(0), "Invalid mdhd time scale 0, defaulting to 1"), Some(Fault::Reject(_))));
    assert!(matches!(unreadable(Ended::Exit(1), "Option not found"), Some(Fault::Escalate { reason: Shortage::Tool, .. })));
    assert!(matches!(unreadable(Ended::Signal(libc::SIGKILL), ""), Some(Fault::Killed(_))));
    for ended in [Ended::OutOfMemory, Ended::Wall, Ended::Signal(libc::SIGSEGV)] {
        assert!(matches!(unreadable(ended, ""), Some(Fault::Escalate { .. })), "{ended:?}");
    }
}

proptest! {
    #[test]
    fn no_line_breaks_the_reader(lines in prop::collection::vec("(packet|stream|program|format)?[|]?(codec_type=video|stream_index=[0-9]{1,9}|index=1|time_base=0/0|width=[0-9]{1,12}|[|=\\\\a-z\\PC]){0,8}", 0..20)) {
        let _ = read(&lines.join("\n"));
    }
}
