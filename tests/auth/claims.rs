//! Claims and signatures that are rejected.

use ring::hmac;
use serde_json::{Value, json};

use crate::helpers::{
    assert_not_logged, assert_rejected, assert_unauthorized, bearer, connect, server_with_secret,
};
use crate::support::tokens::{SECRET, claims, hmac_of, hs256, now, signed, signed_text};

#[test]
fn invalid_claims_are_unauthorized_and_the_log_has_the_reason() {
    let rules = [
        "--jwt-issuer",
        "https://id.example",
        "--jwt-audience",
        "chat,other",
    ];
    let server = server_with_secret(&rules);
    let base =
        json!({"sub": "8888", "exp": now() + 3600, "iss": "https://id.example", "aud": "chat"});
    let with = |claim: &str, value: Value| {
        let mut claims = base.clone();
        claims[claim] = value;
        claims
    };
    let without = |claim: &str| {
        let mut claims = base.clone();
        claims.as_object_mut().expect("an object").remove(claim);
        claims
    };
    connect(&server, "/ws/8888", &bearer(&hs256(SECRET, &base)));
    for aud in [json!(["x", "other"]), json!(["chat"])] {
        connect(
            &server,
            "/ws/8888",
            &bearer(&hs256(SECRET, &with("aud", aud))),
        );
    }
    for (claims, why) in [
        (with("exp", json!(now() - 3)), "the token has expired"),
        (with("exp", json!(0)), "the token has expired"),
        (
            with("exp", json!("9999999999")),
            "no `exp`, or it is not a number",
        ),
        (with("exp", json!(-1)), "the token has expired"),
        (with("exp", json!([now() + 60])), "no `exp`"),
        (with("exp", Value::Null), "no `exp`"),
        (without("exp"), "no `exp`"),
        (with("nbf", json!(now() + 60)), "not valid yet"),
        (with("nbf", json!("later")), "`nbf` is not a number"),
        (with("nbf", json!(true)), "`nbf` is not a number"),
        (with("iat", json!("now")), "`iat` is not a number"),
        (with("iat", json!([])), "`iat` is not a number"),
        (with("iss", json!("https://evil.example")), "another issuer"),
        (without("iss"), "no `iss`"),
        (
            with("iss", json!(["https://id.example", "x"])),
            "`iss` is not a string",
        ),
        (with("iss", Value::Null), "no `iss`"),
        (with("aud", json!("elsewhere")), "another audience"),
        (with("aud", json!(["elsewhere"])), "another audience"),
        (with("aud", json!([])), "another audience"),
        (without("aud"), "no `aud`"),
        (with("aud", Value::Null), "no `aud`"),
        (with("aud", json!(1)), "neither a string nor a list"),
        (
            with("aud", json!({"chat": "chat"})),
            "neither a string nor a list",
        ),
        (
            with("aud", json!(["chat", 1])),
            "neither a string nor a list",
        ),
        (
            with("aud", json!(["chat", null])),
            "neither a string nor a list",
        ),
        (
            with("aud", json!([["chat"]])),
            "neither a string nor a list",
        ),
        (with("sub", Value::Null), "no `sub`"),
        (without("sub"), "no `sub`"),
        (with("sub", json!(8888)), "no `sub`, or it is not a string"),
        (with("sub", json!("")), "`sub` is not a user id"),
        (with("sub", json!("8888\r\nx: y")), "`sub` is not a user id"),
        (with("sub", json!("a".repeat(65))), "`sub` is not a user id"),
        (json!([]), "claims are invalid"),
    ] {
        assert_unauthorized(&server, &hs256(SECRET, &claims), why);
    }
    assert_not_logged(&server, &[SECRET, "evil.example", "elsewhere"]);
}

#[test]
fn invalid_signatures_and_headers_are_unauthorized() {
    let server = server_with_secret(&[]);
    let base = claims("8888");
    let hs = |header: Value, algorithm| {
        signed(&header, &base, |text| {
            hmac_of(algorithm, SECRET.as_bytes(), text)
        })
    };
    let token = hs256(SECRET, &base);
    let (message, _) = token.rsplit_once('.').expect("three parts");
    let header = "header is invalid or names an unsupported algorithm";
    let key = "no key is known for the token's `kid` and `alg`";
    let signature = "not signed with a known key";
    for (token, why) in [
        (
            hs256("another secret, of thirty-two bytes", &base),
            signature,
        ),
        (format!("{message}."), signature),
        (format!("{message}.AAAA"), signature),
        (
            signed(&json!({"alg": "none"}), &base, |_| Vec::new()),
            header,
        ),
        (
            signed(&json!({"alg": "None", "typ": "JWT"}), &base, |_| Vec::new()),
            header,
        ),
        (signed(&json!({"alg": ""}), &base, |_| Vec::new()), header),
        (signed(&json!({}), &base, |_| Vec::new()), header),
        (hs(json!({"alg": "HS512"}), hmac::HMAC_SHA512), key),
        (hs(json!({"alg": "HS384"}), hmac::HMAC_SHA384), key),
        (hs(json!({"alg": "RS256"}), hmac::HMAC_SHA256), key),
        (
            hs(json!({"alg": "HS256", "crit": ["exp"]}), hmac::HMAC_SHA256),
            "has `crit`",
        ),
        ("a.b.c".into(), header),
        ("....".into(), header),
        ("nothing".into(), "three parts"),
        (String::new(), "three parts"),
        (format!("{token}.x"), header),
        ("x".repeat(8193), "too long"),
    ] {
        assert_unauthorized(&server, &token, why);
    }
    let tail = &token[token.len() - 20..];
    assert_not_logged(&server, &[&token, tail, SECRET]);
    // The same for a header that is not ASCII.
    assert_rejected(
        &server,
        "/ws/8888",
        "Authorization: Bearer \u{e9}\r\n",
        401,
        "unauthorized",
    );
}

#[test]
fn a_token_with_an_audience_requires_a_configured_audience() {
    let server = server_with_secret(&[]);
    let token = hs256(
        SECRET,
        &json!({"sub": "8888", "exp": now() + 60, "aud": "shop"}),
    );
    assert_unauthorized(&server, &token, "--jwt-audience is not set");
    // The issuer is not checked unless one is configured.
    let token = hs256(
        SECRET,
        &json!({"sub": "8888", "exp": now() + 60, "iss": "anybody"}),
    );
    connect(&server, "/ws/8888", &bearer(&token));
}

#[test]
fn the_leeway_applies_to_expiry_and_start_of_validity() {
    let server = server_with_secret(&["--jwt-leeway-seconds", "120"]);
    for claims in [
        json!({"sub": "a", "exp": now() - 60}),
        json!({"sub": "a", "exp": now() + 60, "nbf": now() + 60}),
        json!({"sub": "a", "exp": now() as f64 + 0.5}),
        json!({"sub": "a", "exp": now() + 3652 * 86_400}),
    ] {
        connect(&server, "/ws/a", &bearer(&hs256(SECRET, &claims)));
    }
    let late = json!({"sub": "a", "exp": now() - 121});
    assert_rejected(
        &server,
        "/ws/a",
        &bearer(&hs256(SECRET, &late)),
        401,
        "unauthorized",
    );
}

#[test]
fn an_expiry_of_more_than_ten_years_ahead_is_unauthorized() {
    const TEN_YEARS: u64 = 3653 * 86_400;
    let server = server_with_secret(&[]);
    let token = |exp: &str| {
        // Not every number can be made with `json!`.
        let claims = format!(r#"{{"sub":"8888","exp":{exp}}}"#);
        signed_text(r#"{"alg":"HS256"}"#, &claims, SECRET)
    };
    for exp in [
        (now() + 3600).to_string(),
        (now() + TEN_YEARS - 60).to_string(),
        format!("{}.75", now() + 3600),
    ] {
        connect(&server, "/ws/8888", &bearer(&token(&exp)));
    }
    let why = "`exp` is more than ten years ahead";
    for exp in [
        // Milliseconds, microseconds, nanoseconds.
        format!("{}", now() * 1000 + 60_000),
        format!("{}", now() * 1_000_000),
        format!("{}", now() * 1_000_000_000),
        format!("{}.5", now() * 1000),
        (now() + TEN_YEARS + 60).to_string(),
        "99999999999".into(),
        "1e18".into(),
        "1e300".into(),
        u64::MAX.to_string(),
        format!("{}0", u64::MAX),
        "1".repeat(300),
    ] {
        assert_unauthorized(&server, &token(&exp), why);
    }
    for (exp, why) in [
        // Larger than a double.
        ("1e400".to_owned(), "claims are invalid"),
        (format!("\"{}\"", now() + 60), "it is not a number"),
        ("true".into(), "it is not a number"),
    ] {
        assert_unauthorized(&server, &token(&exp), why);
    }
    let late = json!({"sub": "8888", "exp": now() + 60, "nbf": now() * 1000});
    assert_unauthorized(&server, &hs256(SECRET, &late), "not valid yet");
    assert_not_logged(&server, &["99999999999", &token("1e18")]);
}

#[test]
fn registered_claims_of_another_type_are_unauthorized_also_if_nothing_is_required_of_them() {
    let server = server_with_secret(&[]);
    let with = |claim: &str, value: Value| {
        let mut claims = claims("8888");
        claims[claim] = value;
        hs256(SECRET, &claims)
    };
    for value in [json!(1), json!(true), json!({}), json!([]), json!([1])] {
        assert_unauthorized(&server, &with("aud", value.clone()), "`aud`");
        assert_unauthorized(&server, &with("iss", value), "`iss` is not a string");
    }
    assert_unauthorized(&server, &with("iat", json!("x")), "`iat` is not a number");
    // Some issuers write `null` for a claim without a value.
    for claim in ["aud", "iss", "nbf", "iat"] {
        connect(&server, "/ws/8888", &bearer(&with(claim, Value::Null)));
    }
    for (claim, value) in [
        ("iat", json!(now() + 30)),
        ("iat", json!(now() as f64 - 0.5)),
        ("nbf", json!(now() as f64 - 0.5)),
        ("nbf", json!(-1)),
        ("jti", json!(7)),
    ] {
        connect(&server, "/ws/8888", &bearer(&with(claim, value)));
    }
}

#[test]
fn a_claim_that_occurs_twice_is_unauthorized() {
    let server = server_with_secret(&[]);
    let exp = now() + 60;
    for claims in [
        format!(r#"{{"sub":"6666","sub":"8888","exp":{exp}}}"#),
        format!(r#"{{"sub":"8888","exp":{exp},"s\u0075b":"8888"}}"#),
        format!(r#"{{"sub":"8888","exp":1,"exp":{exp}}}"#),
        format!(r#"{{"sub":"8888","exp":{exp},"x":1,"x":1}}"#),
    ] {
        let token = signed_text(r#"{"alg":"HS256"}"#, &claims, SECRET);
        assert_unauthorized(&server, &token, "claims are invalid");
    }
}
