//! The query parameters of a session (PROTOCOL section 2).

use std::borrow::Cow;
use std::sync::Arc;

use super::credentials::decoded;
use super::rejection::Rejection;
use crate::protocol::Timestamp;
use crate::protocol::json::MAX_INTEGER;
use crate::protocol::types::{is_name, parse_uuid};
use crate::session::{AckMode, SessionQuery};
use crate::store::MembershipKind;

/// The maximum number of rooms that one handshake joins.
const MAX_ROOMS: usize = 16;

/// Parses the query string of a session. Unknown parameters are ignored (PROTOCOL section 10, "Handshake").
pub(super) fn session_query(query: &str) -> Result<SessionQuery, Rejection> {
    let (mut device, mut since, mut epoch, mut ack) = (None, None, None, None);
    let (mut since_id, mut since_at, mut membership) = (None, None, None);
    let mut rooms = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let slot = match &*decoded(name) {
            "device" => &mut device,
            "since" => &mut since,
            "since_id" => &mut since_id,
            "since_at" => &mut since_at,
            "epoch" => &mut epoch,
            "ack" => &mut ack,
            "membership" => &mut membership,
            "room" => {
                rooms.push(room(&decoded(value))?);
                if rooms.len() > MAX_ROOMS {
                    return Err(Rejection::invalid_request(format!(
                        "`room` may occur at most {MAX_ROOMS} times in the URL"
                    )));
                }
                continue;
            }
            _ => continue,
        };
        if slot.replace(decoded(value)).is_some() {
            return Err(Rejection::invalid_request(format!(
                "`{}` occurs twice in the URL",
                decoded(name)
            )));
        }
    }
    let device = device.unwrap_or(Cow::Borrowed("default"));
    if !is_name(&device) {
        return Err(Rejection::invalid_request(
            "`device` must be 1 to 64 characters from A-Z a-z 0-9 . _ ~ @ : + -",
        ));
    }
    let ack = match ack.as_deref() {
        None | Some("auto") => AckMode::Auto,
        Some("manual") => AckMode::Manual,
        Some(_) => {
            return Err(Rejection::invalid_request(
                "`ack` must be `auto` or `manual`",
            ));
        }
    };
    let membership = match membership.as_deref() {
        None => MembershipKind::Lasting,
        Some("session") => MembershipKind::Session,
        Some(_) => {
            return Err(Rejection::invalid_request(
                "`membership` must be `session`, or absent for a lasting membership",
            ));
        }
    };
    Ok(SessionQuery {
        device: (*device).into(),
        since: optional(since, parse_seq, "`since` must be an integer, 0 or greater")?,
        epoch: optional(epoch, parse_uuid, "`epoch` must be the UUID from `welcome`")?,
        since_id: optional(
            since_id,
            parse_uuid,
            "`since_id` must be a UUID: the `id` of the entry at `since`",
        )?,
        since_at: optional(
            since_at,
            Timestamp::parse,
            "`since_at` must be a time in RFC 3339: that of the entry at `since`",
        )?,
        ack,
        rooms,
        membership,
    })
}

/// Parses the name of a room to join.
fn room(name: &str) -> Result<Arc<str>, Rejection> {
    if is_name(name) {
        return Ok(name.into());
    }
    Err(Rejection::invalid_request(
        "`room` must be 1 to 64 characters from A-Z a-z 0-9 . _ ~ @ : + -",
    ))
}

/// Parses a parameter if it is present. `expected` describes a valid one.
fn optional<T>(
    value: Option<Cow<'_, str>>,
    parse: impl Fn(&str) -> Option<T>,
    expected: &str,
) -> Result<Option<T>, Rejection> {
    let parsed =
        |value: Cow<'_, str>| parse(&value).ok_or_else(|| Rejection::invalid_request(expected));
    value.map(parsed).transpose()
}

fn parse_seq(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|n| digits && *n <= MAX_INTEGER)
}
