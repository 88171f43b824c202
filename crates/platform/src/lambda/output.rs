//! What an environment prints, line by line into its log stream.

use std::{collections::VecDeque, io, sync::Arc};

use tokio::net::unix::pipe;

use crate::logs::{Logs, now_ms};

/// A longer line is split, as on AWS.
pub const MAX_LINE: usize = 256 << 10;
/// Kept for `X-Amz-Log-Result`.
const TAIL: usize = 4 << 10;
/// Read in one go before anything else gets its turn.
const MAX_READ: usize = 1 << 20;

/// One environment's log stream.
#[derive(Debug)]
pub struct Journal {
    logs: Arc<Logs>,
    group: String,
    stream: String,
    /// End of what was written since [`Journal::begin`].
    tail: VecDeque<u8>,
}

impl Journal {
    pub fn new(logs: Arc<Logs>, group: String, stream: String) -> Self {
        Self { logs, group, stream, tail: VecDeque::with_capacity(TAIL) }
    }

    /// Starts the tail anew: an invocation begins.
    pub fn begin(&mut self) {
        self.tail.clear();
    }

    pub fn write(&mut self, line: String) {
        for byte in line.bytes().chain([b'\n']).skip((line.len() + 1).saturating_sub(TAIL)) {
            if self.tail.len() == TAIL {
                self.tail.pop_front();
            }
            self.tail.push_back(byte);
        }
        self.logs.put(&self.group, &self.stream, now_ms(), line);
    }

    /// The last 4 KB since [`Journal::begin`].
    pub fn tail(&mut self) -> String {
        String::from_utf8_lossy(self.tail.make_contiguous()).into_owned()
    }
}

/// The reading end of what an environment prints.
#[derive(Debug)]
pub struct Output {
    /// `None` when the other end is closed.
    pipe: Option<pipe::Receiver>,
    line: Vec<u8>,
}

impl Output {
    /// Must be called inside a tokio runtime.
    pub fn new(reader: io::PipeReader) -> io::Result<Self> {
        let pipe = pipe::Receiver::from_owned_fd(reader.into())?;
        Ok(Self { pipe: Some(pipe), line: Vec::new() })
    }

    /// Waits until there is something to read; for ever when there never will be. Cancel safe.
    pub async fn readable(&self) {
        match &self.pipe {
            Some(pipe) if pipe.readable().await.is_ok() => {}
            _ => std::future::pending().await,
        }
    }

    /// Moves what was printed by now into the journal.
    pub fn read(&mut self, journal: &mut Journal) {
        let mut buffer = [0; 16 << 10];
        let mut total = 0;
        while total < MAX_READ
            && let Some(pipe) = &self.pipe
        {
            match pipe.try_read(&mut buffer) {
                Ok(read) if read > 0 => {
                    total += read;
                    split(&mut self.line, buffer.get(..read).unwrap_or_default(), |line| journal.write(line));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                _ => self.pipe = None,
            }
        }
    }

    /// As [`Output::read`], and a last line without an end counts as one.
    pub fn finish(&mut self, journal: &mut Journal) {
        self.read(journal);
        if !self.line.is_empty() {
            journal.write(text(&std::mem::take(&mut self.line)));
        }
    }
}

/// Adds `bytes` to the line begun in `line` and hands over every line that is complete or too long.
fn split(line: &mut Vec<u8>, bytes: &[u8], mut write: impl FnMut(String)) {
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        let (piece, ended) = piece.strip_suffix(b"\n").map_or((piece, false), |piece| (piece, true));
        let mut rest = piece;
        while line.len() + rest.len() > MAX_LINE {
            let (now, later) = rest.split_at(MAX_LINE - line.len());
            line.extend_from_slice(now);
            write(text(&std::mem::take(line)));
            rest = later;
        }
        line.extend_from_slice(rest);
        if ended {
            write(text(&std::mem::take(line)));
        }
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However the bytes are cut on their way, the lines are the same.
        #[test]
        fn lines_do_not_depend_on_cuts(text in "[a-z\n]{0,200}", cuts in prop::collection::vec(1_usize..20, 1..100)) {
            let (mut line, mut lines, mut rest) = (Vec::new(), Vec::new(), text.as_bytes());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                split(&mut line, now, |line| lines.push(line));
                rest = later;
            }
            let ended = text.rsplit_once('\n').map_or("", |(ended, _)| ended);
            let expected: Vec<_> = if text.contains('\n') { ended.split('\n').collect() } else { vec![] };
            prop_assert_eq!(lines, expected);
        }
    }

    #[test]
    fn a_long_line_is_split() {
        let (mut line, mut lengths) = (Vec::new(), Vec::new());
        split(&mut line, &vec![b'x'; 2 * MAX_LINE + 7], |line| lengths.push(line.len()));
        split(&mut line, b"\n", |line| lengths.push(line.len()));
        assert_eq!(lengths, [MAX_LINE, MAX_LINE, 7]);
    }
}
