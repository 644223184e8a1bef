use super::*;
use crate::store::{EventKind, ReceiverState};

const LIMIT: i64 = 1000;

fn event(id: i64, conversation: i64) -> EventRef {
    EventRef {
        id,
        conversation,
        kind: EventKind::Message,
        at: id * 10,
    }
}

fn lanes(events: &[EventRef]) -> Lanes {
    let mut lanes = Lanes::default();
    assert!(lanes.take_up(events, |_| true));
    lanes
}

fn take(lanes: &mut Lanes) -> Option<(Key, i64)> {
    lanes.take_ready().map(|(key, item)| match item {
        Item::Stored(event) => (key, event.id),
        Item::Live(..) => (key, 0),
    })
}

#[test]
fn events_of_a_conversation_are_posted_one_after_the_other() {
    let mut lanes = lanes(&[event(1, 5), event(2, 6), event(3, 5)]);
    let (first, second) = (Key::Conversation(5), Key::Conversation(6));
    assert_eq!(take(&mut lanes), Some((first.clone(), 1)));
    assert_eq!(take(&mut lanes), Some((second.clone(), 2)));
    assert_eq!(take(&mut lanes), None);
    lanes.done(&first, true);
    assert_eq!(take(&mut lanes), Some((first.clone(), 3)));
    let now = Instant::now();
    lanes.failed(&first, 100, now, 0.5);
    lanes.done(&second, true);
    assert_eq!(take(&mut lanes), None);
    lanes.end_pauses(now + LONGEST_PAUSE);
    assert_eq!(take(&mut lanes), Some((first.clone(), 3)));
    lanes.done(&first, true);
    assert_eq!(lanes.len(), 0);
}

#[test]
fn what_is_stored_has_the_first_event_of_each_lane() {
    let mut before = lanes(&[event(1, 5), event(2, 6), event(3, 5), event(4, 7)]);
    let (first, second) = (Key::Conversation(5), Key::Conversation(7));
    assert!(before.add_live(
        &"ada".into(),
        Event {
            id: "evt".into(),
            body: Vec::new()
        },
        7
    ));
    while take(&mut before).is_some() {}
    before.done(&second, true);
    before.failed(&first, 100, Instant::now(), 0.5);
    let state = before.state(100);
    assert_eq!((state.position, state.needed), (5, 1));
    let mut after = Lanes::restore(&state, 100);
    assert_eq!(after.position(), 5);
    let mut refills = after.take_empty();
    refills.sort_unstable();
    assert_eq!(refills, [(5, 1), (6, 2)]);
    after.refill(5, &[event(1, 5), event(3, 5)], |_| true);
    after.refill(6, &[event(2, 6)], |_| true);
    assert!(after.is_expired(&first, 100 + LIMIT, LIMIT));
    assert_eq!(take(&mut after), Some((first, 1)));
    assert_eq!(take(&mut after), Some((Key::Conversation(6), 2)));
}

#[test]
fn a_lane_reads_again_what_it_has_not_kept() {
    let count = 3 * MAX_KEPT as i64;
    let events: Vec<_> = (1..=count).map(|id| event(id, 5)).collect();
    let mut lanes = lanes(&events);
    let key = Key::Conversation(5);
    for id in 1..=count {
        for (conversation, first) in lanes.take_empty() {
            let from = usize::try_from(first).expect("positive") - 1;
            let to = (from + Lanes::REFILL).min(events.len());
            lanes.refill(conversation, &events[from..to], |_| true);
        }
        assert_eq!(take(&mut lanes), Some((key.clone(), id)));
        assert_eq!(lanes.state(0).needed, id);
        lanes.done(&key, true);
    }
    assert_eq!(lanes.take_empty(), [(5, count + 1)]);
    lanes.refill(5, &[], |_| true);
    assert_eq!(lanes.len(), 0);
    assert_eq!(lanes.state(0).needed, count + 1);
}

#[test]
fn with_many_lanes_no_more_events_are_taken_up() {
    let most = MAX_LANES as i64;
    let events: Vec<_> = (1..=most + 1).map(|id| event(id, id)).collect();
    let mut lanes = Lanes::default();
    assert!(!lanes.take_up(&events, |_| true));
    assert_eq!(lanes.position(), most + 1);
    // An unwanted one needs no lane, and a known conversation has one.
    assert!(lanes.take_up(&[event(most + 1, most + 1)], |_| false));
    assert!(lanes.take_up(&[event(most + 2, 1)], |_| true));
    let (key, _) = take(&mut lanes).expect("a lane");
    lanes.done(&key, true);
    lanes.done(&key, false);
    assert!(lanes.take_up(&[event(most + 3, most + 3)], |_| true));
}

#[test]
fn the_oldest_event_may_be_one_that_was_not_taken_up() {
    let most = MAX_LANES as i64;
    let mut lanes = lanes(&(1..=most).map(|id| event(id, id)).collect::<Vec<_>>());
    assert_eq!(lanes.oldest(), Some(10));
    // Its time is that of a clock which was wrong.
    let early = EventRef {
        at: 7,
        ..event(most + 1, most + 1)
    };
    assert!(!lanes.take_up(&[early], |_| true));
    assert_eq!(lanes.oldest(), Some(7));
    let (first, _) = take(&mut lanes).expect("a lane");
    lanes.done(&first, true);
    assert!(lanes.take_up(&[early], |_| true));
    assert_eq!(lanes.oldest(), Some(7));
    while let Some((key, _)) = take(&mut lanes) {
        lanes.done(&key, true);
    }
    assert_eq!(lanes.oldest(), None);
    // So may the first one of a lane that was not read since a restart.
    let mut before = Lanes::default();
    assert!(before.take_up(&[event(1, 5)], |_| true));
    take(&mut before);
    before.failed(&Key::Conversation(5), 100, Instant::now(), 0.5);
    assert_eq!(Lanes::restore(&before.state(100), 200).oldest(), Some(100));
}

#[test]
fn an_event_expires_after_it_could_have_been_posted_for_some_time() {
    let mut lanes = lanes(&[event(1, 5), event(2, 5), event(3, 6)]);
    let (first, second) = (Key::Conversation(5), Key::Conversation(6));
    // Nothing was tried, however old it is.
    assert!(!lanes.is_expired(&first, 1_000_000, LIMIT));
    take(&mut lanes);
    lanes.failed(&first, 5_000, Instant::now(), 0.0);
    assert!(!lanes.is_expired(&first, 5_000 + LIMIT - 1, LIMIT));
    let expired = |lanes: &Lanes, now| {
        let mut keys = lanes.expired(now, LIMIT);
        keys.sort_unstable();
        keys
    };
    // The other conversation could not have been posted either.
    assert_eq!(
        expired(&lanes, 5_000 + LIMIT),
        [first.clone(), second.clone()]
    );
    // The receiver accepts events of the other conversation. That of this one waits as long.
    take(&mut lanes);
    lanes.done(&second, true);
    assert!(!lanes.is_failing());
    assert_eq!(expired(&lanes, 5_000 + LIMIT), std::slice::from_ref(&first));
    // The next one is posted once.
    assert_eq!(lanes.drop_expired(5_000 + LIMIT, LIMIT), 1);
    assert_eq!(lanes.drop_expired(5_000 + 2 * LIMIT - 1, LIMIT), 0);
    assert_eq!(take(&mut lanes), Some((first.clone(), 2)));
    lanes.failed(&first, 5_000 + LIMIT, Instant::now(), 0.0);
    assert_eq!(lanes.drop_expired(5_000 + LIMIT, LIMIT), 1);
    assert_eq!(lanes.len(), 0);
}

#[test]
fn events_that_are_not_posted_have_twice_as_long() {
    let count = MAX_KEPT as i64 + 10;
    let events: Vec<_> = (1..=count).map(|id| event(id, 5)).collect();
    let mut lanes = lanes(&events);
    assert!(lanes.take_up(&[event(count + 1, 6)], |_| true));
    let (first, second) = (Key::Conversation(5), Key::Conversation(6));
    take(&mut lanes);
    take(&mut lanes);
    lanes.failed(&first, 5_000, Instant::now(), 0.5);
    lanes.done(&second, true);
    // The first one has failed, all others wait behind it.
    assert_eq!(lanes.drop_expired(5_000 + LIMIT, LIMIT), 1);
    assert_eq!(lanes.drop_expired(5_000 + 2 * LIMIT - 1, LIMIT), 0);
    assert_eq!(
        lanes.drop_expired(5_000 + 2 * LIMIT, LIMIT),
        MAX_KEPT as u64 - 1
    );
    let rest = usize::try_from(lanes.take_empty()[0].1).expect("positive") - 1;
    lanes.refill(5, &events[rest..], |_| true);
    assert_eq!(lanes.drop_expired(5_000 + 2 * LIMIT, LIMIT), 10);
    assert_eq!(lanes.len(), 0);
    assert_eq!(take(&mut lanes), None);
}

/// Restarts after some time, and reads the events of conversation 5 again.
fn restart(before: &Lanes, (stopped, started): (i64, i64), events: &[EventRef]) -> Lanes {
    let mut after = Lanes::restore(&before.state(stopped), started);
    for (conversation, _) in after.take_empty() {
        after.refill(conversation, events, |_| true);
    }
    after
}

#[test]
fn the_time_of_stops_does_not_count() {
    let at = |id: i64, at: i64| EventRef { at, ..event(id, 5) };
    // The second one is stored while the first one fails already.
    let events = [at(1, 10), at(2, 5_200)];
    let key = Key::Conversation(5);
    let mut first = lanes(&events);
    take(&mut first);
    first.failed(&key, 5_000, Instant::now(), 0.5);
    let mut second = restart(&first, (5_400, 100_000), &events);
    assert!(!second.is_expired(&key, 100_000 + LIMIT - 400 - 1, LIMIT));
    assert!(second.is_expired(&key, 100_000 + LIMIT - 400, LIMIT));
    assert!(second.take_up(&[at(3, 100_100)], |_| true));
    let events = [at(1, 10), at(2, 5_200), at(3, 100_100)];
    let mut third = restart(&second, (100_300, 900_000), &events);
    for (ran, dropped) in [(700, 1), (500, 1), (200, 1)] {
        let expires = 900_000 + LIMIT - ran;
        assert_eq!(third.drop_expired(expires - 1, LIMIT), 0, "{ran}");
        assert_eq!(third.drop_expired(expires, LIMIT), dropped, "{ran}");
    }
}

#[test]
fn the_time_until_now_does_not_count_if_the_end_of_the_last_run_is_unknown() {
    let key = Key::Conversation(5);
    let state = ReceiverState {
        position: 2,
        needed: 1,
        memory: r#"{"failing_since":5000,"lanes":[[5,1,5000]]}"#.to_owned(),
    };
    let mut lanes = Lanes::restore(&state, 1_000_000);
    lanes.take_empty();
    lanes.refill(5, &[event(1, 5)], |_| true);
    assert!(!lanes.is_expired(&key, 1_000_000 + LIMIT - 1, LIMIT));
    assert!(lanes.is_expired(&key, 1_000_000 + LIMIT, LIMIT));
}

#[test]
fn the_time_of_a_suspended_machine_does_not_count() {
    let mut lanes = lanes(&[event(1, 5)]);
    let key = Key::Conversation(5);
    lanes.observe(5_000);
    take(&mut lanes);
    lanes.failed(&key, 5_000, Instant::now(), 0.5);
    lanes.observe(5_400);
    lanes.observe(900_000);
    assert!(!lanes.is_expired(&key, 900_000 + LIMIT - 400 - 1, LIMIT));
    assert!(lanes.is_expired(&key, 900_000 + LIMIT - 400, LIMIT));
    // Nothing of it is remembered when posts succeed again.
    take(&mut lanes);
    lanes.done(&key, true);
    lanes.observe(900_100);
    assert_eq!(lanes.run_time.stops(), []);
}

#[test]
fn a_clock_that_is_set_back_does_not_keep_events() {
    let late = EventRef {
        at: 900_000,
        ..event(1, 5)
    };
    let mut lanes = lanes(&[late]);
    let key = Key::Conversation(5);
    take(&mut lanes);
    lanes.failed(&key, 900_000, Instant::now(), 0.5);
    lanes.observe(5_000);
    lanes.observe(5_500);
    assert!(!lanes.is_expired(&key, 5_000 + LIMIT - 1, LIMIT));
    assert!(lanes.is_expired(&key, 5_000 + LIMIT, LIMIT));
}

#[test]
fn the_shortest_time_between_many_stops_is_forgotten() {
    let mut lanes = lanes(&[event(1, 5)]);
    let key = Key::Conversation(5);
    take(&mut lanes);
    lanes.failed(&key, 10, Instant::now(), 0.5);
    let mut started = 10;
    for n in 0..1000 {
        // It runs for 2 ms, but once for 1 ms only.
        let stopped = started + if n == 20 { 1 } else { 2 };
        started = stopped + 100;
        lanes = restart(&lanes, (stopped, started), &[event(1, 5)]);
    }
    // That much of the run time is remembered.
    let ran = 2 * 64;
    assert!(lanes.state(started).memory.len() < 4000);
    assert!(!lanes.is_expired(&key, started + LIMIT - ran - 1, LIMIT));
    assert!(lanes.is_expired(&key, started + LIMIT - ran, LIMIT));
}

#[test]
fn a_lane_whose_events_are_dropped_waits_as_long_as_before() {
    let count = MAX_KEPT as i64 + 10;
    let events: Vec<_> = (1..=count).map(|id| event(id, 5)).collect();
    let mut lanes = lanes(&events);
    let key = Key::Conversation(5);
    let mut now = Instant::now();
    for _ in 0..3 {
        assert_eq!(take(&mut lanes), Some((key.clone(), 1)));
        lanes.failed(&key, 10, now, 0.5);
        now = lanes.next_pause().expect("it waits");
        lanes.end_pauses(now);
    }
    take(&mut lanes);
    lanes.failed(&key, 10, now, 0.5);
    let until = lanes.next_pause();
    // The last one has not expired.
    let at = count * 10 + LIMIT - 1;
    assert_eq!(lanes.drop_expired(at, LIMIT), MAX_KEPT as u64);
    let first = MAX_KEPT as i64 + 1;
    assert_eq!(lanes.take_empty(), [(5, first)]);
    lanes.refill(5, &events[MAX_KEPT..], |_| true);
    assert_eq!(lanes.drop_expired(at, LIMIT), 9);
    assert_eq!(lanes.drop_expired(at, LIMIT), 0);
    assert_eq!(take(&mut lanes), None);
    assert_eq!(lanes.next_pause(), until);
    let now = until.expect("it waits");
    lanes.end_pauses(now);
    assert_eq!(take(&mut lanes), Some((key.clone(), count)));
    // The next pause is the fifth one.
    lanes.failed(&key, at, now, 0.5);
    assert_eq!(lanes.next_pause(), Some(now + pause(4, 0.5)));
}

#[test]
fn the_pause_of_a_lane_ends_while_its_events_are_read() {
    let count = 2 * MAX_KEPT as i64;
    let events: Vec<_> = (1..=count).map(|id| event(id, 5)).collect();
    let mut lanes = lanes(&events);
    let key = Key::Conversation(5);
    take(&mut lanes);
    lanes.failed(&key, 10, Instant::now(), 0.5);
    let at = MAX_KEPT as i64 * 10 + LIMIT;
    assert_eq!(lanes.drop_expired(at, LIMIT), MAX_KEPT as u64);
    let until = lanes.next_pause().expect("it waits");
    lanes.end_pauses(until);
    assert_eq!(lanes.take_empty().len(), 1);
    lanes.refill(5, &events[MAX_KEPT..], |_| true);
    assert_eq!(take(&mut lanes), Some((key, MAX_KEPT as i64 + 1)));
}

#[test]
fn pauses_grow_from_a_second_to_five_minutes() {
    let seconds = |failures, random| pause(failures, random).as_secs_f64();
    for random in [0.0, 0.5, 1.0] {
        assert!((1.0..=1.3).contains(&seconds(0, random)));
        assert!((1.5..=2.5).contains(&seconds(1, random)));
        assert!((200.0..=300.0).contains(&seconds(8, random)));
        assert!((240.0..=300.0).contains(&seconds(u32::MAX, random)));
    }
}

#[test]
fn presence_of_many_users_is_dropped() {
    let mut lanes = Lanes::default();
    let event = || Event {
        id: "evt".into(),
        body: Vec::new(),
    };
    let user: Arc<str> = "ada".into();
    for _ in 0..MAX_LIVE {
        assert!(lanes.add_live(&user, event(), 1));
    }
    assert!(!lanes.add_live(&user, event(), 1));
    for n in 1..MAX_USERS {
        assert!(lanes.add_live(&format!("u{n}").into(), event(), 1));
    }
    assert!(!lanes.add_live(&"bo".into(), event(), 1));
    assert_eq!(lanes.state(0).memory, "");
}
