//! Damaged and hostile sources, made of small good files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::clips::ffmpeg;

/// How a job of such a source may end.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// FAILED, with these words in its reason.
    Failed(&'static str),
    /// COMPLETED, with every frame.
    Whole,
    /// What is wrong may be harmless: COMPLETED with every frame, else FAILED.
    Either,
    /// FAILED, or COMPLETED as any decoder shows the source without a complaint.
    Seen,
}

pub struct Source {
    pub name: String,
    pub bytes: Vec<u8>,
    pub end: End,
}

/// What nobody may see, and who must not be called.
pub struct Bait<'a> {
    /// A film outside the upload.
    pub secret: &'a Path,
    /// A port of 127.0.0.1 that listens, TCP and UDP.
    pub port: u16,
}

/// Good files: index at the end, index in front, Matroska, fragments.
pub struct Good {
    pub back: Vec<u8>,
    pub front: Vec<u8>,
    pub mkv: Vec<u8>,
    /// Matroska whose title pushes the tracks' element behind the file's first 4 KiB, as mkvmerge's layout does.
    pub titled: Vec<u8>,
    /// MP4 in fragments.
    pub fragmented: Vec<u8>,
    /// The film that all sources show.
    pub path: PathBuf,
}

impl Good {
    /// Three seconds, 30 frames, with sound.
    pub fn make(dir: &Path) -> Result<Self> {
        let names = ["back.mp4", "front.mp4", "good.mkv", "titled.mkv", "fragmented.mp4"];
        let [back, front, mkv, titled, fragmented] = names.map(|name| dir.join(name));
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let (picture, sound) = ("testsrc2=size=160x120:rate=10:duration=3", "sine=frequency=440:duration=3");
        let codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-pix_fmt", "yuv420p", "-c:a", "aac"];
        ffmpeg(&[&["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound], &codecs[..], &[&text(&back)]].concat())?;
        ffmpeg(&["-i", &text(&back), "-c", "copy", "-movflags", "+faststart", &text(&front)])?;
        ffmpeg(&["-i", &text(&back), "-c", "copy", &text(&mkv)])?;
        let title = format!("title={}", "long ".repeat(1_000));
        ffmpeg(&["-i", &text(&back), "-c", "copy", "-metadata", &title, &text(&titled)])?;
        ffmpeg(&["-i", &text(&back), "-c", "copy", "-movflags", "+frag_keyframe+empty_moov", &text(&fragmented)])?;
        let read = |path: &Path| std::fs::read(path);
        let [front, mkv, titled, fragmented] = [read(&front)?, read(&mkv)?, read(&titled)?, read(&fragmented)?];
        Ok(Self { back: read(&back)?, front, mkv, titled, fragmented, path: back })
    }
}

/// Every source of the table.
pub fn sources(dir: &Path, good: &Good, bait: &Bait<'_>) -> Result<Vec<Source>> {
    let mut all = truncated(good);
    all.extend(halves(dir, good)?);
    all.extend(flipped(good)?);
    all.extend(noisy(dir, good)?);
    all.extend(lying(good)?);
    all.extend(headers(good)?);
    all.extend(garbage());
    all.extend(disguised(bait));
    all.extend(pointing_out(dir, good, bait)?);
    all.push(huge_picture(dir)?);
    Ok(all)
}

fn source(name: impl Into<String>, bytes: impl Into<Vec<u8>>, end: End) -> Source {
    Source { name: name.into(), bytes: bytes.into(), end }
}

/// Ten points and more: what an upload that broke off leaves.
fn truncated(good: &Good) -> Vec<Source> {
    let part = |bytes: &[u8], percent: usize| bytes[..bytes.len() * percent / 100].to_vec();
    let mut all = Vec::new();
    for percent in [20, 60, 90] {
        all.push(source(format!("cut-back-{percent}.mp4"), part(&good.back, percent), End::Failed("truncated")));
        all.push(source(format!("cut-front-{percent}.mp4"), part(&good.front, percent), End::Failed("truncated")));
        all.push(source(format!("cut-{percent}.mkv"), part(&good.mkv, percent), End::Failed("truncated")));
    }
    for (name, bytes) in [("cut-back-1.mp4", &good.back), ("cut-front-1.mp4", &good.front), ("cut-1.mkv", &good.mkv)] {
        all.push(source(name, &bytes[..bytes.len() - 1], End::Failed("truncated")));
    }
    all
}

/// Halves of what is remuxed: cut anywhere, and between two packets. What never said how long it is may not be told from a half.
fn halves(dir: &Path, good: &Good) -> Result<Vec<Source>> {
    let film = good.path.to_string_lossy().into_owned();
    let make = |name: &str, how: &str| {
        let path = dir.join(name);
        let how: Vec<&str> = how.split(' ').collect();
        ffmpeg(&[&["-i", &film][..], &how, &[&path.to_string_lossy()]].concat())?;
        Ok::<_, anyhow::Error>(std::fs::read(&path)?)
    };
    let avi = make("half.avi", "-c:v mpeg4 -g 10 -c:a libmp3lame")?;
    let wmv = make("half.wmv", "-c:v wmv2 -g 10 -c:a wmav2")?;
    let ogv = make("half.ogv", "-c:v libtheora -g 10 -c:a libvorbis")?;
    let flv = make("half.flv", "-c:v flv -g 10 -c:a libmp3lame -ar 44100")?;
    let mxf = make("half.mxf", "-c:v mpeg2video -q:v 3 -g 10 -r 25 -c:a pcm_s16le -ar 48000")?;
    let fragments = make("half-fragments.mp4", "-c copy -movflags +frag_keyframe+empty_moov+default_base_moof")?;
    // As a recorder leaves it that was killed.
    let mut open = avi.clone();
    let movi = find(&open, b"movi", 0)? - 4;
    open[4..8].fill(0xFF);
    open[movi..movi + 4].fill(0xFF);
    let mut all = Vec::new();
    // As a recorder leaves it that was killed, and as a program that saves a stream does, which keeps the head of the server's file.
    let (mut killed, mut saved) = (flv.clone(), flv.clone());
    let told = find(&flv, b"filesize", 0)? + 9;
    killed[told..told + 8].fill(0);
    killed.truncate(flv.len() - 4);
    saved[told..told + 8].copy_from_slice(&(f64::from(u32::try_from(flv.len())?) + 999.0).to_be_bytes());
    // Behind the footer's head stand only tables of what is there.
    for percent in [30, 55, 90] {
        all.push(source(format!("{percent}-half.mxf"), &mxf[..mxf.len() * percent / 100], End::Failed("truncated")));
    }
    let names = ["half.avi", "half.wmv", "half.ogv", "half.flv", "half-fragments.mp4"];
    for (name, bytes) in names.into_iter().zip([&avi, &wmv, &ogv, &flv, &fragments]) {
        for percent in [30, 55, 90] {
            all.push(source(format!("{percent}-{name}"), &bytes[..bytes.len() * percent / 100], End::Failed("truncated")));
        }
        all.push(source(format!("1-off-{name}"), &bytes[..bytes.len() - 1], End::Failed("truncated")));
    }
    let picture = find(&avi, b"00dc", avi.len() / 2)?;
    all.push(source("packets.avi", &avi[..picture], End::Failed("truncated")));
    // Packets of ASF have one size, which File Properties tell (ASF 01.20.03, 3.2 and 5.1).
    let number = |at: usize| Ok::<_, anyhow::Error>(usize::try_from(u32::from_le_bytes(wmv[at..at + 4].try_into()?))?);
    let packet = number(find(&wmv, &[0xA1, 0xDC, 0xAB, 0x8C], 0)? + 92)?;
    let data = number(16)? + 50;
    all.push(source("packets.wmv", &wmv[..data + wmv.len() / packet / 2 * packet], End::Failed("truncated")));
    let media = find(&fragments, b"mdat", fragments.len() / 2)? - 4;
    all.push(source("head-of-fragment.mp4", &fragments[..media], End::Failed("truncated")));
    all.push(source("behind.avi", [&avi[..], &[0xC3; 999]].concat(), End::Whole));
    all.push(source("behind-fragments.mp4", [&fragments[..], &[0; 999]].concat(), End::Whole));
    all.push(source("open.avi", open, End::Whole));
    all.push(source("killed.flv", killed, End::Whole));
    all.push(source("saved.flv", saved, End::Whole));
    Ok(all)
}

/// Bits that changed in the media, few and many.
fn flipped(good: &Good) -> Result<Vec<Source>> {
    let begin = find(&good.back, b"mdat", 0)? + 4;
    let end = find(&good.back, b"moov", 0)? - 4;
    let mut all = Vec::new();
    for seed in 0..10u64 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut bytes = good.back.clone();
        for _ in 0..=seed * 2 {
            bytes[random.random_range(begin..end)] ^= 1 << random.random_range(0..8);
        }
        all.push(source(format!("flip-{seed}.mp4"), bytes, End::Either));
    }
    let mut bytes = good.back.clone();
    bytes[begin + (end - begin) * 2 / 5..begin + (end - begin) / 2].iter_mut().step_by(7).for_each(|byte| *byte ^= 0x55);
    // Picture and sound are both damaged: whichever task finds it first says so.
    all.push(source("flip-many.mp4", bytes, End::Failed(" is damaged")));
    Ok(all)
}

/// Noise in the middle of films of other codecs and containers: the decoder sees it, or shows what it makes of it.
fn noisy(dir: &Path, good: &Good) -> Result<Vec<Source>> {
    let film = good.path.to_string_lossy().into_owned();
    let kinds = [
        ("noise-hevc.mp4", "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=10:pools=none:frame-threads=1 -an"),
        ("noise-av1.mkv", "-c:v libsvtav1 -preset 12 -g 10 -an"),
        ("noise-vp9.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 10 -an"),
        ("noise-prores.mov", "-c:v prores_ks -an"),
        ("noise-mjpeg.mov", "-c:v mjpeg -an"),
        ("noise-mpeg2.ts", "-c:v mpeg2video -r 25 -g 10 -an"),
        ("noise-h264.ts", "-c:v copy -an"),
        ("noise-mpeg4.avi", "-c:v mpeg4 -g 10 -an"),
        ("noise-theora.ogv", "-c:v libtheora -g 10 -an"),
    ];
    let mut random = StdRng::seed_from_u64(9);
    kinds
        .into_iter()
        .map(|(name, how)| {
            let path = dir.join(name);
            let how: Vec<&str> = how.split(' ').collect();
            ffmpeg(&[&["-i", &film][..], &how, &["-threads", "1", &path.to_string_lossy()]].concat())?;
            let mut bytes = std::fs::read(&path)?;
            let middle = bytes.len() * 2 / 5..bytes.len() / 2;
            for _ in 0..40 {
                let at = random.random_range(middle.clone());
                bytes[at] ^= 1 << random.random_range(0..8);
            }
            // A decoder could not know of the pictures that were in the pages of Ogg that are left out.
            let end = if how.contains(&"libtheora") { End::Failed("do not fit the checksums") } else { End::Seen };
            Ok(source(name, bytes, end))
        })
        .collect()
}

/// Headers that say other lengths, counts and sizes than there are.
fn lying(good: &Good) -> Result<Vec<Source>> {
    let set = |kind: &[u8; 4], at: usize, value: &[u8]| set(&good.back, kind, at, value);
    let [billion, many] = [1_000_000_000u32, 60_000_000].map(u32::to_be_bytes);
    // Of one byte each, all in the first chunk.
    let samples = set(b"stsz", 4, &[[0, 0, 0, 1], many].concat())?;
    let mut mkv = good.mkv.clone();
    let duration = find(&mkv, &[0x44, 0x89, 0x88], 0)? + 3;
    mkv[duration..duration + 8].copy_from_slice(&72_054_000f64.to_be_bytes());
    Ok(vec![
        source("long-film.mp4", set(b"mvhd", 16, &[0x7F, 0xFF, 0xFF, 0xFF])?, End::Whole),
        source("short-film.mp4", set(b"mvhd", 16, &[0, 0, 0, 1])?, End::Whole),
        source("long-track.mp4", set(b"mdhd", 16, &[0x7F, 0xFF, 0xFF, 0xFF])?, End::Whole),
        source("long-film.mkv", mkv, End::Whole),
        source("no-time-scale.mp4", set(b"mdhd", 12, &[0; 4])?, End::Failed("time scale")),
        source("no-film-scale.mp4", set(b"mvhd", 12, &[0; 4])?, End::Either),
        source("samples-1e9.mp4", set(b"stsz", 4, &[[0, 0, 0, 1], billion].concat())?, End::Failed("tables claim")),
        // An index of 2.2 GB, which no limit but the memory of a function stops.
        source("samples-6e7.mp4", self::set(&samples, b"stsc", 12, &many)?, End::Failed("tables claim")),
        source("fragment-6e7.mp4", self::set(&good.fragmented, b"trun", 0, &[[0, 0, 0, 1], many].concat())?, End::Failed("tables claim")),
        source("times-1e9.mp4", set(b"stts", 4, &billion)?, End::Failed("tables")),
        source("run-1e9.mp4", set(b"stts", 8, &billion)?, End::Either),
        source("offset-past-end.mp4", past_the_end(&good.back)?, End::Failed("not complete")),
        source("edit-far-away.mp4", set(b"elst", 12, &[0x7F, 0xFF, 0xFF, 0xFF])?, End::Either),
        // The picture's handler: the film would pass for its sound.
        source("picture-as-text.mkv", kind(&good.mkv, 1, 17)?, End::Failed("picture by its codec")),
        // And this one for a silent film.
        source("sound-as-text.mkv", kind(&good.titled, 2, 17)?, End::Failed("sound by its codec")),
        source("long-title.mkv", good.titled.clone(), End::Whole),
        source("picture-as-sound.mp4", set(b"hdlr", 8, b"soun")?, End::Failed("has no picture, and most of it")),
        source("no-description.mp4", set(b"stsd", 4, &[0; 4])?, End::Either),
    ])
}

/// A Matroska track's type (RFC 9559, 5.1.4.1.3) changed to another.
fn kind(film: &[u8], from: u8, to: u8) -> Result<Vec<u8>> {
    let mut bytes = film.to_vec();
    let place = find(&bytes, &[0x83, 0x81, from], 0)? + 2;
    bytes[place] = to;
    Ok(bytes)
}

/// Boxes and elements of impossible sizes, nests and films without films.
/// The last chunk of the first track begins a thousand bytes behind the file's end.
fn past_the_end(film: &[u8]) -> Result<Vec<u8>> {
    let table = find(film, b"stco", 0)? + 8;
    let count = u32::from_be_bytes(film[table..table + 4].try_into()?);
    let last = usize::try_from(count)? * 4 + 4;
    set(film, b"stco", last, &u32::try_from(film.len() + 1000)?.to_be_bytes())
}

fn headers(good: &Good) -> Result<Vec<Source>> {
    let moov = find(&good.back, b"moov", 0)? - 4;
    let mut huge = good.back.clone();
    huge[moov..moov + 4].copy_from_slice(&100_000_000u32.to_be_bytes());
    let ftyp = [&16u32.to_be_bytes()[..], b"ftypisom\0\0\0\0"].concat();
    let endless = [&ftyp[..], &1u32.to_be_bytes(), b"mdat", &(u64::MAX - 8).to_be_bytes(), &[7; 64]].concat();
    let nest = (0..10_000u32).rev().flat_map(|depth| [&(8 * (depth + 1)).to_be_bytes()[..], b"moov"].concat());
    let nested: Vec<u8> = ftyp.iter().copied().chain(nest).collect();
    let packed = boxed(*b"moov", &boxed(*b"cmov", &[boxed(*b"dcom", b"zlib"), boxed(*b"cmvd", &[0xFF; 64])].concat()));
    let mut ebml = good.mkv.clone();
    ebml[5..12].fill(0xFF);
    Ok(vec![
        source("moov-100mb.mp4", huge, End::Failed("truncated")),
        source("size-2e64.mp4", endless, End::Failed("truncated")),
        source("nested-10000.mp4", nested, End::Failed("")),
        source("empty-moov.mp4", [&ftyp[..], &boxed(*b"moov", b"")].concat(), End::Failed("")),
        source("packed-moov.mp4", [&ftyp[..], &packed].concat(), End::Failed("")),
        source("head-only.mp4", ftyp, End::Failed("no index")),
        source("head-only.mkv", &good.mkv[..40], End::Failed("")),
        source("zeros-behind.mkv", [&good.mkv[..40], &[0; 100_000]].concat(), End::Failed("")),
        source("damaged-head.mkv", ebml, End::Either),
    ])
}

fn garbage() -> Vec<Source> {
    let mut random = StdRng::seed_from_u64(4);
    let mut noise = vec![0u8; 100_000];
    random.fill(&mut noise[..]);
    // No box, whatever the seed gives.
    noise[4] = 0;
    let behind = [&[0, 0, 0, 16][..], b"ftypisom\0\0\0\0", &noise].concat();
    vec![
        source("noise.mp4", noise, End::Failed("no known container")),
        source("noise-behind-head.mp4", behind, End::Failed("")),
        source("empty.mp4", [], End::Failed("the file is empty")),
        source("one-byte.mp4", [0], End::Failed("no known container")),
        source("zeros.mp4", vec![0; 1 << 20], End::Failed("no known container")),
        source("diary.mp4", &b"dear diary, this is no film\n"[..], End::Failed("it is a text file")),
    ]
}

/// Documents that name other files, called `.mp4`.
fn disguised(bait: &Bait<'_>) -> Vec<Source> {
    let mut all = Vec::new();
    let (port, secret) = (bait.port, bait.secret.display());
    let targets = [
        ("file", format!("file://{secret}")),
        ("http", format!("http://127.0.0.1:{port}/secret.mp4")),
        ("tcp", format!("tcp://127.0.0.1:{port}")),
    ];
    for (scheme, url) in &targets {
        let playlist = format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n");
        let dash = format!(
            "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" mediaPresentationDuration=\"PT1S\">\
             <Period><AdaptationSet mimeType=\"video/mp4\"><Representation id=\"1\" bandwidth=\"1\"><BaseURL>{url}</BaseURL>\
             </Representation></AdaptationSet></Period></MPD>"
        );
        let concat = format!("ffconcat version 1.0\nfile '{url}'\n");
        let behind = [&boxed(*b"ftyp", b"isom\0\0\0\0")[..], playlist.as_bytes()].concat();
        all.push(source(format!("hls-{scheme}.mp4"), playlist, End::Failed("playlist")));
        all.push(source(format!("dash-{scheme}.mp4"), dash, End::Failed("text file")));
        all.push(source(format!("concat-{scheme}.mp4"), concat, End::Failed("text file")));
        all.push(source(format!("hls-behind-head-{scheme}.mp4"), behind, End::Failed("")));
    }
    let sdp = format!("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n");
    all.push(source("sdp-rtp.mp4", sdp, End::Failed("text file")));
    let asx = format!("<asx version=\"3.0\"><entry><ref href=\"http://127.0.0.1:{port}/\"/></entry></asx>");
    all.push(source("asx.mp4", asx, End::Failed("text file")));
    all.push(source("url.mp4", format!("http://127.0.0.1:{port}/secret.mp4"), End::Failed("text file")));
    all
}

/// Real containers that point to something outside.
fn pointing_out(dir: &Path, good: &Good, bait: &Bait<'_>) -> Result<Vec<Source>> {
    let http = format!("http://127.0.0.1:{}/secret.mp4", bait.port);
    let secret = bait.secret.to_string_lossy().into_owned();
    let url = |target: &str| boxed(*b"url ", &[&[0; 4], target.as_bytes(), &[0]].concat());
    let reference = |target: &str| {
        let data = [&[0; 4], &b"url "[..], &u32::try_from(target.len() + 1).unwrap_or(0).to_be_bytes(), target.as_bytes(), &[0]].concat();
        [boxed(*b"ftyp", b"qt  \0\0\0\0"), boxed(*b"moov", &boxed(*b"rmra", &boxed(*b"rmda", &boxed(*b"rdrf", &data))))].concat()
    };
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let (film, subtitles) = (text(&good.path), dir.join("out.srt"));
    std::fs::write(
        &subtitles,
        format!("1\n00:00:00,000 --> 00:00:02,000\n<img src=\"{http}\"> <font face=\"file://{secret}\">x</font>\n"),
    )?;
    let (captioned, attached) = (dir.join("subtitled.mkv"), dir.join("attached.mkv"));
    ffmpeg(&["-i", &film, "-i", &text(&subtitles), "-c", "copy", "-c:s", "srt", &text(&captioned)])?;
    ffmpeg(&["-i", &film, "-c", "copy", "-attach", &secret, "-metadata:s:t", "mimetype=video/mp4", &text(&attached)])?;
    Ok(vec![
        source("reference-http.mp4", with_reference(&good.back, &url(&http))?, End::Either),
        source("reference-file.mp4", with_reference(&good.back, &url(&format!("file://{secret}")))?, End::Either),
        source("alias-file.mp4", with_reference(&good.back, &alias(&secret))?, End::Either),
        source("movie-of-http.mp4", reference(&http), End::Failed("")),
        source("movie-of-file.mp4", reference(&format!("file://{secret}")), End::Failed("")),
        source("linked.mkv", linked(&good.mkv, &secret)?, End::Whole),
        source("subtitles-out.mkv", std::fs::read(captioned)?, End::Whole),
        source("attachment.mkv", std::fs::read(attached)?, End::Whole),
    ])
}

/// The first track's media are elsewhere (ISO/IEC 14496-12, 8.7.2).
fn with_reference(film: &[u8], entry: &[u8]) -> Result<Vec<u8>> {
    let dref = find(film, b"dref", 0)?;
    let mut bytes = film.to_vec();
    bytes.splice(dref + 12..dref + 24, entry.iter().copied());
    for kind in [b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"] {
        let at = bytes[..dref + 4].windows(4).rposition(|found| found == kind).context("a box around dref")? - 4;
        let size = u32::from_be_bytes(bytes[at..at + 4].try_into()?) + u32::try_from(entry.len())? - 12;
        bytes[at..at + 4].copy_from_slice(&size.to_be_bytes());
    }
    Ok(bytes)
}

/// `QuickTime`'s alias record with an absolute path.
fn alias(path: &str) -> Vec<u8> {
    let mut data = vec![0; 4 + 10 + 28 + 12 + 64 + 16 + 4 + 16];
    data.extend(2u16.to_be_bytes());
    data.extend(u16::try_from(path.len()).unwrap_or(0).to_be_bytes());
    data.extend(path.as_bytes());
    data.resize(data.len() + path.len() % 2, 0);
    data.extend([0xFF, 0xFF, 0, 0]);
    boxed(*b"alis", &data)
}

/// `NextFilename` in place of the element of the same length that names the writing application (RFC 9559, 5.1.2).
fn linked(film: &[u8], target: &str) -> Result<Vec<u8>> {
    let at = find(film, &[0x57, 0x41], 0)?;
    let length = usize::from(film[at + 2] & 0x7F);
    let mut bytes = film.to_vec();
    bytes[at..at + 3].copy_from_slice(&[0x3E, 0x83, 0xBB]);
    bytes[at + 3] = 0x80 | u8::try_from(length - 1)?;
    let name: Vec<u8> = target.bytes().chain(std::iter::repeat(0)).take(length - 1).collect();
    bytes[at + 4..at + 3 + length].copy_from_slice(&name);
    Ok(bytes)
}

/// A picture of 16000 × 16000 that would take 384 MB, claimed by a file of a few kilobytes.
fn huge_picture(dir: &Path) -> Result<Source> {
    let path = dir.join("huge.mov");
    ffmpeg(&["-f", "lavfi", "-i", "testsrc2=size=64x64:rate=10:duration=1", "-c:v", "mjpeg", &path.to_string_lossy()])?;
    let mut bytes = std::fs::read(&path)?;
    let side = 16_000u16.to_be_bytes();
    let heads: Vec<usize> = bytes.windows(4).enumerate().filter(|(_, w)| *w == [0xFF, 0xC0, 0, 17]).map(|(at, _)| at).collect();
    for at in heads {
        bytes[at + 5..at + 9].copy_from_slice(&[side, side].concat());
    }
    let entry = find(&bytes, b"jpeg", find(&bytes, b"stsd", 0)?)?;
    bytes[entry + 28..entry + 32].copy_from_slice(&[side, side].concat());
    Ok(source("16000x16000.mov", bytes, End::Failed("")))
}

/// The file with `value` at `at` bytes behind the kind of the first such box.
pub fn set(film: &[u8], kind: &[u8; 4], at: usize, value: &[u8]) -> Result<Vec<u8>> {
    let begin = find(film, kind, 0)? + 4 + at;
    let mut bytes = film.to_vec();
    bytes.get_mut(begin..begin + value.len()).context("a box that ends early")?.copy_from_slice(value);
    Ok(bytes)
}

fn find(bytes: &[u8], what: &[u8], from: usize) -> Result<usize> {
    let found = bytes[from..].windows(what.len()).position(|window| window == what);
    Ok(from + found.with_context(|| format!("no {} in the clip", String::from_utf8_lossy(what)))?)
}

fn boxed(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len() + 8).unwrap_or(0).to_be_bytes()[..], &kind, body].concat()
}
