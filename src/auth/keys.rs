//! Keys that verify tokens: secrets, public keys in PEM (RFC 7468), and JSON Web Key Sets (RFC 7517).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use tokio_rustls::rustls::pki_types::SubjectPublicKeyInfoDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use crate::config::Secret;

/// Maximum number of keys of a set: a token without `kid` may be verified with all of them.
const MAX_KEYS: usize = 64;
/// Supported lengths of RSA moduli in bytes: 2048 to 8192 bits, as in `ring`.
const RSA_MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;

/// The bytes before the key in the `SubjectPublicKeyInfo` of Ed25519 (RFC 8410 section 4) and of P-256 (RFC 5480). A value has only one
/// encoding in DER, so a comparison is sufficient.
const ED25519_PREFIX: [u8; 12] = [
    0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00,
];
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A,
    0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The algorithm identifier in the `SubjectPublicKeyInfo` of RSA (RFC 8017 appendix A.1).
const RSA_ALGORITHM: [u8; 13] = [
    0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01, 0x05, 0x00,
];

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

/// A key and its only algorithm.
#[derive(Clone, Debug)]
pub struct Key {
    /// The `kid` of the key in its set.
    pub id: Option<String>,
    /// The algorithm; tokens with another one are not verified with this key.
    pub algorithm: Algorithm,
    /// The key itself.
    pub material: DecodingKey,
}

impl Key {
    /// A secret for HS256.
    pub fn secret(secret: &Secret) -> Self {
        Self::new(Algorithm::HS256, DecodingKey::from_secret(secret.expose()))
    }

    fn new(algorithm: Algorithm, material: DecodingKey) -> Self {
        Self {
            id: None,
            algorithm,
            material,
        }
    }

    fn rsa(n: &[u8], e: &[u8]) -> Option<Self> {
        let (n, e) = (stripped(n), stripped(e));
        let fits = RSA_MODULUS.contains(&n.len()) && (1..=8).contains(&e.len());
        fits.then(|| Self::new(Algorithm::RS256, DecodingKey::from_rsa_raw_components(n, e)))
    }

    fn p256(point: &[u8]) -> Option<Self> {
        let fits = point.len() == 65 && point[0] == 4;
        fits.then(|| Self::new(Algorithm::ES256, DecodingKey::from_ec_der(point)))
    }

    fn ed25519(key: &[u8]) -> Option<Self> {
        let fits = key.len() == 32;
        fits.then(|| Self::new(Algorithm::EdDSA, DecodingKey::from_ed_der(key)))
    }

    /// The public keys of a PEM file.
    pub fn from_pem(text: &[u8]) -> Result<Vec<Self>, &'static str> {
        let contains = |part: &[u8]| text.windows(part.len()).any(|window| window == part);
        if contains(b"PRIVATE KEY-----") {
            return Err(
                "contains a private key, which only the issuer of the tokens should have; `openssl pkey -in FILE -pubout` \
                 prints the public key",
            );
        }
        let mut keys = Vec::new();
        for info in SubjectPublicKeyInfoDer::pem_slice_iter(text) {
            let info = info.map_err(|_| "is damaged")?;
            keys.push(Self::from_info(&info).ok_or(
                "contains a public key that is not RSA (2048 to 8192 bits), P-256 or Ed25519",
            )?);
        }
        if keys.is_empty() {
            return Err(
                "contains no public key (a block that begins with -----BEGIN PUBLIC KEY-----)",
            );
        }
        Ok(keys)
    }

    /// A key from a `SubjectPublicKeyInfo` (RFC 5280 section 4.1).
    fn from_info(info: &[u8]) -> Option<Self> {
        if let Some(key) = info.strip_prefix(&ED25519_PREFIX) {
            return Self::ed25519(key);
        }
        if let Some(point) = info.strip_prefix(&P256_PREFIX) {
            return Self::p256(point);
        }
        let mut info = only(SEQUENCE, info)?;
        let algorithm = next(SEQUENCE, &mut info)?;
        let bits = only(BIT_STRING, info)?;
        // The first byte is the number of unused bits in the last byte.
        let mut numbers = only(SEQUENCE, bits.strip_prefix(&[0])?)?;
        let n = next(INTEGER, &mut numbers)?;
        let e = only(INTEGER, numbers)?;
        (algorithm == RSA_ALGORITHM).then(|| Self::rsa(n, e))?
    }

    /// The supported keys of a set; others are ignored (RFC 7517 section 5).
    pub fn from_set(text: &[u8]) -> Result<Vec<Self>, &'static str> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }

        let set: Set = serde_json::from_slice(text)
            .map_err(|_| "is not a JSON Web Key Set: an object with a list `keys`")?;
        let usable = set.keys.iter().filter_map(Self::from_jwk);
        let keys: Vec<_> = usable.take(MAX_KEYS).collect();
        if keys.is_empty() {
            return Err("has no supported key: RSA (RS256), P-256 (ES256) or Ed25519 (EdDSA)");
        }
        Ok(keys)
    }

    fn from_jwk(value: &serde_json::Value) -> Option<Self> {
        // Only these members are checked: a set may contain others that are malformed, such as a certificate.
        #[derive(Deserialize)]
        struct Common {
            kid: Option<String>,
            #[serde(rename = "use")]
            usage: Option<String>,
            alg: Option<String>,
        }

        let common = Common::deserialize(value).ok()?;
        if common.usage.is_some_and(|usage| usage != "sig") {
            return None;
        }
        let decode = |number: &str| URL_SAFE_NO_PAD.decode(number).ok();
        let key = match AlgorithmParameters::deserialize(value).ok()? {
            AlgorithmParameters::RSA(rsa) => Self::rsa(&decode(&rsa.n)?, &decode(&rsa.e)?),
            AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => {
                Self::p256(&[&[4], &*decode(&ec.x)?, &*decode(&ec.y)?].concat())
            }
            AlgorithmParameters::OctetKeyPair(okp) if okp.curve == EllipticCurve::Ed25519 => {
                Self::ed25519(&decode(&okp.x)?)
            }
            // Secrets (`oct`) are rejected: a set of public keys, fetched over a network, is no place for one.
            _ => None,
        }?;
        let name = match key.algorithm {
            Algorithm::RS256 => "RS256",
            Algorithm::ES256 => "ES256",
            _ => "EdDSA",
        };
        // Compared as text, because `KeyAlgorithm` does not know the name `Ed25519` (RFC 9864).
        let matches = common
            .alg
            .is_none_or(|alg| alg == name || alg == "Ed25519" && name == "EdDSA");
        matches.then_some(Self {
            id: common.kid,
            ..key
        })
    }
}

/// A number without leading zeros.
fn stripped(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// The content of the DER element at the start of `rest`, if it has this tag. Advances `rest` past the element.
fn next<'a>(tag: u8, rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_first_chunk::<2>()?;
    let (length, tail) = match head[1] {
        short @ 0..=0x7F => (usize::from(short), tail),
        0x81 => {
            let (length, tail) = tail.split_first()?;
            (usize::from(*length), tail)
        }
        0x82 => {
            let (length, tail) = tail.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), tail)
        }
        _ => return None,
    };
    let (content, tail) = tail.split_at_checked(length)?;
    *rest = tail;
    (head[0] == tag).then_some(content)
}

/// As [`next`], if nothing follows the element.
fn only(tag: u8, mut rest: &[u8]) -> Option<&[u8]> {
    let content = next(tag, &mut rest)?;
    rest.is_empty().then_some(content)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let head = match length {
            0..=0x7F => vec![tag, length as u8],
            0x80..=0xFF => vec![tag, 0x81, length as u8],
            _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
        };
        [head, content.to_vec()].concat()
    }

    /// The `SubjectPublicKeyInfo` of an RSA key with a modulus of this length.
    fn rsa(bytes: usize) -> Vec<u8> {
        let n = [&[0][..], &vec![0xC5; bytes]].concat();
        let numbers = [element(INTEGER, &n), element(INTEGER, &[1, 0, 1])].concat();
        let bits = [&[0][..], &element(SEQUENCE, &numbers)].concat();
        let info = [
            element(SEQUENCE, &RSA_ALGORITHM),
            element(BIT_STRING, &bits),
        ]
        .concat();
        element(SEQUENCE, &info)
    }

    fn pem(info: &[u8]) -> String {
        let text = STANDARD.encode(info);
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    }

    fn infos() -> Vec<Vec<u8>> {
        let p256 = [&P256_PREFIX[..], &[4], &[7; 64]].concat();
        vec![
            rsa(256),
            rsa(512),
            rsa(1024),
            p256,
            [&ED25519_PREFIX[..], &[7; 32]].concat(),
        ]
    }

    #[test]
    fn the_type_of_a_public_key_determines_the_algorithm() {
        use Algorithm::{ES256, EdDSA, RS256};
        let algorithm = |info: &Vec<u8>| Key::from_pem(pem(info).as_bytes()).unwrap()[0].algorithm;
        let found: Vec<_> = infos().iter().map(algorithm).collect();
        assert_eq!(found, [RS256, RS256, RS256, ES256, EdDSA]);
        for weak in [64, 128, 255, 1025] {
            assert!(Key::from_info(&rsa(weak)).is_none(), "{weak}");
        }
        let both = [pem(&rsa(256)), pem(&infos()[4])].concat();
        assert_eq!(Key::from_pem(both.as_bytes()).unwrap().len(), 2);
    }

    #[test]
    fn a_truncated_or_changed_key_never_causes_a_panic() {
        for info in infos() {
            for end in 0..info.len() {
                assert!(Key::from_info(&info[..end]).is_none(), "{end}");
            }
            assert!(Key::from_info(&[&info[..], &[0]].concat()).is_none());
            for at in 0..info.len() {
                for bit in 0..8 {
                    let mut changed = info.clone();
                    changed[at] ^= 1 << bit;
                    let _ = Key::from_info(&changed);
                }
            }
        }
    }

    #[test]
    fn the_supported_keys_of_a_set_are_kept() {
        let number = |bytes: usize| URL_SAFE_NO_PAD.encode(vec![0xC5; bytes]);
        let good = json!({"kty": "OKP", "crv": "Ed25519", "x": number(32), "kid": "1", "more": {}});
        let with = |name: &str, value: serde_json::Value| {
            let mut jwk = good.clone();
            jwk[name] = value;
            jwk
        };
        let usable = |jwk: &serde_json::Value| Key::from_jwk(jwk).is_some();
        for jwk in [
            good.clone(),
            with("use", json!("sig")),
            with("alg", json!("EdDSA")),
            with("alg", json!("Ed25519")),
            with("alg", json!(null)),
            with("use", json!(null)),
            with("x5c", json!("a malformed member that is not needed")),
            with("key_ops", json!("verify")),
            json!({"kty": "RSA", "n": format!("AAAA{}", number(256)), "e": "AQAB"}),
            json!({"kty": "EC", "crv": "P-256", "x": number(32), "y": number(32)}),
        ] {
            assert!(usable(&jwk), "{jwk}");
        }
        for jwk in [
            with("use", json!("enc")),
            with("alg", json!("HS256")),
            with("crv", json!("X25519")),
            with("kid", json!(1)),
            with("x", json!(number(31))),
            with("x", json!("+/==")),
            json!({"kty": "RSA", "n": number(128), "e": "AQAB"}),
            json!({"kty": "RSA", "n": number(256), "e": "AQAB", "alg": "PS256"}),
            json!({"kty": "RSA", "n": number(256)}),
            json!({"kty": "EC", "crv": "P-384", "x": number(48), "y": number(48)}),
            json!({"kty": "EC", "crv": "P-256", "x": number(33), "y": number(31), "alg": "RS256"}),
            json!({"kty": "oct", "k": number(32)}),
            json!(["RSA"]),
            json!(null),
        ] {
            assert!(!usable(&jwk), "{jwk}");
        }
        let many = json!({"keys": vec![good; 1000]}).to_string();
        assert_eq!(Key::from_set(many.as_bytes()).unwrap().len(), MAX_KEYS);
        for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, "\u{0}"] {
            assert!(Key::from_set(text.as_bytes()).is_err(), "{text}");
        }
    }
}
