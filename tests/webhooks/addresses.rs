//! Receivers must be at addresses of the public internet.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use crate::receiver::{Answer, Receiver, authority, events, listed, start_with};
use crate::support::{Client, Folder, assert_has, eventually, preload, to};

#[test]
fn a_name_that_resolves_to_a_private_address_later_gets_nothing_more() {
    let (receiver, certificate) = Receiver::over_tls("hook.example");
    receiver.answer_with(|_| Answer::Full(200, "connection: close\r\n".into(), Vec::new()));
    let folder = Arc::new(Folder::new());
    let (addresses, trusted) = (folder.0.join("addresses"), authority(&folder, &certificate));
    let resolve_to = |address: &str| std::fs::write(&addresses, address).expect("written");
    resolve_to("8.8.8.8");
    let library = preload::compile(&folder.0, "redirected_addresses");
    let environment: &[(&str, &Path)] = &[
        (preload::VARIABLE, &library),
        ("REDIRECTED_ADDRESSES_FILE", &addresses),
        ("SSL_CERT_FILE", &trusted),
    ];
    let url = format!("https://hook.example:{}/hook", receiver.address.port());
    let ops = start_with(&folder, &[&url], &[], environment);
    let mut ada = Client::fresh(&ops.server, "ada");
    ada.send(&to("bo", "public"));
    receiver.expect("message.created").assert_well_formed();
    eventually("it is accepted", || events(&ops, "delivered") > 0.5);
    assert_eq!(receiver.connections(), 1);
    for address in [
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "::ffff:127.0.0.1",
        "fd00::1",
    ] {
        resolve_to(address);
        ada.send(&to(address.trim_start_matches(':'), "private"));
        eventually(address, || {
            let error = listed(&ops)[0]["last_error"].clone();
            error
                .as_str()
                .is_some_and(|error| error.contains(&format!("resolves to {address},")))
        });
    }
    assert_eq!(receiver.connections(), 1);
    // The events are not lost.
    resolve_to("8.8.8.8");
    ops.server.signal("HUP");
    for _ in 0..5 {
        assert_eq!(receiver.next().text(), "private");
    }
    assert_has(&listed(&ops)[0], &json!({"dropped": 0}));
}
