//! Two clocks under control of the test.

use std::sync::Arc;

use super::*;

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;
/// The wall clock at the start of each test.
const START_TIME: i64 = 1_800_000_000_000;

/// The wall clock and the time since boot.
#[derive(Clone)]
struct Machine(Arc<Mutex<Reading>>);

impl Machine {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Reading {
            wall: START_TIME,
            boot: 5000,
        })))
    }

    fn clock(&self) -> Clock {
        let machine = self.clone();
        Clock::with_source(HOUR, Box::new(move || *machine.0.lock().expect("whole")))
    }

    /// Time passes.
    fn pass(&self, ms: i64) {
        let mut reading = self.0.lock().expect("whole");
        reading.wall += ms;
        reading.boot += ms;
    }

    /// The wall clock is set.
    fn set(&self, by: i64) {
        self.0.lock().expect("whole").wall += by;
    }

    fn wall(&self) -> i64 {
        self.0.lock().expect("whole").wall
    }
}

#[test]
fn the_time_is_that_of_the_wall_clock_while_it_does_not_jump() {
    let machine = Machine::new();
    let clock = machine.clock();
    for step in [1, SECOND, DAY, 30 * SECOND, 10] {
        machine.pass(step);
        assert_eq!(clock.now(), machine.wall());
        assert_eq!(clock.expiry_now(), Some(machine.wall()));
    }
    assert_eq!(
        clock.now(),
        START_TIME + 1 + SECOND + DAY + 30 * SECOND + 10
    );
}

#[test]
fn steps_of_up_to_a_minute_and_slow_changes_are_followed() {
    let machine = Machine::new();
    let clock = machine.clock();
    for step in [MINUTE, -MINUTE, 59 * SECOND, -30 * SECOND, 900, -SECOND] {
        machine.set(step);
        machine.pass(SECOND);
        assert_eq!(clock.now(), machine.wall(), "{step}");
        assert_eq!(clock.expiry_now(), Some(machine.wall()), "{step}");
    }
    // 8 percent too fast, for an hour.
    let machine = Machine::new();
    let clock = machine.clock();
    for _ in 0..3600 {
        machine.pass(SECOND);
        machine.set(80);
        assert_eq!(clock.expiry_now(), Some(machine.wall()));
    }
    assert_eq!(clock.jumps(), 0);
}

#[test]
fn after_a_jump_the_time_continues_and_nothing_expires() {
    for jump in [YEAR, -400 * DAY, 61 * SECOND, -61 * SECOND, -100 * YEAR] {
        let machine = Machine::new();
        let clock = machine.clock();
        machine.pass(10 * SECOND);
        let before = clock.now();
        machine.set(jump);
        assert_eq!(clock.now(), before, "{jump}");
        assert_eq!(clock.expiry_now(), None);
        machine.pass(20 * SECOND);
        assert_eq!(clock.now(), before + 20 * SECOND);
        machine.pass(HOUR - 20 * SECOND - 1);
        assert_eq!(clock.expiry_now(), None);
        machine.pass(1);
        assert_eq!(clock.expiry_now(), Some(machine.wall()));
        assert_eq!(clock.now(), before + HOUR + jump);
    }
}

#[test]
fn the_return_from_a_jump_is_a_jump_as_well() {
    let machine = Machine::new();
    let clock = machine.clock();
    machine.set(YEAR);
    assert!(!clock.is_settled());
    machine.pass(3 * SECOND);
    machine.set(-YEAR);
    machine.pass(HOUR - SECOND);
    assert_eq!(clock.now(), machine.wall());
    assert!(!clock.is_settled());
    machine.pass(HOUR - 1);
    assert!(!clock.is_settled());
    machine.pass(1);
    assert!(clock.is_settled());
    assert_eq!(clock.jumps(), 2);
}

#[test]
fn several_small_steps_and_a_fast_clock_are_a_jump() {
    let machine = Machine::new();
    let clock = machine.clock();
    machine.set(40 * SECOND);
    assert!(clock.is_settled());
    machine.pass(SECOND);
    machine.set(40 * SECOND);
    assert!(!clock.is_settled());
    // The first step was followed.
    assert_eq!(clock.now(), START_TIME + 41 * SECOND);

    let machine = Machine::new();
    let clock = machine.clock();
    for _ in 0..70 {
        machine.pass(SECOND);
        machine.set(SECOND);
        clock.now();
    }
    assert!(!clock.is_settled());
    assert!(clock.now() <= START_TIME + 70 * SECOND + 61 * SECOND);
    // It is not settled while it goes on.
    for _ in 0..2 * 3600 {
        machine.pass(SECOND);
        machine.set(SECOND);
        assert!(!clock.is_settled());
    }
}

#[test]
fn a_clock_that_keeps_jumping_is_not_settled() {
    let machine = Machine::new();
    let clock = machine.clock();
    for jump in [YEAR, -YEAR, DAY, -2 * DAY, 2 * MINUTE].repeat(3) {
        machine.set(jump);
        machine.pass(50 * MINUTE);
        assert!(!clock.is_settled());
    }
    assert_eq!(clock.now(), START_TIME + 15 * 50 * MINUTE);
}

#[test]
fn an_operator_accepts_the_wall_clock() {
    let machine = Machine::new();
    let clock = machine.clock();
    machine.set(YEAR);
    assert!(!clock.is_settled());
    clock.accept();
    assert_eq!(clock.expiry_now(), Some(START_TIME + YEAR));
    assert_eq!(clock.now(), START_TIME + YEAR);
    // Also a jump that was not noticed yet.
    machine.set(-YEAR);
    clock.accept();
    assert_eq!(clock.expiry_now(), Some(START_TIME));
}

#[test]
fn a_start_within_a_day_of_the_stored_times_is_settled() {
    let machine = Machine::new();
    for (newest, trusted) in [(0, 0), (-DAY, -DAY), (DAY, DAY), (DAY, -DAY)] {
        let clock = machine.clock();
        clock.compare_with(START_TIME + newest, START_TIME + trusted);
        assert_eq!(clock.expiry_now(), Some(START_TIME), "{newest} {trusted}");
    }
}

#[test]
fn a_start_far_from_the_stored_times_is_unsettled() {
    let machine = Machine::new();
    for (newest, trusted, start) in [
        // Ahead of the store, the time is that of the wall clock.
        (-DAY - 1, -DAY - 1, 0),
        (-YEAR, -YEAR, 0),
        // Behind the store, it continues from the store.
        (DAY + 1, DAY + 1, DAY + 1),
        (400 * DAY, 400 * DAY, 400 * DAY),
        // An earlier run was ahead: its times are not trusted.
        (YEAR, 0, 0),
        (YEAR, -2 * DAY, 0),
        // An earlier run with the same wrong clock has written since.
        (0, -YEAR, 0),
        (0, YEAR, YEAR),
    ] {
        let clock = machine.clock();
        clock.compare_with(START_TIME + newest, START_TIME + trusted);
        assert_eq!(clock.expiry_now(), None, "{newest} {trusted}");
        assert_eq!(clock.now(), START_TIME + start, "{newest} {trusted}");
        machine.pass(HOUR);
        assert_eq!(clock.expiry_now(), Some(machine.wall()));
        machine.pass(-HOUR);
    }
}

#[test]
fn an_interruption_between_the_two_readings_is_no_jump() {
    let count = AtomicI64::new(0);
    // After the first reading of the boot time, the thread is interrupted for an hour.
    let source = move || match count.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => Reading { wall: 10, boot: 0 },
        2 => Reading {
            wall: HOUR + 11,
            boot: 1,
        },
        _ => Reading {
            wall: HOUR + 12,
            boot: HOUR + 2,
        },
    };
    let clock = Clock::with_source(HOUR, Box::new(source));
    assert_eq!(clock.now(), HOUR + 12);
    assert!(clock.is_settled());
}

#[test]
fn the_clocks_of_this_machine_are_read() {
    let clock = Clock::new(HOUR);
    let wall = i64::try_from(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_millis(),
    )
    .expect("a time");
    assert!(clock.now().abs_diff(wall) < 30_000);
    assert!(boot_time() > 0);
    assert!(clock.is_settled());
}
