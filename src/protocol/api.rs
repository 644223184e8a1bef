//! Requests of back ends: their bodies are decoded by the rules for frames (PROTOCOL section 9).

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::Target;
use super::content::Content;
use super::contract::Contract;
use super::error::{ErrorCode, FrameError};
use super::json::{DecodeError, Tape, WithRaw};
use super::parse::{Scanned, frame_error};
use super::types::{MessageId, RoomId, UserId};

/// The maximum number of users that one request sends to.
pub const MAX_TARGETS: usize = 1000;

/// Sends a message in the name of a user.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    extend("oneOf" = [
        {"required": ["target_user"]}, {"required": ["target_room"]}, {"required": ["target_users"]}
    ]),
    extend("dependentRequired" = {"as_member": ["target_room"]}),
    example = json!({"from_user": "system", "target_user": "6666", "message": "Your order has been shipped."}),
    example = json!({
        "from_user": "system", "target_users": ["6666", "8888"], "message": {"type": "markdown", "text": "*hello*"},
        "id": "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b"
    })
)]
pub struct SendRequest<'a> {
    /// The author of the message.
    #[serde(borrow)]
    pub from_user: UserId<'a>,
    /// The recipient. Exactly one of `target_user`, `target_room` and `target_users` is required.
    #[serde(default, borrow)]
    pub target_user: Option<UserId<'a>>,
    /// The room to which the message is sent.
    #[serde(default, borrow)]
    pub target_room: Option<RoomId<'a>>,
    /// Recipients, each of whom gets the message in the direct conversation with the author.
    #[serde(default, borrow)]
    #[schemars(length(min = 1, max = MAX_TARGETS), extend("uniqueItems" = true))]
    pub target_users: Option<Vec<UserId<'a>>>,
    /// The content.
    #[serde(borrow)]
    #[schemars(with = "Content<'a>")]
    pub message: WithRaw<'a, Content<'a>>,
    /// The message's id, by which a request can be repeated without storing the message twice. Without one, the server makes an id.
    #[serde(default)]
    pub id: Option<MessageId>,
    /// The message of the same conversation that this one replies to.
    #[serde(default)]
    pub reply_to: Option<MessageId>,
    /// True for a message that is not stored and reaches only live sessions.
    #[serde(default)]
    pub ephemeral: Option<bool>,
    /// False if the author need not be a member of the room.
    #[serde(default)]
    #[schemars(extend("default" = true))]
    pub as_member: Option<bool>,
}

/// The addressees of a [`SendRequest`].
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// A user or a room.
    One(Target<'a>),
    /// Several users.
    Users(&'a [UserId<'a>]),
}

/// A valid [`SendRequest`].
#[derive(Clone, Debug)]
pub struct ParsedSend<'a> {
    /// The request.
    pub request: SendRequest<'a>,
    /// Why the content must not be stored. A request that only repeats what was stored before is answered in spite of it.
    pub invalid_content: Option<Box<FrameError>>,
}

impl<'a> ParsedSend<'a> {
    /// Decodes and validates a request, and its content.
    ///
    /// # Errors
    /// [`FrameError`] names the rule that the request violates, and the value.
    pub fn new(tape: &mut Tape, text: &'a str, contract: &Contract) -> Result<Self, FrameError> {
        let scanned = Scanned::new(tape, text);
        let request: SendRequest<'a> = scanned.decode(contract)?;
        request.check().map_err(frame_error)?;
        let invalid_content = scanned.check_content(contract, &request.message);
        Ok(Self {
            request,
            invalid_content,
        })
    }
}

impl SendRequest<'_> {
    /// The addressees.
    pub fn targets(&self) -> Targets<'_> {
        match &self.target_users {
            Some(users) => Targets::Users(users),
            None => Targets::One(Target::parsed(
                self.target_user.as_ref(),
                self.target_room.as_ref(),
            )),
        }
    }

    /// Checks the rules that concern several fields.
    fn check(&self) -> Result<(), DecodeError> {
        let error = |detail: String, field| {
            Err(DecodeError::here(ErrorCode::InvalidFrame, detail)
                .under(field)
                .within("SendRequest"))
        };
        let given = [
            ("target_user", self.target_user.is_some()),
            ("target_room", self.target_room.is_some()),
            ("target_users", self.target_users.is_some()),
        ];
        let mut given = given
            .into_iter()
            .filter_map(|(field, is_given)| is_given.then_some(field));
        let expected = "expected one of `target_user`, `target_room` and `target_users`";
        match (given.next(), given.next_back()) {
            (None, _) => return error(format!("{expected}, found none"), "target_user"),
            (Some(_), Some(last)) => return error(format!("{expected}, found several"), last),
            (Some(_), None) => {}
        }
        if self.as_member.is_some() && self.target_room.is_none() {
            let detail = "`as_member` is for messages to a room (`target_room`)";
            return error(detail.to_owned(), "as_member");
        }
        match &self.target_users {
            Some(users) => check_users(users).map_err(|error| error.within("SendRequest")),
            None => Ok(()),
        }
    }
}

/// Checks the number of users, and that none occurs twice.
fn check_users(users: &[UserId<'_>]) -> Result<(), DecodeError> {
    let error = |detail: String| DecodeError::here(ErrorCode::InvalidFrame, detail);
    if !(1..=MAX_TARGETS).contains(&users.len()) {
        let detail = format!("expected 1 to {MAX_TARGETS} users, found {}", users.len());
        return Err(error(detail).under("target_users"));
    }
    let mut known = std::collections::HashSet::with_capacity(users.len());
    match users.iter().position(|user| !known.insert(user.as_str())) {
        None => Ok(()),
        Some(index) => Err(
            error("expected different users, found one twice".to_owned())
                .under(&index.to_string())
                .under("target_users"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(text: &str) -> (ErrorCode, Option<String>) {
        let (mut tape, contract) = (Tape::default(), Contract::built_in());
        let error = ParsedSend::new(&mut tape, text, &contract).expect_err(text);
        (error.code, error.path)
    }

    #[test]
    fn a_request_has_exactly_one_kind_of_target() {
        for (targets, path) in [
            ("", "/target_user"),
            (r#""target_user":"1","target_room":"2","#, "/target_room"),
            (
                r#""target_user":"1","target_users":["2"],"#,
                "/target_users",
            ),
            (
                r#""target_room":"1","target_users":["2"],"#,
                "/target_users",
            ),
            (
                r#""target_user":"1","target_room":"2","target_users":["3"],"#,
                "/target_users",
            ),
            (r#""target_users":[],"#, "/target_users"),
            (r#""target_users":["1","2","1"],"#, "/target_users/2"),
            (r#""target_users":["1","?"],"#, "/target_users/1"),
            (r#""target_user":"1","as_member":true,"#, "/as_member"),
            (r#""target_user":null,"#, "/target_user"),
        ] {
            let text = format!(r#"{{"from_user":"0",{targets}"message":"a"}}"#);
            let expected = (ErrorCode::InvalidFrame, Some(path.to_owned()));
            assert_eq!(rejected(&text), expected, "{text}");
        }
        let users = (0..=MAX_TARGETS).map(|n| format!("\"{n}\""));
        let users = users.collect::<Vec<_>>().join(",");
        let text = format!(r#"{{"from_user":"0","target_users":[{users}],"message":"a"}}"#);
        assert_eq!(rejected(&text).1.as_deref(), Some("/target_users"));
    }

    #[test]
    fn a_request_is_as_strict_as_a_frame() {
        for (text, code, path) in [
            ("[]", ErrorCode::InvalidFrame, ""),
            ("{", ErrorCode::InvalidJson, ""),
            (
                r#"{"from_user":"0","target_user":"1","message":"a","ref":"r"}"#,
                ErrorCode::InvalidFrame,
                "/ref",
            ),
            (
                r#"{"target_user":"1","message":"a"}"#,
                ErrorCode::InvalidFrame,
                "/from_user",
            ),
            (
                r#"{"from_user":"0","target_user":"1","message":{"type":"mood.changed"}}"#,
                ErrorCode::UnknownContentType,
                "/message/type",
            ),
            (
                r#"{"from_user":"0","target_user":"1","message":{"type":"markdown","text":1}}"#,
                ErrorCode::InvalidFrame,
                "/message/text",
            ),
        ] {
            let (mut tape, contract) = (Tape::default(), Contract::built_in());
            let parsed = ParsedSend::new(&mut tape, text, &contract);
            let error = parsed.map(|parsed| parsed.invalid_content);
            let error = match error {
                Ok(error) => *error.expect(text),
                Err(error) => error,
            };
            assert_eq!(error.code, code, "{text}");
            assert_eq!(error.path.unwrap_or_default(), path, "{text}");
        }
    }
}
