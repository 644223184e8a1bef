//! What every backend does, told as one story on each: [`story`] knows only the traits of the store.

use std::path::Path;

use crate::support::Folder;
use dmwire::store::sqlite::{Durability, Sqlite};
use dmwire::store::{
    ConversationsPage, ConversationsQuery, Entry, EntryKind, HistoryPosition, HistoryQuery,
    InboxRange, InboxState, MessageRef, NewMessage, Outcome, Quotas, Reader, Received, Retention,
    Store, StoredMessage, Write,
};
use uuid::Uuid;

const DAY: i64 = 86_400_000;
/// When the story begins.
const START: i64 = 1_800_000_000_000;
const LIMIT: u64 = 60;
const LIFETIMES: Retention = Retention {
    inbox_ms: 10 * DAY,
    inbox_limit: LIMIT,
    history_ms: Some(20 * DAY),
};

#[test]
fn the_story_on_a_sqlite_file() {
    let folder = Folder::new();
    let path = folder.0.join("story.db");
    story(&|| sqlite(&path), true);
}

#[test]
fn the_story_on_a_temporary_database() {
    let folder = Folder::new();
    let open =
        || -> Box<dyn Store> { Box::new(Sqlite::temporary(&folder.0, LIFETIMES).expect("opens")) };
    story(&open, false);
    let left = std::fs::read_dir(&folder.0).expect("the folder is there");
    assert_eq!(left.count(), 0, "a temporary database leaves nothing");
}

fn sqlite(path: &Path) -> Box<dyn Store> {
    Box::new(Sqlite::open(path, Durability::Normal, LIFETIMES).expect("the store opens"))
}

/// The story of one store. `lasts`: what `open` opens again is what it was.
fn story(open: &dyn Fn() -> Box<dyn Store>, lasts: bool) {
    let mut story = Story {
        open,
        lasts,
        parts: None,
        now: START,
    };
    story.reopen();
    let epoch = story.store().epoch();
    users_appear_with_their_first_message(&mut story);
    a_message_is_stored_once(&mut story);
    a_refusal_leaves_the_rest_of_its_batch_alone(&mut story);
    contact_knows_of_what_came_before_it(&mut story);
    watermarks_move_forwards_only(&mut story);
    sixteen_devices_are_remembered(&mut story);
    read_marks_move_forwards_only(&mut story);
    authors_edit_what_they_wrote(&mut story);
    authors_delete_what_they_wrote(&mut story);
    both_sides_react(&mut story);
    blocks_are_in_force_for_what_comes_behind_them(&mut story);
    what_is_left_with_those_who_never_came_is_bounded(&mut story);
    histories_are_read_page_by_page(&mut story);
    conversations_are_read_page_by_page(&mut story);
    inboxes_are_kept_to_their_limit(&mut story);
    a_message_outlives_its_age_while_an_inbox_shows_it(&mut story);
    all_that_is_old_goes_and_inboxes_go_on_where_they_were(&mut story);
    assert_eq!(story.store().epoch(), epoch, "the epoch stays");
}

struct Story<'a> {
    open: &'a dyn Fn() -> Box<dyn Store>,
    lasts: bool,
    parts: Option<(Box<dyn Reader>, Box<dyn Store>)>,
    now: i64,
}

impl Story<'_> {
    /// Closes the store and opens it again, if it is one that lasts.
    fn reopen(&mut self) {
        if self.parts.is_none() || self.lasts {
            self.parts = None;
            let store = (self.open)();
            let reader = store.reader().expect("a reader opens");
            self.parts = Some((reader, store));
        }
    }

    fn store(&mut self) -> &mut dyn Store {
        self.parts.as_mut().expect("the store is open").1.as_mut()
    }

    fn reader(&mut self) -> &mut dyn Reader {
        self.parts.as_mut().expect("the store is open").0.as_mut()
    }

    /// Commits a batch, a second after the one before.
    fn commit(&mut self, batch: &[Write]) -> Vec<Outcome> {
        self.now += 1000;
        let now = self.now;
        let batch: Vec<&Write> = batch.iter().collect();
        let outcomes = self.store().commit(now, &batch).expect("it is committed");
        self.store().settle(0, true).expect("it is settled");
        assert_eq!(outcomes.len(), batch.len());
        outcomes
    }

    fn one(&mut self, write: Write) -> Outcome {
        self.commit(&[write]).remove(0)
    }

    fn opened(&mut self, user: &str, device: &str) -> InboxState {
        let opened = self.store().open_inbox(user, device);
        opened.expect("the inbox opens")
    }

    fn head(&mut self, user: &str) -> u64 {
        self.opened(user, "any").head
    }

    fn entries(&mut self, user: &str, first: u64, last: u64) -> Vec<Entry> {
        let span = InboxRange {
            user: user.into(),
            first,
            last,
            bytes: usize::MAX,
        };
        self.reader().entries(&span).expect("entries are read")
    }

    fn entry(&mut self, user: &str, seq: u64) -> Entry {
        let mut entries = self.entries(user, seq, seq);
        assert_eq!(entries.len(), 1, "{user} {seq}");
        entries.remove(0)
    }

    /// The first and the last entry that can be read; what lies between must be all there.
    fn span(&mut self, user: &str) -> Option<(u64, u64)> {
        let entries = self.entries(user, 1, u64::MAX >> 1);
        for pair in entries.windows(2) {
            assert_eq!(pair[1].seq, pair[0].seq + 1, "{user}'s inbox has a gap");
        }
        Some((entries.first()?.seq, entries.last()?.seq))
    }

    /// A history: its messages' numbers, and whether there is more. `None`: there is no such anchor.
    fn history(
        &mut self,
        user: &str,
        with: &str,
        anchor: Option<HistoryPosition>,
        limit: usize,
    ) -> Option<(Vec<u32>, bool)> {
        let query = history(user, with, anchor, limit);
        let page = self.reader().history(&query).expect("history is read")?;
        Some((page.messages.iter().map(number).collect(), page.more))
    }

    /// Conversations; the cursor must be one that was given.
    fn conversations(&mut self, query: &ConversationsQuery) -> ConversationsPage {
        let page = self.reader().conversations(query).expect("it is read");
        page.expect("the cursor is known")
    }

    fn message(&mut self, user: &str, with: &str, n: u32) -> StoredMessage {
        let query = history(user, with, None, 1000);
        let page = self.reader().history(&query).expect("history is read");
        let messages = page.expect("without an anchor").messages;
        let found = messages.into_iter().find(|message| number(message) == n);
        found.unwrap_or_else(|| panic!("message {n} is not there"))
    }

    /// Has everything removed that is to be removed at this time.
    fn keep(&mut self) {
        let now = self.now;
        for _ in 0..10_000 {
            if !self.store().maintain(now).expect("it is kept") {
                return;
            }
        }
        panic!("there is no end to what is to be removed");
    }
}

fn id(n: u32) -> Uuid {
    Uuid::from_u128(n.into())
}

fn number(message: &StoredMessage) -> u32 {
    message.id.as_u128() as u32
}

fn says(from: &str, to: &str, n: u32, text: &str) -> Write {
    Write::Message(NewMessage {
        from: from.into(),
        to: to.into(),
        id: id(n),
        content: format!("\"{text}\"").into(),
        reply_to: None,
        fresh: false,
        ip_quota: None,
    })
}

fn at(from: &str, to: &str, n: u32) -> MessageRef {
    MessageRef {
        from: from.into(),
        to: to.into(),
        id: id(n),
    }
}

fn edits(from: &str, to: &str, n: u32, text: &str) -> Write {
    Write::Edit(at(from, to, n), format!("\"{text}\"").into())
}

fn reacts(from: &str, to: &str, n: u32, emoji: &str, remove: bool) -> Write {
    Write::React {
        at: at(from, to, n),
        emoji: emoji.into(),
        remove,
    }
}

fn receives(user: &str, device: &str, seq: u64) -> Write {
    Write::Watermark {
        user: user.into(),
        device: device.into(),
        seq,
    }
}

fn history(user: &str, with: &str, anchor: Option<HistoryPosition>, limit: usize) -> HistoryQuery {
    HistoryQuery {
        user: user.into(),
        with: with.into(),
        anchor,
        limit,
        not_before: i64::MIN,
        bytes: usize::MAX,
    }
}

fn conversations(user: &str, cursor: Option<Uuid>, limit: usize) -> ConversationsQuery {
    ConversationsQuery {
        user: user.into(),
        limit,
        cursor,
        not_before: i64::MIN,
        bytes: usize::MAX,
    }
}

/// The places in both inboxes, of something that was not there before.
fn stored(outcome: &Outcome) -> (u64, u64) {
    match outcome {
        Outcome::Stored {
            from_seq: Some(from_seq),
            to_seq,
            duplicate: false,
            ..
        } => (*from_seq, *to_seq),
        other => panic!("it was to be stored: {other:?}"),
    }
}

/// The place in the inbox of who asked, and the time, of something that had been there before.
fn again(outcome: &Outcome) -> (Option<u64>, i64) {
    match outcome {
        Outcome::Stored {
            from_seq,
            at,
            duplicate: true,
            ..
        } => (*from_seq, *at),
        other => panic!("it was to be a duplicate: {other:?}"),
    }
}

fn users_appear_with_their_first_message(story: &mut Story<'_>) {
    let nothing = InboxState {
        head: 0,
        oldest: 1,
        received: 0,
    };
    assert_eq!(story.opened("ada", "phone"), nothing);
    assert_eq!(story.span("ada"), None);
    assert_eq!(
        story.history("ada", "bob", None, 10),
        Some((Vec::new(), false))
    );
    assert_eq!(
        story.history("ada", "bob", Some(HistoryPosition::Before(id(1))), 10),
        None
    );
    let page = story.conversations(&conversations("ada", None, 10));
    assert_eq!(page.items, Vec::new());

    let outcomes = story.commit(&[
        says("ada", "bob", 1, "hello"),
        says("bob", "ada", 2, "and you"),
        says("ada", "ada", 3, "to myself"),
        says("ada", "cy", 4, "hello too"),
    ]);
    let places: Vec<_> = outcomes.iter().map(stored).collect();
    // Both sides count for themselves; what is said to oneself counts once.
    assert_eq!(places, [(1, 1), (2, 2), (3, 3), (4, 1)]);
    assert_eq!((story.head("ada"), story.head("bob")), (4, 2));
    // The reader was opened before the commit and sees it.
    let entries = story.entries("ada", 1, 9);
    let told: Vec<_> = entries
        .iter()
        .map(|e| {
            (
                e.seq,
                &*e.by,
                &*e.message.to,
                &*e.message.content,
                number(&e.message),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (1, "ada", "bob", "\"hello\"", 1),
            (2, "bob", "ada", "\"and you\"", 2),
            (3, "ada", "ada", "\"to myself\"", 3),
            (4, "ada", "cy", "\"hello too\"", 4),
        ]
    );
    let now = story.now;
    assert!(
        entries
            .iter()
            .all(|e| e.kind == EntryKind::Message && (e.at, e.message.sent_at) == (now, now))
    );
    assert_eq!(story.span("bob"), Some((1, 2)));
    // A span ends where its bytes do, after one entry at the least.
    let short = InboxRange {
        user: "ada".into(),
        first: 2,
        last: 4,
        bytes: 1,
    };
    let entries = story.reader().entries(&short).expect("entries are read");
    assert_eq!(entries.iter().map(|e| e.seq).collect::<Vec<_>>(), [2]);
}

fn a_message_is_stored_once(story: &mut Story<'_>) {
    let outcomes = story.commit(&[
        says("ada", "bob", 10, "once"),
        says("ada", "bob", 10, "once"),
        says("bob", "ada", 11, "next"),
    ]);
    let sent_at = story.now;
    assert_eq!(stored(&outcomes[0]), (5, 3));
    assert_eq!(again(&outcomes[1]), (Some(5), sent_at));
    assert_eq!(stored(&outcomes[2]), (4, 6));
    let Outcome::Stored { to_seq, .. } = outcomes[1] else {
        panic!("it is a duplicate");
    };
    assert_eq!(to_seq, 3);
    // In a later batch, and after the store was closed, in another spelling.
    let outcome = story.one(says("ada", "bob", 10, "once"));
    assert_eq!(again(&outcome), (Some(5), sent_at));
    story.reopen();
    let outcome = story.one(says("ada", "bob", 10, "on\\u0063e"));
    assert_eq!(again(&outcome), (Some(5), sent_at));
    assert_eq!((story.head("ada"), story.head("bob")), (6, 4));
    // In another conversation it is another message.
    let outcome = story.one(says("ada", "cy", 10, "once"));
    assert_eq!(stored(&outcome), (7, 2));
}

fn a_refusal_leaves_the_rest_of_its_batch_alone(story: &mut Story<'_>) {
    let outcomes = story.commit(&[
        says("ada", "bob", 20, "good"),
        says("ada", "bob", 10, "something else"),
        says("bob", "ada", 10, "once"),
        Write::Delete(at("ada", "bob", 999)),
        Write::Delete(at("ada", "nobody", 10)),
        says("bob", "ada", 21, "good too"),
    ]);
    assert_eq!(stored(&outcomes[0]), (8, 5));
    assert_eq!(outcomes[1], Outcome::IdConflict);
    assert_eq!(outcomes[2], Outcome::IdConflict);
    assert_eq!(outcomes[3], Outcome::UnknownMessage);
    assert_eq!(outcomes[4], Outcome::UnknownMessage);
    assert_eq!(stored(&outcomes[5]), (6, 9));
    assert_eq!(story.span("ada"), Some((1, 9)));
    assert_eq!(story.span("bob"), Some((1, 6)));
    assert_eq!(story.head("nobody"), 0);
}

fn contact_knows_of_what_came_before_it(story: &mut Story<'_>) {
    let contact = |a: &str, b: &str| Write::Contact(a.into(), b.into());
    let outcomes = story.commit(&[
        contact("dan", "eve"),
        says("dan", "eve", 30, "hello"),
        contact("eve", "dan"),
        contact("dan", "ada"),
        contact("dan", "dan"),
        contact("ada", "ada"),
        contact("dan", "nobody"),
    ]);
    let told: Vec<_> = outcomes
        .iter()
        .map(|outcome| *outcome == Outcome::Contact(true))
        .collect();
    assert_eq!(told, [false, false, true, false, false, true, false]);
}

fn watermarks_move_forwards_only(story: &mut Story<'_>) {
    let received = |with: &str, n| {
        let with = with.into();
        Outcome::Received(vec![Received {
            with,
            id: id(n),
            quiet: false,
        }])
    };
    let nothing = Outcome::Received(Vec::new());
    assert_eq!(story.opened("bob", "phone").received, 0);
    // bob's inbox: 1, 10 and 20 from ada at 1, 3 and 5, his own at 2, 4 and 6.
    assert_eq!(story.one(receives("bob", "phone", 3)), received("ada", 10));
    assert_eq!(story.one(receives("bob", "phone", 3)), nothing);
    assert_eq!(story.one(receives("bob", "phone", 1)), nothing);
    assert_eq!(story.opened("bob", "phone").received, 3);
    // A new device begins where the furthest is, and what it holds already tells nothing new.
    assert_eq!(story.opened("bob", "desk").received, 3);
    assert_eq!(story.one(receives("bob", "desk", 2)), nothing);
    assert_eq!(story.opened("bob", "desk").received, 2);
    assert_eq!(story.opened("bob", "third").received, 3);
    // One's own message is not one that one has received.
    assert_eq!(story.one(receives("bob", "phone", 4)), nothing);
    // Ahead of the log counts as the newest.
    assert_eq!(
        story.one(receives("bob", "desk", u64::MAX >> 1)),
        received("ada", 20)
    );
    assert_eq!(story.opened("bob", "desk").received, 6);
    story.reopen();
    assert_eq!(story.opened("bob", "desk").received, 6);
    assert_eq!(story.opened("bob", "phone").received, 4);
    assert_eq!(story.one(receives("bob", "phone", 6)), nothing);
    // Several conversations at once.
    story.commit(&[
        says("cy", "eve", 40, "1"),
        says("dan", "eve", 41, "2"),
        says("eve", "cy", 42, "3"),
        says("dan", "eve", 43, "4"),
    ]);
    let Outcome::Received(mut all) = story.one(receives("eve", "phone", 99)) else {
        panic!("a watermark was noted");
    };
    all.sort_by(|a, b| a.with.cmp(&b.with));
    let all: Vec<_> = all.iter().map(|r| (&*r.with, r.id)).collect();
    assert_eq!(all, [("cy", id(40)), ("dan", id(43))]);
}

fn sixteen_devices_are_remembered(story: &mut Story<'_>) {
    for n in 1..=4 {
        story.one(says("ada", "gus", 50 + n, "x"));
    }
    story.one(receives("gus", "d0", 1));
    for n in 1..16 {
        story.one(receives("gus", &format!("d{n}"), 2));
    }
    assert_eq!(story.opened("gus", "d0").received, 1);
    // d0 is used again, so that d1 is the least recently used one when the seventeenth comes.
    story.one(receives("gus", "d0", 1));
    story.one(receives("gus", "d16", 4));
    assert_eq!(story.opened("gus", "d0").received, 1);
    assert_eq!(story.opened("gus", "d2").received, 2);
    assert_eq!(story.opened("gus", "d1").received, 4, "it is a new device");
}

fn read_marks_move_forwards_only(story: &mut Story<'_>) {
    story.commit(&[
        says("hal", "ivy", 60, "1"),
        says("hal", "ivy", 61, "2"),
        says("ivy", "hal", 62, "3"),
        says("hal", "ivy", 63, "4"),
    ]);
    let item = |story: &mut Story<'_>, user: &str| {
        let page = story.conversations(&conversations(user, None, 10));
        assert_eq!((page.items.len(), page.cursor), (1, None));
        let item = &page.items[0];
        let marks = [item.my_read, item.their_read, item.their_received];
        let marks = marks.map(|mark| mark.map(|id| id.as_u128() as u32));
        (item.unread, marks)
    };
    assert_eq!(item(story, "ivy"), (3, [None; 3]));
    assert_eq!(item(story, "hal"), (1, [None; 3]));
    let read = |n| Write::Read(at("ivy", "hal", n));
    assert_eq!(
        story.one(read(61)),
        Outcome::Marked {
            moved: true,
            quiet: false
        }
    );
    assert_eq!(
        story.one(read(61)),
        Outcome::Marked {
            moved: false,
            quiet: false
        }
    );
    assert_eq!(
        story.one(read(60)),
        Outcome::Marked {
            moved: false,
            quiet: false
        }
    );
    assert_eq!(story.one(read(64)), Outcome::UnknownMessage);
    assert_eq!(
        story.one(Write::Read(at("ada", "hal", 61))),
        Outcome::UnknownMessage
    );
    // What was read was received.
    assert_eq!(item(story, "ivy"), (1, [Some(61), None, None]));
    assert_eq!(item(story, "hal"), (1, [None, Some(61), Some(61)]));
    story.one(receives("ivy", "phone", 4));
    assert_eq!(item(story, "hal"), (1, [None, Some(61), Some(63)]));
    story.reopen();
    assert_eq!(
        story.commit(&[read(63), read(62)]),
        [
            Outcome::Marked {
                moved: true,
                quiet: false
            },
            Outcome::Marked {
                moved: false,
                quiet: false
            }
        ]
    );
    assert_eq!(item(story, "ivy"), (0, [Some(63), None, None]));
    assert_eq!(item(story, "hal"), (1, [None, Some(63), Some(63)]));
    // A deleted message is not unread.
    story.one(says("hal", "ivy", 65, "5"));
    assert_eq!(item(story, "ivy").0, 1);
    story.one(Write::Delete(at("hal", "ivy", 65)));
    assert_eq!(item(story, "ivy").0, 0);
}

fn authors_edit_what_they_wrote(story: &mut Story<'_>) {
    story.one(says("jo", "kim", 70, "frist"));
    let sent_at = story.now;
    let outcome = story.one(edits("jo", "kim", 70, "first"));
    let edited_at = story.now;
    assert_eq!(stored(&outcome), (2, 2));
    assert_eq!(
        story.one(edits("kim", "jo", 70, "mine")),
        Outcome::NotAuthor
    );
    assert_eq!(
        story.one(edits("jo", "ada", 70, "x")),
        Outcome::UnknownMessage
    );
    assert_eq!(
        story.one(edits("jo", "kim", 71, "x")),
        Outcome::UnknownMessage
    );
    story.reopen();
    let outcome = story.one(edits("jo", "kim", 70, "first"));
    assert_eq!(again(&outcome), (Some(2), edited_at));
    // Sent again as it was at first, it is still the same message; as it is now, it is another.
    let outcome = story.one(says("jo", "kim", 70, "frist"));
    assert_eq!(again(&outcome), (Some(1), sent_at));
    assert_eq!(
        story.one(says("jo", "kim", 70, "first")),
        Outcome::IdConflict
    );
    // The log shows the present, and that there was a change.
    let entries = story.entries("kim", 1, 9);
    let told: Vec<_> = entries
        .iter()
        .map(|e| (&e.kind, &*e.message.content, e.message.edited_at))
        .collect();
    assert_eq!(
        told,
        [
            (&EntryKind::Message, "\"first\"", Some(edited_at)),
            (&EntryKind::Edited, "\"first\"", Some(edited_at))
        ]
    );
    assert_eq!((entries[1].at, &*entries[1].by), (edited_at, "jo"));
    // Back to what it was is a change too. Two in one batch are two, the same twice is one.
    let outcomes = story.commit(&[
        edits("jo", "kim", 70, "frist"),
        edits("jo", "kim", 70, "first!"),
        edits("jo", "kim", 70, "first!"),
    ]);
    assert_eq!(
        (stored(&outcomes[0]), stored(&outcomes[1])),
        ((3, 3), (4, 4))
    );
    assert_eq!(again(&outcomes[2]).0, Some(4));
    // An edit that changes nothing is answered with the message itself.
    story.one(says("jo", "kim", 72, "same"));
    let outcome = story.one(edits("jo", "kim", 72, "same"));
    assert_eq!(again(&outcome).0, Some(5));
    assert_eq!(story.message("jo", "kim", 72).edited_at, None);
}

fn authors_delete_what_they_wrote(story: &mut Story<'_>) {
    let delete = |from: &str, to: &str, n| Write::Delete(at(from, to, n));
    story.one(says("leo", "mia", 80, "secret"));
    story.one(reacts("mia", "leo", 80, "+", false));
    assert_eq!(story.one(delete("mia", "leo", 80)), Outcome::NotAuthor);
    let outcome = story.one(delete("leo", "mia", 80));
    let deleted_at = story.now;
    assert_eq!(stored(&outcome), (3, 3));
    assert_eq!(
        again(&story.one(delete("leo", "mia", 80))),
        (Some(3), deleted_at)
    );
    story.reopen();
    assert_eq!(
        again(&story.one(delete("leo", "mia", 80))),
        (Some(3), deleted_at)
    );
    for write in [
        delete("mia", "leo", 80),
        edits("leo", "mia", 80, "back"),
        reacts("mia", "leo", 80, "+", false),
        reacts("mia", "leo", 80, "+", true),
    ] {
        assert_eq!(
            story.one(write.clone()),
            Outcome::UnknownMessage,
            "{write:?}"
        );
    }
    // It can still be sent again, and read up to.
    assert_eq!(
        again(&story.one(says("leo", "mia", 80, "secret"))).0,
        Some(1)
    );
    assert_eq!(
        story.one(says("leo", "mia", 80, "other")),
        Outcome::IdConflict
    );
    assert_eq!(
        story.one(Write::Read(at("mia", "leo", 80))),
        Outcome::Marked {
            moved: true,
            quiet: false
        }
    );
    let entries = story.entries("mia", 1, 9);
    assert_eq!(entries.len(), 3);
    for entry in entries {
        let message = &entry.message;
        assert_eq!(
            (message.deleted_at, &*message.content),
            (Some(deleted_at), ""),
            "{entry:?}"
        );
    }
    let message = story.message("mia", "leo", 80);
    assert_eq!((&*message.content, message.reactions.len()), ("", 0));
    assert_eq!(message.deleted_at, Some(deleted_at));
    // An edited message keeps the mark of what it was at first when it is deleted.
    story.commit(&[
        says("leo", "mia", 81, "one"),
        edits("leo", "mia", 81, "two"),
        delete("leo", "mia", 81),
    ]);
    assert_eq!(again(&story.one(says("leo", "mia", 81, "one"))).0, Some(4));
    assert_eq!(
        story.one(says("leo", "mia", 81, "two")),
        Outcome::IdConflict
    );
}

fn both_sides_react(story: &mut Story<'_>) {
    story.one(says("ned", "oz", 90, "x"));
    let outcomes = story.commit(&[
        reacts("oz", "ned", 90, "+", false),
        reacts("ned", "oz", 90, "+", false),
        reacts("ned", "oz", 90, "-", false),
        reacts("ned", "oz", 90, "-", false),
    ]);
    let when = story.now;
    let places: Vec<_> = outcomes[..3].iter().map(stored).collect();
    assert_eq!(places, [(2, 2), (3, 3), (4, 4)]);
    assert_eq!(again(&outcomes[3]), (Some(4), when));
    let reactions = |story: &mut Story<'_>| story.message("oz", "ned", 90).reactions;
    let by = |emoji: &str, users: &[&str]| {
        let users = users.iter().map(ToString::to_string).collect();
        (emoji.to_owned(), users)
    };
    let all: Vec<(String, Vec<String>)> = vec![by("+", &["oz", "ned"]), by("-", &["ned"])];
    assert_eq!(reactions(story), all);
    story.reopen();
    // Removing what never was changes nothing, and no entry made it so.
    let outcome = story.one(reacts("oz", "ned", 90, "-", true));
    assert_eq!(again(&outcome).0, None);
    let outcome = story.one(reacts("ned", "oz", 90, "-", true));
    assert_eq!(stored(&outcome), (5, 5));
    let outcome = story.one(reacts("ned", "oz", 90, "-", true));
    assert_eq!(again(&outcome).0, Some(5));
    assert_eq!(reactions(story), [by("+", &["oz", "ned"])]);
    let outcome = story.one(reacts("ned", "oz", 90, "-", false));
    assert_eq!(stored(&outcome), (6, 6));
    for (from, to, n) in [("ada", "oz", 90), ("oz", "ned", 91), ("oz", "nobody", 90)] {
        assert_eq!(
            story.one(reacts(from, to, n, "+", false)),
            Outcome::UnknownMessage
        );
    }
    let kinds: Vec<_> = story
        .entries("oz", 2, 9)
        .into_iter()
        .map(|e| (e.kind, e.by))
        .collect();
    let reacted = |emoji: &str, removed, by: &str| {
        let emoji = emoji.to_owned();
        (EntryKind::Reacted { emoji, removed }, by.to_owned())
    };
    assert_eq!(
        kinds,
        [
            reacted("+", false, "oz"),
            reacted("+", false, "ned"),
            reacted("-", false, "ned"),
            reacted("-", true, "ned"),
            reacted("-", false, "ned"),
        ]
    );
    // There are bounds, and they are each user's own.
    let outcomes: Vec<_> = (0..40)
        .map(|n| story.one(reacts("oz", "ned", 90, &format!("e{n}"), false)))
        .collect();
    let refused = outcomes
        .iter()
        .filter(|outcome| **outcome == Outcome::TooMany)
        .count();
    assert!((1..40).contains(&refused), "{refused}");
    stored(&story.one(reacts("ned", "oz", 90, "e0", false)));
    // On what one wrote to oneself: one entry.
    story.one(says("pip", "pip", 95, "note"));
    assert_eq!(
        stored(&story.one(reacts("pip", "pip", 95, "+", false))),
        (2, 2)
    );
    assert_eq!(story.span("pip"), Some((1, 2)));
}

fn blocks_are_in_force_for_what_comes_behind_them(story: &mut Story<'_>) {
    let block = |by: &str, user: &str, on| Write::Block {
        by: by.into(),
        user: user.into(),
        on,
    };
    let contact = |a: &str, b: &str| Write::Contact(a.into(), b.into());
    story.commit(&[says("ned", "oda", 900, "hi"), says("oda", "ned", 901, "ho")]);
    let (ned, oda) = (story.head("ned"), story.head("oda"));
    let outcomes = story.commit(&[
        block("oda", "ned", true),
        says("ned", "oda", 902, "again"),
        // What was stored before is answered as it was.
        says("ned", "oda", 900, "hi"),
        says("ned", "oda", 900, "other"),
        edits("ned", "oda", 900, "ha"),
        edits("ned", "oda", 900, "hi"),
        Write::Delete(at("ned", "oda", 900)),
        Write::Delete(at("ned", "oda", 999)),
        reacts("ned", "oda", 901, "+", false),
        Write::Read(at("ned", "oda", 901)),
        contact("ned", "oda"),
        contact("oda", "ned"),
        says("oda", "ned", 903, "bye"),
        block("oda", "ned", false),
        says("ned", "oda", 904, "hello"),
        block("oda", "ned", true),
        block("oda", "ned", true),
        // Of those who have no conversation, and of one who is not known at all.
        block("oda", "stranger", true),
        says("stranger", "oda", 905, "hello"),
        block("oda", "nobody at all", false),
    ]);
    let told: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Set => 's',
            Outcome::Blocked => 'b',
            Outcome::Stored { duplicate, .. } => {
                if *duplicate {
                    'd'
                } else {
                    '+'
                }
            }
            Outcome::Marked {
                moved: true,
                quiet: true,
            } => 'm',
            Outcome::Contact(false) => '-',
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told.iter().collect::<String>(), "sbdbbdbbbm--+s+sssbs");
    assert_eq!((story.head("ned"), story.head("oda")), (ned + 2, oda + 2));
    assert_eq!(story.head("stranger"), 0);
    let Outcome::Received(received) = story.one(receives("oda", "phone", oda + 2)) else {
        panic!("a watermark moves");
    };
    assert!(received[0].quiet, "{received:?}");
    let item = |story: &mut Story<'_>| {
        let page = story.conversations(&conversations("oda", None, 1));
        page.items.into_iter().next().expect("a conversation")
    };
    assert_eq!(item(story).their_read, None, "while there is a block");
    story.reopen();
    let listed = |story: &mut Story<'_>| {
        let mut listed = Vec::new();
        let mut each = |by: &str, user: &str| listed.push(format!("{by} {user}"));
        story.store().blocks(&mut each).expect("blocks are read");
        listed.sort_unstable();
        listed
    };
    assert_eq!(listed(story), ["oda ned", "oda stranger"]);
    assert_eq!(story.one(says("ned", "oda", 906, "x")), Outcome::Blocked);
    story.store().limit(Quotas {
        blocks: 2,
        ..Quotas::default()
    });
    let outcomes = story.commit(&[
        block("oda", "ned", true),
        block("oda", "ada", true),
        block("oda", "ned", false),
        block("oda", "ada", true),
        block("oda", "ada", false),
        block("oda", "stranger", false),
    ]);
    let refused = outcomes.iter().position(|outcome| *outcome != Outcome::Set);
    assert_eq!((refused, &outcomes[1]), (Some(1), &Outcome::TooManyBlocks));
    assert_eq!(listed(story), [] as [String; 0]);
    assert!(item(story).their_read.is_some(), "it is over");
    story.store().limit(Quotas::default());
}

fn what_is_left_with_those_who_never_came_is_bounded(story: &mut Story<'_>) {
    let quotas = Quotas {
        unclaimed: 5,
        unclaimed_of_one: 3,
        ..Quotas::default()
    };
    let told = |outcomes: &[Outcome]| -> String {
        let letter = |outcome: &Outcome| match outcome {
            Outcome::Stored { duplicate, .. } => {
                if *duplicate {
                    'd'
                } else {
                    '+'
                }
            }
            Outcome::LeftTooMany => 'l',
            Outcome::NoRoom => 'n',
            Outcome::UnknownUser => 'u',
            other => panic!("{other:?}"),
        };
        outcomes.iter().map(letter).collect()
    };
    // What was left before anybody counted does not count.
    story.commit(&[
        says("pat", "ghost1", 950, "hi"),
        says("pat", "ghost1", 951, "hi"),
    ]);
    story.store().limit(quotas);
    let outcomes = story.commit(&[
        says("pat", "pat", 951, "to myself"),
        says("pat", "ghost1", 952, "hi"),
        says("pat", "ghost2", 953, "hi"),
        says("pat", "ghost2", 953, "hi"),
        says("pat", "ghost3", 954, "hi"),
        says("pat", "ghost4", 955, "hi"),
        says("pat", "ghost1", 956, "hi"),
        // What was stored before is answered as it was, also in the same batch.
        says("pat", "ghost1", 952, "hi"),
        says("pat", "bob", 957, "bob has devices"),
        says("quin", "ghost1", 958, "hi"),
        says("quin", "ghost1", 959, "hi"),
        says("quin", "ghost1", 960, "all together have left five"),
    ]);
    assert_eq!(told(&outcomes), "+++d+lld+++n");
    assert_eq!(
        story.head("ghost4"),
        0,
        "who is refused makes no name known"
    );
    story.reopen();
    story.store().limit(quotas);
    let more = [
        says("pat", "ghost5", 961, "hi"),
        says("quin", "ghost5", 962, "hi"),
    ];
    assert_eq!(told(&story.commit(&more)), "ln", "it outlasts the server");
    // Who connects is there at once, and what waited counts no longer once the device is noted.
    story.opened("ghost1", "phone");
    let outcomes = story.commit(&[says("pat", "ghost1", 963, "you are here!")]);
    assert_eq!(told(&outcomes), "+");
    story.one(receives("ghost1", "phone", 1));
    let outcomes = story.commit(&[
        says("pat", "ghost5", 964, "hi"),
        says("pat", "ghost5", 965, "hi"),
        says("quin", "ghost5", 966, "hi"),
        says("quin", "ghost5", 967, "hi"),
        says("rae", "ghost5", 968, "hi"),
    ]);
    assert_eq!(told(&outcomes), "+l++n");
    story.reopen();
    story.store().limit(Quotas {
        known_only: true,
        ..Quotas::default()
    });
    let outcomes = story.commit(&[
        says("quin", "ghost1", 969, "hi"),
        says("quin", "ghost5", 970, "hi"),
        says("quin", "ghost5", 966, "hi"),
        says("quin", "ghost9", 971, "hi"),
        says("quin", "quin", 972, "hi"),
    ]);
    assert_eq!(told(&outcomes), "+udu+");
    story.store().limit(Quotas::default());
}

fn histories_are_read_page_by_page(story: &mut Story<'_>) {
    for n in 101..=120 {
        let (from, to) = if n % 2 == 0 {
            ("una", "vic")
        } else {
            ("vic", "una")
        };
        story.one(says(from, to, n, "x"));
    }
    let all: Vec<u32> = (101..=120).collect();
    for (user, with) in [("una", "vic"), ("vic", "una")] {
        let mut page = |anchor, limit| {
            story
                .history(user, with, anchor, limit)
                .expect("it is read")
        };
        assert_eq!(page(None, 5), ((116..=120).collect(), true));
        assert_eq!(page(None, 20), (all.clone(), false));
        let before = |n| Some(HistoryPosition::Before(id(n)));
        let after = |n| Some(HistoryPosition::After(id(n)));
        assert_eq!(page(before(116), 10), ((106..=115).collect(), true));
        assert_eq!(page(before(106), 5), ((101..=105).collect(), false));
        assert_eq!(page(before(101), 5), (vec![], false));
        assert_eq!(page(after(101), 5), ((102..=106).collect(), true));
        assert_eq!(page(after(115), 5), ((116..=120).collect(), false));
        assert_eq!(page(after(120), 5), (vec![], false));
    }
    for anchor in [
        HistoryPosition::Before(id(999)),
        HistoryPosition::After(id(1)),
    ] {
        assert_eq!(story.history("una", "vic", Some(anchor), 5), None);
    }
    // A page ends where its bytes do, after one message at the least.
    let mut query = history("una", "vic", None, 20);
    query.bytes = 1;
    let page = story.reader().history(&query).expect("it is read");
    let page = page.expect("without an anchor");
    assert_eq!((page.messages.len(), page.more), (1, true));
    assert_eq!(number(&page.messages[0]), 120);
    query.bytes = 3000;
    query.anchor = Some(HistoryPosition::After(id(101)));
    let page = story.reader().history(&query).expect("it is read");
    let page = page.expect("the anchor is there");
    assert!((2..19).contains(&page.messages.len()) && page.more);
    assert_eq!(number(&page.messages[0]), 102);
    // What is too old is not shown, and there is no more of it.
    query.bytes = usize::MAX;
    query.anchor = None;
    query.not_before = story.now - 4000;
    let page = story.reader().history(&query).expect("it is read");
    let page = page.expect("without an anchor");
    let shown: Vec<_> = page.messages.iter().map(number).collect();
    assert_eq!((shown, page.more), ((116..=120).collect(), false));
}

fn conversations_are_read_page_by_page(story: &mut Story<'_>) {
    for (n, with) in ["w1", "w2", "w3", "w4", "w5", "w2"].into_iter().enumerate() {
        story.one(says("wes", with, 130 + n as u32, "x"));
    }
    story.one(says("wes", "wes", 140, "note"));
    let page = |story: &mut Story<'_>, cursor, limit| {
        let page = story.conversations(&conversations("wes", cursor, limit));
        let told = |item: &dmwire::store::ConversationItem| (item.with.clone(), number(&item.last));
        (page.items.iter().map(told).collect::<Vec<_>>(), page.cursor)
    };
    let is = |with: &str, n| (with.to_owned(), n);
    let all = [
        is("wes", 140),
        is("w2", 135),
        is("w5", 134),
        is("w4", 133),
        is("w3", 132),
        is("w1", 130),
    ];
    assert_eq!(page(story, None, 10), (all.to_vec(), None));
    assert_eq!(page(story, None, 6), (all.to_vec(), None));
    let (first, cursor) = page(story, None, 4);
    assert_eq!(first, all[..4]);
    assert!(cursor.is_some());
    assert_eq!(page(story, cursor, 4), (all[4..].to_vec(), None));
    // What is no message of one's own conversations is no cursor.
    for (user, cursor) in [("wes", id(999)), ("wes", id(1)), ("nobody", id(130))] {
        let query = conversations(user, Some(cursor), 4);
        let page = story.reader().conversations(&query).expect("it is read");
        assert_eq!(page, None, "{user} {cursor}");
    }
    // A conversation that gets a message while one is reading has moved to the front.
    story.one(says("w1", "wes", 141, "news"));
    assert_eq!(page(story, cursor, 4), (all[4..5].to_vec(), None));
    assert_eq!(page(story, None, 1).0, [is("w1", 141)]);
    let mut query = conversations("wes", None, 10);
    query.bytes = 1;
    let short = story.conversations(&query);
    assert_eq!((short.items.len(), short.cursor.is_some()), (1, true));
    query.bytes = usize::MAX;
    query.not_before = story.now - 1000;
    let new = story.conversations(&query);
    assert_eq!((new.items.len(), new.cursor), (2, None));
    let unread: Vec<_> = new.items.iter().map(|item| item.unread).collect();
    assert_eq!(unread, [1, 0], "one's own messages are not unread");
}

fn inboxes_are_kept_to_their_limit(story: &mut Story<'_>) {
    let many = 5 * LIMIT as u32;
    let batch: Vec<_> = (1..=many).map(|n| says("xi", "yan", n, "x")).collect();
    for part in batch.chunks(37) {
        story.commit(part);
    }
    let head = u64::from(many);
    for user in ["xi", "yan"] {
        // Whatever is removed already, what is beyond the limit counts as gone.
        let opened = story.opened(user, "new");
        assert_eq!((opened.head, opened.oldest), (head, head - LIMIT + 1));
        let (first, last) = story.span(user).expect("there are entries");
        assert!(first <= opened.oldest, "what is to be kept is kept");
        assert!(first > 1, "under load it is removed by the way");
        assert_eq!(last, head);
    }
    story.keep();
    assert_eq!(story.span("yan"), Some((head - LIMIT + 1, head)));
    // Nobody else has lost anything, and the history has it all.
    assert_eq!(story.span("una"), Some((1, 20)));
    let (messages, more) = story.history("yan", "xi", None, 1000).expect("it is read");
    assert_eq!((messages.len(), more), (many as usize, false));
    story.reopen();
    let opened = story.opened("yan", "new");
    assert_eq!((opened.head, opened.oldest), (head, head - LIMIT + 1));
    // A new device whose user has received nothing begins before what is kept: the session is told so.
    assert_eq!(opened.received, 0);
    let outcome = story.one(says("xi", "yan", many + 1, "next"));
    assert_eq!(stored(&outcome), (head + 1, head + 1));
    // Repeated, the first of all has the outcome that it had.
    let outcome = story.one(says("xi", "yan", 1, "x"));
    assert_eq!(again(&outcome).0, Some(1));
    // Receiving what is gone tells nothing that cannot be told any more.
    let outcome = story.one(receives("yan", "phone", 7));
    assert_eq!(outcome, Outcome::Received(Vec::new()));
    assert_eq!(story.opened("yan", "phone").received, 7);
}

fn a_message_outlives_its_age_while_an_inbox_shows_it(story: &mut Story<'_>) {
    story.commit(&[says("zoe", "abe", 1, "old"), says("zoe", "abe", 2, "older")]);
    story.now += 19 * DAY;
    assert_eq!(
        stored(&story.one(reacts("abe", "zoe", 1, "+", false))),
        (3, 3)
    );
    // The message is beyond any age now, but a new entry in both inboxes is about it.
    story.now += 5 * DAY;
    story.keep();
    assert_eq!(story.span("zoe"), Some((3, 3)));
    assert_eq!(story.span("abe"), Some((3, 3)));
    assert_eq!(story.entry("abe", 3).message.content, "\"old\"");
    let shown = story.history("zoe", "abe", None, 10);
    assert_eq!(shown, Some((vec![1], false)));
    let opened = story.opened("abe", "new");
    assert_eq!((opened.head, opened.oldest), (3, 3));
}

fn all_that_is_old_goes_and_inboxes_go_on_where_they_were(story: &mut Story<'_>) {
    story.one(says("ada", "bob", 500, "young"));
    let (ada, bob) = (story.head("ada"), story.head("bob"));
    story.now += 9 * DAY;
    story.one(says("ada", "bob", 501, "younger"));
    story.now += 2 * DAY;
    story.keep();
    assert_eq!(story.span("ada"), Some((ada + 1, ada + 1)));
    assert_eq!(story.span("bob"), Some((bob + 1, bob + 1)));
    // Histories last longer.
    let shown = story.history("ada", "bob", None, 10);
    assert_eq!(shown, Some((vec![500, 501], false)));
    story.now += 10 * DAY;
    story.keep();
    assert_eq!(story.span("ada"), None);
    let shown = story.history("ada", "bob", None, 10);
    assert_eq!(shown, Some((vec![501], false)));
    story.now += 20 * DAY;
    story.keep();
    let shown = story.history("ada", "bob", None, 10);
    assert_eq!(shown, Some((vec![], false)));
    let page = story.conversations(&conversations("ada", None, 9));
    assert_eq!(page.items, Vec::new());
    // The heads stay where they were, also when the store is opened again.
    for again in [false, true] {
        if again {
            story.reopen();
        }
        let opened = story.opened("bob", "new");
        assert_eq!((opened.head, opened.oldest), (bob + 1, bob + 2));
    }
    assert_eq!(story.opened("bob", "desk").received, 6);
    // A forgotten id is free.
    let outcome = story.one(says("bob", "ada", 500, "something else"));
    assert_eq!(stored(&outcome), (bob + 2, ada + 2));
    assert_eq!(story.span("bob"), Some((bob + 2, bob + 2)));
    assert_eq!(
        story.entry("ada", ada + 2).message.content,
        "\"something else\""
    );
}
