//! The claims of a token whose signature is valid (RFC 7519 section 4, PROTOCOL section 2).
//!
//! `jsonwebtoken` ignores some claims that have another type than the standard defines, such as an `aud` that is a number, so they are
//! checked here. `null` counts as an absent claim, because some issuers write it for claims that have no value. A name that occurs twice is
//! rejected: two programs could read different values.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::{AuthError, Identity, MAX_LIFETIME};
use crate::config::AuthConfig;
use crate::protocol::types::is_name;

/// The requirements on claims.
pub struct ClaimRules {
    /// Accepted issuers; empty: any.
    issuers: Vec<String>,
    /// Accepted audiences; empty: tokens without an audience only.
    audiences: Vec<String>,
    /// Accepted difference of the clocks, in seconds.
    leeway: u64,
}

/// The claims by name.
pub struct Claims(Map<String, Value>);

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ClaimsVisitor;

        impl<'de> Visitor<'de> for ClaimsVisitor {
            type Value = Claims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims, A::Error> {
                let mut claims = Map::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if claims.insert(name, value).is_some() {
                        return Err(A::Error::custom("a claim occurs twice"));
                    }
                }
                Ok(Claims(claims))
            }
        }

        deserializer.deserialize_map(ClaimsVisitor)
    }
}

impl Claims {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }
}

impl ClaimRules {
    /// The requirements that the settings define.
    pub fn new(config: &AuthConfig) -> Self {
        Self {
            issuers: config.jwt_issuer.clone(),
            audiences: config.jwt_audience.clone(),
            leeway: config.jwt_leeway_seconds,
        }
    }

    /// The user and the expiry.
    pub fn check(&self, claims: &Claims) -> Result<Identity, AuthError> {
        let now = SystemTime::now();
        let expires = self.expiry(claims, now)?;
        self.check_start(claims, now)?;
        self.check_issuer(claims)?;
        self.check_audience(claims)?;
        let issued_at = claims.get("iat").and_then(Value::as_f64);
        let user = claims.get("sub").and_then(Value::as_str);
        let user = user.ok_or(AuthError::Invalid(
            "the token has no `sub`, or it is not a string",
        ))?;
        if !is_name(user) {
            return Err(AuthError::Invalid("the token's `sub` is not a user id"));
        }
        Ok(Identity {
            user: user.into(),
            expires: Some(expires),
            // A number out of range becomes the nearest one.
            issued_at: issued_at.map(|seconds| (seconds * 1000.0) as i64),
        })
    }

    fn expiry(&self, claims: &Claims, now: SystemTime) -> Result<SystemTime, AuthError> {
        // A leaked token without an expiry would be valid forever, because there is no revocation list.
        let exp = claims.get("exp").and_then(Value::as_f64);
        let exp = exp.ok_or(AuthError::Invalid(
            "the token has no `exp`, or it is not a number",
        ))?;
        // Any number is valid JSON, so this comes before the conversion to a time. A time in milliseconds would be valid for
        // tens of thousands of years.
        if exp > seconds(now) + (MAX_LIFETIME + self.leeway) as f64 {
            return Err(AuthError::Invalid(
                "the token's `exp` is more than ten years ahead; it must be in seconds since 1970",
            ));
        }
        let expires = SystemTime::UNIX_EPOCH
            + Duration::from_secs_f64(exp.max(0.0))
            + Duration::from_secs(self.leeway);
        if expires <= now {
            return Err(AuthError::Expired);
        }
        Ok(expires)
    }

    fn check_start(&self, claims: &Claims, now: SystemTime) -> Result<(), AuthError> {
        if let Some(nbf) = claims.get("nbf") {
            let invalid = AuthError::Invalid("the token's `nbf` is not a number");
            if nbf.as_f64().ok_or(invalid)? > seconds(now) + self.leeway as f64 {
                return Err(AuthError::Invalid("the token is not valid yet"));
            }
        }
        // The time of issue is not checked: issuers round it, and a clock may be wrong. It matters for revocations only.
        match claims.get("iat") {
            Some(iat) if !iat.is_number() => {
                Err(AuthError::Invalid("the token's `iat` is not a number"))
            }
            _ => Ok(()),
        }
    }

    fn check_issuer(&self, claims: &Claims) -> Result<(), AuthError> {
        let issuer = match claims.get("iss") {
            Some(Value::String(issuer)) => Some(issuer),
            Some(_) => return Err(AuthError::Invalid("the token's `iss` is not a string")),
            None => None,
        };
        if self.issuers.is_empty() {
            return Ok(());
        }
        let issuer = issuer.ok_or(AuthError::Invalid("the token has no `iss`"))?;
        if self.issuers.contains(issuer) {
            Ok(())
        } else {
            Err(AuthError::Invalid("the token is from another issuer"))
        }
    }

    fn check_audience(&self, claims: &Claims) -> Result<(), AuthError> {
        let invalid =
            AuthError::Invalid("the token's `aud` is neither a string nor a list of strings");
        let audiences: Vec<_> = match claims.get("aud") {
            None if self.audiences.is_empty() => return Ok(()),
            None => return Err(AuthError::Invalid("the token has no `aud`")),
            Some(Value::Array(list)) => list.iter().map(Value::as_str).collect(),
            Some(one) => vec![one.as_str()],
        };
        let audiences: Option<Vec<_>> = audiences.into_iter().collect();
        let audiences = audiences.ok_or(invalid)?;
        if self.audiences.is_empty() {
            return Err(AuthError::Invalid(
                "the token is for a specific audience, and --jwt-audience is not set",
            ));
        }
        if audiences
            .iter()
            .any(|audience| self.audiences.iter().any(|own| own == audience))
        {
            Ok(())
        } else {
            Err(AuthError::Invalid("the token is for another audience"))
        }
    }
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> f64 {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH);
    since_1970.unwrap_or_default().as_secs_f64()
}
