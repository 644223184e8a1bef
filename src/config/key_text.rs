//! Recognizes keys and certificates that were given as a secret.

/// The types of SSH keys in files of one line (RFC 4253 section 6.6, RFC 5656, RFC 8709, and those of OpenSSH). The key follows in base64.
const SSH: [&str; 4] = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];
/// The first line of SSH keys in other files (RFC 4716, `PuTTY`).
const SSH_FILES: [&str; 2] = ["---- BEGIN SSH2 ", "PuTTY-User-Key-File-"];
/// `-----BEGIN ` in base64, as deployment systems store files.
const PEM_IN_BASE64: &str = "LS0tLS1CRUdJTi";
/// The start of a `SubjectPublicKeyInfo` in base64: P-256, Ed25519.
const SHORT_KEYS: [&str; 2] = ["MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcD", "MCowBQYDK2VwAyEA"];
/// The algorithm of RSA in such a start. The number of the 4 characters before it depends on the length of the key.
const RSA: &str = "ANBgkqhkiG9w0BAQEFAAO";

/// Why a text is no secret although it was given as one, as a continuation of its name; `None` if it may be a secret.
///
/// A public key as the secret of HS256 would allow everyone who has it to sign tokens (RFC 8725 section 2.1).
pub(super) fn key_fault(text: &[u8]) -> Option<&'static str> {
    const PUBLIC: &str = "is a public key and not a secret: everyone who has it could sign tokens; set it with --jwt-key";
    let text = String::from_utf8_lossy(text);
    let text = text.trim();
    // Programs print a description in front of the block.
    if let Some((_, block)) = text.split_once("-----BEGIN ") {
        let label = block.split("-----").next().unwrap_or_default();
        return Some(if label.contains("PRIVATE KEY") {
            "is a private key and not a secret; set its public key (`openssl pkey -in FILE -pubout`) with --jwt-key"
        } else if label.contains("CERTIFICATE") {
            "is a certificate and not a secret; set its public key (`openssl x509 -in FILE -noout -pubkey`) with --jwt-key"
        } else {
            PUBLIC
        });
    }
    if text.starts_with(PEM_IN_BASE64) {
        return Some(
            "is a key or a certificate in base64 and not a secret; set the public key, decoded, with --jwt-key",
        );
    }
    let starts_with = |starts: &[&str]| starts.iter().any(|start| text.starts_with(start));
    if starts_with(&SSH) && text.contains(" AAAA") || starts_with(&SSH_FILES) {
        return Some(
            "is an SSH key and not a secret; set the public key in PEM (`ssh-keygen -e -m PKCS8 -f FILE`) with --jwt-key",
        );
    }
    if text.starts_with(['{', '[']) && (text.contains("\"kty\"") || text.contains("\"keys\"")) {
        return Some(
            "is a JSON Web Key or a set of them and not a secret; set a file with a set of public keys with --jwks",
        );
    }
    let is_rsa = text.starts_with("MII") && text.find(RSA).is_some_and(|at| at < 16);
    (is_rsa || starts_with(&SHORT_KEYS)).then_some(
        "is a public key in base64 and not a secret: everyone who has it could sign tokens; set it in PEM with --jwt-key",
    )
}
