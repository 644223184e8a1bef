//! Queries of operators, who see every room and every user.

use std::sync::Arc;

use uuid::Uuid;

use super::Router;
use super::query::ANSWER_BYTES;
use crate::readers::PendingRead;
use crate::store::{
    Conversation, ExportPage, ExportPosition, ExportQuery, HistoryAnswer, HistoryPosition,
    HistoryQuery, MembersAnswer, RoomMembersQuery, RoomsPage, RoomsQuery, UserOverview, UserQuery,
};

/// The most conversations of a user in which unread messages are counted: as many as one answer to `conversations` has.
const MAX_COUNTED: usize = 200;
/// The most rooms of a user that are listed.
const MAX_LISTED: usize = 1000;
/// The most messages in a page of an export.
const MAX_EXPORTED: usize = 500;

impl Router {
    /// Starts to read what is known of a user.
    pub fn user_overview(&self, user: Arc<str>) -> PendingRead<Option<UserOverview>> {
        self.readers.user_overview(UserQuery {
            user,
            conversations: MAX_COUNTED,
            rooms: MAX_LISTED,
            not_before: self.not_before(),
        })
    }

    /// Starts to read up to which time of issue the tokens of a user are revoked. `None`: they are not.
    pub fn revoked_until(&self, user: Arc<str>) -> PendingRead<Option<i64>> {
        self.readers.revoked_until(user)
    }

    /// Starts to read the rooms whose names are greater than `after`.
    pub fn all_rooms(&self, after: Option<Arc<str>>, limit: usize) -> PendingRead<RoomsPage> {
        self.readers.rooms(RoomsQuery { after, limit })
    }

    /// Starts to read members of any room.
    pub fn members_of_room(
        &self,
        room: Arc<str>,
        limit: usize,
        cursor: Option<Uuid>,
    ) -> PendingRead<MembersAnswer> {
        self.readers.room_members(RoomMembersQuery {
            room,
            limit,
            cursor,
        })
    }

    /// Starts to read messages of any room. The user of the query is no user.
    pub fn history_of_room(
        &self,
        room: Arc<str>,
        position: Option<HistoryPosition>,
        limit: usize,
    ) -> (HistoryQuery, PendingRead<HistoryAnswer>) {
        let query = HistoryQuery {
            user: "".into(),
            conversation: Conversation::Room(room),
            position,
            limit,
            not_before: self.not_before(),
            bytes: ANSWER_BYTES,
        };
        let read = self.readers.room_history(query.clone());
        (query, read)
    }

    /// Starts to read a page of all messages of a user. `after`: where the page before has ended.
    pub fn export(
        &self,
        user: Arc<str>,
        after: Option<ExportPosition>,
    ) -> PendingRead<Option<ExportPage>> {
        self.readers.export(ExportQuery {
            user,
            after,
            limit: MAX_EXPORTED,
            bytes: ANSWER_BYTES,
        })
    }
}
