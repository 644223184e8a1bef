//! The `Forwarded` header (RFC 7239 section 4): elements separated by commas, one for each hop, of pairs separated by semicolons.

/// One hop; `None` if it cannot be read.
pub type Element = Option<Vec<(String, String)>>;

/// The elements of one line. A comma or a semicolon within quotes separates nothing: a proxy may quote a value that its client chose. If the
/// quotes are not balanced, it is unclear where an element ends, and the whole line counts as one that cannot be read.
pub fn elements(line: &str) -> Vec<Element> {
    let Some(elements) = split(line, ',') else {
        return vec![None];
    };
    elements.into_iter().map(pairs).collect()
}

/// The value of a parameter; `None` if the element has none, or more than one.
pub fn parameter(element: &Element, name: &str) -> Option<String> {
    let mut values = element
        .iter()
        .flatten()
        .filter(|(key, _)| key.eq_ignore_ascii_case(name));
    let (_, value) = values.next()?;
    values.next().is_none().then(|| value.clone())
}

fn pairs(element: &str) -> Element {
    split(element, ';')?
        .into_iter()
        .filter(|pair| !pair.trim().is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=')?;
            Some((key.trim().to_owned(), unquoted(value.trim())?))
        })
        .collect()
}

/// The parts between separators that are not within quotes; `None` if the quotes are not balanced.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if c == separator && !quoted => {
                parts.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!quoted).then_some(parts)
}

/// A token as it is, a quoted string without quotes and escapes.
fn unquoted(value: &str) -> Option<String> {
    let Some(rest) = value.strip_prefix('"') else {
        return (!value.contains('"')).then(|| value.to_owned());
    };
    let mut text = String::new();
    let mut chars = rest.strip_suffix('"')?.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(chars.next()?),
            '"' => return None,
            c => text.push(c),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(line: &str, name: &str) -> Option<String> {
        parameter(elements(line).last().expect("an element"), name)
    }

    #[test]
    fn separators_within_quotes_separate_nothing() {
        for (line, name, value) in [
            ("for=192.0.2.1", "for", Some("192.0.2.1")),
            (
                "For = \"[2001:db8::1]:80\" ; proto=https",
                "for",
                Some("[2001:db8::1]:80"),
            ),
            ("for=a, for=b;by=c", "for", Some("b")),
            ("for=a;host=\"x, for=1.1.1.1\"", "for", Some("a")),
            ("for=a;host=\"x;for=1.1.1.1\"", "for", Some("a")),
            (
                "for=a;host=\"\\\", for=1.1.1.1\"",
                "host",
                Some("\", for=1.1.1.1"),
            ),
            ("for=a;host=\"\\\\\"", "host", Some("\\")),
            ("proto=http;;for=a;", "for", Some("a")),
            ("for=\"x, for=a", "for", None),
            ("for=a;for=b", "for", None),
            ("for=\"a\"b", "for", None),
            ("for=a\"b\"", "for", None),
            ("a, for", "for", None),
            ("for=a,", "for", None),
            ("", "for", None),
        ] {
            assert_eq!(last(line, name).as_deref(), value, "{line}");
        }
        assert_eq!(elements("a=1, b=\"2,3\",").len(), 3);
    }
}
