//! Which packets of H.264 hold the second field of a picture whose first is in the packet before. Broadcasts and camcorders code
//! pictures so, and ffmpeg's parser gives each field a packet: a picture is not one packet then.
//!
//! Source: ITU-T H.264, 7.3.1 (units), 7.3.2.1 and 7.3.2.2 (parameter sets), 7.3.3 (a slice's head), 7.4.1.2.4, 3.30 and 3.31
//! (complementary pairs of fields), E.1.1 (times); ISO 14496-15, 5.3.3 (the record of its configuration, units with their lengths).

use std::collections::BTreeMap;

use h264_reader::rbsp::{BitRead, BitReader, ByteReader};
use mp4_atom::{Atom as _, Avcc};

/// Bytes of a unit that are looked at: all of a set of parameters, the beginning of a slice's head.
pub const LOOK: u64 = 512;
/// Sets of sequence and of picture parameters that a stream has at most (7.4.2.1.1, 7.4.2.2).
const MAX_SEQUENCES: u32 = 32;
const MAX_SETS: u32 = 256;
/// Profiles whose sets say how colours are coded (7.3.2.1.1).
const HIGH: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// How one track codes its pictures, as far as its packets went by.
#[derive(Debug, Default)]
pub struct Coding {
    /// Bytes of the length before each unit.
    length: usize,
    sequences: BTreeMap<u32, Sequence>,
    /// The sequence of each set of picture parameters.
    pictures: BTreeMap<u32, u32>,
    /// The field of the packet before, if it is the first of its picture.
    open: Option<Field>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Sequence {
    has_fields: bool,
    has_planes_apart: bool,
    number_bits: u32,
    /// Seconds between pictures, if it says.
    step: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    is_bottom: bool,
    /// `frame_num`: the same for both fields of a picture.
    number: u32,
    /// Others are decoded from it: from both fields of a picture, or from neither.
    is_reference: bool,
    /// No second field is.
    is_idr: bool,
}

/// What a unit is to the packet that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// No slice. The next one is so many bytes behind the begin of this one.
    Before(u64),
    /// The first slice; whether its packet is the second field of the picture before.
    Slice { is_second: bool },
}

impl Coding {
    /// From a track's configuration record. `None`: it is none.
    pub fn of_record(record: &[u8]) -> Option<Self> {
        let record = Avcc::decode_body(&mut &*record).ok()?;
        let mut coding = Self { length: usize::from(record.length_size), ..Self::default() };
        record.sequence_parameter_sets.iter().for_each(|set| coding.sequence(set));
        record.picture_parameter_sets.iter().for_each(|set| {
            coding.picture(set);
        });
        Some(coding)
    }

    /// Whether pictures may be coded as two fields.
    pub fn has_fields(&self) -> bool {
        self.sequences.values().any(|sequence| sequence.has_fields)
    }

    /// Seconds between two pictures that may be coded as fields, if it says; the least.
    pub fn step(&self) -> Option<f64> {
        self.sequences.values().filter(|sequence| sequence.has_fields).filter_map(|sequence| sequence.step).min_by(f64::total_cmp)
    }

    /// Takes the next unit of a packet, of which `bytes` is the beginning, its length included. `None`: it is none.
    pub fn unit(&mut self, bytes: &[u8]) -> Option<Unit> {
        let (length, unit) = bytes.split_at_checked(self.length)?;
        let length = length.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        let unit = unit.get(..usize::try_from(length).unwrap_or(usize::MAX).min(unit.len()))?;
        match unit.first()? & 0x1F {
            1 | 2 | 5 => {
                let slice = self.slice(unit);
                let is_second = self.takes(slice);
                return Some(Unit::Slice { is_second });
            }
            7 => self.sequence(unit),
            8 => {
                self.picture(unit);
            }
            _ => {}
        }
        Some(Unit::Before(self.length as u64 + length))
    }

    /// The packet that begins now has no slice, or none that could be read.
    pub fn lost(&mut self) {
        self.open = None;
    }

    /// A set that cannot be read takes the place of none.
    fn sequence(&mut self, unit: &[u8]) {
        if let Some((set, sequence)) = sequence(unit).filter(|(set, _)| *set < MAX_SEQUENCES) {
            self.sequences.insert(set, sequence);
        }
    }

    fn picture(&mut self, unit: &[u8]) -> Option<()> {
        let mut bits = bits(unit);
        let (set, sequence) = (number(&mut bits)?, number(&mut bits)?);
        (set < MAX_SETS).then(|| self.pictures.insert(set, sequence)).map(|_| ())
    }

    /// `None`: it is of a frame, or cannot be read.
    fn slice(&self, unit: &[u8]) -> Option<Field> {
        let mut bits = bits(unit);
        let (_first, _kind) = (number(&mut bits)?, number(&mut bits)?);
        let sequence = self.sequences.get(self.pictures.get(&number(&mut bits)?)?).filter(|sequence| sequence.has_fields)?;
        if sequence.has_planes_apart {
            bits.skip(2, "colour_plane_id").ok()?;
        }
        let number = bits.read_var(sequence.number_bits, "frame_num").ok()?;
        let is_field = bits.read_bit("field_pic_flag").ok()?;
        let is_bottom = is_field && bits.read_bit("bottom_field_flag").ok()?;
        let head = unit.first()?;
        is_field.then_some(Field { is_bottom, number, is_reference: head & 0x60 != 0, is_idr: head & 0x1F == 5 })
    }

    /// Whether a picture's slice is of the field that the one before is without.
    fn takes(&mut self, slice: Option<Field>) -> bool {
        let pair = |first: Field, second: Field| {
            !second.is_idr
                && first.is_bottom != second.is_bottom
                && (first.number, first.is_reference) == (second.number, second.is_reference)
        };
        let is_second = self.open.zip(slice).is_some_and(|(first, second)| pair(first, second));
        self.open = slice.filter(|_| !is_second);
        is_second
    }
}

fn bits(unit: &[u8]) -> BitReader<ByteReader<&[u8]>> {
    BitReader::new(ByteReader::skipping_h264_header(unit))
}

fn number(bits: &mut impl BitRead) -> Option<u32> {
    bits.read_ue("number").ok()
}

/// A set of sequence parameters and its number, as far as its times. By hand: a decoder takes sets whose level or whose last
/// bits are wrong, and libraries do not.
fn sequence(unit: &[u8]) -> Option<(u32, Sequence)> {
    let mut bits = bits(unit);
    let profile: u8 = bits.read::<8, _>("profile_idc").ok()?;
    bits.skip(16, "constraints and level").ok()?;
    let set = number(&mut bits)?;
    let mut has_planes_apart = false;
    if HIGH.contains(&profile) {
        let colours = number(&mut bits)?;
        has_planes_apart = colours == 3 && bits.read_bit("separate_colour_plane_flag").ok()?;
        let (_luma, _chroma) = (number(&mut bits)?, number(&mut bits)?);
        bits.skip(1, "qpprime_y_zero_transform_bypass_flag").ok()?;
        if bits.read_bit("seq_scaling_matrix_present_flag").ok()? {
            for list in 0..if colours == 3 { 12 } else { 8 } {
                if bits.read_bit("seq_scaling_list_present_flag").ok()? {
                    scaling(&mut bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    let number_bits = number(&mut bits)?.checked_add(4).filter(|bits| *bits <= 16)?;
    match number(&mut bits)? {
        0 => drop(number(&mut bits)?),
        1 => {
            bits.skip(1, "delta_pic_order_always_zero_flag").ok()?;
            let (_offset, _between) = (number(&mut bits)?, number(&mut bits)?);
            for _ in 0..Some(number(&mut bits)?).filter(|frames| *frames < 256)? {
                number(&mut bits)?;
            }
        }
        _ => {}
    }
    let _references = number(&mut bits)?;
    bits.skip(1, "gaps_in_frame_num_value_allowed_flag").ok()?;
    let (_width, _height) = (number(&mut bits)?, number(&mut bits)?);
    let has_fields = !bits.read_bit("frame_mbs_only_flag").ok()?;
    let step = seconds(&mut bits, has_fields).filter(|step| step.is_finite() && *step > 0.0);
    Some((set, Sequence { has_fields, has_planes_apart, number_bits, step }))
}

/// Passes over a scaling list of so many entries (7.3.2.1.1.1).
fn scaling(bits: &mut impl BitRead, entries: u32) -> Option<()> {
    let (mut last, mut next) = (8, 8);
    for _ in 0..entries {
        if next != 0 {
            next = (last + bits.read_se("delta_scale").ok().filter(|delta| (-128..128).contains(delta))? + 256) % 256;
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

/// Seconds between two pictures, from what stands behind `frame_mbs_only_flag`; `None`: it does not say.
fn seconds(bits: &mut impl BitRead, has_fields: bool) -> Option<f64> {
    let mut has = |what| bits.read_bit(what).ok();
    if has_fields {
        has("mb_adaptive_frame_field_flag")?;
    }
    has("direct_8x8_inference_flag")?;
    if has("frame_cropping_flag")? {
        for _ in 0..4 {
            number(bits)?;
        }
    }
    let mut has = |what| bits.read_bit(what).ok();
    if !has("vui_parameters_present_flag")? {
        return None;
    }
    if has("aspect_ratio_info_present_flag")? {
        let aspect: u8 = bits.read::<8, _>("aspect_ratio_idc").ok()?;
        bits.skip(if aspect == 255 { 32 } else { 0 }, "sar").ok()?;
    }
    if bits.read_bit("overscan_info_present_flag").ok()? {
        bits.skip(1, "overscan_appropriate_flag").ok()?;
    }
    if bits.read_bit("video_signal_type_present_flag").ok()? {
        bits.skip(4, "video_format and video_full_range_flag").ok()?;
        let described = bits.read_bit("colour_description_present_flag").ok()?;
        bits.skip(if described { 24 } else { 0 }, "colours").ok()?;
    }
    if bits.read_bit("chroma_loc_info_present_flag").ok()? {
        let (_top, _bottom) = (number(bits)?, number(bits)?);
    }
    if !bits.read_bit("timing_info_present_flag").ok()? {
        return None;
    }
    let (ticks, scale): (u32, u32) = (bits.read::<32, _>("num_units_in_tick").ok()?, bits.read::<32, _>("time_scale").ok()?);
    Some(2.0 * f64::from(ticks) / f64::from(scale))
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A configuration record: main profile, fields in frames, 25 pictures a second; lengths of four bytes.
    pub const RECORD: &[u8] = &[
        1, 0x4D, 0, 0x1E, 0xFF, 0xE1, 0, 20, 0x67, 0x4D, 0, 0x1E, 0xE5, 0x61, 0x44, 0x3E, 0xE1, 0, 0, 3, 0, 1, 0, 0, 3, 0, 0x32, 0x94, 1,
        0, 4, 0x68, 0xDE, 0x3C, 0x80,
    ];
    /// Slices' beginnings: both fields of a keyframe, both of a P and both of two B pictures.
    pub const FIELDS: [&[u8]; 8] = [
        &[0x65, 0x88, 0x85, 0x00, 0x28],
        &[0x41, 0x9A, 0x18, 0x08, 0xA8],
        &[0x41, 0x9A, 0x30, 0x30, 0xA8],
        &[0x41, 0x9A, 0x38, 0x38, 0xA8],
        &[0x01, 0x9E, 0x50, 0x14, 0x54],
        &[0x01, 0x9E, 0x58, 0x1C, 0x54],
        &[0x01, 0x9E, 0x50, 0x24, 0x54],
        &[0x01, 0x9E, 0x58, 0x2C, 0x54],
    ];

    /// With its length before it, as long as it says or longer.
    pub fn unit(bytes: &[u8], length: usize) -> Vec<u8> {
        [&u32::try_from(length.max(bytes.len())).unwrap().to_be_bytes()[..], bytes].concat()
    }

    fn seconds(slices: &[&[u8]]) -> Vec<bool> {
        let mut coding = Coding::of_record(RECORD).unwrap();
        assert!(coding.has_fields() && coding.step() == Some(0.04), "{coding:?}");
        let is_second = |slice: &&[u8]| coding.unit(&unit(slice, 20_000)) == Some(Unit::Slice { is_second: true });
        slices.iter().map(is_second).collect()
    }

    #[test]
    fn the_second_field_of_a_picture_is_known() {
        assert_eq!(seconds(&FIELDS), [false, true, false, true, false, true, false, true]);
    }

    #[test]
    fn a_field_whose_first_is_lost_and_a_frame_are_pictures() {
        let [first, second, third, fourth, ..] = FIELDS;
        assert_eq!(seconds(&[second, third, fourth]), [false, false, true]);
        assert_eq!(seconds(&[first, third, fourth]), [false, false, true]);
        assert_eq!(seconds(&[first, fourth]), [false, false], "of another number");
        // Both of one number: the last field of a B picture, whose first is lost, and the first of the P behind it.
        let (b, p): (&[u8], &[u8]) = (&[0x01, 0x9E, 0x58, 0x1C, 0x54], &[0x41, 0x9A, 0x50, 0x60, 0xA8]);
        assert_eq!(seconds(&[b, p]), [false, false]);
        // The next group begins with the other field.
        assert_eq!(seconds(&[second, first]), [false, false]);
        // A frame between two fields: `field_pic_flag` is 0.
        let frame: &[u8] = &[0x41, 0x9A, 0x06, 0x08, 0xA8];
        assert_eq!(seconds(&[first, frame, second]), [false, false, false]);
    }

    /// x264's set of an interlaced film with a scaling matrix; one whose level is too low for its size, with bits behind its end.
    #[test]
    fn sets_are_read_as_decoders_do() {
        let taken = |set: &[u8]| sequence(set).map(|(number, set)| (number, set.has_fields, set.number_bits, set.step));
        assert_eq!(taken(&RECORD[8..28]), Some((0, true, 4, Some(0.04))));
        let mut low = RECORD[8..28].to_vec();
        low[3] = 10;
        low.extend([0xFF, 0x80]);
        assert_eq!(taken(&low), Some((0, true, 4, Some(0.04))));
        assert_eq!(taken(&RECORD[8..18]), Some((0, true, 4, None)), "cut in its times");
        assert_eq!(taken(&RECORD[8..12]), None);
    }

    #[test]
    fn units_before_a_slice_are_passed_over() {
        let mut coding = Coding::of_record(RECORD).unwrap();
        assert_eq!(coding.unit(&unit(&[9, 0xF0], 0)), Some(Unit::Before(6)));
        assert_eq!(coding.unit(&unit(&[6, 1, 1], 70_000)), Some(Unit::Before(70_004)));
        assert_eq!(coding.unit(&[0, 0, 0]), None);
        assert_eq!(coding.unit(&[0, 0, 0, 0, 0x65]), None, "a unit of no bytes");
        assert!(Coding::of_record(&RECORD[..20]).is_none_or(|coding| !coding.has_fields()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at(
            record in prop::collection::vec(any::<u8>(), 0..80),
            at in 0..RECORD.len(),
            units in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..6),
            kinds in prop::collection::vec(prop::sample::select(vec![1u8, 5, 6, 7, 8]), 6),
        ) {
            let mut bent = RECORD.to_vec();
            let end = bent.len().min(at + record.len());
            bent.splice(at..end, record.iter().copied());
            for mut coding in [Coding::of_record(&bent), Coding::of_record(&record), Coding::of_record(RECORD)].into_iter().flatten() {
                for (bytes, kind) in units.iter().zip(&kinds) {
                    coding.unit(&unit(&[&[*kind][..], bytes].concat(), 0));
                    coding.unit(bytes);
                }
                coding.step();
            }
        }
    }
}
