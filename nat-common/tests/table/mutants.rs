//! What the checker would notice: each test weakens one thing in the memory and must fail.

use crate::explore::Depth::{All, Preemptions};
use crate::memory::{Mutant, Rules};
use crate::reuse::Pause;
use crate::{count, insertions, lives, removals, reuse};

macro_rules! mutants {
    ($($name:ident, $failure:literal, $scenario:expr;)+) => {$(
        #[test]
        #[should_panic(expected = $failure)]
        fn $name() {
            $scenario;
        }
    )+};
}

mutants! {
    a_relaxed_first_word, "another flow's entry", reuse::another_key(Preemptions(2), Mutant::RelaxedAddresses.into());
    a_relaxed_second_word, "read before it is written", insertions::reader(All, Mutant::RelaxedRest.into());
    a_relaxed_bound, "not one that succeeds", insertions::one_key(Preemptions(2), Mutant::RelaxedBound.into(), 1);
    a_bound_replaced_relaxed, "not one that succeeds", insertions::one_key(Preemptions(2), Mutant::RelaxedReplaceBound.into(), 1);
    a_bound_stored_blindly, "not one that succeeds", insertions::one_key(Preemptions(2), Mutant::BlindReplaceBound.into(), 1);
    a_bound_without_a_version, "not one that succeeds", removals::version(Preemptions(2), Mutant::NoVersion.into());
    a_bound_without_a_version_hides_a_key, "not one that succeeds", insertions::one_key(Preemptions(2), Mutant::NoVersion.into(), 1);
    a_slot_reserved_blindly, "is lost", insertions::one_home(Preemptions(2), Mutant::BlindReserve.into(), 1);
    no_release_after_a_reservation, "another flow's entry", reuse::another_key(Preemptions(2), Mutant::NoReleaseAfterReserve.into());
    a_relaxed_publication, "read before it is written", insertions::reader(All, Mutant::RelaxedPublish.into());
    a_slot_freed_blindly, "removed once", removals::twice(Preemptions(2), Mutant::BlindVacate.into());
    a_relaxed_stamp, "half of one translation", reuse::reborn(Preemptions(2), Mutant::RelaxedLast.into(), Pause::Kept);
    a_stamp_before_the_fields, "half of one translation", reuse::reborn(Preemptions(2), Mutant::LastFirst.into(), Pause::Kept);
    no_acquire_before_the_second_look, "another flow's entry", reuse::another_key(Preemptions(2), Mutant::NoAcquire.into());
    no_second_look, "another flow's entry", reuse::another_key(Preemptions(2), Mutant::NoSecondLook.into());
    flags_and_bound_in_one_store, "is lost", insertions::one_home(Preemptions(2), Mutant::WholeFlags.into(), 1);
    a_stamp_stored_blindly, "the flow is the opposite", lives::condemnation(All, Mutant::BlindLast.into(), 1);
    a_stamp_stored_blindly_at_a_burial, "somebody else removed it too", lives::burial(Preemptions(2), Mutant::BlindLast.into());
    a_count_stored_blindly, "the last room is not given once", count::last_room(Preemptions(4), Mutant::BlindTaken.into());
}

/// A version that comes round during a packet: two changes of a bound whose version has one bit.
#[test]
#[should_panic(expected = "not one that succeeds")]
fn a_version_that_comes_round() {
    removals::version(Preemptions(2), Rules { version_bits: 1, ..Rules::default() });
}

/// With one bit more the same two changes are told apart: the version must count further than the bound changes.
#[test]
fn a_version_that_does_not_come_round() {
    removals::version(Preemptions(2), Rules { version_bits: 2, ..Rules::default() });
}
