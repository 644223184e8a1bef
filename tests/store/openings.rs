//! Opens inboxes through the writer while writes go on.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use dmwire::clock::Clock;
use dmwire::readers::Readers;
use dmwire::store::sqlite::{Durability, Sqlite};
use dmwire::store::{DeviceRef, InboxState, Store as _, StoreOptions};
use dmwire::writer::Writer;
use uuid::Uuid;

use crate::fixture::RETENTION;
use crate::support::Folder;
use crate::writes::message;

const USERS: u32 = 8;
/// All users together send more in a round than the writer takes into one batch.
const MESSAGES: u32 = 300;
const ROUNDS: u32 = 6;

/// Opens the inbox of a device, and waits for its state.
fn open(writer: &Writer<()>, device: DeviceRef) -> InboxState {
    let (sender, receiver) = channel();
    writer.open(device.into(), move |state| {
        let _ = sender.send(state);
    });
    let state = receiver.recv().expect("the writer replies");
    state.expect("the inbox opens")
}

#[test]
fn an_opened_inbox_includes_all_that_was_accepted_before() {
    let folder = Folder::new();
    let path = folder.0.join("store.db");
    let options = StoreOptions::new(RETENTION);
    let store = Sqlite::open(&path, Durability::Normal, options).expect("the store opens");
    let reader = || store.reader().expect("a reader opens");
    let readers = Readers::start(vec![reader()], reader()).expect("threads start");
    let (writer, writer_thread) = Writer::start(
        Box::new(store),
        readers.clone(),
        Vec::new(),
        Arc::new(Clock::new(0)),
    )
    .expect("a thread starts");
    let users: Vec<_> = (0..USERS)
        .map(|user| {
            let writer = writer.clone();
            thread::spawn(move || {
                let (from, to) = (format!("sender{user}"), format!("user{user}"));
                let device = DeviceRef {
                    user: to.as_str().into(),
                    device: "phone".into(),
                };
                for round in 0..ROUNDS {
                    let first = round * MESSAGES + 1;
                    let last = first + MESSAGES - 1;
                    for n in first..=last {
                        let accepted = writer.write(message(&from, &to, n, "hello"), ());
                        accepted.expect("the queue has room");
                    }
                    let received = u64::from(first - 1);
                    writer.received(device.clone(), Uuid::nil(), received);
                    // The messages of this round are not committed yet, nor is the watermark of the previous one.
                    let state = open(&writer, device.clone());
                    assert_eq!((state.head, state.received), (last.into(), received));
                }
            })
        })
        .collect();
    for user in users {
        user.join().expect("every inbox had its writes");
    }
    readers.close();
    writer.close();
    writer_thread.join().expect("the thread ends");
}
