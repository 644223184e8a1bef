//! From the text of a message to a [`ClientFrame`], or to the error that rejects it.

mod text_message;

use std::borrow::Cow;

use serde::Deserialize;

use super::client::ClientFrame;
use super::content::Content;
use super::content_label::ContentLabel;
use super::contract::Contract;
use super::error::{ErrorCode, FrameError};
use super::hints;
use super::json::{DecodeError, Document, SyntaxError, Tape, Value, ValueKind, WithRaw};
use super::types::Ref;

/// Longest `detail` of an error, in bytes.
const MAX_DETAIL: usize = 500;

/// The text of a frame after the JSON scan, before its fields are decoded. Its `ref` and `type` can be read at this stage,
/// which is enough to apply the rate limit and to answer an invalid frame.
#[derive(Debug)]
pub struct Scanned<'t, 'a> {
    doc: Option<Document<'t, 'a>>,
    problem: Option<SyntaxError>,
}

/// A client frame of valid form.
#[derive(Clone, Debug)]
pub struct Parsed<'a> {
    /// The frame.
    pub frame: ClientFrame<'a>,
    /// Why the content of the frame must not be stored or passed on. A frame that only repeats what was stored before is answered
    /// in spite of it.
    pub invalid_content: Option<Box<FrameError>>,
}

impl<'a> Parsed<'a> {
    /// The frame, if its content is valid too.
    ///
    /// # Errors
    /// The error of the content.
    pub fn valid(self) -> Result<ClientFrame<'a>, FrameError> {
        match self.invalid_content {
            None => Ok(self.frame),
            Some(error) => Err(*error),
        }
    }
}

impl<'t, 'a> Scanned<'t, 'a> {
    /// Scans `text` into `tape`.
    pub fn new(tape: &'t mut Tape, text: &'a str) -> Self {
        let (doc, problem) = tape.scan(text);
        Self { doc, problem }
    }

    /// The frame's `ref`. Any JSON object with a valid `ref` has one, even if the rest of the frame is invalid.
    pub fn reference(&self) -> Option<Ref<'a>> {
        let root = self.doc?.root();
        let mut named = root
            .children()
            .filter_map(|(key, value)| key?.is_text("ref").then_some(value));
        let value = named.next()?;
        // With two of them it is unknown which one is meant. A lone surrogate makes a `ref` invalid.
        if named.next().is_some() || !value.is_well_formed() {
            return None;
        }
        Ref::new(value.text()?)
    }

    /// The frame's `type`, which may be no string. `None`: it has none.
    pub fn tag(&self) -> Option<Value<'t, 'a>> {
        self.doc?.root().get("type")
    }

    /// The type of the content, which may be invalid. `None`: the frame has none.
    pub fn content_label(&self, contract: &Contract) -> Option<ContentLabel> {
        let content = self.doc?.root().get("message")?;
        Some(ContentLabel::of_value(content, contract))
    }

    /// Decodes and validates the frame, and then its content.
    ///
    /// # Errors
    /// [`FrameError`] names the rule that the frame violates, and the value.
    pub fn parse(&self, contract: &Contract) -> Result<Parsed<'a>, FrameError> {
        if let (None, Some(doc)) = (&self.problem, self.doc)
            && let Some(frame) = text_message::decode(doc.root())
        {
            return Ok(Parsed {
                frame,
                invalid_content: None,
            });
        }
        let frame: ClientFrame<'a> = self.decode(contract)?;
        frame.check().map_err(frame_error)?;
        let invalid_content = match frame.content() {
            Some(content) => self.check_content(contract, content),
            None => None,
        };
        Ok(Parsed {
            frame,
            invalid_content,
        })
    }

    /// Decodes an object by the rules for frames. Content of an application's type is not validated.
    pub(super) fn decode<T: Deserialize<'a>>(&self, contract: &Contract) -> Result<T, FrameError> {
        let root = self.valid_root()?;
        if root.kind() != ValueKind::Object {
            return Err(frame_error(root.mismatch(&"an object")));
        }
        T::deserialize(root).map_err(|error| {
            let content_types = contract.content_types();
            frame_error(hints::complete(error, root, content_types))
        })
    }

    /// The root of the document, if the text is valid JSON.
    fn valid_root(&self) -> Result<Value<'t, 'a>, FrameError> {
        if let Some(problem) = &self.problem {
            return Err(FrameError {
                path: problem.path.clone(),
                ..FrameError::new(ErrorCode::InvalidJson, shortened(problem.detail.clone()))
            });
        }
        match self.doc {
            Some(doc) => Ok(doc.root()),
            // The scanner reports a problem if it returns no document.
            None => Err(FrameError::new(ErrorCode::InvalidJson, "not JSON")),
        }
    }

    /// The root of the document; `None`: the text is not valid JSON.
    pub(super) fn root(&self) -> Option<Value<'t, 'a>> {
        self.valid_root().ok()
    }

    /// Validates content of an application's type.
    pub(super) fn check_content(
        &self,
        contract: &Contract,
        content: &WithRaw<'a, Content<'a>>,
    ) -> Option<Box<FrameError>> {
        let Content::Custom(name) = &content.value else {
            return None;
        };
        if let Some(result) = contract.custom_types().validate(name, content.raw) {
            return result.err().map(|error| {
                Box::new(FrameError {
                    detail: shortened(error.detail),
                    ..*error
                })
            });
        }
        let unknown = DecodeError::here(ErrorCode::UnknownType, "").under("type");
        let root = self.doc?.root();
        let error = hints::complete(unknown.under("message"), root, contract.content_types());
        Some(Box::new(frame_error(error)))
    }
}

/// Decodes a JSON document that is not a frame, by the rules for frames: the body of a request.
///
/// # Errors
/// [`FrameError`] names the rule that the document violates, and the value.
pub fn decode<'a, T: Deserialize<'a>>(tape: &mut Tape, text: &'a str) -> Result<T, FrameError> {
    let root = Scanned::new(tape, text).valid_root()?;
    T::deserialize(root).map_err(frame_error)
}

pub(super) fn frame_error(error: DecodeError) -> FrameError {
    FrameError {
        code: error.code,
        detail: shortened(error.detail),
        path: Some(error.path),
        definition: error.definition.map(Cow::Borrowed),
    }
}

/// Limits a detail to [`MAX_DETAIL`] bytes, without splitting a character.
fn shortened(mut detail: String) -> String {
    if detail.len() > MAX_DETAIL {
        let mut end = MAX_DETAIL;
        while !detail.is_char_boundary(end) {
            end -= 1;
        }
        detail.truncate(end);
        detail.push('…');
    }
    detail
}
