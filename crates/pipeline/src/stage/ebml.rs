//! Where a Matroska file should end by its own head (RFC 8794, sections 4 to 6; RFC 9559, 5.1). Pure.

use crate::fault::Fault;

/// ID of the element that holds all the others but the head.
const SEGMENT: u64 = 0x1853_8067;
/// Elements that may stand before the Segment: the head, Void, CRC-32.
const MAX_BEFORE: usize = 8;

/// Refuses a file that ends before its Segment does: what is missing was never uploaded. A recording that was cut off
/// in the act has a Segment of unknown size, and is as long as it is.
pub fn whole(head: &[u8], size: u64) -> Result<(), Fault> {
    match segment_end(head) {
        Some(end) if end > size => Err(Fault::reject(format!(
            "the file is truncated: its `Segment` part should end at byte {end}, the file has {size}; upload it again"
        ))),
        _ => Ok(()),
    }
}

/// `None` where the head does not say.
fn segment_end(head: &[u8]) -> Option<u64> {
    let mut at = 0u64;
    for _ in 0..MAX_BEFORE {
        let rest = head.get(usize::try_from(at).ok()?..)?;
        let (id, id_length) = number(rest, true)?;
        let (length, length_length) = number(rest.get(id_length..)?, false)?;
        // All bits set: unknown.
        let unknown = length == (1u64 << (7 * length_length)) - 1;
        let body = at.checked_add(u64::try_from(id_length + length_length).ok()?)?;
        if id == SEGMENT {
            return (!unknown).then(|| body.saturating_add(length));
        }
        if unknown {
            return None;
        }
        at = body.checked_add(length)?;
    }
    None
}

/// A number of variable length and its bytes. The marker that tells the length is part of an ID, not of a size.
fn number(bytes: &[u8], marker: bool) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = usize::try_from(first.leading_zeros()).ok()? + 1;
    let value = bytes.get(..length).filter(|_| length <= 8)?.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    Some((if marker { value } else { value & !(1u64 << (7 * length)) }, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: [u8; 7] = [0x1A, 0x45, 0xDF, 0xA3, 0x82, 0, 0];

    fn file(size: &[u8]) -> Vec<u8> {
        [&HEAD[..], &[0x18, 0x53, 0x80, 0x67], size].concat()
    }

    #[test]
    fn a_segment_that_ends_past_the_file_is_a_truncated_upload() {
        let long = file(&[0x01, 0, 0, 0, 0, 1, 0x7E, 0xCD]);
        assert_eq!(segment_end(&long), Some(19 + 0x17ECD));
        assert_eq!(whole(&long, 19 + 0x17ECD), Ok(()));
        let fault = whole(&long, 5000).unwrap_err().to_string();
        assert!(fault.contains("should end at byte 98016, the file has 5000"), "{fault}");
        assert_eq!(segment_end(&file(&[0x82])), Some(14));
    }

    #[test]
    fn a_live_recording_does_not_say() {
        assert_eq!(segment_end(&file(&[0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF])), None);
        assert_eq!(segment_end(&file(&[0xFF])), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = segment_end(&bytes);
            let _ = segment_end(&[&HEAD[..], &bytes].concat());
        }
    }
}
