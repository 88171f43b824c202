//! The text of `Fn::Sub`: literals and `${names}`.

/// A piece of the text.
#[derive(Debug, PartialEq)]
pub(super) enum Part<'a> {
    Text(&'a str),
    /// The name inside `${…}`, trimmed.
    Name(&'a str),
}

/// The pieces in order. `${!x}` is the literal `${x}`.
pub(super) fn parse(mut text: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    while let Some((before, rest)) = text.split_once("${") {
        parts.push(Part::Text(before));
        let Some((name, after)) = rest.split_once('}') else {
            return Err(format!("`${{{rest}` has no closing brace; write `${{!` for a literal `${{`"));
        };
        match name.strip_prefix('!') {
            Some(literal) => parts.extend([Part::Text("${"), Part::Text(literal), Part::Text("}")]),
            None if name.trim().is_empty() => return Err("`${}` names nothing; put a name between the braces".into()),
            None => parts.push(Part::Name(name.trim())),
        }
        text = after;
    }
    parts.push(Part::Text(text));
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_literals_and_refusals() {
        let parts = parse("a${B.C}-${!d}$e").unwrap();
        let expected =
            [Part::Text("a"), Part::Name("B.C"), Part::Text("-"), Part::Text("${"), Part::Text("d"), Part::Text("}"), Part::Text("$e")];
        assert_eq!(parts, expected);
        assert!(parse("${a").unwrap_err().contains("no closing brace"));
        assert!(parse("${ }").unwrap_err().contains("names nothing"));
    }
}
