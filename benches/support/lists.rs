//! Lists of conversations of a user with many messages and conversations.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dmwire::store::{
    Authority, Conversation, ConversationsPage, ConversationsQuery, HistoryQuery, NewMessage,
    Reader, Write,
};
use uuid::Uuid;

use crate::disk::Percentiles;
use crate::{Failed, Folder, Mode, START, commit, open};

/// Queries of each kind.
const QUERIES: usize = 200;
/// Conversations in a page.
const PAGE: usize = 50;

fn message(from: Arc<str>, to: &Arc<str>) -> Write {
    Write::Message(NewMessage {
        from,
        to: Conversation::Direct(to.clone()),
        id: Uuid::now_v7(),
        content: format!("\"{:064}\"", 0).into(),
        reply_to: None,
        fresh: false,
        ip_quota: None,
        authority: Authority::User,
    })
}

fn page(
    reader: &mut dyn Reader,
    user: &Arc<str>,
    cursor: Option<Uuid>,
    not_before: Option<i64>,
) -> Result<ConversationsPage, Failed> {
    let page = reader.conversations(&ConversationsQuery {
        user: user.clone(),
        limit: PAGE,
        cursor,
        not_before,
        bytes: 250 << 10,
    })?;
    Ok(page.ok_or("the cursor is unknown")?)
}

fn timed<T>(
    took: &mut Vec<Duration>,
    query: impl FnOnce() -> Result<T, Failed>,
) -> Result<T, Failed> {
    let began = Instant::now();
    let result = query()?;
    took.push(began.elapsed());
    Ok(result)
}

/// A user has conversations with many others, one of whom has written most of the messages. None is read.
pub fn measure(messages: usize, conversations: usize, folder: &Folder) -> Result<(), Failed> {
    let mut store = open(folder, Mode::Normal, "lists.db")?;
    let hub: Arc<str> = "hub".into();
    let flood: Arc<str> = "flood".into();
    let mut now = START;
    let began = Instant::now();
    let mut last = 0;
    for first in (0..messages).step_by(1024) {
        let batch: Vec<_> = (first..messages.min(first + 1024))
            .map(|n| {
                // The conversations are spread over the time.
                let of_peer = n * conversations / messages;
                if of_peer > last || n == 0 {
                    last = of_peer;
                    message(format!("peer{of_peer}").into(), &hub)
                } else {
                    message(flood.clone(), &hub)
                }
            })
            .collect();
        commit(&mut *store, &mut now, &batch)?;
    }
    println!(
        "a user with {messages} unread messages in {conversations} conversations, most of them in one; filled in {:.0} s\n",
        began.elapsed().as_secs_f64()
    );
    drop(store);
    let store = open(folder, Mode::Full, "lists.db")?;
    let mut reader = store.reader()?;
    let half = START.midpoint(now);
    let (mut firsts, mut nexts) = (Vec::new(), Vec::new());
    let (mut hiding, mut histories) = (Vec::new(), Vec::new());
    let mut cursor = None;
    for _ in 0..QUERIES {
        timed(&mut firsts, || page(reader.as_mut(), &hub, None, None))?;
        let next = timed(&mut nexts, || page(reader.as_mut(), &hub, cursor, None))?;
        cursor = next.cursor;
        timed(&mut hiding, || {
            page(reader.as_mut(), &hub, None, Some(half))
        })?;
        timed(&mut histories, || {
            Ok(reader.history(&HistoryQuery {
                user: hub.clone(),
                conversation: Conversation::Direct(flood.clone()),
                position: None,
                limit: PAGE,
                not_before: Some(half),
                bytes: 250 << 10,
            })?)
        })?;
    }
    println!("{:>44}{:>10}{:>10}", "microseconds", "p50", "p99");
    for (name, took) in [
        ("conversations, first page", firsts),
        ("conversations, next pages", nexts),
        ("conversations, half of the messages hidden", hiding),
        ("history, half of the messages hidden", histories),
    ] {
        let took = Percentiles::of(took);
        println!("{name:>44}{:>10.0}{:>10.0}", took.p50, took.p99);
    }
    println!();
    Ok(())
}
