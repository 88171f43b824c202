//! What the end-to-end tests share: the real `fanreel` process with real function binaries, clips made by the layer's
//! ffmpeg, and a reader of results that shares no code with the pipeline.

pub mod captions;
pub mod clips;
pub mod corpus;
pub mod documents;
pub mod hook;
pub mod hostile;
pub mod house;
pub mod ledger;
pub mod look;
pub mod ministack;
pub mod monitoring;
pub mod players;
pub mod processes;
pub mod prometheus;
pub mod python;
pub mod run;
pub mod stack;

/// The folder that holds the workspace.
pub fn root() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A table that everybody sees who runs the tests: what a passing test prints is kept from people.
pub fn show(table: &str) {
    use std::io::Write;
    // Where nobody takes it, nobody misses it.
    let _ = std::io::stderr().write_all(format!("\n{table}\n").as_bytes());
}

/// A program of the layer.
pub fn tool(name: &str) -> std::path::PathBuf {
    root().join("layers/ffmpeg/build/opt/bin").join(name)
}
