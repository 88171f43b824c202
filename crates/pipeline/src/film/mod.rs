//! A progressive MP4 made of stored segments: its index is written anew from their tables of samples, their media is
//! joined as it lies. Pure: the same records make the same bytes.

mod boxes;
mod layout;
mod read;
mod track;

use bytes::Bytes;
use sha2::{Digest, Sha256};

pub use layout::COPIED_BYTES;
pub use read::Shown;
pub use track::Track;

use crate::ports::Piece;

/// A file to be: what it consists of, in order.
#[derive(Clone, Debug)]
pub struct Film {
    /// The first holds the index and the header of the media: `ftyp`, `moov`, and the beginning of `mdat`.
    pub pieces: Vec<Piece>,
    pub bytes: u64,
    /// Of the first piece, lower-case hex.
    pub head_sha256: String,
    /// What a player shows of the video track, read back from the index as it is written; `None` without one.
    pub video: Option<Shown>,
}

/// Plans the file of these tracks: at most one of video, then the sound. The error is for the operator.
pub fn film(tracks: &[&Track]) -> Result<Film, String> {
    let laid = layout::lay_out(tracks);
    // The index is as long wherever the media begins, as long as offsets are written in as many bytes.
    let room = boxes::head(tracks, &laid.chunks, 0, laid.bytes, true)?.len() as u64;
    let long = room.saturating_add(laid.bytes) > u64::from(u32::MAX);
    let base = boxes::head(tracks, &laid.chunks, 0, laid.bytes, long)?.len() as u64;
    let head = Bytes::from(boxes::head(tracks, &laid.chunks, base, laid.bytes, long)?);
    let video = read::shown(&head)?;
    let head_sha256 = hex::encode(Sha256::digest(&head));
    let bytes = base.saturating_add(laid.bytes);
    Ok(Film { pieces: std::iter::once(Piece::Bytes(head)).chain(laid.pieces).collect(), bytes, head_sha256, video })
}

#[cfg(test)]
pub(crate) mod tests;
