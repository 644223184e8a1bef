//! What is stored of the lanes of a receiver.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::expiry::{RunTime, Stop};
use super::{Key, Lane, Lanes, State};
use crate::store::ReceiverState;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Memory {
    failing_since: Option<i64>,
    /// Conversation, first event, since when it fails.
    lanes: Vec<(i64, i64, Option<i64>)>,
    /// If posts fail: when this was stored, and when the server did not run since they fail.
    stored_at: Option<i64>,
    stops: Vec<Stop>,
}

impl Lanes {
    /// Continues at the time `now` where `state` was stored.
    pub fn restore(state: &ReceiverState, now: i64) -> Self {
        // Without its memory a receiver would miss events. It is written by `Lanes::state` only.
        let memory: Memory = serde_json::from_str(&state.memory).unwrap_or_default();
        let mut lanes = Self {
            position: state.position,
            failing_since: memory.failing_since,
            ..Self::default()
        };
        if memory.lanes.is_empty() {
            lanes.position = state.needed;
        }
        for (conversation, first, failing_since) in memory.lanes {
            let key = Key::Conversation(conversation);
            lanes.empty.push(key.clone());
            let lane = Lane {
                items: VecDeque::new(),
                rest: Some(first),
                failures: 0,
                failing_since,
                is_tried: false,
                state: State::Empty(None),
            };
            lanes.by_key.insert(key, lane);
        }
        // Without the time of the end, none of the time until now counts.
        let end = memory.stored_at.or(lanes.first_failure());
        lanes.run_time = RunTime::after_stop(memory.stops, end, now);
        lanes
    }

    /// What is to be stored at the time `now`. Events about presence are not part of it.
    pub fn state(&self, now: i64) -> ReceiverState {
        let mut memory = Memory {
            failing_since: self.failing_since,
            ..Memory::default()
        };
        let mut needed = self.position;
        for (key, lane) in &self.by_key {
            if let (Key::Conversation(conversation), Some(first)) = (key, lane.first()) {
                memory
                    .lanes
                    .push((*conversation, first, lane.failing_since));
                needed = needed.min(first);
            }
        }
        // The order of the map changes with each run.
        memory.lanes.sort_unstable();
        if self.first_failure().is_some() {
            memory.stored_at = Some(now);
            memory.stops = self.run_time.stops().to_vec();
        }
        let is_plain = memory.lanes.is_empty() && memory.failing_since.is_none();
        let memory = (!is_plain).then(|| serde_json::to_string(&memory).unwrap_or_default());
        ReceiverState {
            position: self.position,
            needed,
            memory: memory.unwrap_or_default(),
        }
    }
}
