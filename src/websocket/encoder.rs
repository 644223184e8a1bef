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

/// Appends a frame.
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

/// Appends a text frame with the payload that `write_payload` appends. The length is not known in advance: room is reserved for a
/// header of 4 bytes (payloads of 126 to 65,535 bytes), and the payload is moved if the header has another size.
pub fn write_text(out: &mut Vec<u8>, write_payload: impl FnOnce(&mut Vec<u8>)) {
    const RESERVED: usize = 4;
    let start = out.len();
    out.extend_from_slice(&[0; RESERVED]);
    write_payload(out);
    let length = out.len() - start - RESERVED;
    let mut header = Vec::with_capacity(10);
    write_header(&mut header, Opcode::Text, length);
    if header.len() == RESERVED {
        out[start..start + RESERVED].copy_from_slice(&header);
    } else {
        out.splice(start..start + RESERVED, header);
    }
}
