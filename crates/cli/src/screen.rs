//! All that this program prints goes through here.
//!
//! Names and reasons come from other people's files: control characters in them never reach the terminal.

use std::io::{self, IsTerminal, Write};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// Prints an answer and a line end.
pub fn out(text: &str) {
    write_out(&clean(text));
}

/// Prints an answer as it is: a function's payload, which a program may read.
pub fn raw(bytes: &[u8]) {
    write_all(bytes);
}

/// Prints a value as one line of JSON.
pub fn json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => write_out(&text),
        Err(error) => note(&format!("fanreel: an answer cannot be written as JSON: {error}")),
    }
}

fn write_out(text: &str) {
    write_all(format!("{text}\n").as_bytes());
}

fn write_all(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    if written.is_err() {
        // The reader (`| head`) has what it wanted.
        std::process::exit(0);
    }
}

/// Prints something beside the answer: progress, hints, errors.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", clean(text));
}

/// Whether a person looks at the progress.
pub fn is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Control characters but line ends and tabs become visible: none of them moves the cursor or sets a title.
pub fn clean(text: &str) -> String {
    let visible = |c: char| match c {
        '\n' | '\t' => c,
        // The direction marks and isolates that can make a name read backwards.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(visible).collect()
}

/// A borderless table; columns named in `right` are numbers.
pub fn table(header: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header.iter().copied());
    for row in rows {
        // One row is one line, whatever a name holds.
        table.add_row(row.iter().map(|cell| clean(cell).replace(['\n', '\t'], " ")));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        if right.contains(&column.index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\r\u{202e}gpj.exe\tc\n"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}gpj.exe\tc\n");
    }

    #[test]
    fn a_row_is_a_line_and_numbers_stand_right() {
        let rows = vec![vec!["720p".into(), "1".into()], vec!["a\nb".into(), "1000".into()]];
        insta::assert_snapshot!(table(&["name", "frames"], &[1], rows), @r"
        name  frames
        720p       1
        a b     1000
        ");
    }
}
