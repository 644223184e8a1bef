//! The rule by which users see each other (PROTOCOL section 8).

/// What two users have in common, as far as it decides whether they see each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Both are the same user.
    pub is_self: bool,
    /// Their direct conversation has messages of both, also deleted ones.
    pub is_mutual: bool,
    /// One of them blocks the other.
    pub has_block: bool,
}

impl Relation {
    /// True if the two users see whether the other is online and has received something. Everything that would tell it to
    /// strangers asks here: acks of ephemeral messages, `typing`, `received` receipts and `their_received`.
    pub fn is_visible(self) -> bool {
        self.is_self || self.is_mutual && !self.has_block
    }
}

#[cfg(test)]
mod tests {
    use super::Relation;

    #[test]
    fn users_who_have_written_to_each_other_see_each_other_unless_one_blocks_the_other() {
        for bits in 0..8 {
            let [is_self, is_mutual, has_block] = [bits & 1 > 0, bits & 2 > 0, bits & 4 > 0];
            let relation = Relation {
                is_self,
                is_mutual,
                has_block,
            };
            assert_eq!(relation.is_visible(), is_self || bits == 2, "{relation:?}");
        }
    }
}
