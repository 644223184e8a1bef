//! Writes frames: never fragmented, never masked (RFC 6455 section 5.1).

use super::Opcode;

/// The longest header of an unmasked frame.
const MAX_HEADER: usize = 10;

/// The header of an unfragmented, unmasked frame (RFC 6455 section 5.2), in the first bytes of the array, and its length.
fn header(opcode: Opcode, length: usize) -> ([u8; MAX_HEADER], usize) {
    let mut header = [0; MAX_HEADER];
    header[0] = 0x80 | opcode as u8;
    let used = match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => {
            header[1] = short;
            2
        }
        (_, Ok(medium)) => {
            header[1] = 126;
            header[2..4].copy_from_slice(&medium.to_be_bytes());
            4
        }
        _ => {
            header[1] = 127;
            header[2..].copy_from_slice(&(length as u64).to_be_bytes());
            MAX_HEADER
        }
    };
    (header, used)
}

/// Appends the header of an unfragmented, unmasked frame (RFC 6455 section 5.2).
pub fn write_header(out: &mut Vec<u8>, opcode: Opcode, length: usize) {
    let (header, used) = header(opcode, length);
    out.extend_from_slice(&header[..used]);
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

/// Room for a frame with little text, so that the memory of a new buffer does not grow in small steps.
const SHORT_FRAME: usize = 256;

/// Appends a text frame with the payload that `write_payload` appends. The length is not known in advance: room is reserved for a
/// header of 4 bytes (payloads of 126 to 65,535 bytes), and the payload is moved if the header has another size.
pub fn write_text(out: &mut Vec<u8>, write_payload: impl FnOnce(&mut Vec<u8>)) {
    const RESERVED: usize = 4;
    let start = out.len();
    out.reserve(SHORT_FRAME);
    out.extend_from_slice(&[0; RESERVED]);
    write_payload(out);
    let length = out.len() - start - RESERVED;
    let (header, used) = header(Opcode::Text, length);
    if used == RESERVED {
        out[start..start + RESERVED].copy_from_slice(&header[..RESERVED]);
    } else {
        out.splice(start..start + RESERVED, header[..used].iter().copied());
    }
}
