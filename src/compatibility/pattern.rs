//! Which names a regular expression matches, as far as that is decided without a regex engine: for expressions that consist
//! of literal characters and anchors. All other expressions are compared by their text only.

/// Whether `pattern` matches somewhere in `text`; `None`: not decided.
pub(super) fn matches(pattern: &str, text: &str) -> Option<bool> {
    if is_universal(pattern) {
        return Some(true);
    }
    let (start, rest) = match pattern.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let (end, rest) = match rest.strip_suffix('$') {
        Some(rest) if !rest.ends_with('\\') => (true, rest),
        Some(_) => return None,
        None => (false, rest),
    };
    let literal = literal(rest)?;
    Some(match (start, end) {
        (true, true) => text == literal,
        (true, false) => text.starts_with(&literal),
        (false, true) => text.ends_with(&literal),
        (false, false) => text.contains(&literal),
    })
}

/// The only text that `pattern` matches, if there is just one.
pub(super) fn only_match(pattern: &str) -> Option<String> {
    literal(pattern.strip_prefix('^')?.strip_suffix('$')?)
}

/// Whether `pattern` matches every text.
pub(super) fn is_universal(pattern: &str) -> bool {
    // `.` does not match line breaks, so `^.*$` is not among them.
    matches!(
        pattern,
        "" | "^" | "$" | ".*" | "^.*" | ".*$" | r"[\s\S]*" | r"^[\s\S]*$"
    )
}

/// The text of an expression without operators.
fn literal(pattern: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next()? {
                c @ ('.' | '-' | '/' | '\\' | '$' | '^' | '+' | '*' | '?' | '(' | ')' | '['
                | ']' | '{' | '}' | '|') => text.push(c),
                _ => return None,
            },
            '.' | '$' | '^' | '+' | '*' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' => {
                return None;
            }
            c => text.push(c),
        }
    }
    Some(text)
}
