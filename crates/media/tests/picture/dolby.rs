//! Dolby Vision: with a base layer it is that layer; without one it is refused by its name.

use pipeline::{
    Fault,
    planner::{self, Surroundings},
    source::DolbyVision,
};

use super::patches::{film, planes, yuv};
use crate::support::Lab;

/// Boxes from the top down to the sample entry.
const PATH: [&[u8; 4]; 7] = [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hvc1"];

/// The file with a configuration record of Dolby Vision behind `hvcC` (Dolby Vision Streams Within the ISO Base Media File
/// Format, section 3). Its tables are at the end, so that no chunk offset moves.
fn with_record(mut bytes: Vec<u8>, profile: u16, compatibility: u8) -> Vec<u8> {
    let find = |bytes: &[u8], name: &[u8; 4], from: usize| from + bytes[from..].windows(4).position(|word| word == name).unwrap();
    let mut at = 0;
    let parents: Vec<usize> = PATH
        .iter()
        .map(|name| {
            at = find(&bytes, name, at);
            at - 4
        })
        .collect();
    let size = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let config = find(&bytes, b"hvcC", at) - 4;
    let end = config + size(&bytes, config) as usize;
    let name: &[u8; 4] = if profile > 7 { b"dvvC" } else { b"dvcC" };
    // Level 1, RPU and base layer are there.
    let layers = (profile << 9) | (1 << 3) | 0b101;
    let record = [&[1, 0][..], &layers.to_be_bytes(), &[compatibility << 4], &[0; 19]].concat();
    let record = [&u32::try_from(record.len() + 8).unwrap().to_be_bytes()[..], name, &record].concat();
    for parent in parents {
        let grown = size(&bytes, parent) + u32::try_from(record.len()).unwrap();
        bytes[parent..parent + 4].copy_from_slice(&grown.to_be_bytes());
    }
    bytes.splice(end..end, record);
    bytes
}

#[tokio::test]
async fn a_base_layer_is_shown_and_none_is_refused() {
    let lab = Lab::exact(180);
    let codes: Vec<[u16; 3]> = (1..6u16).map(|n| yuv([f64::from(n) / 10.0; 3], "bt2020nc", false, 10)).collect();
    let raw = planes(&codes, (2, 2), 10, false);
    let tags = "setparams=range=tv:color_primaries=bt2020:color_trc=arib-std-b67:colorspace=bt2020nc";
    let x265 = ["libx265", "-x265-params", "lossless=1:log-level=error", "-tag:v", "hvc1", "hlg.mp4"];
    let plain = std::fs::read(film(&lab, &raw, codes.len(), "yuv420p10le", tags, &x265)).unwrap();
    let path = lab.path("in.mp4");

    std::fs::write(&path, with_record(plain.clone(), 8, 4)).unwrap();
    let found = lab.probe(&path).await.video[0].dolby_vision;
    assert_eq!(found, Some(DolbyVision { profile: 8, compatibility: 4 }));
    let (_, out) = lab.pictures(&path).await;
    let made = &lab.probe(&out).await.video[0];
    assert_eq!((made.colors.clone(), made.dolby_vision), (pipeline::plan::Colors::bt709(), None));

    std::fs::write(&path, with_record(plain, 5, 0)).unwrap();
    let around = Surroundings { profile: &lab.profile, layer: "test", source_bytes: 1 };
    match planner::plan(&lab.probe(&path).await, &around) {
        Err(Fault::Reject(text)) => assert!(text.contains("Dolby Vision profile 5"), "{text}"),
        other => panic!("{other:?}"),
    }
}
