//! The real layer, on clips it makes itself: every frame, its time and its picture, chunk by chunk from sparse files.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the answer")]

mod captions;
mod excerpt;
mod fuzz;
mod picture;
mod stills;
mod support;

use std::path::Path;

use pipeline::{
    Fault,
    encoder::{ChunkWork, EncodeError, Encoder, MAX_WHOLE, ProbeInput, Progress, Remux},
    source::SourceReport,
};
use support::{Lab, Made};

const X264: [&str; 2] = ["-c:v", "libx264"];

#[tokio::test]
async fn closed_groups() {
    let lab = Lab::new();
    let film = lab.film("in.mp4", &[&X264[..], &["-g", "24", "-flags", "+cgop"]].concat());
    let made = lab.make(&film).await;
    assert_eq!(made.audio[0].codec, "mp4a.40.2");
    assert!(made.codec.starts_with("avc1.6400"), "{}", made.codec);
    in_sync(&lab, &made, &film);
}

#[tokio::test]
async fn open_groups_of_h264_in_mp4_and_one_long_group() {
    for params in ["open-gop=1:keyint=24:min-keyint=24:bframes=3:b-adapt=0", "keyint=infinite"] {
        let lab = Lab::new();
        let film = lab.film("in.mp4", &[&X264[..], &["-x264-params", params]].concat());
        lab.make(&film).await;
    }
}

#[tokio::test]
async fn open_groups_of_hevc_in_matroska() {
    let lab = Lab::new();
    let params = "open-gop=1:keyint=24:min-keyint=24:bframes=4:b-adapt=0:log-level=error:pools=1";
    let film = lab.film("in.mkv", &["-c:v", "libx265", "-x265-params", params]);
    let made = lab.make(&film).await;
    in_sync(&lab, &made, &film);
}

#[tokio::test]
async fn gop_by_gop_from_an_open_group_and_over_a_gap() {
    let select = "select='not(eq(mod(n\\,7)\\,3))*not(between(t\\,2.2\\,3.4))'";
    let kinds =
        [vec!["-x264-params", "open-gop=1:keyint=24:min-keyint=24:bframes=3:b-adapt=0"], vec!["-vf", select, "-fps_mode", "passthrough"]];
    for kind in kinds {
        let mut lab = Lab::new();
        lab.by_gop = true;
        let film = lab.film("in.mp4", &[&X264[..], &kind].concat());
        lab.make(&film).await;
    }
}

#[tokio::test]
async fn gops_of_another_chunk_or_in_another_order_are_no_chunk() {
    let lab = Lab::new();
    let film = lab.film("in.mp4", &[&X264[..], &["-g", "24"]].concat());
    let planned = lab.plan(&film).await;
    let (out, progress) = (lab.fresh("out"), Progress::default());
    let work = ChunkWork {
        plan: &planned.plan,
        chunk: &planned.chunks[1],
        source: &film,
        out: &out,
        progress: &progress,
        careful: false,
        blank: false,
    };
    let gop = async |number| lab.encoder.encode_gop(&work, number).await.unwrap().into_iter().map(|gop| gop.path).collect::<Vec<_>>();
    for order in [&[1, 0, 2, 3][..], &[0, 1]] {
        let mut wrong = Vec::new();
        for number in order {
            wrong.push(gop(*number).await);
        }
        match lab.encoder.join_gops(&work, &wrong).await {
            Err(EncodeError::Mismatch(text)) => assert!(text.starts_with("180p, chunk 1: "), "{text}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(lab.encoder.encode_gop(&work, 4).await.is_err(), "there are four");
}

#[tokio::test]
async fn variable_frame_rate_with_a_gap() {
    let lab = Lab::new();
    let select = "select='not(eq(mod(n\\,7)\\,3))*not(eq(mod(n\\,11)\\,5))*not(between(t\\,2.2\\,3.4))'";
    let film = lab.film("in.mp4", &[&X264[..], &["-g", "30", "-vf", select, "-fps_mode", "passthrough"]].concat());
    lab.make(&film).await;
}

#[tokio::test]
async fn an_edit_list_that_hides_frames() {
    let lab = Lab::new();
    lab.film("whole.mp4", &[&X264[..], &["-g", "48"]].concat());
    lab.ffmpeg(&["-ss", "0.9", "-i", "whole.mp4", "-c", "copy", "in.mp4"]);
    let film = lab.path("in.mp4");
    let hidden = lab.probe(&film).await.video[0].packets.iter().filter(|packet| !packet.shown).count();
    assert!(hidden > 10, "{hidden}");
    let made = lab.make(&film).await;
    in_sync(&lab, &made, &film);
}

#[tokio::test]
async fn late_sound_and_late_picture_keep_one_origin() {
    for (video, audio) in [("0", "0.7777"), ("1.5001", "0")] {
        let lab = Lab::new();
        lab.film("even.mp4", &[&X264[..], &["-g", "24"]].concat());
        lab.ffmpeg(&[
            "-itsoffset",
            video,
            "-i",
            "even.mp4",
            "-itsoffset",
            audio,
            "-i",
            "even.mp4",
            "-map",
            "0:v",
            "-map",
            "1:a",
            "-c",
            "copy",
            "-movie_timescale",
            "12288",
            "in.mp4",
        ]);
        let film = lab.path("in.mp4");
        let made = lab.make(&film).await;
        in_sync(&lab, &made, &film);
        assert_eq!(made.plan.video.unwrap().start > 0, video != "0");
    }
}

#[tokio::test]
async fn no_sound_and_a_time_base_of_one_frame() {
    let lab = Lab::new();
    let film = lab.film("in.mp4", &[&X264[..], &["-an", "-g", "250", "-bf", "2", "-video_track_timescale", "24"]].concat());
    let made = lab.make(&film).await;
    assert_eq!(made.plan.video.unwrap().time_base.den(), 24);
}

#[tokio::test]
async fn a_rotated_film_is_turned_once() {
    let lab = Lab::new();
    lab.film("flat.mp4", &[&X264[..], &["-g", "48"]].concat());
    lab.ffmpeg(&["-display_rotation", "90", "-i", "flat.mp4", "-c", "copy", "in.mp4"]);
    let made = lab.make(&lab.path("in.mp4")).await;
    let rendition = &made.plan.video.as_ref().unwrap().renditions[0];
    assert_eq!((rendition.width, rendition.height), (180, 320));
    let picture = lab.probe(&made.mp4).await;
    assert_eq!((picture.video[0].width, picture.video[0].height, picture.video[0].rotation), (180, 320, 0));
}

/// Beeps of the MP4 lie where those of the source do, counted from the common origin (P2).
fn in_sync(lab: &Lab, made: &Made, film: &Path) {
    let video = made.plan.video.as_ref().unwrap();
    let origin = video.time_base.seconds(video.origin);
    let (source, out) = (lab.beeps(film), lab.beeps(&made.mp4));
    assert_eq!(source.len(), out.len());
    assert!(source.len() >= 5);
    for (was, is) in source.iter().zip(&out) {
        assert!((was - origin - is).abs() < 0.001, "a beep at {was} from {origin} is at {is}");
    }
}

#[tokio::test]
async fn two_runs_make_the_same_bytes() {
    let lab = Lab::new();
    let film = lab.film("in.mp4", &[&X264[..], &["-g", "48"]].concat());
    let planned = lab.plan(&film).await;
    let mut made = Vec::new();
    for name in ["a", "b"] {
        let out = lab.fresh(name);
        let work = ChunkWork {
            plan: &planned.plan,
            chunk: &planned.chunks[1],
            source: &film,
            out: &out,
            progress: &Progress::default(),
            careful: false,
            blank: false,
        };
        let renditions = lab.encoder.encode_chunk(&work).await.unwrap();
        made.push(
            renditions.into_iter().map(|r| (r.init, r.segments.into_iter().map(|s| s.sha256).collect::<Vec<_>>())).collect::<Vec<_>>(),
        );
    }
    assert_eq!(made[0], made[1]);
}

#[tokio::test]
async fn missing_bytes_are_a_mismatch_that_names_the_frame() {
    let lab = Lab::new();
    let film = lab.film("in.mp4", &[&X264[..], &["-g", "24", "-movflags", "+faststart"]].concat());
    let planned = lab.plan(&film).await;
    let chunk = &planned.chunks[1];
    let mut bytes = std::fs::read(&film).unwrap();
    let middle = usize::try_from(u64::midpoint(chunk.ranges[0].start, chunk.ranges.last().unwrap().end)).unwrap();
    bytes[middle..].fill(0);
    let broken = lab.path("broken.mp4");
    std::fs::write(&broken, bytes).unwrap();
    let out = lab.fresh("out");
    let work = ChunkWork {
        plan: &planned.plan,
        chunk: planned.chunks.last().unwrap(),
        source: &broken,
        out: &out,
        progress: &Progress::default(),
        careful: false,
        blank: false,
    };
    match lab.encoder.encode_chunk(&work).await {
        Err(EncodeError::Mismatch(text)) => assert!(text.contains("decoder gave"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_probe_through_a_pipe_says_the_same() {
    let lab = Lab::new();
    let film = lab.film("in.mkv", &[&X264[..], &["-g", "24"]].concat());
    let blocks: Vec<_> = std::fs::read(&film).unwrap().chunks(10_000).map(|block| Ok(bytes::Bytes::copy_from_slice(block))).collect();
    let stream = Box::pin(futures::stream::iter(blocks));
    let piped = lab.encoder.probe(ProbeInput::Stream(stream), &lab.fresh("scratch")).await.unwrap();
    assert_eq!(piped, lab.probe(&film).await);
    assert_eq!(std::fs::read_dir(lab.path("scratch")).unwrap().count(), 0);
}

/// What `split` fetches of an MP4 is its tables and the beginning of its pictures.
#[tokio::test]
async fn tables_alone_name_every_keyframe() {
    for codec in ["libx264", "libx265", "mpeg4"] {
        let lab = Lab::new();
        let film = lab.film("in.mp4", &["-c:v", codec, "-g", "24"]);
        let whole = lab.probe(&film).await;
        let mut bytes = std::fs::read(&film).unwrap();
        let mdat = bytes.windows(4).position(|name| name == b"mdat").unwrap();
        let size = u32::from_be_bytes(bytes[mdat - 4..mdat].try_into().unwrap()) as usize;
        bytes[mdat + 4_000..mdat - 4 + size].fill(0);
        std::fs::write(lab.path("sparse.mp4"), bytes).unwrap();
        let sparse = lab.probe(&lab.path("sparse.mp4")).await;
        assert!(sparse.video[0].packets.iter().filter(|packet| packet.key).count() >= 7, "{codec}");
        assert_eq!(sparse.video[0].packets, whole.video[0].packets, "{codec}");
        assert_eq!((sparse.audio, sparse.first_packet_pos), (whole.audio, whole.first_packet_pos), "{codec}");
    }
}

#[tokio::test]
async fn a_source_that_breaks_off_on_its_way_is_tried_again() {
    let lab = Lab::new();
    let film = lab.film("in.mkv", &[&X264[..], &["-g", "24"]].concat());
    let head = std::fs::read(&film).unwrap()[..20_000].to_vec();
    let blocks = [Ok(head.into()), Err(Fault::retry("connection reset"))];
    let stream = Box::pin(futures::stream::iter(blocks));
    let fault = lab.encoder.probe(ProbeInput::Stream(stream), &lab.fresh("scratch")).await.unwrap_err();
    assert_eq!(fault, Fault::retry("connection reset").into());
}

#[tokio::test]
async fn what_is_no_video_is_rejected_with_a_sentence() {
    let lab = Lab::new();
    let secret = lab.film("secret.mp4", &[&X264[..], &["-t", "1"]].concat());
    let secret = secret.display();
    let playlist = format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n");
    let cut = std::fs::read(lab.path("secret.mp4")).unwrap()[..4_000].to_vec();
    let cases = [
        ("empty", Vec::new()),
        ("text", b"this is not a film\n".repeat(100)),
        ("zeros", vec![0; 100_000]),
        ("playlist", playlist.into_bytes()),
        ("concat", format!("ffconcat version 1.0\nfile '{secret}'\n").into_bytes()),
        ("cut", cut),
    ];
    for (name, bytes) in cases {
        let path = lab.path(&format!("{name}.mp4"));
        std::fs::write(&path, bytes).unwrap();
        match lab.encoder.probe(ProbeInput::File(path), &lab.path("")).await {
            Err(EncodeError::Fault(Fault::Reject(text))) => assert!(text.starts_with("The file "), "{name}: {text}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// A word of an MP4's header turns the picture into sound or data that nobody can decode, and the film into its sound.
#[tokio::test]
async fn a_film_whose_picture_is_called_something_else_is_not_taken_for_its_sound() {
    let lab = Lab::new();
    let mp4 = std::fs::read(lab.film("film.mp4", &X264)).unwrap();
    let place = |bytes: &[u8], word: &[u8], from: usize| from + bytes[from..].windows(word.len()).position(|w| w == word).unwrap();
    let handler = place(&mp4, b"vide", place(&mp4, b"hdlr", 0));
    let entry = place(&mp4, b"avc1", place(&mp4, b"stsd", 0));
    let with = |bytes: &[u8], changes: &[(usize, &[u8])]| {
        let mut bytes = bytes.to_vec();
        for (at, word) in changes {
            bytes[*at..at + word.len()].copy_from_slice(word);
        }
        bytes
    };
    let cases = [
        ("sound.mp4", with(&mp4, &[(handler, b"soun")])),
        ("data.mp4", with(&mp4, &[(handler, b"dide"), (entry, b"dvc1")])),
        ("text.mp4", with(&mp4, &[(handler, b"text"), (entry, b"text")])),
    ];
    for (name, bytes) in cases {
        std::fs::write(lab.path(name), bytes).unwrap();
        match lab.encoder.probe(ProbeInput::File(lab.path(name)), &lab.path("")).await {
            Err(EncodeError::Fault(Fault::Reject(text))) => {
                assert!(text.starts_with("The file has no picture, and most of it") && !text.contains("  "), "{name}: {text}");
            }
            other => panic!("{name}: {:?}", other.map(|report| (report.video.len(), report.audio, report.subtitles, report.other))),
        }
    }
    // What the decoder's tables know by its own name stays a picture, whatever the handler says.
    std::fs::write(lab.path("meta.mp4"), with(&mp4, &[(handler, b"meta")])).unwrap();
    assert_eq!(lab.probe(&lab.path("meta.mp4")).await.video.len(), 1);
}

#[tokio::test]
async fn the_layer_can_do_what_it_must() {
    let found = support::tools().capabilities().await.unwrap();
    assert_eq!(found.missing, Vec::<String>::new());
    assert!(found.ffmpeg_version.contains("9.0.2"), "{}", found.ffmpeg_version);
    assert!(found.ffprobe_version.contains("8.1.2"), "{}", found.ffprobe_version);
    assert!(found.cell.parent_hidden);
}

/// Sources without an index or without times: remuxed once through a pipe, the copy is cut into chunks, and every picture
/// of the source is there. What is passed on while it is made is what is kept, and is the same again where nothing is kept.
#[tokio::test]
async fn streams_are_remuxed_and_lose_nothing() {
    let h264 = [&X264[..], &["-g", "24"]].concat();
    let cases: [(&str, &[&str]); 12] = [
        ("in.ts", &h264),
        ("mpeg2.ts", &["-c:v", "mpeg2video", "-bf", "2", "-c:a", "mp2"]),
        ("in.m2ts", &[&h264[..], &["-mpegts_m2ts_mode", "1", "-c:a", "ac3"]].concat()),
        ("in.mpg", &["-c:v", "mpeg2video", "-bf", "2", "-c:a", "mp2"]),
        ("in.avi", &["-c:v", "mpeg4", "-bf", "2", "-c:a", "libmp3lame"]),
        ("h264.avi", &[&h264[..], &["-bf", "3", "-c:a", "libmp3lame"]].concat()),
        ("in.flv", &h264),
        ("in.wmv", &["-c:v", "wmv2", "-c:a", "wmav2"]),
        ("in.ogg", &["-c:v", "libtheora", "-c:a", "libvorbis"]),
        ("in.mxf", &["-c:v", "mpeg2video", "-c:a", "pcm_s16le"]),
        ("fragmented.mp4", &[&h264[..], &["-movflags", "frag_keyframe+empty_moov"]].concat()),
        ("live.mkv", &[&h264[..], &["-live", "1"]].concat()),
    ];
    for (name, codec) in cases {
        let lab = Lab::new();
        let film = lab.film(name, codec);
        let source = lab.probe(&film).await;
        let pictures = source.video[0].packets.len() as u64;
        let kept = copy(&lab, &film, "once.mkv", MAX_WHOLE, 10_000).await;
        assert!(kept == std::fs::read(lab.path("once.mkv")).unwrap(), "{name}: passed on is another copy than is kept");
        assert!(kept == copy(&lab, &film, "again.mkv", 0, 999).await, "{name}: the second copy is another");
        assert!(!lab.path("again.mkv").exists(), "{name}");
        assert!(pipeline::planner::times_are_usable(&lab.probe(&lab.path("once.mkv")).await), "{name}");
        let made = lab.make(&lab.path("once.mkv")).await;
        assert_eq!(made.plan.video.unwrap().frames, pictures, "{name}");
        assert_eq!(made.audio.len(), 1, "{name}");
        println!("{name:<16} {pictures} pictures, {} chunks", made.plan.chunks);
    }
}

/// What is passed on of the copy of a film, which comes in blocks.
async fn copy(lab: &Lab, film: &Path, out: &str, hold: u64, block: usize) -> Vec<u8> {
    let source = std::fs::read(film).unwrap();
    let bytes = source.len() as u64;
    let blocks: Vec<_> = source.chunks(block).map(|block| Ok(bytes::Bytes::copy_from_slice(block))).collect();
    let work = Remux { input: ProbeInput::Stream(Box::pin(futures::stream::iter(blocks))), bytes, mend: false, hold };
    let (made, come) = lab.remux(work, out).await;
    assert_eq!((made.bytes, made.is_here), (come.len() as u64, hold > 0), "{out}");
    come
}

/// A stream that ends in the middle of a packet, one of pictures and one of sound alone: the packets that are there.
#[tokio::test]
async fn streams_of_one_kind_and_streams_that_break_off_are_remuxed() {
    let lab = Lab::new();
    let whole = std::fs::read(lab.film("whole.ts", &[&X264[..], &["-g", "24"]].concat())).unwrap();
    std::fs::write(lab.path("cut.ts"), &whole[..whole.len() / 2 + 77]).unwrap();
    lab.ffmpeg(&["-i", "whole.ts", "-map", "0:v", "-c", "copy", "silent.ts"]);
    lab.ffmpeg(&["-i", "whole.ts", "-map", "0:a", "-c", "copy", "heard.ts"]);
    for name in ["cut.ts", "silent.ts", "heard.ts"] {
        let come = copy(&lab, &lab.path(name), "kept.mkv", 0, 10_000).await;
        std::fs::write(lab.path("come.mkv"), come).unwrap();
        let (source, copied) = (lab.probe(&lab.path(name)).await, lab.probe(&lab.path("come.mkv")).await);
        let packets = |report: &SourceReport| {
            (report.video.iter().map(|t| t.packets.len()).sum::<usize>(), report.audio.iter().map(|t| t.packets).sum::<u64>())
        };
        assert_eq!(packets(&copied), packets(&source), "{name}");
    }
}

/// Pictures with one and the same time get times of their own, and none is lost.
#[tokio::test]
async fn repeated_times_are_mended() {
    let lab = Lab::new();
    let twice = ["-c:v", "libvpx", "-deadline", "realtime", "-g", "24", "-c:a", "libopus", "-bsf:v", "setts=ts='trunc(PTS/2)*2'"];
    let film = lab.film("twice.mkv", &twice);
    let source = lab.probe(&film).await;
    assert!(!pipeline::planner::times_are_usable(&source) && pipeline::planner::times_can_be_mended(&source));
    let bytes = std::fs::metadata(&film).unwrap().len();
    lab.remux(Remux { input: ProbeInput::File(film.clone()), bytes, mend: true, hold: MAX_WHOLE }, "mended.mkv").await;
    let made = lab.make(&lab.path("mended.mkv")).await;
    assert_eq!(made.plan.video.unwrap().frames, source.video[0].packets.len() as u64);
}
