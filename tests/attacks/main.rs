//! Attacks on a running server, while two well-behaved users exchange messages.
//!
//! Each message of the two must arrive, in order, and every frame must be valid. The message times before and during the attack
//! are printed; they are not asserted, as they depend on the machine. The attacks run one at a time (see
//! [`support::pair::exclusive`]), as each uses the whole machine.
//!
//! `DMWIRE_ATTACK_SESSIONS` sets the number of sessions in the largest attacks, `DMWIRE_ATTACK_SECONDS` the minimum duration of
//! each attack and of the measurement before it.

#[path = "../support/support.rs"]
mod support;

mod auth_flood;
mod connections;
mod frames;
mod memory_budget;
mod reconnects;
