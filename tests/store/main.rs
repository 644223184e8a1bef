//! The contract of a store, as separate tests that every backend runs.
//!
//! A contract test is a function that takes a [`TestStore`], which only uses the traits of `dmwire::store`. [`test_store!`] makes
//! them tests of one backend. To test another backend, implement [`Fixture`] for it and add one line at the end of this file; to
//! run one test on all backends, `cargo test --test store a_message_is_stored_once`.

#[path = "../support/support.rs"]
mod support;

mod bytes;
mod changes;
mod clock;
mod contents;
mod counts;
mod devices;
mod erasure;
mod exports;
mod fixture;
mod keys;
mod known;
mod limits;
mod lists;
mod long_contents;
mod messages;
mod migration;
mod openings;
mod presence;
mod reads;
mod receipts;
mod retention;
mod room_deletions;
mod room_files;
mod room_lifetimes;
mod room_model;
mod room_queries;
mod rooms;
mod superseded;
mod unused;
mod writes;

use dmwire::store::StoreOptions;
use fixture::{Fixture, RETENTION, SqliteFile, SqliteTemporary, TestStore};

/// Declares the contract tests of the backend that a [`Fixture`] opens, in a module of their own.
macro_rules! test_store {
    ($backend:ident: $fixture:ty) => {
        test_store! { $backend: $fixture;
            messages::users_exist_from_their_first_message,
            messages::an_inbox_range_ends_where_its_bytes_do,
            messages::a_message_is_stored_once,
            messages::a_repetition_is_found_and_nothing_else_is_stored,
            messages::a_rejected_write_does_not_affect_the_rest_of_its_batch,
            messages::a_room_is_unknown,
            receipts::watermarks_only_increase,
            receipts::one_watermark_covers_several_conversations,
            receipts::read_marks_only_increase,
            receipts::a_deleted_message_is_not_unread,
            receipts::a_first_answer_reveals_what_was_received,
            receipts::with_presence_off_a_read_or_a_write_reveals_what_was_received,
            receipts::everyone_sees_what_strangers_have_received,
            receipts::what_an_invisible_user_has_received_is_revealed_in_steps,
            presence::a_late_record_does_not_change_when_an_invisible_user_was_seen,
            presence::without_rooms_former_members_are_strangers,
            presence::what_is_deferred_in_many_conversations_is_shown_before_the_user_is_invisible_again,
            presence::what_was_shown_with_another_setting_stays_shown,
            changes::authors_edit_their_messages,
            changes::an_edit_that_changes_nothing_is_a_duplicate_of_the_message,
            changes::authors_delete_their_messages,
            changes::an_edited_message_that_is_deleted_is_still_recognised,
            changes::both_users_react,
            changes::reactions_are_limited_per_user,
            changes::a_reaction_to_a_message_to_oneself_is_one_entry,
            known::a_pending_or_moved_message_is_compared,
            known::an_edit_is_known_by_its_own_time_and_by_those_of_later_edits,
            known::a_reaction_is_known_by_its_ack_or_as_deleted,
            known::a_removed_entry_is_not_compared,
            keys::an_author_who_has_never_connected_gets_no_entries,
            keys::an_author_who_has_connected_gets_entries,
            keys::users_that_a_key_names_are_known,
            keys::limits_of_users_do_not_apply_to_keys,
            keys::a_key_sends_to_rooms_as_a_member_or_not,
            keys::a_member_whom_a_key_removes_cannot_join_again,
            keys::a_key_makes_members_of_a_managed_room,
            keys::a_key_deletes_messages_in_the_name_of_their_authors,
            bytes::bytes_are_limited_and_refilled_over_a_day,
            bytes::the_use_of_bytes_is_kept,
            devices::a_device_is_stored_from_its_first_watermark,
            devices::a_user_is_known_from_the_first_session,
            devices::a_device_that_was_used_recently_is_never_forgotten,
            devices::a_device_without_a_place_makes_receipts,
            devices::no_device_is_forgotten_while_the_time_is_uncertain,
            devices::a_device_is_kept_whatever_the_clock_was_at_its_use,
            limits::a_block_applies_to_the_writes_behind_it,
            limits::blocks_are_listed_and_limited,
            limits::messages_to_unknown_recipients_are_limited,
            limits::only_known_users_receive_messages_when_required,
            reads::histories_are_read_in_pages,
            reads::a_history_page_ends_where_its_bytes_do,
            reads::a_history_ends_at_the_oldest_message_to_show,
            reads::conversations_are_read_in_pages,
            reads::a_conversation_with_a_new_message_moves_to_the_front,
            reads::a_page_of_conversations_ends_where_its_bytes_do,
            counts::unread_messages_are_those_that_a_history_shows,
            counts::both_users_have_written_while_messages_of_both_are_kept,
            long_contents::content_of_any_length_is_stored_replaced_and_removed,
            lists::a_cursor_is_valid_for_its_user_only,
            retention::inboxes_are_trimmed_to_their_limit,
            retention::a_message_is_kept_while_an_inbox_shows_it,
            retention::expired_entries_and_messages_are_removed,
            retention::sequence_numbers_continue_after_everything_has_expired,
            retention::the_epoch_stays_when_the_store_is_reopened,
            superseded::an_edit_is_superseded_by_the_next_edit_or_the_deletion,
            superseded::a_reaction_is_superseded_by_the_same_users_next_change_of_it,
            superseded::a_reaction_that_is_no_longer_remembered_is_superseded,
            superseded::changes_of_messages_to_oneself_are_superseded_once,
            superseded::superseded_entries_do_not_count_towards_the_limit,
            superseded::superseded_entries_have_a_bound_of_their_own,
            superseded::a_superseded_entry_does_not_keep_its_message,
            superseded::superseded_entries_in_a_room_do_not_count_before_they_move,
            superseded::a_superseded_entry_is_known_by_its_message_and_every_time_told_for_it,
            clock::a_time_that_is_too_early_removes_nothing_before_it,
            clock::a_time_that_is_too_late_keeps_what_follows_it,
            clock::nothing_expires_while_the_time_is_uncertain,
            clock::hiding_follows_the_time_in_both_directions,
            clock::reactions_keep_their_order_whatever_the_time,
            clock::the_times_of_commits_are_known_after_a_start,
            room_model::rooms_are_as_the_model_says,
            room_model::rooms_that_hide_what_was_before_a_join_are_as_the_model_says,
            room_model::rooms_in_which_all_get_all_entries_are_as_the_model_says,
            rooms::members_of_a_small_room_see_who_joins_and_leaves,
            rooms::members_of_a_larger_room_see_only_their_own_joins,
            rooms::joins_are_checked_in_order,
            rooms::a_message_reaches_all_members,
            rooms::changes_reach_all_members,
            rooms::an_inbox_has_what_happens_between_joined_and_left,
            rooms::others_cannot_tell_whether_a_room_exists,
            rooms::what_was_before_the_last_join_does_not_exist_if_so_set,
            rooms::entries_in_rooms_are_limited_per_user,
            rooms::a_membership_of_a_session_is_replaced_by_a_lasting_one,
            rooms::watermarks_in_rooms_make_no_receipts,
            rooms::an_entry_about_a_member_is_known_by_its_time,
            known::a_change_in_a_room_is_compared_before_its_entries_move,
            room_queries::rooms_are_listed_with_direct_conversations,
            room_queries::a_room_is_listed_without_its_hidden_messages,
            room_queries::lists_of_rooms_are_settled_like_others,
            room_queries::unread_messages_in_a_room_are_counted_from_the_join_up_to_a_limit,
            room_queries::members_are_read_in_pages,
            room_queries::members_of_a_small_room_see_each_other,
            room_queries::read_marks_are_for_the_members_of_a_small_room,
            room_lifetimes::a_message_in_a_room_is_kept_while_an_inbox_shows_it,
            room_lifetimes::inboxes_with_messages_in_rooms_are_trimmed_to_their_limit,
            room_lifetimes::a_room_without_members_keeps_its_history_until_that_expires,
            exports::an_export_has_the_messages_of_all_conversations,
            exports::an_exported_message_is_as_a_history_shows_it,
            exports::an_export_has_own_messages_of_all_rooms,
            exports::an_export_has_what_the_last_join_hides_only_if_it_is_own,
            exports::an_export_has_no_content_of_a_deleted_room,
            exports::an_export_continues_whatever_happens_between_its_pages,
            exports::an_export_page_ends_where_its_bytes_do,
            exports::a_position_in_an_export_is_valid_for_its_user_only,
            room_deletions::a_room_is_deleted_before_entries_of_its_messages_have_moved,
            room_deletions::a_deleted_room_is_gone_with_the_first_step,
            room_deletions::a_room_that_does_not_exist_is_not_deleted,
            room_deletions::a_former_member_who_joins_the_next_room_leaves_first,
            room_deletions::messages_of_a_deleted_room_are_removed_in_steps,
            room_deletions::members_of_a_deleted_small_room_stop_seeing_each_other_at_once,
        }
    };
    ($backend:ident: $fixture:ty; $($topic:ident::$test:ident,)+) => {
        mod $backend {
            use super::{Fixture, TestStore};

            $(
                #[test]
                fn $test() {
                    super::$topic::$test(&mut TestStore::new(<$fixture>::new()));
                }
            )+
        }
    };
}

test_store!(sqlite_file: super::SqliteFile);
test_store!(sqlite_temporary: super::SqliteTemporary);

#[test]
fn a_temporary_database_leaves_no_files() {
    let fixture = SqliteTemporary::new();
    let store = fixture.open(StoreOptions::new(RETENTION));
    drop(store);
    let files = std::fs::read_dir(fixture.folder()).expect("the folder exists");
    assert_eq!(files.count(), 0);
}
