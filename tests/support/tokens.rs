//! Valid and invalid tokens, and the keys that sign them.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::KeyPair;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use ring::{hmac, signature};
use serde_json::{Value, json};

pub const SECRET: &str = "a secret of thirty-two bytes, or more";

/// Seconds since 1970.
pub fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("it is later than 1970").as_secs()
}

/// The claims of a valid token for `user`.
pub fn claims(user: &str) -> Value {
    json!({"sub": user, "exp": now() + 3600})
}

/// A valid token for `user`, signed with [`SECRET`].
pub fn valid_token(user: &str) -> String {
    hs256(SECRET, &claims(user))
}

pub fn hs256(secret: &str, claims: &Value) -> String {
    signed(&json!({"alg": "HS256", "typ": "JWT"}), claims, |text| {
        hmac_of(hmac::HMAC_SHA256, secret.as_bytes(), text)
    })
}

pub fn hmac_of(algorithm: hmac::Algorithm, secret: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(algorithm, secret), text)
        .as_ref()
        .to_vec()
}

/// A token with this header and these claims, unchanged.
pub fn signed(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(text.as_bytes()));
    format!("{text}.{signature}")
}

/// As [`hs256`], from texts.
pub fn signed_text(header: &str, claims: &str, secret: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let text = format!("{}.{}", part(header), part(claims));
    let signature = hmac_of(hmac::HMAC_SHA256, secret.as_bytes(), text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

enum Private {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A key that signs tokens.
pub struct Issuer {
    private: Private,
    /// The public key in PEM.
    pub pem: String,
}

impl Issuer {
    pub fn p256() -> Self {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let random = SystemRandom::new();
        let private = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &pair.serialize_der(),
            &random,
        );
        Self {
            private: Private::P256(private.expect("a key")),
            pem: pair.public_key_pem(),
        }
    }

    pub fn ed25519() -> Self {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let private = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pair.serialize_der());
        Self {
            private: Private::Ed25519(private.expect("a key")),
            pem: pair.public_key_pem(),
        }
    }

    /// A key made by openssl: ring cannot generate RSA keys. The files stay in `folder`.
    pub fn rsa(folder: &Path) -> Self {
        let openssl = |arguments: &str| {
            let output = Command::new("openssl")
                .args(arguments.split_whitespace())
                .current_dir(folder)
                .output()
                .expect("openssl is installed");
            assert!(output.status.success(), "openssl {arguments}: {output:?}");
            output.stdout
        };
        openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.key");
        let private = openssl("pkcs8 -topk8 -nocrypt -in rsa.key -outform DER");
        let pem = openssl("pkey -in rsa.key -pubout");
        Self {
            private: Private::Rsa(RsaKeyPair::from_pkcs8(&private).expect("a key")),
            pem: String::from_utf8(pem).expect("PEM is text"),
        }
    }

    pub fn algorithm(&self) -> &'static str {
        match self.private {
            Private::Rsa(_) => "RS256",
            Private::P256(_) => "ES256",
            Private::Ed25519(_) => "EdDSA",
        }
    }

    pub fn sign(&self, text: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.private {
            Private::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature)
                    .expect("a signature");
                signature
            }
            Private::P256(key) => {
                let signature = key.sign(&random, text).expect("a signature");
                signature.as_ref().to_vec()
            }
            Private::Ed25519(key) => key.sign(text).as_ref().to_vec(),
        }
    }

    /// A token with this `kid`, or without one.
    pub fn token(&self, kid: Option<&str>, claims: &Value) -> String {
        let mut header = json!({"alg": self.algorithm()});
        if let Some(kid) = kid {
            header["kid"] = json!(kid);
        }
        signed(&header, claims, |text| self.sign(text))
    }

    /// The public key as a member of a JWK set.
    pub fn jwk(&self, kid: &str) -> Value {
        use signature::KeyPair as _;
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.private {
            Private::Rsa(key) => {
                let PublicKeyComponents { n, e } =
                    PublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": encoded(&n), "e": encoded(&e)})
            }
            Private::P256(key) => {
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": encoded(&point[1..33]), "y": encoded(&point[33..])})
            }
            Private::Ed25519(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": encoded(key.public_key().as_ref())})
            }
        }
    }
}

/// A JWK set of these keys.
pub fn jwk_set(keys: &[Value]) -> String {
    json!({"keys": keys}).to_string()
}
