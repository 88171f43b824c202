//! H.264 as broadcasts and camcorders write it: pictures coded as two fields, beside others coded as frames. No encoder here
//! does that, so this one does: every macroblock holds its samples as they are (`I_PCM`), in slices of every kind.
//!
//! Source: ITU-T H.264, 7.3 (syntax), 8.2.1 (picture order), B.1 (byte stream), D.1.3 (picture timing).

/// Planar 4:2:0 pictures of eight bits and what they are.
pub struct Raw<'a> {
    pub pictures: &'a [u8],
    /// Multiples of 16 and of 4.
    pub width: usize,
    pub height: usize,
    /// Pictures a second.
    pub rate: u32,
}

/// Pictures of a group: I B B P B B P and so on, as they are shown.
const GROUP: usize = 13;

/// How a picture's samples are coded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Structure {
    Frame,
    Top,
    Bottom,
}

/// A byte stream, and when its packets are shown, as ffmpeg parses them.
pub struct Coded {
    pub stream: Vec<u8>,
    pub packets: Vec<Packet>,
}

/// A picture or a field.
pub struct Packet {
    /// Fields before it, as it is shown.
    pub shown: usize,
    /// As it is decoded.
    pub decoded: usize,
    pub is_second: bool,
}

/// Of four groups one has its pictures coded as frames.
pub fn encode(raw: &Raw<'_>) -> Coded {
    let bytes = raw.width * raw.height * 3 / 2;
    let pictures: Vec<&[u8]> = raw.pictures.chunks_exact(bytes).collect();
    let (mut stream, mut packets, mut decoded) = (Vec::new(), Vec::new(), 0);
    for (number, group) in pictures.chunks(GROUP).enumerate() {
        let frames = number % 4 == 2;
        let mut references = 0;
        for shown in decoding_order(group.len()) {
            let is_reference = shown % 3 == 0 || shown + 1 == group.len();
            let picture = Picture { samples: group[shown], shown, number: references, group: number, is_reference };
            let structures: &[Structure] = if frames { &[Structure::Frame] } else { &[Structure::Top, Structure::Bottom] };
            for structure in structures {
                let is_second = *structure == Structure::Bottom;
                packets.push(Packet { shown: 2 * (number * GROUP + shown) + usize::from(is_second), decoded, is_second });
                decoded += 2 / structures.len();
                unit(&mut stream, 0x09, Bits::default().fixed(7, 3));
                if shown == 0 && !is_second {
                    unit(&mut stream, 0x67, sequence(raw));
                    // Set 0 of parameters, of sequence 0; `bottom_field_pic_order_in_frame_present_flag`, one group of slices, one
                    // reference for each list, no weights, quantizers as they are, deblocking is told of.
                    let sets = Bits::default().unsigned(0).unsigned(0).fixed(0b01, 2).unsigned(0).unsigned(0).unsigned(0);
                    unit(&mut stream, 0x68, sets.fixed(0, 3).unsigned(0).unsigned(0).unsigned(0).fixed(0b100, 3));
                }
                // Picture timing: top and bottom field, the one or the other, without clocks.
                let (kind, clocks) = match structure {
                    Structure::Frame => (3, 2),
                    Structure::Top => (1, 1),
                    Structure::Bottom => (2, 1),
                };
                unit(&mut stream, 0x06, Bits::default().fixed(1, 8).fixed(1, 8).fixed(kind, 4).fixed(0, clocks).fixed(1, 1).aligned());
                let is_idr = shown == 0 && !is_second;
                let head = if is_idr {
                    0x65
                } else if is_reference {
                    0x41
                } else {
                    0x01
                };
                unit(&mut stream, head, slice(raw, &picture, *structure, is_idr));
            }
            references += usize::from(is_reference);
        }
    }
    Coded { stream, packets }
}

/// A transport stream of it whose packets of pictures each have a time, as cameras write it (AVCHD): both fields of a picture in
/// one packet with one time, and four bytes before each of the stream's packets.
pub fn as_camera(stream: &[u8], packets: &[Packet]) -> Vec<u8> {
    /// The first track of a stream that ffmpeg writes.
    const PICTURES: [u8; 2] = [0x01, 0x00];
    let (mut out, mut packets) = (Vec::new(), packets.iter());
    for packet in stream.chunks_exact(188) {
        let mut packet = packet.to_vec();
        let begins = packet[1] & 0x40 != 0 && [packet[1] & 0x1F, packet[2]] == PICTURES;
        if begins && packets.next().is_some_and(|packet| packet.is_second) {
            // What said when it is shown becomes stuffing (ISO 13818-1, 2.4.3.4).
            let has_field = packet[3] & 0x20 != 0;
            let field = if has_field { usize::from(packet[4]) + 1 } else { 0 };
            let head = 9 + usize::from(packet[4 + field + 8]);
            packet[1] &= !0x40;
            packet[3] |= 0x20;
            packet[4] = u8::try_from(field + head - 1).unwrap_or(183);
            if field < 2 {
                packet[5] = 0;
            }
            packet[4 + field.max(2)..4 + field + head].fill(0xFF);
        }
        out.extend([0; 4]);
        out.extend(packet);
    }
    out
}

struct Picture<'a> {
    samples: &'a [u8],
    /// Its place in the group as it is shown.
    shown: usize,
    /// References of the group before it.
    number: usize,
    group: usize,
    is_reference: bool,
}

/// References before those that are shown between them.
fn decoding_order(pictures: usize) -> Vec<usize> {
    let mut order = vec![0];
    let mut before = 0;
    while before + 1 < pictures {
        let next = (before + 3).min(pictures - 1);
        order.push(next);
        order.extend(before + 1..next);
        before = next;
    }
    order
}

fn sequence(raw: &Raw<'_>) -> Bits {
    let rows = raw.height.div_ceil(32);
    // Main, level 3; frame numbers of four bits, picture orders of eight.
    let bits = Bits::default().fixed(77, 8).fixed(0, 8).fixed(30, 8).unsigned(0).unsigned(0).unsigned(0).unsigned(4);
    let bits = bits.unsigned(2).fixed(0, 1).unsigned(raw.width / 16 - 1).unsigned(rows - 1);
    // Frames and fields, but not within one picture; cropped at the bottom, in fours of rows.
    let bits = bits.fixed(0b001, 3).fixed(1, 1).unsigned(0).unsigned(0).unsigned(0).unsigned((rows * 32 - raw.height) / 4);
    // What is said of its use: nothing but times, in fields a second, and that pictures say how they are shown.
    bits.fixed(1, 1).fixed(0, 4).fixed(1, 1).fixed(1, 32).fixed(u64::from(raw.rate) * 2, 32).fixed(1, 1).fixed(0b0010, 4)
}

fn slice(raw: &Raw<'_>, picture: &Picture<'_>, structure: Structure, is_idr: bool) -> Bits {
    let is_bottom = structure == Structure::Bottom;
    // P, B or I, and all of its picture are.
    let kind = if is_idr {
        7
    } else if picture.is_reference {
        5
    } else {
        6
    };
    let mut bits = Bits::default().unsigned(0).unsigned(kind).unsigned(0).fixed(picture.number as u64 % 16, 4);
    bits = match structure {
        Structure::Frame => bits.fixed(0, 1),
        Structure::Top | Structure::Bottom => bits.fixed(1, 1).fixed(is_bottom.into(), 1),
    };
    if is_idr {
        bits = bits.unsigned(picture.group % 2);
    }
    bits = bits.fixed((2 * picture.shown as u64 + u64::from(is_bottom)) % 256, 8);
    if structure == Structure::Frame {
        // The bottom field is shown one step later: `se(1)`.
        bits = bits.unsigned(1);
    }
    bits = match kind {
        5 => bits.fixed(0, 2),
        // Direct prediction is spatial; no other numbers of references, nor another order.
        6 => bits.fixed(0b1000, 4),
        _ => bits,
    };
    if is_idr {
        bits = bits.fixed(0, 2);
    } else if picture.is_reference {
        bits = bits.fixed(0, 1);
    }
    // The quantizer as it is; no deblocking.
    bits = bits.unsigned(0).unsigned(1);
    let (step, first) = if structure == Structure::Frame { (1, 0) } else { (2, usize::from(is_bottom)) };
    let rows = raw.height.div_ceil(32) * 2 / step;
    for row in 0..rows {
        for column in 0..raw.width / 16 {
            if !is_idr {
                bits = bits.unsigned(0);
            }
            // I_PCM among the kinds of macroblock of such a slice.
            bits = bits.unsigned(match kind {
                5 => 30,
                6 => 48,
                _ => 25,
            });
            bits = bits.aligned();
            for (plane, side) in [(0, 16), (1, 8), (2, 8)] {
                for line in 0..side {
                    let at = (row * side + line) * step + first;
                    bits.bytes.extend(samples(raw, picture.samples, plane, at, column * side, side));
                }
            }
        }
    }
    bits
}

/// A stretch of a line; below the picture its last line goes on.
fn samples<'a>(raw: &Raw<'_>, picture: &'a [u8], plane: usize, line: usize, from: usize, count: usize) -> &'a [u8] {
    let luma = raw.width * raw.height;
    let (width, height, start) = match plane {
        0 => (raw.width, raw.height, 0),
        1 => (raw.width / 2, raw.height / 2, luma),
        _ => (raw.width / 2, raw.height / 2, luma + luma / 4),
    };
    let line = if line < height { line } else { height - 2 + line % 2 };
    let at = start + line * width + from;
    &picture[at..at + count]
}

/// A unit of the byte stream, with what prevents that its bytes look like the beginning of one.
fn unit(stream: &mut Vec<u8>, head: u8, bits: Bits) {
    stream.extend([0, 0, 0, 1, head]);
    let mut zeros = 0;
    for byte in bits.fixed(1, 1).aligned().bytes {
        if zeros >= 2 && byte <= 3 {
            stream.push(3);
            zeros = 0;
        }
        stream.push(byte);
        zeros = if byte == 0 { zeros + 1 } else { 0 };
    }
}

/// Bits, the highest of a byte first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// Of the last byte, those that are taken; none of a whole one.
    taken: u32,
}

impl Bits {
    fn fixed(mut self, value: u64, count: u32) -> Self {
        for bit in (0..count).rev() {
            if self.taken == 0 {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= u8::from(value >> bit & 1 == 1) << (7 - self.taken);
            }
            self.taken = (self.taken + 1) % 8;
        }
        self
    }

    /// Exp-Golomb, 9.1.
    fn unsigned(self, value: usize) -> Self {
        let value = value as u64 + 1;
        let length = value.ilog2();
        self.fixed(0, length).fixed(value, length + 1)
    }

    fn aligned(mut self) -> Self {
        self.taken = 0;
        self
    }
}
