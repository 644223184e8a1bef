//! Notifications: what an application publishes for a user, and the message that it becomes (PROTOCOL section 9).

use serde::Deserialize;

use super::content::Content;
use super::contract::Contract;
use super::error::FrameError;
use super::json::{Tape, ValueKind, WithRaw};
use super::parse::Scanned;
use super::types::{MessageId, UserId};

/// The `name` of untyped data that was published.
const DATA_NAME: &str = "notification";

/// An object with `message` and without `type`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow)]
    message: WithRaw<'a, Content<'a>>,
    #[serde(default, borrow)]
    from_user: Option<UserId<'a>>,
    #[serde(default)]
    id: Option<MessageId>,
}

/// Writes a publication for `user` as the text of a [`SendRequest`](super::api::SendRequest) of `sender`, which still has to be
/// validated:
/// - an object whose `type` is a known content type is content;
/// - an object with `message` and without `type` is a message, possibly with `from_user` and `id`;
/// - any other object becomes untyped data;
/// - everything else is text.
///
/// # Errors
/// An object of the second kind has an invalid or unknown field.
pub fn request_of(
    tape: &mut Tape,
    payload: &str,
    (sender, user): (&str, &str),
    contract: &Contract,
) -> Result<String, FrameError> {
    let scanned = Scanned::new(tape, payload);
    let object = scanned
        .root()
        .filter(|root| root.kind() == ValueKind::Object);
    let Some(object) = object else {
        return Ok(request(sender, user, &quoted(payload), None));
    };
    match object.get("type") {
        None if object.get("message").is_some() => {
            let envelope: Envelope<'_> = scanned.decode(contract)?;
            let from = envelope.from_user.as_ref().map_or(sender, UserId::as_str);
            Ok(request(from, user, envelope.message.raw, envelope.id))
        }
        Some(tag)
            if contract
                .content_types()
                .iter()
                .any(|known| tag.is_text(known)) =>
        {
            Ok(request(sender, user, payload, None))
        }
        _ => {
            let name = quoted(DATA_NAME);
            let data = format!(r#"{{"type":"data","name":{name},"data":{payload}}}"#);
            Ok(request(sender, user, &data, None))
        }
    }
}

fn request(from: &str, to: &str, content: &str, id: Option<MessageId>) -> String {
    let id = id.map_or_else(String::new, |id| format!(r#","id":"{}""#, id.0));
    let (from, to) = (quoted(from), quoted(to));
    format!(r#"{{"from_user":{from},"target_user":{to},"message":{content}{id}}}"#)
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::api::ParsedSend;

    fn parse(payload: &str) -> Result<(String, String, bool), FrameError> {
        let contract = Contract::built_in();
        let text = request_of(&mut Tape::default(), payload, ("system", "ada"), &contract)?;
        let mut tape = Tape::default();
        let parsed = ParsedSend::new(&mut tape, &text, &contract)?;
        if let Some(error) = parsed.invalid_content {
            return Err(*error);
        }
        let request = parsed.request;
        assert_eq!(request.target_user.unwrap().as_str(), "ada");
        Ok((
            request.from_user.as_str().to_owned(),
            request.message.raw.to_owned(),
            request.id.is_some(),
        ))
    }

    #[test]
    fn a_publication_becomes_a_message() {
        let system = |content: &str| Ok(("system".to_owned(), content.to_owned(), false));
        for (payload, content) in [
            ("hi", r#""hi""#),
            (" \"quoted\" ", r#"" \"quoted\" ""#),
            ("42", r#""42""#),
            ("[1]", r#""[1]""#),
            ("null", r#""null""#),
            ("{broken", r#""{broken""#),
            (r#"{"a":1,"a":2}"#, r#""{\"a\":1,\"a\":2}""#),
            (
                r#"{"type":"markdown","text":"*x*"}"#,
                r#"{"type":"markdown","text":"*x*"}"#,
            ),
            (
                r#"{"order":7}"#,
                r#"{"type":"data","name":"notification","data":{"order":7}}"#,
            ),
            (
                r#"{"type":"unknown.type","message":1}"#,
                r#"{"type":"data","name":"notification","data":{"type":"unknown.type","message":1}}"#,
            ),
            (
                r#"{"type":7}"#,
                r#"{"type":"data","name":"notification","data":{"type":7}}"#,
            ),
            (r#"{"message":"hi"}"#, r#""hi""#),
        ] {
            assert_eq!(parse(payload), system(content), "{payload}");
        }
        let addressed =
            r#"{"message":"hi","from_user":"bo","id":"019A2F4E-7b1c-7d3e-9a55-0c1d2e3f4a5b"}"#;
        assert_eq!(parse(addressed), Ok(("bo".into(), r#""hi""#.into(), true)));
    }

    #[test]
    fn an_invalid_publication_is_rejected() {
        for (payload, path) in [
            ("", "/message"),
            (r#"{"type":"markdown"}"#, "/message/text"),
            (r#"{"message":""}"#, "/message"),
            (r#"{"message":{"type":"nothing"}}"#, "/message/type"),
            (r#"{"message":"hi","to":"bo"}"#, "/to"),
            (r#"{"message":"hi","from_user":"?"}"#, "/from_user"),
            (r#"{"message":"hi","id":"1"}"#, "/id"),
        ] {
            let error = parse(payload).expect_err(payload);
            assert_eq!(error.path.as_deref(), Some(path), "{payload}");
        }
        assert!(parse(&"x".repeat(16_000)).is_ok());
        assert!(parse(&"x".repeat(16_001)).is_err());
    }
}
