//! A line of ffprobe's `compact` output.

/// `key=value|key=value`, with `\` before what would end a value.
#[derive(Clone, Copy)]
pub struct Fields<'a>(pub &'a str);

impl<'a> Fields<'a> {
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut rest = Some(self.0);
        std::iter::from_fn(move || {
            let text = rest?;
            let mut escaped = false;
            let end = text.bytes().position(|byte| {
                let ends = byte == b'|' && !escaped;
                escaped = byte == b'\\' && !escaped;
                ends
            });
            let field = text.get(..end.unwrap_or(text.len()))?;
            rest = end.and_then(|end| text.get(end + 1..));
            Some(field.split_once('=').unwrap_or((field, "")))
        })
    }
    pub fn get(self, key: &str) -> Option<&'a str> {
        self.iter().find_map(|(name, value)| (name == key).then_some(value))
    }
    /// `None` for `N/A` and for what is no such number.
    pub fn number<T: std::str::FromStr>(self, key: &str) -> Option<T> {
        self.get(key)?.parse().ok()
    }
    /// Side data: ffprobe puts the name of its kind before the key.
    pub fn suffixed<T: std::str::FromStr>(self, end: &str) -> Option<T> {
        let side = |name: &str| name.starts_with("side_datum") && name.ends_with(end);
        self.iter().find_map(|(name, value)| side(name).then_some(value))?.parse().ok()
    }
}
