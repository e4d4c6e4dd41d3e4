//! When a table has another shape, and when it only looks so.

use std::sync::Arc;

use super::*;
use crate::event::{Batch, Event, Lease, SchemaChange, TableEntry, Value};
use crate::lineage::Lineage;
use crate::name::{ServerIdentity, SystemId, Timeline};
use crate::session::{Assembler, AssemblerOptions, HandedOut};
use crate::testing::Frames;

/// A table with columns of these names and types; the first is its key.
fn table(oid: u32, name: &str, columns: &[(&str, u32)]) -> Relation {
    let column = |(at, (name, type_oid)): (usize, &(&str, u32))| Column {
        name: (*name).to_owned(),
        type_oid: Oid::new(*type_oid),
        type_name: None,
        type_modifier: -1,
        in_identity: at == 0,
    };
    Relation {
        oid: Oid::new(oid),
        schema: "public".to_owned(),
        name: name.to_owned(),
        replica_identity: ReplicaIdentity::Default,
        columns: columns.iter().enumerate().map(column).collect(),
        catalog: None,
    }
}

/// `t (id int4, note text)`.
fn plain() -> Relation {
    table(9, "t", &[("id", 23), ("note", 25)])
}

/// `t` with one column more.
fn wide() -> Relation {
    table(9, "t", &[("id", 23), ("note", 25), ("more", 23)])
}

fn row(frames: &mut Frames, relation: &Relation) {
    let row = vec![Value::Text(b"1"); relation.columns.len()];
    frames.insert(90, relation.oid, &row);
}

/// A transaction that describes `relations`, each followed by a row of it.
fn transaction(frames: &mut Frames, commit: u64, relations: &[&Relation]) {
    frames.begin(commit);
    for relation in relations {
        frames.relation(relation);
        row(frames, relation);
    }
    frames.commit(commit);
}

fn assembler(options: AssemblerOptions) -> Assembler {
    let identity = ServerIdentity { system_id: SystemId::new(1), timeline: Timeline::new(1) };
    let handed = HandedOut { end: Lsn::new(0), partial: None };
    Assembler::new(Arc::new(Lineage::single(identity)), handed, options)
}

fn fresh() -> Assembler {
    assembler(AssemblerOptions::everything())
}

fn batch(assembler: &mut Assembler, frames: &mut Frames) -> Batch {
    assembler.push(frames.chunk()).unwrap();
    assembler.take(|_| Lease::free()).unwrap()
}

fn told(change: SchemaChange<'_>) -> String {
    let names = |columns: &mut dyn Iterator<Item = &Column>| -> String {
        columns.map(|column| column.name.as_str()).collect::<Vec<_>>().join(",")
    };
    format!(
        "{}->{} +{} -{} ~{} key={} recreated={}",
        change.old_relation().name,
        change.new_relation().name,
        names(&mut change.added()),
        names(&mut change.dropped()),
        names(&mut change.retyped().map(|(_, column)| column)),
        change.is_key_changed(),
        change.is_recreated()
    )
}

/// What is told of shapes, and for each row how many columns it has.
fn story(batch: &Batch) -> Vec<String> {
    let line = |event| match event {
        Event::SchemaChange(change) => Some(told(change)),
        Event::Change(change) => {
            let row = change.new_row().unwrap();
            assert_eq!(row.len(), change.relation().columns.len());
            Some(row.len().to_string())
        }
        _ => None,
    };
    batch.events().filter_map(line).collect()
}

/// What a row of `new` after one of `old` tells.
fn between(old: &Relation, new: &Relation) -> Option<String> {
    let mut frames = Frames::new();
    transaction(&mut frames, 100, &[old, new]);
    let story = story(&batch(&mut fresh(), &mut frames));
    assert!(story.len() == 2 || story.len() == 3, "{story:?}");
    (story.len() == 3).then(|| story[1].clone())
}

#[test]
fn a_change_stands_right_before_the_first_row_of_the_new_shape() {
    let mut frames = Frames::new();
    transaction(&mut frames, 100, &[&plain()]);
    transaction(&mut frames, 200, &[&plain(), &wide(), &wide(), &plain()]);
    let batch = batch(&mut fresh(), &mut frames);
    let grows = "t->t +more - ~ key=false recreated=false";
    let shrinks = "t->t + -more ~ key=false recreated=false";
    assert_eq!(story(&batch), ["2", "2", grows, "3", "3", shrinks, "2"]);
    let changes: Vec<_> = batch
        .events()
        .filter_map(|event| match event {
            Event::SchemaChange(change) => {
                assert_eq!(event.position(), None);
                Some((change.before(), change.transaction().commit_lsn()))
            }
            _ => None,
        })
        .collect();
    let at = |index| crate::Position::Logged { commit_lsn: Lsn::new(200), index };
    assert_eq!(changes, [(at(2), Lsn::new(200)), (at(4), Lsn::new(200))]);
}

#[test]
fn each_difference_is_told() {
    let is = |new: &Relation, expected: &str| {
        assert_eq!(between(&plain(), new).as_deref(), Some(expected));
    };
    is(&table(9, "t", &[("id", 20), ("note", 25)]), "t->t + - ~id key=false recreated=false");
    is(&table(9, "t", &[("id", 23), ("text", 25)]), "t->t +text -note ~ key=false recreated=false");
    is(&table(9, "t", &[("note", 25)]), "t->t + -id ~ key=true recreated=false");
    is(&table(9, "t", &[("note", 25), ("id", 23)]), "t->t +id -id ~ key=true recreated=false");
    is(&table(9, "u", &[("id", 23), ("note", 25)]), "t->u + - ~ key=false recreated=false");
    is(&table(10, "t", &[("id", 23), ("note", 25)]), "t->t + - ~ key=false recreated=true");
    let mut changed = plain();
    changed.columns[1].type_modifier = 24;
    is(&changed, "t->t + - ~note key=false recreated=false");
    let mut changed = plain();
    changed.columns[1].in_identity = true;
    is(&changed, "t->t + - ~ key=true recreated=false");
    changed.replica_identity = ReplicaIdentity::Full;
    is(&changed, "t->t + - ~ key=true recreated=false");
    let mut changed = plain();
    changed.replica_identity = ReplicaIdentity::Index;
    is(&changed, "t->t + - ~ key=false recreated=false");
}

#[test]
fn what_is_described_again_as_it_was_is_no_change() {
    assert_eq!(between(&plain(), &plain()), None);
    assert_eq!(between(&plain(), &table(10, "other", &[("id", 23)])), None);
    let mut frames = Frames::new();
    frames.begin(100).relation(&plain());
    row(&mut frames, &plain());
    // Described for a row that was rolled back.
    frames.relation(&wide()).relation(&plain());
    row(&mut frames, &plain());
    frames.commit(100);
    assert_eq!(story(&batch(&mut fresh(), &mut frames)), ["2", "2"]);
}

#[test]
fn what_a_type_is_called_is_no_part_of_a_shape() {
    let mut frames = Frames::new();
    let moods = table(9, "t", &[("id", 23), ("mood", 70_000)]);
    frames.type_name(70_000, "public", "mood").begin(100).relation(&moods);
    row(&mut frames, &moods);
    frames.type_name(70_000, "public", "feeling").relation(&moods);
    row(&mut frames, &moods);
    frames.commit(100);
    let batch = batch(&mut fresh(), &mut frames);
    assert_eq!(story(&batch), ["2", "2"]);
}

#[test]
fn a_table_that_is_emptied_has_a_shape_too() {
    let mut frames = Frames::new();
    transaction(&mut frames, 100, &[&plain()]);
    frames.begin(200).relation(&wide()).truncate(150, &[Oid::new(9)]).commit(200);
    let batch = batch(&mut fresh(), &mut frames);
    let kinds: Vec<_> = batch.events().skip(3).collect();
    assert!(matches!(
        kinds[..],
        [Event::Begin(_), Event::SchemaChange(_), Event::Truncate(_), Event::Commit(_)]
    ));
}

/// The old table's name may belong to another one, while the old table lives on under another.
#[test]
fn a_table_is_known_by_what_it_is_before_its_name() {
    let mut frames = Frames::new();
    let new = table(10, "t", &[("id", 23)]);
    let old = table(9, "t_old", &[("id", 23), ("note", 25)]);
    transaction(&mut frames, 100, &[&plain(), &new, &old]);
    let story = story(&batch(&mut fresh(), &mut frames));
    let recreated = "t->t + -note ~ key=false recreated=true";
    let renamed = "t->t_old + - ~ key=false recreated=false";
    assert_eq!(story, ["2", recreated, "1", renamed, "2"]);
}

#[test]
fn a_connection_goes_by_the_versions_it_was_told() {
    let (mut first, mut frames) = (fresh(), Frames::new());
    transaction(&mut frames, 100, &[&plain(), &wide()]);
    batch(&mut first, &mut frames);
    let met = first.take_versions_met();
    assert_eq!(met.len(), 1);
    assert_eq!((met[0].end, met[0].relations.len()), (Lsn::new(108), 2));
    assert!(first.take_versions_met().is_empty());
    for (known, expected) in [(wide(), "+ -more"), (plain(), "")] {
        let versions = [Arc::new(known)].into_iter().collect();
        let mut next = fresh().knowing(&versions);
        transaction(&mut frames, 200, &[&plain()]);
        let story = story(&batch(&mut next, &mut frames));
        assert_eq!(story.len(), if expected.is_empty() { 1 } else { 2 });
        assert!(story[0].contains(expected), "{story:?}");
    }
}

/// Nothing is learnt from a transaction that is left out for its origin: the change is told with
/// the first row that comes.
#[test]
fn a_transaction_that_is_left_out_changes_nothing() {
    let mut frames = Frames::new();
    transaction(&mut frames, 100, &[&plain()]);
    frames.begin(200).origin("elsewhere").relation(&wide());
    row(&mut frames, &wide());
    frames.commit(200).begin(300);
    row(&mut frames, &wide());
    frames.commit(300);
    let options = AssemblerOptions { local_only: true, ..AssemblerOptions::everything() };
    let mut assembler = assembler(options);
    let story = story(&batch(&mut assembler, &mut frames));
    assert_eq!(story, ["2", "t->t +more - ~ key=false recreated=false", "3"]);
    let ends: Vec<_> = assembler.take_versions_met().iter().map(|met| met.end).collect();
    assert_eq!(ends, [Lsn::new(108), Lsn::new(308)]);
}

/// A change of shape waits with the row it stands before, and both are cut off together.
#[test]
fn a_change_is_never_apart_from_its_row() {
    let (mut it, mut frames) = (fresh(), Frames::new());
    frames.begin(100).relation(&plain());
    row(&mut frames, &plain());
    row(&mut frames, &plain());
    frames.relation(&wide());
    row(&mut frames, &wide());
    let first = batch(&mut it, &mut frames);
    assert_eq!(story(&first), ["2", "2"]);
    frames.commit(100);
    let second = batch(&mut it, &mut frames);
    assert_eq!(story(&second), ["t->t +more - ~ key=false recreated=false", "3"]);
    assert!(!second.begins_outside());

    // What a lane has had is cut off, and the change with its row is not.
    let (mut it, mut frames) = (fresh(), Frames::new());
    frames.begin(100).relation(&plain());
    row(&mut frames, &plain());
    it.push(frames.chunk()).unwrap();
    it.change_follows();
    let had = it.take(|_| Lease::free()).unwrap().last_mark().unwrap();
    transaction(&mut frames, 100, &[&plain(), &wide()]);
    let whole = batch(&mut fresh(), &mut frames);
    assert_eq!(story(&whole.after_mark(had)), ["t->t +more - ~ key=false recreated=false", "3"]);
}

/// What the catalogue answers about a table whose columns have these numbers.
fn numbered(attribute_numbers: &[i16]) -> Vec<CatalogEntry> {
    let attribute_numbers = attribute_numbers.to_vec();
    let table = Some(TableEntry { attribute_numbers, primary_key: Vec::new() });
    vec![CatalogEntry::new(table, TypeRegistry::builtin())]
}

fn answered(it: &mut Assembler, frames: &mut Frames, answer: Vec<CatalogEntry>) -> Batch {
    it.push(frames.chunk()).unwrap();
    it.catalogued(answer);
    it.take(|_| Lease::free()).unwrap()
}

#[test]
fn the_catalogue_tells_a_renamed_column_from_a_new_one_and_a_new_one_from_an_old_one() {
    let (mut it, mut frames) = (fresh(), Frames::new());
    transaction(&mut frames, 100, &[&plain()]);
    assert_eq!(story(&answered(&mut it, &mut frames, numbered(&[1, 2]))), ["2"]);
    let again = "t->t +note -note ~ key=false recreated=false";
    // Made again in the same words, as the second row of a transaction that goes on.
    frames.begin(200);
    row(&mut frames, &plain());
    frames.relation(&plain());
    row(&mut frames, &plain());
    row(&mut frames, &plain());
    let open = answered(&mut it, &mut frames, numbered(&[1, 3]));
    assert_eq!(story(&open), ["2", again, "2"]);
    frames.commit(200);
    let rest = batch(&mut it, &mut frames);
    let last = rest.events().find_map(|event| match event {
        Event::Change(change) => Some(change.is_last()),
        _ => None,
    });
    assert_eq!(last, Some(true));
    // An answer that comes too late teaches nothing; the same numbers are no change.
    for answer in [vec![CatalogEntry::default()], numbered(&[1, 3])] {
        let commit = if answer[0].table.is_some() { 400 } else { 300 };
        transaction(&mut frames, commit, &[&plain()]);
        assert_eq!(story(&answered(&mut it, &mut frames, answer)), ["2"]);
    }
    transaction(&mut frames, 500, &[&table(9, "t", &[("id", 23), ("remark", 25)])]);
    let batch = answered(&mut it, &mut frames, numbered(&[1, 3]));
    assert_eq!(story(&batch), ["t->t + - ~ key=false recreated=false", "2"]);
    let renamed = batch.events().find_map(|event| match event {
        Event::SchemaChange(change) => {
            change.renamed().next().map(|(old, new)| (old.name.clone(), new.name.clone()))
        }
        _ => None,
    });
    assert_eq!(renamed, Some(("note".to_owned(), "remark".to_owned())));
    let met = it.take_versions_met();
    let known = met.iter().flat_map(|met| &met.relations).filter_map(|it| it.attribute_numbers());
    assert_eq!(known.collect::<Vec<_>>(), [&[1, 2], &[1, 3], &[1, 3], &[1, 3]]);
}

#[test]
fn the_last_change_is_still_the_last_when_one_of_shape_comes_in_before_it() {
    let (mut it, mut frames) = (fresh(), Frames::new());
    transaction(&mut frames, 100, &[&plain()]);
    answered(&mut it, &mut frames, numbered(&[1, 2]));
    transaction(&mut frames, 200, &[&plain()]);
    transaction(&mut frames, 300, &[&wide(), &wide()]);
    let mut answers = numbered(&[1, 4]);
    answers.extend(numbered(&[1, 4, 5]));
    let batch = answered(&mut it, &mut frames, answers);
    let again = "t->t +note -note ~ key=false recreated=false";
    let grows = "t->t +more - ~ key=false recreated=false";
    assert_eq!(story(&batch), [again, "2", grows, "3", "3"]);
    let last = batch.events().filter_map(|event| match event {
        Event::Change(change) => Some(change.is_last()),
        _ => None,
    });
    assert_eq!(last.collect::<Vec<_>>(), [true, false, true]);
}

/// The catalogue may have answered before the first event comes.
#[test]
fn an_answer_that_comes_before_the_row_counts_as_well() {
    let (mut it, mut frames) = (fresh(), Frames::new());
    transaction(&mut frames, 100, &[&plain()]);
    answered(&mut it, &mut frames, numbered(&[1, 2]));
    let mut told = |commit, numbers: &[i16]| {
        frames.begin(commit).relation(&plain());
        it.push(frames.chunk()).unwrap();
        it.catalogued(numbered(numbers));
        row(&mut frames, &plain());
        frames.commit(commit);
        story(&batch(&mut it, &mut frames))
    };
    assert_eq!(told(200, &[1, 2]), ["2"]);
    assert_eq!(told(300, &[1, 3]), ["t->t +note -note ~ key=false recreated=false", "2"]);
    assert_eq!(told(400, &[1, 3]), ["2"]);
}
