//! How a command ends, and the exit code that says so.

use std::process::ExitCode;

use pipeline::view::Status;

use crate::screen;

/// A command that did what it was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Done,
    /// The system works; the job or the function did not succeed. The reason was printed.
    Failed,
    /// The job saved a part of a damaged film. What is missing was printed.
    Partial,
    /// Something that the system needs is missing or broken. The reason was printed.
    Broken,
    /// By ctrl-c or SIGTERM.
    Interrupted,
}

impl End {
    /// Of a command that shows a job.
    pub fn of(status: Status) -> Self {
        match status {
            Status::Failed => Self::Failed,
            Status::Partial => Self::Partial,
            Status::Queued | Status::Processing | Status::Completed => Self::Done,
        }
    }
}

/// The person asked for something that cannot be: exit code 2.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Usage {}

/// An error of usage.
pub fn usage(text: impl Into<String>) -> anyhow::Error {
    Usage(text.into()).into()
}

/// The exit code of a result.
pub fn code(result: &anyhow::Result<End>) -> u8 {
    match result {
        Ok(End::Done) => 0,
        Ok(End::Failed) => 1,
        Ok(End::Partial) => 4,
        Ok(End::Interrupted) => 130,
        Err(error) if error.is::<Usage>() => 2,
        Ok(End::Broken) | Err(_) => 3,
    }
}

/// Prints an error and answers the exit code.
pub fn report(result: &anyhow::Result<End>, json: bool) -> ExitCode {
    let code = code(result);
    if let Err(error) = result {
        let text = format!("{error:#}");
        if json {
            screen::json(&serde_json::json!({ "error": text, "exit": code }));
        }
        screen::note(&format!("fanreel: {text}"));
    }
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_its_code() {
        assert_eq!(code(&Ok(End::Done)), 0);
        assert_eq!(code(&Ok(End::Failed)), 1);
        assert_eq!(code(&Ok(End::Partial)), 4);
        assert_eq!(code(&Err(usage("no such file").context("reading the list"))), 2);
        assert_eq!(code(&Err(anyhow::anyhow!("the disk is full"))), 3);
        assert_eq!(code(&Ok(End::Interrupted)), 130);
    }
}
