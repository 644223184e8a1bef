use super::*;
use crate::websocket::write_frame;

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [7, 200, 31, 90];
    let mut out = Vec::new();
    write_frame(&mut out, Opcode::Text, payload);
    out[0] = first;
    out[1] |= 0x80;
    let header = out.len() - payload.len();
    out.splice(header..header, mask);
    unmask(&mut out[header + 4..], mask);
    out
}

#[test]
fn messages_of_every_length_are_decoded_however_the_bytes_are_split() {
    for length in [0, 1, 7, 8, 9, 125, 126, 127, 65_535, 65_536, 70_000] {
        let text = "é".repeat(length / 2) + &"x".repeat(length % 2);
        let whole = masked(0x81, text.as_bytes());
        for split in [whole.len(), 1, 2, 5, 11, whole.len() / 2] {
            let mut decoder = Decoder::new(70_000);
            let mut bytes = whole[..split.min(whole.len())].to_vec();
            let mut at = 0;
            if split < whole.len() {
                assert_eq!(decoder.next(&mut bytes, &mut at), Ok(None));
                assert_eq!(at, 0);
                bytes.extend_from_slice(&whole[split..]);
            }
            assert_eq!(decoder.frame_size(&bytes), whole.len());
            assert_eq!(
                decoder.next(&mut bytes, &mut at),
                Ok(Some(Incoming::Text(&text)))
            );
            assert_eq!(at, whole.len());
        }
    }
}

#[test]
fn control_frames_may_come_between_fragments() {
    let mut bytes = masked(0x01, "a\u{e9}".as_bytes().split_at(2).0);
    bytes.extend(masked(0x89, b"ping"));
    bytes.extend(masked(0x00, &[0xA9]));
    bytes.extend(masked(0x80, b"z"));
    bytes.extend(masked(0x82, &[1, 2]));
    let mut decoder = Decoder::new(100);
    let mut at = 0;
    assert_eq!(
        decoder.next(&mut bytes, &mut at),
        Ok(Some(Incoming::Ping(b"ping")))
    );
    assert_eq!(
        decoder.next(&mut bytes, &mut at),
        Ok(Some(Incoming::Text("aéz")))
    );
    assert_eq!(
        decoder.next(&mut bytes, &mut at),
        Ok(Some(Incoming::Binary(&[1, 2])))
    );
    assert_eq!(decoder.next(&mut bytes, &mut at), Ok(None));
}

#[test]
fn violations_are_detected_from_the_header_alone() {
    let decode = |bytes: &[u8]| {
        Decoder::new(1000)
            .next(&mut bytes.to_vec(), &mut 0)
            .map(|_| ())
    };
    let violates = |bytes: &[u8]| {
        assert!(
            matches!(decode(bytes), Err(ProtocolError::Protocol(_))),
            "{bytes:?}"
        );
    };
    violates(&[0xC1, 0x80]);
    violates(&[0x83, 0x80]);
    violates(&[0x81, 0x05]);
    violates(&[0x09, 0x80]);
    violates(&[0x89, 0xFE]);
    violates(&[0x80, 0x80]);
    violates(&[0x81, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
    violates(&masked(0x88, &[3]));
    violates(&masked(0x88, &999_u16.to_be_bytes()));
    violates(&masked(0x88, &1005_u16.to_be_bytes()));
    assert_eq!(
        decode(&[0x81, 0xFF, 0, 0, 0, 0, 0x40, 0, 0, 0]),
        Err(ProtocolError::TooLarge)
    );
    assert_eq!(
        decode(&[0x81, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
        Err(ProtocolError::TooLarge)
    );
    assert_eq!(
        decode(&masked(0x81, &[0xFF])),
        Err(ProtocolError::InvalidUtf8)
    );
    assert_eq!(
        decode(&masked(0x01, &[0xFF])),
        Err(ProtocolError::InvalidUtf8)
    );
    assert_eq!(
        decode(&masked(0x88, &[3, 232, 0xFF])),
        Err(ProtocolError::InvalidUtf8)
    );
}

#[test]
fn the_limits_apply_to_all_fragments_together() {
    let mut decoder = Decoder::new(10);
    let mut bytes = masked(0x01, b"123456");
    bytes.extend(masked(0x00, b"12345"));
    assert_eq!(
        decoder.next(&mut bytes, &mut 0),
        Err(ProtocolError::TooLarge)
    );
    let mut decoder = Decoder::new(10);
    let mut bytes = masked(0x01, b"");
    for _ in 0..20 {
        bytes.extend(masked(0x00, b""));
    }
    assert_eq!(
        decoder.next(&mut bytes, &mut 0),
        Err(ProtocolError::TooLarge)
    );
}
