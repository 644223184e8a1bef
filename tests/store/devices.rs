//! Which devices of a user have a stored position.

use dmwire::store::{Outcome, Quotas, Received};

use crate::fixture::{DAY, TestStore};
use crate::writes::{id, message, receive};

/// Messages that gus has.
const MESSAGES: u32 = 4;

/// Stores some messages for gus, and the positions of the devices d0 to d15 at entry 1.
fn sixteen_devices(store: &mut TestStore) {
    store.maintain();
    for n in 1..=MESSAGES {
        store.commit_one(message("ada", "gus", n, "x"));
    }
    for n in 0..16 {
        store.commit_one(receive("gus", &format!("d{n}"), 1));
    }
}

/// The position of a device of gus; `None`: it has no stored one.
fn position(store: &mut TestStore, device: &str) -> Option<u64> {
    let state = store.open_inbox("gus", device);
    state.is_known.then_some(state.received)
}

pub fn a_device_is_stored_from_its_first_watermark(store: &mut TestStore) {
    store.commit_one(message("ada", "gus", 1, "x"));
    store.open_inbox("gus", "phone");
    store.commit_one(receive("gus", "phone", 0));
    assert_eq!(
        position(store, "phone"),
        None,
        "it has acknowledged nothing"
    );
    store.commit_one(receive("gus", "phone", 1));
    assert_eq!(position(store, "phone"), Some(1));
    // Nothing is acknowledged in an empty inbox.
    store.commit_one(receive("fay", "phone", 7));
    assert!(!store.open_inbox("fay", "phone").is_known);
    // A device that is used and has no position starts with the others, and stays without one.
    store.commit_one(receive("gus", "desk", 0));
    let desk = store.open_inbox("gus", "desk");
    assert_eq!((desk.received, desk.is_known), (1, false));
    store.reopen();
    if store.is_persistent {
        assert_eq!(position(store, "phone"), Some(1));
    }
}

pub fn a_user_is_known_from_the_first_session(store: &mut TestStore) {
    store.set_quotas(Quotas {
        known_only: true,
        ..Quotas::default()
    });
    assert!(!store.open_inbox("gus", "phone").has_connected);
    store.commit_one(receive("gus", "phone", 0));
    assert!(store.open_inbox("gus", "phone").has_connected);
    store.reopen();
    if store.is_persistent {
        assert!(store.open_inbox("gus", "desk").has_connected);
        let stored = store.commit_one(message("ada", "gus", 1, "x"));
        assert!(matches!(stored, Outcome::Stored { .. }));
    }
}

pub fn a_device_that_was_used_recently_is_never_forgotten(store: &mut TestStore) {
    sixteen_devices(store);
    store.commit_one(receive("gus", "d16", 4));
    assert_eq!(position(store, "d16"), None);
    let state = store.open_inbox("gus", "d16");
    assert_eq!(state.received, 1, "it starts at the newest stored position");
    // d3 to d15 are not used any more; d0 and d1 are used without a further watermark.
    store.now += 20 * DAY;
    store.commit_one(receive("gus", "d0", 0));
    store.commit_one(receive("gus", "d1", 1));
    store.now += 20 * DAY;
    for n in 16..35 {
        store.commit_one(receive("gus", &format!("d{n}"), 2));
    }
    for n in 0..35 {
        let expected = match n {
            0 | 1 => Some(1),
            16..30 => Some(2),
            _ => None,
        };
        assert_eq!(position(store, &format!("d{n}")), expected, "d{n}");
    }
}

pub fn a_device_without_a_place_makes_receipts(store: &mut TestStore) {
    sixteen_devices(store);
    let received = |n| {
        Outcome::Received(vec![Received {
            peer: "ada".into(),
            id: id(n),
            visible: false,
        }])
    };
    let nothing = Outcome::Received(Vec::new());
    assert_eq!(store.commit_one(receive("gus", "d16", 3)), received(3));
    assert_eq!(store.commit_one(receive("gus", "d16", 3)), nothing);
    assert_eq!(store.commit_one(receive("gus", "d17", 2)), nothing);
    assert_eq!(store.commit_one(receive("gus", "d17", 4)), received(4));
    assert_eq!(store.commit_one(receive("gus", "d0", 4)), nothing);
    assert_eq!(position(store, "d0"), Some(4));
    assert_eq!(position(store, "d17"), None);
}

pub fn no_device_is_forgotten_while_the_time_is_uncertain(store: &mut TestStore) {
    sixteen_devices(store);
    store.now += 400 * DAY;
    store.set_certain(false);
    store.maintain();
    store.commit_one(receive("gus", "d16", 2));
    assert_eq!(position(store, "d16"), None);
    store.set_certain(true);
    store.maintain();
    store.commit_one(receive("gus", "d16", 2));
    assert_eq!(position(store, "d16"), Some(2));
}

pub fn a_device_is_kept_whatever_the_clock_was_at_its_use(store: &mut TestStore) {
    sixteen_devices(store);
    // The clock is far behind when d0 is used, and far ahead when d1 is.
    store.now -= 400 * DAY;
    store.commit_one(receive("gus", "d0", 1));
    store.now += 800 * DAY;
    store.commit_one(receive("gus", "d1", 1));
    store.now -= 400 * DAY;
    store.commit_one(receive("gus", "d16", 2));
    for device in ["d0", "d1", "d2", "d15"] {
        assert_eq!(position(store, device), Some(1), "{device}");
    }
    // The time of d1 counts from when it was found to be wrong: the device does not keep its place for a year.
    store.now += 40 * DAY;
    for n in 16..32 {
        store.commit_one(receive("gus", &format!("d{n}"), 2));
    }
    assert_eq!(position(store, "d1"), None);
    assert_eq!(position(store, "d31"), Some(2));
}
