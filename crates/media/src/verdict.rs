//! What the end of a program means. The only place that reads an exit status or an error text of ffmpeg.

use pipeline::{Fault, Shortage};

/// How a program in the cell ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this exit code.
    Exit(i32),
    /// By this signal, which was not ours.
    Signal(i32),
    /// By the kernel, which had no memory left.
    OutOfMemory,
    /// Killed by us: it ran longer than its wall-clock limit.
    Wall,
}

/// Texts of ffmpeg's log, lower case, each with the sentence for the person who sent the file.
const REJECTS: &[(&str, &str)] = &[
    ("moov atom not found", "The file is not complete: it ends before the table that says where its pictures are (no moov atom)."),
    ("format not on whitelist", "The file is not a video in a format that is accepted (it looks like a playlist or another kind of file)."),
    ("invalid data found when processing input", "The file is not a video that can be read, or it is damaged at its beginning."),
    ("does not contain any stream", "The file holds neither pictures nor sound."),
    ("end of file", "The file is empty or ends before its first picture."),
    ("picture size", "The file claims a picture size that is not accepted."),
    ("decoder not found", "The file uses a codec that cannot be decoded here."),
    ("no decoder for", "The file uses a codec that cannot be decoded here."),
    ("could not find codec parameters", "The file's tracks do not say enough to be decoded."),
    ("error opening input", "The file is not a video that can be read."),
];

/// Signals by which somebody wants a program to end: nothing is wrong with the work.
const ASKED: [i32; 5] = [libc::SIGKILL, libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];
/// ffmpeg takes those that can be taken itself, says nothing at this level, and exits so.
const ASKED_TO_EXIT: i32 = 255;

/// What to do after a program ended as `ended` with `stderr` as its last words. `None`: it ended well.
pub fn verdict(ended: Ended, stderr: &str) -> Option<Fault> {
    let log = stderr.to_ascii_lowercase();
    let shortage = match ended {
        Ended::Exit(0) => return None,
        Ended::Wall | Ended::Signal(libc::SIGXCPU) => Some(Shortage::Time),
        Ended::OutOfMemory => Some(Shortage::Memory),
        Ended::Signal(signal) if ASKED.contains(&signal) => return Some(Fault::Killed(detail(ended, stderr))),
        Ended::Signal(libc::SIGXFSZ) => Some(Shortage::Disk),
        _ if log.contains("cannot allocate memory") || log.contains("malloc of size") || log.contains("out of memory") => {
            Some(Shortage::Memory)
        }
        _ if log.contains("no space left on device") || log.contains("file too large") => Some(Shortage::Disk),
        // What ends with -1, "operation not permitted", has the same code and says so.
        Ended::Exit(ASKED_TO_EXIT) if !log.contains("not permitted") => return Some(Fault::Killed(detail(ended, stderr))),
        Ended::Exit(_) | Ended::Signal(_) => None,
    };
    if let Some(shortage) = shortage {
        return Some(Fault::escalate(shortage, detail(ended, stderr)));
    }
    if let Ended::Exit(_) = ended
        && let Some((_, sentence)) = REJECTS.iter().find(|(text, _)| log.contains(text))
    {
        return Some(Fault::reject(*sentence));
    }
    Some(Fault::escalate(Shortage::Tool, detail(ended, stderr)))
}

/// One line: how it ended, and the last lines of its log.
pub fn detail(ended: Ended, stderr: &str) -> String {
    let how = match ended {
        Ended::Exit(code) => format!("exit code {code}"),
        Ended::Signal(libc::SIGKILL) => "it was killed".to_owned(),
        Ended::Signal(signal) => format!("signal {signal}"),
        Ended::OutOfMemory => "the kernel ended it for memory".to_owned(),
        Ended::Wall => "stopped at its wall-clock limit".to_owned(),
    };
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(4)..).unwrap_or_default().join(" | ");
    if last.is_empty() { how } else { format!("{how}: {last}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shortage(ended: Ended, stderr: &str) -> Option<Shortage> {
        match verdict(ended, stderr) {
            Some(Fault::Escalate { reason, .. }) => Some(reason),
            _ => None,
        }
    }

    #[test]
    fn a_good_end_is_no_fault_whatever_was_said() {
        assert_eq!(verdict(Ended::Exit(0), "Invalid data found when processing input"), None);
    }

    #[test]
    fn what_ran_out_is_named() {
        assert_eq!(shortage(Ended::OutOfMemory, ""), Some(Shortage::Memory));
        assert_eq!(shortage(Ended::Exit(244), "x264 [error]: malloc of size 88 failed"), Some(Shortage::Memory));
        assert_eq!(shortage(Ended::Exit(1), "Error: Cannot allocate memory"), Some(Shortage::Memory));
        assert_eq!(shortage(Ended::Signal(libc::SIGXCPU), ""), Some(Shortage::Time));
        assert_eq!(shortage(Ended::Wall, ""), Some(Shortage::Time));
        assert_eq!(shortage(Ended::Signal(libc::SIGXFSZ), ""), Some(Shortage::Disk));
        assert_eq!(shortage(Ended::Exit(228), "av_interleaved_write_frame(): No space left on device"), Some(Shortage::Disk));
        assert_eq!(shortage(Ended::Signal(libc::SIGSEGV), "Invalid data found"), Some(Shortage::Tool));
        assert_eq!(shortage(Ended::Exit(8), "Option not found"), Some(Shortage::Tool));
    }

    #[test]
    fn a_bad_source_is_rejected_with_a_sentence() {
        let log = "[mov,mp4 @ 0x1] moov atom not found\ninput: Invalid data found when processing input";
        let Some(Fault::Reject(text)) = verdict(Ended::Exit(1), log) else { panic!("not rejected") };
        assert!(text.contains("not complete"), "{text}");
    }

    #[test]
    fn a_kill_that_the_kernel_did_not_send_for_memory_is_a_death() {
        assert_eq!(verdict(Ended::Signal(libc::SIGKILL), "frame 3\n"), Some(Fault::Killed("it was killed: frame 3".into())));
        for asked in [Ended::Signal(libc::SIGTERM), Ended::Signal(libc::SIGINT), Ended::Exit(255)] {
            let said = "error while decoding MB 3 4, bytestream 55";
            assert!(matches!(verdict(asked, said), Some(Fault::Killed(_))), "{asked:?}");
        }
        assert_eq!(shortage(Ended::Exit(255), "x264 [error]: malloc of size 88 failed"), Some(Shortage::Memory));
        assert_eq!(shortage(Ended::Exit(255), "Error opening output x: Operation not permitted"), Some(Shortage::Tool));
    }

    #[test]
    fn the_detail_holds_the_last_words_only() {
        let log = (0..100).fold(String::new(), |text, line| text + &format!("line {line}\n"));
        let Some(Fault::Escalate { detail, .. }) = verdict(Ended::Exit(8), &log) else { panic!() };
        assert_eq!(detail, "exit code 8: line 96 | line 97 | line 98 | line 99");
    }
}
