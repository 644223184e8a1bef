//! Tests of the outbox without a socket.

use super::*;
use crate::protocol::MessageId;

const SHUTDOWN: Disconnect = disconnect::SHUTDOWN;

fn outbox() -> Arc<Outbox> {
    Outbox::new(Uuid::nil(), "u".into(), 1024, &MemoryBudget::new(1 << 20))
}

#[test]
fn a_change_during_the_tasks_turn_is_noticed() {
    let outbox = outbox();
    let take = |writing| {
        let taken = outbox.take(
            Waker::noop(),
            (writing, writing),
            Interest::default(),
            Vec::new(),
        );
        taken.changed
    };
    outbox.start_turn();
    outbox.disconnect(SHUTDOWN);
    assert!(take(0), "disconnect during the turn");
    assert!(outbox.start_turn().disconnect.is_some());
    assert!(!take(0), "the status has shown it");
    outbox.add_pending_write();
    outbox.start_turn();
    assert!(matches!(outbox.reply(None), Wakeup::Nothing));
    assert!(take(10), "a reply without a frame");
}

#[test]
fn memory_counts_the_whole_buffer_until_it_is_released() {
    let memory = MemoryBudget::new(1 << 20);
    let outbox = Outbox::new(Uuid::nil(), "u".into(), 1 << 20, &memory);
    outbox.echo(Opcode::Binary, &vec![0; 100_000]);
    let take = |in_hand| outbox.take(Waker::noop(), in_hand, Interest::default(), Vec::new());
    let bytes = take((0, 0)).bytes;
    assert_eq!(memory.used(), bytes.capacity() - FREE_PER_SESSION);
    let status = take((1, bytes.capacity())).status;
    assert_eq!(memory.used(), bytes.capacity() - FREE_PER_SESSION);
    assert_eq!((status.unsent, status.reserved), (1, memory.used()));
    take((0, 0));
    assert_eq!(memory.used(), 0);
}

#[test]
fn the_wakeup_of_a_push_depends_on_what_the_task_must_do() {
    let outbox = outbox();
    let wait = |interest| {
        outbox.start_turn();
        while !outbox
            .take(Waker::noop(), (0, 0), interest, Vec::new())
            .bytes
            .is_empty()
        {}
    };
    let push = |seq| outbox.push_entry(seq, b"frame", WrittenBy::AppendingThread);
    outbox.open(1, 0);
    assert!(
        matches!(push(1), Wakeup::Nothing),
        "the task has not run yet"
    );
    wait(Interest::default());
    assert!(
        matches!(push(2), Wakeup::Wake(_)),
        "only the task can write"
    );
    wait(Interest::default());
    assert!(matches!(push(4), Wakeup::Wake(_)), "a gap");
    wait(Interest::default());
    assert!(
        matches!(outbox.reply(None), Wakeup::Nothing),
        "nothing to do"
    );
    wait(Interest {
        all: true,
        entries: false,
    });
    assert!(
        matches!(outbox.reply(None), Wakeup::Wake(_)),
        "interest in every change"
    );
}

#[test]
fn the_fan_out_thread_takes_over_flushes_and_nothing_else() {
    let by = WrittenBy::FanOutThread;
    assert!(matches!(Wakeup::Flush.written_by(by), Wakeup::FanOut));
    assert!(matches!(Wakeup::Nothing.written_by(by), Wakeup::Nothing));
    let woken = Wakeup::Wake(Waker::noop().clone()).written_by(by);
    assert!(matches!(woken, Wakeup::Wake(_)));
    let own = Wakeup::Flush.written_by(WrittenBy::AppendingThread);
    assert!(matches!(own, Wakeup::Flush));
}

#[test]
fn an_ack_beyond_the_cursor_waits_for_the_replay() {
    let outbox = outbox();
    outbox.open(1, 2);
    outbox.add_pending_write();
    let subject = || (Acked::Message(MessageId(Uuid::nil())), Timestamp(0));
    let _ = outbox.push_ack(3, subject(), Some("r"), None);
    assert_eq!(outbox.status().unsent, 0);
    assert!(outbox.status().awaits_replies);
    let mut written = Vec::new();
    for seq in 1..=3 {
        outbox.push_replayed(seq, |_| written.push(seq));
    }
    assert_eq!(written, [1, 2], "the ack takes the place of the entry");
    let status = outbox.status();
    assert!(!status.awaits_replies && status.cursor == 4);
    // A message to oneself is both.
    outbox.add_pending_write();
    let _ = outbox.push_ack(5, subject(), None, Some(b"message"));
    for seq in 4..=5 {
        outbox.push_replayed(seq, |_| written.push(seq));
    }
    assert_eq!(written, [1, 2, 4, 5]);
    assert!(!outbox.status().awaits_replies);
}
