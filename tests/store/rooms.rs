//! Rooms: who their members are, and what their inboxes have.

use dmwire::store::{
    Authority, Conversation, DeviceRef, EntryKind, HistoryAnswer, InboxItem, InboxQuery,
    KnownEntry, MembersAnswer, MembersQuery, MembershipEvent, MembershipKind, MessageRef,
    NewMessage, Outcome, RoomHistory, RoomMode, RoomRules, Write,
};

use crate::fixture::TestStore;
use crate::writes::{duplicate, history_query, id, number, receive};

/// Small numbers, so that tests reach them.
pub const RULES: RoomRules = RoomRules {
    mode: RoomMode::Open,
    members: 5,
    per_user: 3,
    history: RoomHistory::All,
    small: 3,
    entries_per_second: None,
    entries_burst: 0,
};

pub fn join(user: &str, room: &str) -> Write {
    Write::Join {
        user: user.into(),
        room: room.into(),
        kind: MembershipKind::Lasting,
    }
}

pub fn leave(user: &str, room: &str) -> Write {
    Write::Leave {
        user: user.into(),
        room: room.into(),
        kind: MembershipKind::Lasting,
    }
}

/// Message `n` in a room.
pub fn say(from: &str, room: &str, n: u32, text: &str) -> Write {
    Write::Message(NewMessage {
        from: from.into(),
        to: Conversation::Room(room.into()),
        id: id(n),
        content: format!("\"{text}\"").into(),
        reply_to: None,
        fresh: false,
        ip_quota: None,
        authority: Authority::User,
    })
}

fn at(by: &str, room: &str, n: u32) -> MessageRef {
    MessageRef {
        actor: by.into(),
        conversation: Conversation::Room(room.into()),
        id: id(n),
    }
}

pub fn edit(by: &str, room: &str, n: u32, text: &str) -> Write {
    Write::Edit(at(by, room, n), format!("\"{text}\"").into())
}

pub fn delete(by: &str, room: &str, n: u32) -> Write {
    Write::Delete(at(by, room, n))
}

pub fn react(by: &str, room: &str, n: u32) -> Write {
    reaction(by, room, n, false)
}

pub fn unreact(by: &str, room: &str, n: u32) -> Write {
    reaction(by, room, n, true)
}

fn reaction(by: &str, room: &str, n: u32, remove: bool) -> Write {
    Write::React {
        message: at(by, room, n),
        emoji: "+".into(),
        remove,
    }
}

pub fn read(by: &str, room: &str, n: u32) -> Write {
    Write::Read(at(by, room, n))
}

/// A user's inbox, an entry each: "joined bo 2" and "left bo 1" with the number of members, and the kinds and numbers of messages.
pub fn inbox(store: &mut TestStore, user: &str) -> Vec<String> {
    let items = store.items(user, (1, u64::MAX >> 1), usize::MAX);
    items.iter().map(entry_text).collect()
}

pub fn entry_text(item: &InboxItem) -> String {
    match item {
        InboxItem::Membership(entry) => {
            let event = match entry.event {
                MembershipEvent::Joined => "joined",
                MembershipEvent::Left => "left",
            };
            let deleted = if entry.room_deleted { " deleted" } else { "" };
            format!("{event} {} {}{deleted}", entry.user, entry.members)
        }
        InboxItem::Erased(entry) => format!("erased {}", entry.renamed_to),
        InboxItem::Entry(entry) => {
            let kind = match &entry.kind {
                EntryKind::Message => "message",
                EntryKind::Edited => "edited",
                EntryKind::Deleted => "deleted",
                EntryKind::Reacted { .. } => "reacted",
            };
            format!("{kind} {}", number(&entry.message))
        }
        InboxItem::Superseded(_) => "superseded".to_owned(),
    }
}

/// The number of the user's entry, those of others, the number of members, and whether it is a duplicate.
type Member = (Option<u64>, Vec<(String, u64)>, u64, bool);

fn membership(outcome: &Outcome) -> Member {
    match outcome {
        Outcome::Membership {
            seq,
            recipients,
            members,
            duplicate,
            ..
        } => (*seq, entries(recipients), *members, *duplicate),
        other => panic!("expected a membership, found {other:?}"),
    }
}

fn entries(recipients: &dmwire::store::Recipients) -> Vec<(String, u64)> {
    let mut entries: Vec<_> = recipients
        .iter()
        .map(|recipient| (recipient.user.to_string(), recipient.seq))
        .collect();
    entries.sort_unstable();
    entries
}

/// The entry of a new message or change in the inbox of the actor, and in those of others.
fn stored(outcome: &Outcome) -> (u64, Vec<(String, u64)>) {
    match outcome {
        Outcome::Stored {
            seq: Some(seq),
            recipients,
            duplicate: false,
            ..
        } => (*seq, entries(recipients)),
        other => panic!("expected a new entry, found {other:?}"),
    }
}

fn of(entries: &[(&str, u64)]) -> Vec<(String, u64)> {
    entries
        .iter()
        .map(|(user, seq)| ((*user).to_owned(), *seq))
        .collect()
}

pub fn members_of_a_small_room_see_who_joins_and_leaves(store: &mut TestStore) {
    store.set_rooms(RULES);
    let first = store.commit_one(join("ada", "lobby"));
    assert_eq!(membership(&first), (Some(1), vec![], 1, false));
    let second = store.commit_one(join("bo", "lobby"));
    assert_eq!(membership(&second), (Some(1), of(&[("ada", 2)]), 2, false));
    // Again: the first answer.
    let again = store.commit_one(join("ada", "lobby"));
    assert_eq!(membership(&again), (Some(1), vec![], 2, true));
    let times = [first, again].map(|outcome| match outcome {
        Outcome::Membership { at, .. } => at,
        _ => 0,
    });
    assert_eq!(times[0], times[1]);
    let left = store.commit_one(leave("bo", "lobby"));
    assert_eq!(membership(&left), (Some(2), of(&[("ada", 3)]), 1, false));
    let again = store.commit_one(leave("bo", "lobby"));
    assert_eq!(membership(&again), (None, vec![], 1, true));
    for nobody in [leave("cy", "lobby"), leave("ada", "nowhere")] {
        let outcome = store.commit_one(nobody);
        let (seq, _, _, is_duplicate) = membership(&outcome);
        assert_eq!((seq, is_duplicate), (None, true));
    }
    assert_eq!(
        inbox(store, "ada"),
        ["joined ada 1", "joined bo 2", "left bo 1"]
    );
    assert_eq!(inbox(store, "bo"), ["joined bo 2", "left bo 1"]);
    store.reopen();
    if store.is_persistent {
        assert_eq!(inbox(store, "ada").len(), 3);
        let again = store.commit_one(join("ada", "lobby"));
        assert_eq!(membership(&again), (Some(1), vec![], 1, true));
    }
    store.verify();
}

pub fn members_of_a_larger_room_see_only_their_own_joins(store: &mut TestStore) {
    store.set_rooms(RULES);
    for user in ["a", "b", "c", "d", "e"] {
        store.commit_one(join(user, "lobby"));
    }
    // The fourth member has made it larger than a small one.
    assert_eq!(
        inbox(store, "a"),
        ["joined a 1", "joined b 2", "joined c 3"]
    );
    assert_eq!(inbox(store, "d"), ["joined d 4"]);
    let left = store.commit_one(leave("a", "lobby"));
    assert_eq!(membership(&left), (Some(4), vec![], 4, false));
    store.commit_one(leave("b", "lobby"));
    // Three members, with the one who leaves.
    let left = store.commit_one(leave("c", "lobby"));
    let others = of(&[("d", 2), ("e", 2)]);
    assert_eq!(membership(&left), (Some(2), others, 2, false));
    assert_eq!(inbox(store, "e"), ["joined e 5", "left c 2"]);
    store.verify();
}

pub fn joins_are_checked_in_order(store: &mut TestStore) {
    store.set_rooms(RULES);
    for user in ["a", "b", "c", "d", "e"] {
        store.commit_one(join(user, "full"));
    }
    assert_eq!(store.commit_one(join("f", "full")), Outcome::RoomFull);
    for room in ["1", "2", "3"] {
        store.commit_one(join("f", room));
    }
    assert_eq!(store.commit_one(join("f", "4")), Outcome::TooManyRooms);
    assert_eq!(store.commit_one(join("f", "full")), Outcome::TooManyRooms);
    assert!(membership(&store.commit_one(join("f", "2"))).3);
    store.commit_one(leave("f", "2"));
    assert!(!membership(&store.commit_one(join("f", "4"))).3);
    // A refused join creates no room.
    let members = store.commit_one(join("a", "5"));
    assert_eq!(membership(&members).2, 1);
    store.verify();
    if store.is_persistent {
        let mode = RoomMode::Managed;
        store.set_rooms(RoomRules { mode, ..RULES });
        assert_eq!(store.commit_one(join("b", "1")), Outcome::RoomClosed);
        assert!(membership(&store.commit_one(join("f", "1"))).3);
        assert!(!membership(&store.commit_one(leave("f", "1"))).3);
        let mode = RoomMode::Off;
        store.set_rooms(RoomRules { mode, ..RULES });
        for write in [join("f", "3"), leave("f", "3"), say("f", "3", 1, "x")] {
            assert_eq!(store.commit_one(write), Outcome::UnknownRoom);
        }
    }
}

pub fn a_message_reaches_all_members(store: &mut TestStore) {
    store.set_rooms(RULES);
    for user in ["a", "b", "c", "d"] {
        store.commit_one(join(user, "lobby"));
    }
    let outcomes = store.commit(&[
        say("a", "lobby", 1, "one"),
        say("b", "lobby", 2, "two"),
        say("a", "lobby", 1, "one"),
        say("c", "lobby", 1, "one"),
    ]);
    assert_eq!(
        stored(&outcomes[0]),
        (4, of(&[("b", 3), ("c", 2), ("d", 2)]))
    );
    assert_eq!(
        stored(&outcomes[1]),
        (4, of(&[("a", 5), ("c", 3), ("d", 3)]))
    );
    assert_eq!(duplicate(&outcomes[2]).0, Some(4));
    assert_eq!(outcomes[3], Outcome::IdConflict);
    let sent = store.now;
    // Also while the first is in the pending log.
    store.commit_one(say("b", "lobby", 3, "three"));
    assert_eq!(
        duplicate(&store.commit_one(say("b", "lobby", 3, "three"))).0,
        Some(5)
    );
    let outcome = store.commit_one(say("b", "lobby", 3, "other"));
    assert_eq!(outcome, Outcome::IdConflict);
    // Long content is stored in another way.
    store.commit_one(say("d", "lobby", 4, &"x".repeat(5000)));
    let messages = ["message 1", "message 2", "message 3", "message 4"];
    for user in ["a", "b", "c", "d"] {
        let inbox = inbox(store, user);
        assert_eq!(inbox[inbox.len() - 4..], messages, "{user}");
    }
    let entry = store.entry("d", 2);
    assert_eq!((&*entry.message.from, entry.at), ("a", sent));
    assert_eq!(entry.message.to, Conversation::Room("lobby".into()));
    assert_eq!(entry.message.content, "\"one\"");
    assert_eq!(store.entry("a", 7).message.content.len(), 5002);
    assert_eq!(store.head("a"), 7);
    store.verify();
    store.reopen();
    store.verify();
}

pub fn changes_reach_all_members(store: &mut TestStore) {
    store.set_rooms(RULES);
    for user in ["a", "b", "c"] {
        store.commit_one(join(user, "lobby"));
    }
    let outcomes = store.commit(&[
        say("a", "lobby", 1, "one"),
        edit("a", "lobby", 1, "two"),
        edit("b", "lobby", 1, "no"),
        react("c", "lobby", 1),
        edit("a", "lobby", 1, "three"),
        say("b", "lobby", 2, "x"),
        delete("b", "lobby", 2),
        delete("b", "lobby", 2),
    ]);
    assert_eq!(stored(&outcomes[1]), (5, of(&[("b", 4), ("c", 3)])));
    assert_eq!(outcomes[2], Outcome::NotAuthor);
    assert_eq!(stored(&outcomes[3]), (4, of(&[("a", 6), ("b", 5)])));
    assert_eq!(duplicate(&outcomes[7]).0, Some(8));
    let expected = [
        "message 1",
        "superseded",
        "reacted 1",
        "edited 1",
        "message 2",
        "deleted 2",
    ];
    for (user, before) in [("a", 3), ("b", 2), ("c", 1)] {
        assert_eq!(inbox(store, user)[before..], expected, "{user}");
    }
    let entry = store.entry("c", 4);
    assert_eq!((&*entry.actor, &*entry.message.from), ("c", "a"));
    assert_eq!(entry.message.to, Conversation::Room("lobby".into()));
    store.verify();
}

pub fn an_inbox_has_what_happens_between_joined_and_left(store: &mut TestStore) {
    store.set_rooms(RULES);
    store.commit_one(join("a", "lobby"));
    // From two devices of b, in one batch with messages of others.
    store.commit(&[
        say("a", "lobby", 1, "before"),
        join("b", "lobby"),
        say("a", "lobby", 2, "in"),
        join("b", "lobby"),
        say("b", "lobby", 3, "own"),
        edit("a", "lobby", 1, "changed"),
        leave("b", "lobby"),
        say("a", "lobby", 4, "after"),
        say("b", "lobby", 5, "refused"),
        leave("b", "lobby"),
        edit("a", "lobby", 2, "changed"),
        join("b", "lobby"),
        say("a", "lobby", 6, "again"),
    ]);
    store.commit(&[leave("b", "lobby"), say("a", "lobby", 7, "after")]);
    assert_eq!(
        inbox(store, "b"),
        [
            "joined b 2",
            "message 2",
            "message 3",
            "edited 1",
            "left b 1",
            "joined b 2",
            "message 6",
            "left b 1"
        ]
    );
    assert_eq!(
        inbox(store, "a"),
        [
            "joined a 1",
            "message 1",
            "joined b 2",
            "message 2",
            "message 3",
            "edited 1",
            "left b 1",
            "message 4",
            "edited 2",
            "joined b 2",
            "message 6",
            "left b 1",
            "message 7"
        ]
    );
    store.verify();
    store.reopen();
    if store.is_persistent {
        assert_eq!(inbox(store, "b").len(), 8);
    }
}

pub fn others_cannot_tell_whether_a_room_exists(store: &mut TestStore) {
    store.set_rooms(RULES);
    store.commit(&[
        join("a", "lobby"),
        join("b", "lobby"),
        say("a", "lobby", 1, "x"),
        say("b", "lobby", 2, "y"),
        leave("b", "lobby"),
    ]);
    for user in ["b", "new"] {
        for (room, n) in [("lobby", 1), ("lobby", 9), ("nowhere", 1)] {
            let writes = [
                say(user, room, n, "other"),
                edit(user, room, n, "other"),
                delete(user, room, n),
                react(user, room, n),
                read(user, room, n),
            ];
            for outcome in store.commit(&writes) {
                assert_eq!(outcome, Outcome::NotMember, "{user} {room} {n}");
            }
            let mut query = history_query(user, "", None, 10);
            query.conversation = Conversation::Room(room.into());
            let answer = store.reader().history(&query).expect("it is read");
            assert_eq!(answer, HistoryAnswer::NotMember);
            let query = MembersQuery {
                user: user.into(),
                room: room.into(),
                limit: 10,
                cursor: None,
            };
            let answer = store.reader().members(&query).expect("it is read");
            assert_eq!(answer, MembersAnswer::NotMember);
            let (user, room) = (user.to_owned(), room.to_owned());
            let members = store.with_store(move |store| store.room_members(&room, Some(&user)));
            assert_eq!(members.expect("it is read"), None);
        }
    }
    // What b has sent is a duplicate for b only.
    assert_eq!(
        duplicate(&store.commit_one(say("b", "lobby", 2, "y"))).0,
        Some(3)
    );
    for refused in [say("b", "lobby", 2, "z"), edit("b", "lobby", 2, "z")] {
        assert_eq!(store.commit_one(refused), Outcome::NotMember);
    }
    store.verify();
}

pub fn what_was_before_the_last_join_does_not_exist_if_so_set(store: &mut TestStore) {
    let history = RoomHistory::Joined;
    store.set_rooms(RoomRules { history, ..RULES });
    store.commit(&[
        join("a", "lobby"),
        say("a", "lobby", 1, "before"),
        join("b", "lobby"),
        say("a", "lobby", 2, "after"),
        edit("a", "lobby", 1, "changed"),
    ]);
    assert_eq!(inbox(store, "b"), ["joined b 2", "message 2"]);
    assert_eq!(inbox(store, "a").last().expect("an entry"), "edited 1");
    for write in [
        react("b", "lobby", 1),
        read("b", "lobby", 1),
        edit("b", "lobby", 1, "x"),
    ] {
        assert_eq!(store.commit_one(write), Outcome::UnknownMessage);
    }
    let mut query = history_query("b", "", None, 10);
    query.conversation = Conversation::Room("lobby".into());
    let page = store.history_page(&query).expect("there is no position");
    assert_eq!(page.messages.iter().map(number).collect::<Vec<_>>(), [2]);
    assert!(!page.more);
    for position in [
        dmwire::store::HistoryPosition::Before(id(1)),
        dmwire::store::HistoryPosition::After(id(1)),
    ] {
        query.position = Some(position);
        assert_eq!(store.history_page(&query), None);
    }
    store.verify();
}

pub fn entries_in_rooms_are_limited_per_user(store: &mut TestStore) {
    store.set_rooms(RoomRules {
        entries_per_second: Some(1),
        entries_burst: 11,
        ..RULES
    });
    // 1, 2 and 3 entries.
    for user in ["a", "b", "c"] {
        store.commit_one(join(user, "lobby"));
    }
    // 3 entries each: a has 10 left, or 11 if a second has passed.
    let outcomes = store.commit(&[
        say("a", "lobby", 1, "x"),
        say("a", "lobby", 2, "x"),
        edit("a", "lobby", 1, "y"),
        say("a", "lobby", 3, "x"),
        say("a", "lobby", 1, "x"),
        say("b", "lobby", 4, "x"),
    ]);
    assert_eq!(stored(&outcomes[2]).0, 6);
    let Outcome::TooManyEntries { retry_after_ms } = outcomes[3] else {
        panic!("expected a limit, found {:?}", outcomes[3]);
    };
    assert!((1..=2000).contains(&retry_after_ms), "{retry_after_ms}");
    assert_eq!(duplicate(&outcomes[4]).0, Some(4));
    assert_eq!(stored(&outcomes[5]).0, 6);
    // Nothing was stored.
    assert_eq!(store.head("a"), 7);
    store.verify();
}

pub fn a_membership_of_a_session_is_replaced_by_a_lasting_one(store: &mut TestStore) {
    store.set_rooms(RULES);
    let with = |write: Write| match write {
        Write::Join { user, room, .. } => Write::Join {
            user,
            room,
            kind: MembershipKind::Session,
        },
        Write::Leave { user, room, .. } => Write::Leave {
            user,
            room,
            kind: MembershipKind::Session,
        },
        other => other,
    };
    let listed = |store: &mut TestStore| {
        let mut listed = Vec::new();
        let mut each = |user: &str, room: &str| listed.push(format!("{user} {room}"));
        store
            .reader()
            .session_memberships(&mut each)
            .expect("it is read");
        listed.sort_unstable();
        listed
    };
    store.commit(&[
        with(join("a", "lobby")),
        with(join("b", "lobby")),
        join("c", "lobby"),
        with(join("c", "lobby")),
    ]);
    store.reopen();
    if !store.is_persistent {
        return;
    }
    assert_eq!(listed(store), ["a lobby", "b lobby"]);
    assert!(membership(&store.commit_one(join("b", "lobby"))).3);
    assert_eq!(listed(store), ["a lobby"]);
    for user in ["b", "c"] {
        assert!(
            membership(&store.commit_one(with(leave(user, "lobby")))).3,
            "{user}"
        );
    }
    assert!(!membership(&store.commit_one(with(leave("a", "lobby")))).3);
    assert_eq!(listed(store), Vec::<String>::new());
    store.verify();
}

pub fn watermarks_in_rooms_make_no_receipts(store: &mut TestStore) {
    store.set_rooms(RULES);
    store.commit(&[
        join("a", "lobby"),
        join("b", "lobby"),
        say("a", "lobby", 1, "x"),
    ]);
    let outcomes = store.commit(&[say("a", "lobby", 2, "x"), receive("b", "phone", 3)]);
    assert_eq!(outcomes[1], Outcome::Received(Vec::new()));
    assert_eq!(store.open_inbox("b", "phone").received, 3);
    store.verify();
}

pub fn an_entry_about_a_member_is_known_by_its_time(store: &mut TestStore) {
    store.set_rooms(RULES);
    store.commit(&[join("a", "lobby"), join("b", "lobby")]);
    let now = store.now;
    let mut diverged = |id, at| {
        let query = InboxQuery {
            device: DeviceRef {
                user: "a".into(),
                device: "phone".into(),
            },
            known: Some(KnownEntry {
                seq: 2,
                id,
                at,
                epoch: None,
            }),
        };
        let states = store.reader().open_inboxes(&[query]);
        states.expect("the inbox opens")[0].diverged
    };
    assert!(!diverged(None, Some(now)));
    assert!(!diverged(None, None));
    assert!(diverged(None, Some(now - 1)));
    // It is not the message that the client knows.
    assert!(diverged(Some(id(1)), Some(now)));
}
