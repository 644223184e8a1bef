//! The recipients of a write.

use std::ops::Deref;
use std::sync::Arc;

/// A user whose inbox has a new entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient<U = Arc<str>> {
    /// The user: an id, or a store's own key of it.
    pub user: U,
    /// The number of the entry in the user's inbox.
    pub seq: u64,
}

/// A list of recipients. One recipient is kept inline, so that a direct message does not allocate.
#[derive(Clone, Debug)]
pub struct Recipients<U = Arc<str>>(Inner<U>);

#[derive(Clone, Debug)]
enum Inner<U> {
    None,
    One(Recipient<U>),
    Many(Box<[Recipient<U>]>),
}

impl<U> Recipients<U> {
    /// No recipients: the acting user is the only member, or nothing was appended.
    pub const NONE: Self = Self(Inner::None);

    /// One recipient.
    pub fn one(user: U, seq: u64) -> Self {
        Self(Inner::One(Recipient { user, seq }))
    }
}

impl<U> Deref for Recipients<U> {
    type Target = [Recipient<U>];

    fn deref(&self) -> &Self::Target {
        match &self.0 {
            Inner::None => &[],
            Inner::One(one) => std::slice::from_ref(one),
            Inner::Many(many) => many,
        }
    }
}

impl<U> From<Vec<Recipient<U>>> for Recipients<U> {
    fn from(mut list: Vec<Recipient<U>>) -> Self {
        match list.len() {
            0 | 1 => Self(list.pop().map_or(Inner::None, Inner::One)),
            _ => Self(Inner::Many(list.into_boxed_slice())),
        }
    }
}

impl<U: PartialEq> PartialEq for Recipients<U> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<U: Eq> Eq for Recipients<U> {}

#[cfg(test)]
mod tests {
    use super::{Recipient, Recipients};

    #[test]
    fn a_list_has_the_recipients_that_it_was_made_of() {
        let list = |n: u64| -> Vec<_> { (0..n).map(|seq| Recipient { user: 'a', seq }).collect() };
        for n in 0..4 {
            assert_eq!(*Recipients::from(list(n)), list(n));
        }
        assert_eq!(Recipients::one('a', 0), Recipients::from(list(1)));
    }
}
