//! Films as DVDs of 60 fields a second have them: 24 pictures, of which every second one is shown for three fields instead of two.
//! Only flags of the stream say so (soft telecine). ffmpeg's encoder does not set them: they are set behind it.
//!
//! Source: ISO 13818-2, 6.2.2.1 (sequence), 6.2.2.6 (group), 6.2.3 (picture), 6.3.10 (`repeat_first_field`).

/// Fields before a picture as they are shown: 0, 3, 5, 8, 10 and so on.
pub fn fields_before(picture: u32) -> u32 {
    (5 * picture).div_ceil(2)
}

/// Sets the flags of a stream whose pictures are frames. Answers which pictures its packets hold, as they are shown.
pub fn flag(stream: &mut [u8]) -> Vec<u32> {
    /// 30,000 pictures in 1,001 seconds.
    const RATE: u8 = 4;
    let (mut packets, mut group) = (Vec::new(), 0);
    let codes: Vec<usize> = stream.windows(3).enumerate().filter(|(_, bytes)| *bytes == [0, 0, 1]).map(|(at, _)| at).collect();
    for at in codes {
        match stream.get(at + 3..at + 12) {
            Some([0xB3, _, _, _, rate, ..]) => stream[at + 7] = rate & 0xF0 | RATE,
            Some([0xB8, ..]) => group = u32::try_from(packets.len()).unwrap_or_default(),
            Some([0x00, high, low, ..]) => packets.push(group + (u32::from(*high) << 2 | u32::from(*low) >> 6)),
            // The extension of a picture's head.
            Some([0xB5, extension, ..]) if extension >> 4 == 8 => {
                let picture = packets.last().copied().unwrap_or_default();
                let is_top_first = matches!(picture % 4, 0 | 3);
                let is_long = picture % 2 == 0;
                let flags = &mut stream[at + 7];
                // Which field is first, whether it comes once more, and that its colours are of a frame.
                *flags = *flags & 0x7C | u8::from(is_top_first) << 7 | u8::from(is_long) << 1 | 1;
                stream[at + 8] |= 0x80;
            }
            _ => {}
        }
    }
    packets
}
