//! The bars of the benchmarks. Nothing is measured here.

use std::process::Command;

use anyhow::Result;
use tests::python::good;

#[test]
fn a_benchmark_that_misses_a_bar_fails_and_says_which() -> Result<()> {
    let (dir, root) = (tempfile::tempdir()?, tests::root().canonicalize()?);
    let mut command = Command::new("python3");
    command.arg("-B").arg(root.join("tests/bars.py")).arg(root.join("bench")).arg(dir.path());
    println!("{}", good(&command.output()?, "holding figures against bars")?);
    Ok(())
}
