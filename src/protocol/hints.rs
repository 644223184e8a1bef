//! Error details that depend on more than the invalid value: on the frame around it, or on the content types known at run
//! time. They are computed for invalid frames only.

use super::client::ClientFrame;
use super::error::ErrorCode;
use super::json::{DecodeError, OneOf, Quoted, Value, misspelled};

/// Completes an error of the frame `root`: an unknown type gets its code, the list of known types and a hint.
pub(super) fn complete(
    mut error: DecodeError,
    root: Value<'_, '_>,
    content_types: &[String],
) -> DecodeError {
    let content_types: &[&str] = &content_types.iter().map(|name| &**name).collect::<Vec<_>>();
    let content = root.get("message");
    match (error.code, error.path.as_str()) {
        (ErrorCode::UnknownType, "/type") => {
            let found = tag(Some(root));
            let hint = if found == "text" {
                "; `type` names the frame; put the text into `message` and leave out `type`"
                    .to_owned()
            } else if content_types.contains(&found.as_ref()) {
                "; `type` names the frame; put the content into `message` with this `type`"
                    .to_owned()
            } else {
                did_you_mean(&found, ClientFrame::TAGS)
            };
            error.detail = unknown("type", ClientFrame::TAGS, &found, &hint);
        }
        (ErrorCode::UnknownType, _) => {
            // The only other tagged value is the content.
            let found = tag(content);
            let hint = if matches!(found.as_ref(), "text" | "plain" | "string") {
                TEXT_IS_A_STRING.to_owned()
            } else {
                did_you_mean(&found, content_types)
            };
            error.code = ErrorCode::UnknownContentType;
            error.detail = unknown("content type", content_types, &found, &hint);
        }
        (ErrorCode::InvalidFrame, "/message/type") => {
            let content = content.filter(|content| content.get("type").is_none());
            if content.is_some_and(|content| content.get("text").is_some()) {
                error.detail.push_str(TEXT_IS_A_STRING);
            }
        }
        _ => {}
    }
    error
}

const TEXT_IS_A_STRING: &str = "; text is a plain string: `\"message\":\"hi\"`";

fn tag<'a>(object: Option<Value<'_, 'a>>) -> std::borrow::Cow<'a, str> {
    object
        .and_then(|object| object.get("type")?.text())
        .unwrap_or_default()
}

fn unknown(kind: &str, known: &[&str], found: &str, hint: &str) -> String {
    let (plural, found) = (format!("{kind}s"), Quoted(found));
    format!(
        "expected {}, found the unknown {kind} {found}{hint}",
        OneOf(&plural, known)
    )
}

fn did_you_mean(found: &str, known: &[&str]) -> String {
    misspelled(found, known).map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"))
}
