//! Regular expressions of schemas (`pattern`, `patternProperties`), in the syntax of ECMA-262.
//!
//! An engine that needs time proportional to the length of the text may still need it for each part of a large pattern. A pattern
//! is therefore accepted only if it can be converted to a deterministic automaton of limited size, which reads each byte once.

use regex_automata::dfa::StartKind;
use regex_automata::dfa::dense;
use regex_automata::nfa::thompson;

/// Largest compiled pattern, in bytes.
pub(super) const PROGRAM_BYTES: usize = 256 * 1024;
/// Largest deterministic automaton, in bytes.
const AUTOMATON_BYTES: usize = 256 * 1024;
/// Memory for building it, in bytes.
const BUILD_BYTES: usize = 1024 * 1024;

/// Checks that a pattern can be matched in a short time.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    if uses_look_around(pattern) {
        return Err("look-around and back-references need time that cannot be bounded".to_owned());
    }
    let translated = jsonschema_regex::to_rust_regex(pattern)
        .map_err(|()| "expected a regular expression (ECMA-262)".to_owned())?;
    let configuration = dense::Config::new()
        .start_kind(StartKind::Unanchored)
        .dfa_size_limit(Some(AUTOMATON_BYTES))
        .determinize_size_limit(Some(BUILD_BYTES));
    let program = thompson::Config::new()
        .nfa_size_limit(Some(PROGRAM_BYTES))
        .which_captures(thompson::WhichCaptures::None);
    let built = dense::Builder::new()
        .configure(configuration)
        .thompson(program)
        .build(&translated);
    match built {
        Ok(_) => Ok(()),
        Err(error) if error.is_size_limit_exceeded() || is_too_large(&error) => Err(format!(
            "the regular expression is too large: it cannot be converted to a deterministic automaton of at most {} KiB",
            AUTOMATON_BYTES / 1024
        )),
        Err(error) => Err(format!(
            "the regular expression cannot be used: {}",
            cause(&error)
        )),
    }
}

/// Whether the limit of [`PROGRAM_BYTES`] was exceeded.
fn is_too_large(error: &dyn std::error::Error) -> bool {
    let source = error.source();
    let source = source.and_then(<dyn std::error::Error>::downcast_ref::<thompson::BuildError>);
    source.is_some_and(|error| error.size_limit().is_some())
}

/// The innermost cause of an error, on one line.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = innermost.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

/// Whether a pattern has a look-around assertion or a back-reference.
fn uses_look_around(pattern: &str) -> bool {
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(c) = rest.chars().next() {
        let mut used = c.len_utf8();
        match c {
            '\\' => {
                let escaped = rest[used..].chars().next();
                if !in_class && escaped.is_some_and(|c| matches!(c, '1'..='9' | 'k')) {
                    return true;
                }
                used += escaped.map_or(0, char::len_utf8);
            }
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class => {
                let group = &rest[used..];
                if ["?=", "?!", "?<=", "?<!"]
                    .iter()
                    .any(|start| group.starts_with(start))
                {
                    return true;
                }
            }
            _ => {}
        }
        rest = &rest[used..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_bounded_cost_are_accepted() {
        for pattern in [
            "",
            "^[A-Z]{3}-[0-9]{1,8}$",
            r"^\d+(\.\d{2})?$",
            r"^https?:\/\/",
            "^.{1,20}$",
            r"^[\p{L} ]*$",
            r"[(?=]\\1",
            "(a+)+$",
        ] {
            assert_eq!(check(pattern), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn other_patterns_are_rejected_with_the_reason() {
        for (pattern, reason) in [
            ("(?=a)b", "look-around"),
            ("(?<!a)b", "look-around"),
            (r"(a)\1", "back-references"),
            (r"(?<x>a)\k<x>", "back-references"),
            ("(", "regular expression"),
            ("[01]*1[01]{20}", "too large"),
            ("(x{1000}){1000}", "too large"),
        ] {
            let found = check(pattern).expect_err(pattern);
            assert!(found.contains(reason), "{pattern}: {found}");
        }
    }
}
