//! Client frames about presence.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Unexpected, Visitor};
use serde_json::json;

use crate::protocol::types::{Ref, UserId};

/// The largest number of users in a frame.
const MAX_USERS: usize = 100;

/// Requests the presence of users, and every change of it. Answered with a `presence` frame for each user.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"type": "watch", "users": ["6666", "7777"], "ref": "w1"}))]
pub struct ClientWatch<'a> {
    /// The ids of the users.
    #[serde(borrow)]
    pub users: UserList<'a>,
    /// An identifier chosen by the client. Every direct reply to this frame repeats it.
    #[serde(default, borrow, rename = "ref")]
    pub reference: Option<Ref<'a>>,
}

/// Ends the notifications about users. Answered with `ok`, also for users who are not watched.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"type": "unwatch", "users": ["6666"], "ref": "w2"}))]
pub struct ClientUnwatch<'a> {
    /// The ids of the users.
    #[serde(borrow)]
    pub users: UserList<'a>,
    /// An identifier chosen by the client. Every direct reply to this frame repeats it.
    #[serde(default, borrow, rename = "ref")]
    pub reference: Option<Ref<'a>>,
}

/// Sets the user's status, which is stored. Answered with `ok`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"type": "status", "status": "away", "ref": "s1"}))]
pub struct ClientStatus<'a> {
    /// The status.
    pub status: ChosenStatus,
    /// An identifier chosen by the client. Every direct reply to this frame repeats it.
    #[serde(default, borrow, rename = "ref")]
    pub reference: Option<Ref<'a>>,
}

/// The status of a user, while the user has a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChosenStatus {
    /// Online.
    Online,
    /// Away from the device.
    Away,
    /// Not to be disturbed.
    Busy,
    /// Offline for others.
    Invisible,
}

impl<'de> Deserialize<'de> for ChosenStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl Visitor<'_> for Name {
            type Value = ChosenStatus;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one of `online`, `away`, `busy`, `invisible`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ChosenStatus, E> {
                match text {
                    "online" => Ok(ChosenStatus::Online),
                    "away" => Ok(ChosenStatus::Away),
                    "busy" => Ok(ChosenStatus::Busy),
                    "invisible" => Ok(ChosenStatus::Invisible),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }

        deserializer.deserialize_str(Name)
    }
}

/// A list of 1 to 100 users. One who is listed twice counts once.
#[derive(Clone, Debug)]
pub struct UserList<'a>(pub Vec<UserId<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for UserList<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Users;

        impl<'de> Visitor<'de> for Users {
            type Value = UserList<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of 1 to {MAX_USERS} user ids")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<UserList<'de>, A::Error> {
                let mut users = Vec::new();
                while let Some(user) = seq.next_element()? {
                    users.push(user);
                }
                if !(1..=MAX_USERS).contains(&users.len()) {
                    let detail = format_args!(
                        "expected {}, found {}",
                        &self as &dyn de::Expected,
                        users.len()
                    );
                    return Err(de::Error::custom(detail));
                }
                Ok(UserList(users))
            }
        }

        deserializer.deserialize_seq(Users)
    }
}

impl JsonSchema for UserList<'_> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "UserList".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let user = generator.subschema_for::<UserId<'_>>();
        json_schema!({"type": "array", "items": user, "minItems": 1, "maxItems": MAX_USERS})
    }
}
