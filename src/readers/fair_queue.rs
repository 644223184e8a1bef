//! A queue of jobs that belong to users. The users take turns, and each has at most one job running, so that a user with many jobs
//! delays only these.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Jobs of users that wait, and the users who have a job running.
#[derive(Debug)]
pub struct FairQueue<J> {
    users: HashMap<Arc<str>, UserJobs<J>>,
    /// The users who have a job waiting and none running, in the order in which they take their turns.
    turns: VecDeque<Arc<str>>,
}

/// A user has a job waiting or running.
#[derive(Debug)]
struct UserJobs<J> {
    waiting: VecDeque<J>,
    is_running: bool,
}

impl<J> Default for FairQueue<J> {
    fn default() -> Self {
        Self {
            users: HashMap::new(),
            turns: VecDeque::new(),
        }
    }
}

impl<J> FairQueue<J> {
    /// Adds a job. True: it may be taken now, or after jobs of other users.
    pub fn push(&mut self, user: Arc<str>, job: J) -> bool {
        let jobs = self.users.entry(user.clone()).or_insert_with(|| UserJobs {
            waiting: VecDeque::new(),
            is_running: false,
        });
        let has_turn = jobs.waiting.is_empty() && !jobs.is_running;
        jobs.waiting.push_back(job);
        if has_turn {
            self.turns.push_back(user);
        }
        has_turn
    }

    /// Takes the oldest job of the user whose turn it is. [`FairQueue::finish`] must be called when it has run.
    pub fn take(&mut self) -> Option<(Arc<str>, J)> {
        let user = self.turns.pop_front()?;
        let jobs = self.users.get_mut(&user)?;
        let job = jobs.waiting.pop_front()?;
        jobs.is_running = true;
        Some((user, job))
    }

    /// The number of jobs that wait. Takes time in proportion to the users with jobs.
    pub fn waiting(&self) -> usize {
        let users = self.users.values();
        users.map(|jobs| jobs.waiting.len()).sum()
    }

    /// A job of this user has run. True: another one of the user's jobs may be taken now.
    pub fn finish(&mut self, user: Arc<str>) -> bool {
        let Some(jobs) = self.users.get_mut(&user) else {
            return false;
        };
        jobs.is_running = false;
        if jobs.waiting.is_empty() {
            self.users.remove(&user);
            return false;
        }
        self.turns.push_back(user);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_take_turns_and_run_one_job_each() {
        let mut queue = FairQueue::default();
        for job in 1..=3 {
            assert_eq!(queue.push("ada".into(), ("ada", job)), job == 1);
        }
        assert!(queue.push("bob".into(), ("bob", 1)));
        assert_eq!(queue.waiting(), 4);
        let take = |queue: &mut FairQueue<_>| queue.take().map(|(_, job)| job);
        assert_eq!(take(&mut queue), Some(("ada", 1)));
        assert_eq!(take(&mut queue), Some(("bob", 1)));
        assert_eq!(take(&mut queue), None, "both users have a job running");
        assert!(!queue.push("bob".into(), ("bob", 2)));
        assert!(queue.push("cy".into(), ("cy", 1)));
        assert!(queue.finish("ada".into()));
        assert_eq!(take(&mut queue), Some(("cy", 1)));
        assert_eq!(take(&mut queue), Some(("ada", 2)));
        assert!(queue.finish("bob".into()));
        assert!(queue.finish("ada".into()));
        assert!(!queue.finish("cy".into()));
        assert_eq!(take(&mut queue), Some(("bob", 2)));
        assert_eq!(take(&mut queue), Some(("ada", 3)));
        assert!(!queue.finish("ada".into()) && !queue.finish("bob".into()));
        assert!(queue.users.is_empty() && queue.turns.is_empty());
    }
}
