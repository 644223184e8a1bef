//! The reading half of the store.

mod conversations;
mod cursor;
mod events;
mod export;
mod hidden;
mod history;
mod inbox;
mod known;
mod overview;
mod rooms;
mod row;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _};

use self::cursor::CursorKey;
use super::epochs::Epochs;
use super::file::connect_to_read;
use super::rooms::share_small_room;
use super::shared::Shared;
use super::{migrations, pending};
use crate::store::{
    ConversationsPage, ConversationsQuery, ExportPage, ExportQuery, HistoryAnswer, HistoryQuery,
    InboxItem, InboxQuery, InboxRange, InboxState, MembersAnswer, MembersQuery, NameHash,
    NameHasher, PresenceMode, Reader, RoomDeletionId, RoomHistory, RoomMembersQuery, RoomMode,
    RoomRules, RoomsPage, RoomsQuery, StoreError, UserOverview, UserQuery, Watched,
};

/// A connection that only reads.
#[derive(Debug)]
pub struct SqliteReader {
    connection: Connection,
    /// The tables are hidden by views that include the pending log.
    includes_pending: bool,
    /// Shared with the store; `None` if this process has no store open on the file.
    shared: Option<Arc<Shared>>,
    /// The maximum number of entries of an inbox.
    inbox_limit: u64,
    /// The key of the cursors; `None`: it has not been read.
    cursor_key: Option<CursorKey>,
    /// The epochs of users; `None`: they have not been read.
    epochs: Option<Epochs>,
    /// Hashes names; `None`: its key has not been read.
    names: Option<NameHasher>,
    rooms: RoomRules,
    presence: PresenceMode,
    /// Of the messages of events up to this one, all entries are in the table of inboxes.
    events_with_entries: i64,
}

type Result<T> = rusqlite::Result<T>;

impl SqliteReader {
    /// Opens a reading connection of a store.
    pub fn open(
        path: &Path,
        shared: Arc<Shared>,
        inbox_limit: u64,
        (rooms, presence): (RoomRules, PresenceMode),
    ) -> Result<Self> {
        Ok(Self {
            connection: connect_to_read(path)?,
            includes_pending: false,
            shared: Some(shared),
            inbox_limit,
            cursor_key: None,
            epochs: None,
            names: None,
            rooms,
            presence,
            events_with_entries: 0,
        })
    }

    /// Reads through an open connection, in the state that it sees.
    pub fn with_connection(connection: Connection) -> Self {
        Self {
            connection,
            includes_pending: false,
            shared: None,
            inbox_limit: u64::MAX,
            cursor_key: None,
            epochs: None,
            names: None,
            rooms: RoomRules {
                mode: RoomMode::Open,
                ..RoomRules::default()
            },
            presence: PresenceMode::default(),
            events_with_entries: 0,
        }
    }

    /// The same, with what members may read of rooms.
    pub fn with_history(mut self, history: RoomHistory) -> Self {
        self.rooms.history = history;
        self
    }

    /// Makes sure that the next query sees all messages: has the pending log flushed, or, if that fails, includes it.
    fn see_all_messages(&mut self) -> Result<()> {
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        if shared.flush() {
            self.exclude_pending()
        } else {
            self.exclude_pending()?;
            let tx = self.connection.unchecked_transaction()?;
            pending::include(&tx)?;
            self.includes_pending = true;
            tx.commit()
        }
    }

    fn exclude_pending(&mut self) -> Result<()> {
        if self.includes_pending {
            pending::exclude(&self.connection)?;
            self.includes_pending = false;
        }
        Ok(())
    }

    pub(super) fn user(&self, id: &str) -> Result<Option<i64>> {
        self.connection
            .prepare_cached("SELECT n FROM users WHERE id = ?1")?
            .query_row([id], |row| row.get(0))
            .optional()
    }

    fn conversation(&self, a: &str, b: &str) -> Result<Option<i64>> {
        let (Some(a), Some(b)) = (self.user(a)?, self.user(b)?) else {
            return Ok(None);
        };
        self.connection
            .prepare_cached("SELECT n FROM conversations WHERE low = ?1 AND high = ?2")?
            .query_row([a.min(b), a.max(b)], |row| row.get(0))
            .optional()
    }
}

impl SqliteReader {
    /// Calls `each` with the two names that each row of a query has.
    fn each_pair(
        &self,
        sql: &str,
        each: &mut dyn FnMut(&str, &str),
    ) -> std::result::Result<(), StoreError> {
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let text = |column| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
            each(text(0)?, text(1)?);
        }
        Ok(())
    }

    fn epochs(&mut self) -> std::result::Result<Epochs, StoreError> {
        if let Some(epochs) = &self.epochs {
            return Ok(epochs.clone());
        }
        let epochs = migrations::epochs(&self.connection).map_err(StoreError::Failed)?;
        self.epochs = Some(epochs.clone());
        Ok(epochs)
    }

    fn name_hasher(&mut self) -> Result<NameHasher> {
        if let Some(names) = &self.names {
            return Ok(names.clone());
        }
        let names = migrations::name_hasher(&self.connection)?;
        self.names = Some(names.clone());
        Ok(names)
    }

    fn cursor_key(&mut self) -> Result<CursorKey> {
        if let Some(key) = &self.cursor_key {
            return Ok(key.clone());
        }
        let key = CursorKey::read(&self.connection)?;
        self.cursor_key = Some(key.clone());
        Ok(key)
    }

    /// True if a conversation has messages of both of its users.
    fn has_messages_of_both(&self, conversation: i64) -> Result<bool> {
        self.connection
            .prepare_cached("SELECT low_wrote AND high_wrote FROM conversations WHERE n = ?1")?
            .query_row([conversation], |row| row.get(0))
    }
}

impl Reader for SqliteReader {
    fn open_inboxes(
        &mut self,
        queries: &[InboxQuery],
    ) -> std::result::Result<Vec<InboxState>, StoreError> {
        self.exclude_pending()?;
        let epochs = self.epochs()?;
        if let [query] = queries
            && query.known.is_none()
        {
            return Ok(self.read_inboxes(queries, &epochs)?);
        }
        // Cheaper than a transaction for each device. It sees the file as of its first query.
        let view = self.connection.unchecked_transaction()?;
        let states = self.read_inboxes(queries, &epochs)?;
        view.finish()?;
        Ok(states)
    }

    fn entries(&mut self, range: &InboxRange) -> std::result::Result<Vec<InboxItem>, StoreError> {
        self.see_all_messages()?;
        let view = self.connection.unchecked_transaction()?;
        let items = self.read_items(range)?;
        view.finish()?;
        Ok(items)
    }

    fn history(&mut self, query: &HistoryQuery) -> std::result::Result<HistoryAnswer, StoreError> {
        self.see_all_messages()?;
        let view = self.connection.unchecked_transaction()?;
        let answer = self.read_history(query)?;
        view.finish()?;
        Ok(answer)
    }

    fn conversations(
        &mut self,
        query: &ConversationsQuery,
    ) -> std::result::Result<Option<ConversationsPage>, StoreError> {
        self.see_all_messages()?;
        self.cursor_key()?;
        let view = self.connection.unchecked_transaction()?;
        let page = self.read_conversations(query)?;
        view.finish()?;
        Ok(page)
    }

    fn is_mutual(&mut self, a: &str, b: &str) -> std::result::Result<bool, StoreError> {
        if a == b {
            return Ok(true);
        }
        // In their tables as soon as they are committed: what the conversation records of its users, and members of rooms.
        if let Some(conversation) = self.conversation(a, b)?
            && self.has_messages_of_both(conversation)?
        {
            return Ok(true);
        }
        let (Some(a), Some(b)) = (self.user(a)?, self.user(b)?) else {
            return Ok(false);
        };
        Ok(share_small_room(&self.connection, &self.rooms, (a, b))?)
    }

    fn members(&mut self, query: &MembersQuery) -> std::result::Result<MembersAnswer, StoreError> {
        self.see_all_messages()?;
        let key = self.cursor_key()?;
        let view = self.connection.unchecked_transaction()?;
        let answer = self.read_members(query, &key)?;
        view.finish()?;
        Ok(answer)
    }

    fn user_overview(
        &mut self,
        query: &UserQuery,
    ) -> std::result::Result<Option<UserOverview>, StoreError> {
        self.see_all_messages()?;
        let view = self.connection.unchecked_transaction()?;
        let user = self.read_user(query)?;
        view.finish()?;
        Ok(user)
    }

    fn rooms(&mut self, query: &RoomsQuery) -> std::result::Result<RoomsPage, StoreError> {
        self.see_all_messages()?;
        let view = self.connection.unchecked_transaction()?;
        let page = self.read_rooms(query)?;
        view.finish()?;
        Ok(page)
    }

    fn room_members(
        &mut self,
        query: &RoomMembersQuery,
    ) -> std::result::Result<MembersAnswer, StoreError> {
        self.see_all_messages()?;
        let key = self.cursor_key()?;
        let view = self.connection.unchecked_transaction()?;
        let answer = self.read_room_members(query, &key)?;
        view.finish()?;
        Ok(answer)
    }

    fn room_history(
        &mut self,
        query: &HistoryQuery,
    ) -> std::result::Result<HistoryAnswer, StoreError> {
        self.see_all_messages()?;
        let view = self.connection.unchecked_transaction()?;
        let answer = self.read_room_history(query)?;
        view.finish()?;
        Ok(answer)
    }

    fn export(
        &mut self,
        query: &ExportQuery,
    ) -> std::result::Result<Option<ExportPage>, StoreError> {
        self.see_all_messages()?;
        let view = self.connection.unchecked_transaction()?;
        let page = self.read_export(query)?;
        view.finish()?;
        Ok(page)
    }

    fn watched(
        &mut self,
        viewer: &str,
        users: &[Arc<str>],
    ) -> std::result::Result<Vec<Watched>, StoreError> {
        let mut found = Vec::with_capacity(users.len());
        for user in users {
            let last_seen: Option<Option<i64>> = self
                .connection
                .prepare_cached("SELECT last_seen FROM users WHERE id = ?1")?
                .query_row([user], |row| row.get(0))
                .optional()?;
            // Blocks may end while the user is watched.
            let decides = self.presence == PresenceMode::Contacts;
            found.push(Watched {
                is_mutual: decides && self.is_mutual(viewer, user)?,
                last_seen: last_seen.flatten(),
            });
        }
        Ok(found)
    }

    fn has_online_users(&mut self) -> std::result::Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM online)";
        Ok(self.connection.query_row(sql, (), |row| row.get(0))?)
    }

    fn session_memberships(
        &mut self,
        each: &mut dyn FnMut(&str, &str),
    ) -> std::result::Result<(), StoreError> {
        self.each_pair(
            "SELECT u.id, r.name FROM members AS m JOIN users AS u ON u.n = m.user JOIN rooms AS r ON r.n = m.room
             WHERE m.session AND r.deleted_at IS NULL",
            each,
        )
    }

    fn revoked_until(&mut self, user: &str) -> std::result::Result<Option<i64>, StoreError> {
        let name = self.name_hasher()?.hash(user);
        let until = self
            .connection
            .prepare_cached("SELECT until FROM revocations WHERE name = ?1")?
            .query_row([name], |row| row.get(0))
            .optional()?;
        Ok(until)
    }

    fn revocations(
        &mut self,
        each: &mut dyn FnMut(&NameHash),
    ) -> std::result::Result<(), StoreError> {
        let mut statement = self.connection.prepare("SELECT name FROM revocations")?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            each(&row.get(0)?);
        }
        Ok(())
    }

    fn room_deletions(&mut self) -> std::result::Result<Vec<RoomDeletionId>, StoreError> {
        let ids = self
            .connection
            .prepare("SELECT room FROM room_deletions ORDER BY room")?
            .query_map((), |row| row.get(0).map(RoomDeletionId))?
            .collect::<Result<_>>()?;
        Ok(ids)
    }

    fn blocks(&mut self, each: &mut dyn FnMut(&str, &str)) -> std::result::Result<(), StoreError> {
        self.each_pair(
            "SELECT u.id, o.id FROM blocks AS b JOIN users AS u ON u.n = b.user JOIN users AS o ON o.n = b.blocked",
            each,
        )
    }
}
