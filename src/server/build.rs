//! Builds parts of the server from its settings.

use std::io;
use std::sync::Arc;

use crate::blocks::Blocks;
use crate::clock::Clock;
use crate::config::Config;
use crate::contacts::Contacts;
use crate::context::Context;
use crate::delivery::ReplyTo;
use crate::disk_space::DiskSpaceMonitor;
use crate::limits::Limits;
use crate::presence::{BYTES_PER_WATCH, Presence};
use crate::readers::Readers;
use crate::registry::Registry;
use crate::store::{ContactObserver, LiveCursors, StoreOptions};
use crate::webhooks::{Server, Setup, Webhooks};
use crate::writer::Writer;

/// Who is online: nobody yet.
pub fn presence(config: &Config, clock: &Arc<Clock>, blocks: &Arc<Blocks>) -> Presence {
    Presence::new(
        &config.presence,
        clock.clone(),
        blocks.clone(),
        config.limits.buffer_bytes / BYTES_PER_WATCH,
    )
}

/// The limits of the public port.
pub fn limits(config: &Config) -> Arc<Limits> {
    Limits::new(
        &config.limits,
        &config.recipients,
        &config.rooms,
        &config.network.trusted_proxy,
    )
}

/// Watches the disk of the store, which has been checked once.
pub fn disk_space(config: &Config) -> Arc<DiskSpaceMonitor> {
    let storage = &config.storage;
    let monitor = DiskSpaceMonitor::new(&storage.directory(), storage.min_free_disk.0);
    monitor.check();
    Arc::new(monitor)
}

/// Starts to post events. To be called before the first message is accepted.
pub fn webhooks(
    setup: Setup,
    context: &Context,
    readers: &Readers,
    writer: &Writer<ReplyTo>,
) -> io::Result<Webhooks> {
    setup.start(Server {
        readers: readers.clone(),
        writer: writer.clone(),
        clock: context.router.clock().clone(),
        presence: context.router.presence(),
        statuses: context.webhooks.clone(),
    })
}

/// How the store of a server works, and what it asks and reports.
pub fn store_options(
    config: &Config,
    registry: &Arc<Registry>,
    contacts: &Contacts,
    presence: &Presence,
) -> StoreOptions {
    StoreOptions {
        retention: config.storage.retention(),
        quotas: config.recipients.quotas(&config.limits),
        rooms: config.rooms.rules(),
        presence: config.presence.presence,
        live_cursors: live_cursors(registry),
        lost_contacts: lost_contacts(contacts, presence),
        events: None,
    }
}

/// The sessions of a server, for the store.
fn live_cursors(registry: &Arc<Registry>) -> LiveCursors {
    let (sessions, known) = (registry.clone(), registry.clone());
    LiveCursors::new(
        move |user| sessions.lowest_cursor(user),
        move |user| known.has_session(user),
    )
}

/// Updates what depends on two users being contacts when retention has removed messages of them.
fn lost_contacts(contacts: &Contacts, presence: &Presence) -> ContactObserver {
    let (lost, watched) = (contacts.clone(), presence.clone());
    ContactObserver::new(move |a, b| {
        lost.forget(a, b);
        watched.relation_changed(&a.into(), &b.into());
    })
}
