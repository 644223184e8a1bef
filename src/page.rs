//! The chat page and the dashboard: files with their script and style, built from `client/page` and embedded in the program, and the
//! scripts of an operator that show content of an application's types in the chat page (`--page-renderers`).
//!
//! The content security policy allows these scripts and the style by their hashes. No other script or style is applied, even if a message
//! could inject HTML into the page. The pages may open connections to their own origin only. The chat page may load images and recordings
//! over https, which it does on the user's request. The scripts of the operator are part of the page and have its rights.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::config::encoding_fault;

const CHAT: Document = Document {
    html: include_str!("../assets/page.html"),
    media: "img-src https: data:; media-src https:",
};
const DASHBOARD: Document = Document {
    html: include_str!("../assets/admin.html"),
    // Only its icon, which is part of the file.
    media: "img-src data:",
};
const SCRIPT: &str = "<script type=\"module\">";
const SCRIPT_END: &str = "</script>";
/// The place of the renderers: after the script of the page, which defines the function that they call.
const BODY_END: &str = "</body>";

/// The most scripts in the folder.
const MAX_RENDERERS: usize = 64;
/// The most bytes of a script.
const MAX_RENDERER_BYTES: u64 = 64 * 1024;
/// Text that would end the element of a script early, or put the HTML parser into another state (HTML, section 4.12.1.3).
const NOT_IN_SCRIPT: [&str; 3] = ["</script", "<script", "<!--"];

/// Why the renderers cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("--page-renderers: {}: {reason}", path.display())]
pub struct RenderersError {
    /// The folder or the file.
    path: PathBuf,
    reason: String,
}

/// A file that `client/page` builds.
struct Document {
    html: &'static str,
    /// The part of the policy that allows images and recordings.
    media: &'static str,
}

/// A page and the headers that depend on it.
#[derive(Debug)]
pub struct Page {
    /// The file.
    pub html: Bytes,
    /// The content security policy.
    pub policy: String,
    /// The hash of the file, quoted as in the header.
    pub etag: String,
}

impl Page {
    /// The chat page without renderers.
    pub fn built_in() -> Self {
        CHAT.with_scripts(&[])
    }

    /// The dashboard of the operations port.
    pub fn dashboard() -> Self {
        DASHBOARD.with_scripts(&[])
    }

    /// The chat page with the renderers in a folder: the files whose name ends in `.js`, in the order of their names.
    ///
    /// # Errors
    /// [`RenderersError`] names the folder or the file, and the reason.
    pub fn load(folder: &Path) -> Result<Self, RenderersError> {
        Ok(CHAT.with_scripts(&read_folder(folder)?))
    }
}

impl Document {
    fn with_scripts(&self, scripts: &[String]) -> Page {
        let Self { html, media } = *self;
        let own = between(html, SCRIPT, SCRIPT_END);
        let hashes = [own].into_iter().chain(scripts.iter().map(|s| &**s));
        let hashes: Vec<_> = hashes
            .map(|text| format!("'sha256-{}'", hash(text)))
            .collect();
        let policy = format!(
            "default-src 'none'; script-src {}; style-src 'sha256-{}'; connect-src 'self'; \
             {media}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'",
            hashes.join(" "),
            hash(between(html, "<style>", "</style>"))
        );
        let html = if scripts.is_empty() {
            Bytes::from_static(html.as_bytes())
        } else {
            let (start, end) = html.rsplit_once(BODY_END).unwrap_or((html, ""));
            let scripts = scripts
                .iter()
                .map(|text| format!("{SCRIPT}{text}{SCRIPT_END}\n"));
            Bytes::from(format!(
                "{start}{}{BODY_END}{end}",
                scripts.collect::<String>()
            ))
        };
        let etag = format!("\"{}\"", hash(&html));
        Page { html, policy, etag }
    }
}

fn read_folder(folder: &Path) -> Result<Vec<String>, RenderersError> {
    let failed = |path: &Path, reason: String| RenderersError {
        path: path.to_owned(),
        reason,
    };
    let unreadable =
        |path: &Path, error: &io::Error| failed(path, format!("cannot be read: {error}"));
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        if is_renderer(&path) {
            paths.push(path);
        }
    }
    if paths.len() > MAX_RENDERERS {
        let reason = format!(
            "has {} scripts; at most {MAX_RENDERERS} are possible",
            paths.len()
        );
        return Err(failed(folder, reason));
    }
    paths.sort();
    let mut scripts = Vec::with_capacity(paths.len());
    for path in paths {
        let bytes = read_file(&path).map_err(|error| unreadable(&path, &error))?;
        scripts.push(script(bytes).map_err(|reason| failed(&path, reason))?);
    }
    Ok(scripts)
}

/// Whether a file is a script. The name of a temporary file of an editor begins with a dot.
fn is_renderer(path: &Path) -> bool {
    let name = path.file_name().map(OsStr::to_string_lossy);
    name.is_some_and(|name| name.ends_with(".js") && !name.starts_with('.'))
}

/// Reads a file, but not more than one byte beyond the size of the largest script.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(MAX_RENDERER_BYTES + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a script as it can be part of the page.
fn script(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.len() as u64 > MAX_RENDERER_BYTES {
        return Err(format!("is larger than {MAX_RENDERER_BYTES} bytes"));
    }
    if let Some(fault) = encoding_fault(&bytes) {
        return Err(fault.to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|error| format!("is not UTF-8: {error}"))?;
    let lower = text.to_ascii_lowercase();
    if let Some(found) = NOT_IN_SCRIPT.iter().find(|found| lower.contains(**found)) {
        return Err(format!(
            "contains `{found}`, which would end the script in HTML; write `\\x3c` for `<`"
        ));
    }
    // Browsers normalise line ends before they compute the hash.
    Ok(text.replace("\r\n", "\n").replace('\r', "\n"))
}

fn hash(text: impl AsRef<[u8]>) -> String {
    STANDARD.encode(Sha256::digest(text))
}

/// The text of the first element with these tags.
fn between(html: &'static str, start: &str, end: &str) -> &'static str {
    let after = html.split_once(start).map_or("", |(_, after)| after);
    after.split_once(end).map_or("", |(text, _)| text)
}

/// The page in use, which a reload replaces.
#[derive(Debug)]
pub struct SharedPage(RwLock<Arc<Page>>);

impl Default for SharedPage {
    fn default() -> Self {
        Self(RwLock::new(Arc::new(Page::built_in())))
    }
}

impl SharedPage {
    /// The page in use.
    pub fn current(&self) -> Arc<Page> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Uses another page for the next requests.
    pub fn replace(&self, page: Page) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(page);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_one_script_and_one_style_and_loads_nothing() {
        for Document { html, .. } in [CHAT, DASHBOARD] {
            let script = between(html, SCRIPT, SCRIPT_END);
            let style = between(html, "<style>", "</style>");
            assert!(script.len() > 1000 && style.len() > 1000);
            // The rest is markup. Browsers normalise line ends before they compute the hash, so the file must not have carriage returns.
            let markup = html.replace(script, "").replace(style, "");
            assert_eq!(markup.matches("<script").count(), 1);
            assert_eq!(markup.matches("<style").count(), 1);
            assert_eq!(markup.matches(BODY_END).count(), 1);
            assert!(!html.contains('\r'), "the page has carriage returns");
            for loading in [
                " src=",
                " style=",
                "@import",
                "<base",
                " onload=",
                "stylesheet",
            ] {
                assert!(!markup.contains(loading), "{loading}");
            }
            for loading in ["@import", "url("] {
                assert!(!style.contains(loading), "{loading}");
            }
        }
    }
}
