//! The text of a cue as `WebVTT` takes it (W3C `WebVTT`, 4.2.2): lines, bold, italic and underlined; everything else of a
//! source's markup is text, and is written so that no player takes it for more.

/// A style of text that is kept, by its tag.
const STYLES: [&str; 3] = ["b", "i", "u"];

/// Makes a cue's text plain: no empty lines, no control characters, tags closed in order.
pub fn plain(text: &str) -> String {
    let mut out = Writer::default();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some((tag, after)) = style(rest) {
            out.tag(tag);
            rest = after;
        } else if let Some(after) = rest.strip_prefix("\\h") {
            out.push(' ');
            rest = after;
        } else {
            out.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    out.finish()
}

/// A tag of a style at the beginning: its name, and whether it opens.
fn style(text: &str) -> Option<((&'static str, bool), &str)> {
    let inner = text.strip_prefix('<')?;
    let (opens, name) = inner.strip_prefix('/').map_or((true, inner), |name| (false, name));
    let tag = STYLES.iter().find(|tag| name.strip_prefix(**tag).is_some_and(|rest| rest.starts_with('>')))?;
    Some(((tag, opens), name.get(tag.len() + 1..)?))
}

/// Shapes that are drawn and not read: `m 0 0 l 10 10` (the override `\p` of Advanced `SubStation` Alpha).
pub fn is_drawing(text: &str) -> bool {
    let bare: String =
        STYLES.iter().fold(text.to_owned(), |text, tag| text.replace(&format!("<{tag}>"), "").replace(&format!("</{tag}>"), ""));
    let mut words = bare.split_whitespace();
    let number = |word: &str| word.parse::<f64>().is_ok();
    words.next() == Some("m")
        && words.next().is_some_and(number)
        && words.all(|word| number(word) || matches!(word, "m" | "n" | "l" | "b" | "s" | "p" | "c"))
}

/// Styles are written when text comes that has them: no empty tags, none across each other.
#[derive(Default)]
struct Writer {
    lines: Vec<String>,
    line: String,
    /// What the text wants, in the order of opening; and what is open in the output.
    wanted: Vec<&'static str>,
    open: Vec<&'static str>,
}

impl Writer {
    fn tag(&mut self, (tag, opens): (&'static str, bool)) {
        match self.wanted.iter().position(|other| *other == tag) {
            None if opens => self.wanted.push(tag),
            Some(at) if !opens => drop(self.wanted.remove(at)),
            _ => {}
        }
    }

    fn push(&mut self, character: char) {
        if character == '\n' {
            self.line_ends();
            return;
        }
        let character = if character == '\t' { ' ' } else { character };
        if character.is_control() || character == '\u{feff}' {
            return;
        }
        self.close(self.same());
        if !character.is_whitespace() {
            self.open();
        }
        match character {
            '<' => self.line.push_str("&lt;"),
            '>' => self.line.push_str("&gt;"),
            '&' => self.line.push_str("&amp;"),
            other => self.line.push(other),
        }
    }

    /// How many of the open styles are wanted in this order: those after them are to be closed.
    fn same(&self) -> usize {
        self.open.iter().zip(&self.wanted).take_while(|(open, wanted)| open == wanted).count()
    }

    /// Opens what is wanted and not open.
    fn open(&mut self) {
        for tag in self.wanted.iter().skip(self.open.len()) {
            self.line.extend(["<", tag, ">"]);
            self.open.push(tag);
        }
    }

    /// Closes all but the first `kept`.
    fn close(&mut self, kept: usize) {
        while self.open.len() > kept {
            if let Some(tag) = self.open.pop() {
                self.line.extend(["</", tag, ">"]);
            }
        }
    }

    fn line_ends(&mut self) {
        self.close(0);
        let line = std::mem::take(&mut self.line);
        if !line.trim().is_empty() {
            self.lines.push(line.trim().to_owned());
        }
    }

    fn finish(mut self) -> String {
        self.line_ends();
        self.lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_lines_and_three_styles_are_kept() {
        let cases = [
            ("Hello <i>world</i>", "Hello <i>world</i>"),
            ("<b><i>Col<b>oured</b>\nsecond\\hline\n\nthird</i></b>", "<b><i>Coloured</i></b>\n<i>second line</i>\n<i>third</i>"),
            ("a < b & c --> d", "a &lt; b &amp; c --&gt; d"),
            ("<script>x</script><c.red>y", "&lt;script&gt;x&lt;/script&gt;&lt;c.red&gt;y"),
            ("<i></i> <i>open", "<i>open</i>"),
            ("<i>one</i> two <b> three</b>", "<i>one</i> two  <b>three</b>"),
            ("\u{feff}nul\0 bell\u{7} tab\there\u{85}", "nul bell tab here"),
            ("\n \n", ""),
            ("日本語 café \u{fffd}", "日本語 café \u{fffd}"),
            ("NOTE x\nSTYLE", "NOTE x\nSTYLE"),
        ];
        for (text, expected) in cases {
            assert_eq!(plain(text), expected, "{text:?}");
        }
    }

    #[test]
    fn drawings_are_told_from_text() {
        for drawing in ["m 0 0 l 10 10", "<b>m -1.5 0 b 1 2 3 4 5 6 s</b>"] {
            assert!(is_drawing(drawing), "{drawing}");
        }
        for text in ["m", "m and m", "I m 0 0", "m 5 and 6", "10 l"] {
            assert!(!is_drawing(text), "{text}");
        }
    }
}
