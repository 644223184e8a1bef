//! Writes frames: never fragmented, never masked (RFC 6455 section 5.1).

use super::Opcode;

/// Appends the header of an unfragmented, unmasked frame (RFC 6455 section 5.2).
pub fn write_header(out: &mut Vec<u8>, opcode: Opcode, length: usize) {
    out.push(0x80 | opcode as u8);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Appends a whole frame.
pub fn write_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    write_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a close frame.
pub fn write_close(out: &mut Vec<u8>, code: Option<u16>) {
    match code {
        Some(code) => write_frame(out, Opcode::Close, &code.to_be_bytes()),
        None => write_frame(out, Opcode::Close, &[]),
    }
}

/// Appends a text frame whose payload `fill` writes. The length is known only afterwards, so room for the usual header is
/// left and the payload moved in the rare other case.
pub fn write_text(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    const USUAL: usize = 4;
    let start = out.len();
    out.extend_from_slice(&[0; USUAL]);
    fill(out);
    let length = out.len() - start - USUAL;
    let mut header = Vec::with_capacity(10);
    write_header(&mut header, Opcode::Text, length);
    if header.len() == USUAL {
        out[start..start + USUAL].copy_from_slice(&header);
    } else {
        out.splice(start..start + USUAL, header);
    }
}
