//! Receipt handles: the receipt and its queue, in URL-safe base64.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use uuid::Uuid;

use super::{entry::Receipt, error::SqsError};

/// Queue, sequence and receipt number, eight bytes each, and the message's id.
const LENGTH: usize = 8 + 8 + 8 + 16;

pub(super) fn write(queue_uid: u64, receipt: &Receipt) -> String {
    let mut bytes = Vec::with_capacity(LENGTH);
    for number in [queue_uid, receipt.seq, receipt.number] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend(receipt.id.as_bytes());
    BASE64.encode(bytes)
}

/// The receipt in a handle that was given out by queue `queue_uid`.
pub(super) fn read(queue_uid: u64, handle: &str) -> Result<Receipt, SqsError> {
    let read = || {
        let bytes: [u8; LENGTH] = BASE64.decode(handle).ok()?.try_into().ok()?;
        let (uid, rest) = bytes.split_first_chunk::<8>()?;
        let (seq, rest) = rest.split_first_chunk::<8>()?;
        let (number, id) = rest.split_first_chunk::<8>()?;
        let receipt = Receipt { seq: u64::from_be_bytes(*seq), id: Uuid::from_slice(id).ok()?, number: u64::from_be_bytes(*number) };
        (u64::from_be_bytes(*uid) == queue_uid).then_some(receipt)
    };
    read().ok_or_else(|| SqsError::bad_handle(handle))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqs::error::Kind;

    #[test]
    fn a_handle_reads_back_in_its_own_queue_only() {
        let receipt = Receipt { seq: 7, id: Uuid::new_v4(), number: 3 };
        let handle = write(2, &receipt);
        assert_eq!(read(2, &handle), Ok(receipt));
        for (uid, bad) in [(1, handle.as_str()), (2, &handle[1..]), (2, ""), (2, "not a handle")] {
            assert_eq!(read(uid, bad).unwrap_err().kind, Kind::ReceiptHandleIsInvalid);
        }
    }
}
