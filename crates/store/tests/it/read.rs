//! Reading, over random histories.

use proptest::prelude::*;
use sealwright_store::{Filter, StoreError};

use crate::check_log::check_log;
use crate::fixture::{START, batch, entry, grow, open, signed_at};

#[test]
fn a_larger_log_than_there_is_has_no_proof() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), START).unwrap();
    grow(&mut store, 3).unwrap();
    assert!(matches!(store.consistency(4), Err(StoreError::NoSuchSize { asked: 4, size: 3 })));
}

#[test]
fn unknown_subjects_and_types_have_no_statements() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), START).unwrap();
    grow(&mut store, 3).unwrap();
    for text in ["", "'", "%", "sha256:00"] {
        let text = Some(text.to_owned());
        for filter in [
            Filter { subject: text.clone(), ..Filter::default() },
            Filter { predicate_type: text.clone(), ..Filter::default() },
            Filter { predicate_type: text.clone(), except_type: text.clone(), ..Filter::default() },
            Filter { signer: text.clone(), ..Filter::default() },
        ] {
            assert!(store.find(&filter, 9).unwrap().is_empty(), "{filter:?}");
        }
    }
}

#[test]
fn a_store_may_move_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<sealwright_store::Store>();
}

#[derive(Clone, Debug)]
enum Action {
    Append { new: u64, again: Vec<u64> },
    Refresh { later: u64 },
    Reopen,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (0..40_u64, prop::collection::vec(any::<u64>(), 0..3))
            .prop_map(|(new, again)| Action::Append { new, again }),
        1 => (0..100_u64).prop_map(|later| Action::Refresh { later }),
        1 => Just(Action::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_history_leaves_a_sound_log(actions in prop::collection::vec(action(), 1..12)) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path(), START).unwrap();
        let mut size = 0;
        for action in actions {
            let now = signed_at(&store) + 1;
            match action {
                Action::Append { new, again } => {
                    let mut entries = batch(&store, new);
                    let old: Vec<u64> = again.iter().filter_map(|i| i.checked_rem(size)).collect();
                    entries.extend(old.iter().map(|index| entry(*index)));
                    let appended = store.append(&entries, now).unwrap();
                    for (appended, index) in appended.iter().zip((size..size + new).chain(old)) {
                        prop_assert_eq!(appended.index, index);
                        prop_assert_eq!(appended.duplicate, index < size);
                    }
                    size += new;
                }
                Action::Refresh { later } => {
                    store.refresh_checkpoint(now + later, 50).unwrap();
                }
                Action::Reopen => {
                    drop(store);
                    store = open(dir.path(), now).unwrap();
                }
            }
            prop_assert_eq!(store.size(), size);
            check_log(&store, dir.path());
        }
    }
}
