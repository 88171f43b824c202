use pipeline::plan::{AudioPlan, Colors, FrameTimes, Hdr, Mastering, Profile, Rendition, Role, SCHEMA, VideoCodec};

use super::{graph::tick_at_or_after, *};

fn line(command: &Command) -> String {
    let words = command.args.iter().map(|arg| if arg.contains(['[', ';', '(']) { format!("'{arg}'") } else { arg.clone() });
    std::iter::once(command.program.display().to_string()).chain(words).collect::<Vec<_>>().join(" ").replace(" -", "\n  -")
}

/// A table of times as a tree: half of what is left is passed over at each step.
#[test]
fn times_of_a_copy() {
    let displayed = remux::Displayed { times: vec![80, 200, 120, 160, 320], early: 40 };
    assert_eq!(displayed.filter(), "setts=pts='if(lt(N,2),if(lt(N,1),80,200),if(lt(N,3),120,if(lt(N,4),160,320)))':dts='PTS-40'");
}

/// The options of every codec, of a source in HDR that is kept where it can be.
#[test]
fn encoders() {
    let mut plan = a_plan();
    let mut video = plan.video.take().unwrap();
    let mastering = Mastering {
        green: (13_250, 34_500),
        blue: (7_500, 3_000),
        red: (34_000, 16_000),
        white: (15_635, 16_450),
        luminance: (10_000_000, 50),
        light: Some((1_000, 400)),
    };
    let hdr = Colors {
        transfer: "smpte2084".into(),
        primaries: "bt2020".into(),
        matrix: "bt2020nc".into(),
        mastering: Some(mastering),
        ..Colors::bt709()
    };
    let mut text = String::new();
    for (codec, preset) in [(VideoCodec::Hevc, "medium"), (VideoCodec::Av1, "8"), (VideoCodec::Vp9, "4")] {
        plan.profile = Profile { codec, preset: preset.into(), hdr: Hdr::Keep, ..plan.profile };
        for colors in [Colors::bt709(), hdr.clone()] {
            video.colors = colors;
            text += &video::options(&plan.profile, &video, &video.renditions[1], 30, 6.0).join(" ").replace(" -", "\n  -");
            text.push('\n');
        }
    }
    insta::assert_snapshot!(text);
}

fn rendition(name: &str, width: u32, height: u32, maxrate: u32) -> Rendition {
    Rendition { name: name.into(), width, height, maxrate, bufsize: maxrate * 3 / 2 }
}

fn a_plan() -> Plan {
    Plan {
        schema: SCHEMA,
        layer: "layer".into(),
        profile: Profile { ladder: Vec::new(), ..pipeline::profile::h264() },
        source_bytes: 1,
        container: "matroska,webm".into(),
        video: Some(VideoPlan {
            index: 1,
            codec: "h264".into(),
            time_base: TimeBase::new(1, 15360).unwrap(),
            origin: -512,
            frames: 288,
            start: 512,
            end: 1,
            frame_rate: 29.97,
            deinterlace: false,
            colors: Colors::bt709(),
            renditions: vec![rendition("720p", 1280, 720, 2_996_000), rendition("360p", 640, 360, 856_000)],
        }),
        audio: Vec::new(),
        subtitles: Vec::new(),
        text: None,
        stills: None,
        cut_short: None,
        normalized: None,
        chunks: 2,
        left_out: Vec::new(),
    }
}

fn a_chunk(frames: i64, keyframes: Vec<u32>) -> Chunk {
    let times: Vec<i64> = (0..frames).map(|frame| 92_160 + frame * 512).collect();
    Chunk {
        number: 7,
        first_segment: 7,
        start_us: 5_949_999,
        end_us: Some(10_716_666),
        seek_us: Some(5_500_000),
        times: FrameTimes::new(&times).unwrap(),
        keyframes,
        segments: vec![0],
        ranges: Vec::new(),
    }
}

#[test]
fn a_chunk_in_the_middle() {
    let plan = a_plan();
    let command = chunk(&"ffmpeg".into(), &plan, plan.video.as_ref().unwrap(), &a_chunk(144, vec![0, 60, 120]), 23);
    insta::assert_snapshot!(line(&command));
    assert_eq!(command.files, []);
}

#[test]
fn black_pictures_read_nothing_of_the_source() {
    let plan = a_plan();
    let command = blank(&"ffmpeg".into(), &plan, plan.video.as_ref().unwrap(), &a_chunk(5, vec![0, 3]));
    assert!(!command.args.iter().any(|arg| arg == "-i"), "{:?}", command.args);
    insta::assert_snapshot!(format!("{}\n{}", line(&command), command.files[0].1));
}

#[test]
fn a_chunk_that_is_the_whole_film_has_neither_seek_nor_end() {
    let plan = a_plan();
    let whole = Chunk { seek_us: None, end_us: None, keyframes: vec![0], ..a_chunk(144, Vec::new()) };
    let text = line(&chunk(&"ffmpeg".into(), &plan, plan.video.as_ref().unwrap(), &whole, 23));
    assert!(!text.contains("-ss ") && !text.contains("end_pts") && !text.contains("force_key_frames"), "{text}");
}

/// The graph of a chunk whose source is changed by `change`.
fn graph_of(change: impl Fn(&mut VideoPlan, &mut Profile)) -> String {
    let mut plan = a_plan();
    let mut video = plan.video.take().unwrap();
    change(&mut video, &mut plan.profile);
    graph::chunk(&plan.profile, &video, &a_chunk(144, vec![0])).replace(';', "\n").replace(",split", "\nsplit")
}

#[test]
fn graphs_by_what_the_source_is() {
    let pq =
        Colors { transfer: "smpte2084".into(), primaries: "bt2020".into(), matrix: "bt2020nc".into(), range: "tv".into(), mastering: None };
    insta::assert_snapshot!("interlaced", graph_of(|video, _| video.deinterlace = true));
    insta::assert_snapshot!("hdr_to_sdr", graph_of(|video, _| video.colors = pq.clone()));
    insta::assert_snapshot!(
        "hdr_kept",
        graph_of(|video, profile| {
            video.colors = pq.clone();
            (profile.codec, profile.hdr) = (VideoCodec::Hevc, Hdr::Keep);
        })
    );
    insta::assert_snapshot!(
        "rgb",
        graph_of(|video, _| video.colors = Colors { matrix: "gbr".into(), range: "pc".into(), ..Colors::bt709() })
    );
}

#[test]
fn very_many_keyframes_are_given_in_a_file() {
    let plan = a_plan();
    let command = chunk(&"ffmpeg".into(), &plan, plan.video.as_ref().unwrap(), &a_chunk(3000, (0..3000).collect()), 23);
    assert!(command.args.iter().all(|arg| arg.len() < 10_000));
    assert!(line(&command).contains("-/force_key_frames keyframes"));
    assert_eq!(command.files[0].0, "keyframes");
    assert_eq!(command.files[0].1.split(',').count(), 2999);
}

#[test]
fn the_probe_of_a_file_and_of_a_pipe() {
    let listings = [Listing::Tracks, Listing::Packets { tables: true }, Listing::Packets { tables: false }, Listing::Piped];
    insta::assert_snapshot!(listings.map(|listing| line(&probe(&"ffprobe".into(), listing))).join("\n"));
}

#[test]
fn the_sound() {
    let plan = AudioPlan {
        codec: "aac".into(),
        name: "audio-2".into(),
        index: 3,
        position: 1,
        language: "deu".into(),
        title: String::new(),
        default: true,
        role: Role::Main,
        channels: 2,
        time_base: TimeBase::new(1, 48_000).unwrap(),
        origin_us: -21_333,
        start_us: 0,
        end_us: 1,
        silence_us: 0,
        bitrate: 128_000,
        excerpt: None,
    };
    let late = AudioPlan { channels: 6, silence_us: 2_500_000, bitrate: 384_000, ..plan.clone() };
    insta::assert_snapshot!(line(&sound::encode(&"ffmpeg".into(), &plan, 0, false)));
    assert!(line(&sound::encode(&"ffmpeg".into(), &plan, 0, true)).contains("apad=whole_len="));
    let lasting =
        |hours: i64| line(&sound::encode(&"ffmpeg".into(), &AudioPlan { end_us: hours * 3_600_000_000, ..plan.clone() }, 0, false));
    assert!(lasting(24).contains("-aac_coder fast") && !lasting(8).contains("aac_coder"));
    let told = |gain| line(&sound::encode(&"ffmpeg".into(), &late, gain, false));
    let filter = told(-310).split_ascii_whitespace().find(|word| word.contains("asetpts")).map(str::to_owned);
    insta::assert_snapshot!(filter.unwrap().trim_matches('\''), @"[dec:0]asetpts=PTS-(-0.021333)/TB,aresample=48000:async=1:min_hard_comp=0.01:first_pts=0,volume=-3.10dB:precision=float,apad=pad_len=120000[timed]");
    assert!(told(5).contains(",volume=0.05dB:"));
    insta::assert_snapshot!(line(&sound::meter(&"ffmpeg".into(), &late)));
    let lossless = AudioPlan { codec: "flac".into(), ..plan };
    insta::assert_snapshot!(line(&sound::times(&"ffmpeg".into(), &lossless)));
}

proptest::proptest! {
    /// The trim keeps exactly the frames above the boundary, whichever way a planner rounded it to a microsecond.
    #[test]
    fn a_boundary_becomes_the_tick_of_the_frame_above_it(before in -1_000_000i64..1_000_000_000, step in 1i64..100_000, den in 1u32..400_000, up in 0i64..2) {
        let base = TimeBase::new(1, den).unwrap();
        let at = before + step;
        let tick = tick_at_or_after(base, base.micros_of_half_ticks(before + at) + up);
        proptest::prop_assert!(before < tick && tick <= at, "{before} {at}: {tick}");
    }
}

/// A film of which everything beside it is made.
fn pictured() -> Plan {
    use pipeline::stills::{PosterPlan, PreviewPlan, Size, SpritePlan, StillsPlan};
    let size = |width, height| Size { width, height };
    Plan {
        stills: Some(Box::new(StillsPlan {
            pictures: FrameTimes::new(&[512, 31_232, 61_952]).unwrap(),
            alone: false,
            poster: Some(PosterPlan { size: size(1280, 720), candidates: vec![1, 2] }),
            sprite: Some(SpritePlan { tile: size(160, 90), columns: 3, rows: 1, sheets: 1 }),
            preview: Some(PreviewPlan { size: size(320, 180), frames: 30, every_ms: 100 }),
            window: a_chunk(90, vec![0]),
            ranges: Vec::new(),
        })),
        ..a_plan()
    }
}

#[test]
fn pictures_beside_the_film() {
    use stills::Origin;
    let plan = pictured();
    let (video, stills) = (plan.video.as_ref().unwrap(), plan.stills.as_ref().unwrap());
    let woven = VideoPlan { deinterlace: true, ..video.clone() };
    let (poster, sprite) = (stills.poster.as_ref().unwrap(), stills.sprite.as_ref().unwrap());
    let (ffmpeg, of) = (&"ffmpeg".into(), (&plan.profile, &woven));
    let commands = [
        stills::cut(ffmpeg, &plan, video, &stills.pictures),
        stills::tile_of(ffmpeg, of, Origin::Piece(2), 2, sprite.tile),
        stills::choice(ffmpeg, 2, true),
        stills::poster(ffmpeg, of, Origin::Window(stills), poster),
        stills::sheets(ffmpeg, sprite),
        stills::preview(ffmpeg, of, stills, stills.preview.as_ref().unwrap()),
        stills::verify(ffmpeg, "poster.jpg"),
    ];
    insta::assert_snapshot!(commands.iter().map(line).collect::<Vec<_>>().join("\n\n"));
}
