//! Pages of histories and of conversations.

use dmwire::store::{ConversationItem, HistoryPosition};
use uuid::Uuid;

use crate::fixture::TestStore;
use crate::writes::{conversations_query, history_query, id, message, number};

/// Sends messages 101 to 120 between una and vic, in turns, one second apart.
pub fn talk(store: &mut TestStore) {
    for n in 101..=120 {
        let (from, to) = if n % 2 == 0 {
            ("una", "vic")
        } else {
            ("vic", "una")
        };
        store.commit_one(message(from, to, n, "x"));
    }
}

pub fn histories_are_read_in_pages(store: &mut TestStore) {
    store.commit_one(message("una", "wes", 1, "x"));
    talk(store);
    let all: Vec<u32> = (101..=120).collect();
    for (user, peer) in [("una", "vic"), ("vic", "una")] {
        let mut page = |position, limit| {
            let page = store.history(user, peer, position, limit);
            page.expect("the position is known")
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
    // An unknown message, and one of another conversation.
    for position in [
        HistoryPosition::Before(id(999)),
        HistoryPosition::After(id(1)),
    ] {
        assert_eq!(store.history("una", "vic", Some(position), 5), None);
    }
}

pub fn a_history_page_ends_where_its_bytes_do(store: &mut TestStore) {
    talk(store);
    // A page that is shorter than a message still returns one.
    let mut query = history_query("una", "vic", None, 20);
    query.bytes = 1;
    let page = store.history_page(&query).expect("there is no position");
    assert_eq!((page.messages.len(), page.more), (1, true));
    assert_eq!(number(&page.messages[0]), 120);
    query.bytes = 3000;
    query.position = Some(HistoryPosition::After(id(101)));
    let page = store.history_page(&query).expect("the position is known");
    assert!((2..19).contains(&page.messages.len()) && page.more);
    assert_eq!(number(&page.messages[0]), 102);
}

pub fn a_history_ends_at_the_oldest_message_to_show(store: &mut TestStore) {
    talk(store);
    let mut query = history_query("una", "vic", None, 20);
    query.not_before = Some(store.now - 4000);
    let page = store.history_page(&query).expect("there is no position");
    let numbers: Vec<_> = page.messages.iter().map(number).collect();
    assert_eq!((numbers, page.more), ((116..=120).collect(), false));
}

/// Peers and newest messages of a page of wes's conversations, and its cursor.
fn page(
    store: &mut TestStore,
    cursor: Option<Uuid>,
    limit: usize,
) -> (Vec<(String, u32)>, Option<Uuid>) {
    let page = store.conversations(&conversations_query("wes", cursor, limit));
    let summary = |item: &ConversationItem| {
        let peer = item.conversation.peer().expect("it is direct");
        (
            peer.to_string(),
            number(item.last.as_ref().expect("a message")),
        )
    };
    (page.items.iter().map(summary).collect(), page.cursor)
}

fn summary(peer: &str, n: u32) -> (String, u32) {
    (peer.to_owned(), n)
}

/// Six conversations of wes, each with a message of its own second. Gives their summaries, the newest first.
fn six_conversations(store: &mut TestStore) -> [(String, u32); 6] {
    for (n, peer) in ["w1", "w2", "w3", "w4", "w5", "w2"].into_iter().enumerate() {
        store.commit_one(message("wes", peer, 130 + n as u32, "x"));
    }
    store.commit_one(message("wes", "wes", 140, "note"));
    [
        summary("wes", 140),
        summary("w2", 135),
        summary("w5", 134),
        summary("w4", 133),
        summary("w3", 132),
        summary("w1", 130),
    ]
}

pub fn conversations_are_read_in_pages(store: &mut TestStore) {
    store.commit_one(message("una", "vic", 1, "x"));
    let all = six_conversations(store);
    assert_eq!(page(store, None, 10), (all.to_vec(), None));
    assert_eq!(page(store, None, 6), (all.to_vec(), None));
    let (first, cursor) = page(store, None, 4);
    assert_eq!(first, all[..4]);
    assert!(cursor.is_some());
    assert_eq!(page(store, cursor, 4), (all[4..].to_vec(), None));
    // A cursor is a message of one of the user's own conversations.
    for (user, cursor) in [("wes", id(999)), ("wes", id(1)), ("nobody", id(130))] {
        let query = conversations_query(user, Some(cursor), 4);
        assert_eq!(store.find_conversations(&query), None, "{user} {cursor}");
    }
}

pub fn a_conversation_with_a_new_message_moves_to_the_front(store: &mut TestStore) {
    let all = six_conversations(store);
    let (_, cursor) = page(store, None, 4);
    store.commit_one(message("w1", "wes", 141, "news"));
    assert_eq!(page(store, cursor, 4), (all[4..5].to_vec(), None));
    assert_eq!(page(store, None, 1).0, [summary("w1", 141)]);
}

pub fn a_page_of_conversations_ends_where_its_bytes_do(store: &mut TestStore) {
    six_conversations(store);
    store.commit_one(message("w1", "wes", 141, "news"));
    let mut query = conversations_query("wes", None, 10);
    query.bytes = 1;
    let page = store.conversations(&query);
    assert_eq!((page.items.len(), page.cursor.is_some()), (1, true));
    query.bytes = usize::MAX;
    query.not_before = Some(store.now - 1000);
    let page = store.conversations(&query);
    assert_eq!((page.items.len(), page.cursor), (2, None));
    let unread: Vec<_> = page.items.iter().map(|item| item.unread).collect();
    assert_eq!(unread, [1, 0], "a user's own messages are not unread");
}
