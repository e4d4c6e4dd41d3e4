//! What is kept stays, what is not does not, and harm is told.

use super::*;
use crate::ErrorKind;
use crate::event::Lease;

fn chunk(bytes: &[u8]) -> Chunk {
    Chunk { bytes: bytes.to_vec().into(), lease: Lease::free() }
}

fn head(xid: u32, end: u64) -> PreparedTransaction {
    let (gid, end_lsn) = (format!("gid {xid}"), Lsn::new(end));
    PreparedTransaction { xid, gid, end_lsn, has_changes: true }
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("prepared")
    }

    fn open(&self) -> PreparedTransactions {
        PreparedTransactions::open(&self.path()).unwrap()
    }

    /// Ready for a slot with this past.
    fn begin(&self, past: SlotPast) -> PreparedTransactions {
        let it = self.open();
        begin(&it, "s", past).unwrap();
        it.for_connection()
    }

    fn segments(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|it| it == EXTENSION)).collect()
    }
}

fn begin(it: &PreparedTransactions, slot: &str, past: SlotPast) -> Result<(), PreparedError> {
    let slot = SlotName::new(slot).unwrap();
    it.begin_stream(Owner { system_id: SystemId::new(1), slot: &slot }, past)
}

fn keep(it: &PreparedTransactions, xid: u32, runs: &[&[u8]]) {
    let mut unsealed = it.begin(xid).unwrap();
    let frames: Vec<Chunk> = runs.iter().map(|run| chunk(run)).collect();
    unsealed.append(&frames).unwrap();
    it.seal(head(xid, 10), Some(unsealed), Lsn::new(0)).unwrap();
}

fn read(it: &PreparedTransactions, xid: u32, end: u64) -> Result<Vec<Vec<u8>>, PreparedError> {
    let mut reader = it.commit(xid, Lsn::new(end))?.expect("it was kept");
    let mut runs = Vec::new();
    while let Some(run) = it.read(xid, &mut reader, 6)? {
        runs.push(run);
    }
    Ok(runs)
}

#[test]
fn what_is_sealed_outlives_the_process_and_what_is_not_does_not() {
    let place = Place::new();
    let it = place.begin(SlotPast::None);
    keep(&it, 7, &[b"one", b"two", b"a longer one"]);
    let unsealed = it.begin(8).unwrap();
    assert_eq!(place.segments().len(), 2);
    drop((it, unsealed));
    let it = place.begin(SlotPast::Any);
    assert_eq!(place.segments().len(), 1);
    assert_eq!(it.kept(), Kept { transactions: vec![head(7, 10)], is_whole: true });
    assert_eq!(read(&it, 7, 20).unwrap(), [&b"onetwo"[..], b"a longer one"]);
    assert!(it.commit(8, Lsn::new(20)).unwrap().is_none());
}

#[test]
fn one_is_let_go_of_when_its_commit_is_confirmed_or_it_is_rolled_back() {
    let place = Place::new();
    let it = place.begin(SlotPast::None);
    keep(&it, 7, &[b"frames"]);
    keep(&it, 8, &[b"frames"]);
    it.release(Lsn::new(1000)).unwrap();
    assert_eq!(it.kept().transactions.len(), 2, "neither has committed");
    read(&it, 7, 20).unwrap();
    it.release(Lsn::new(19)).unwrap();
    assert_eq!(it.kept().transactions.len(), 2, "it may have to be handed out again");
    it.release(Lsn::new(20)).unwrap();
    assert_eq!(it.kept().transactions, [head(8, 10)]);
    it.discard(8).unwrap();
    it.discard(9).unwrap();
    assert_eq!(
        (it.kept(), place.segments().len()),
        (Kept { is_whole: true, ..Kept::default() }, 0)
    );
}

#[test]
fn one_that_is_sent_again_replaces_itself() {
    let place = Place::new();
    let it = place.begin(SlotPast::None);
    keep(&it, 7, &[b"before"]);
    keep(&it, 7, &[b"after"]);
    assert_eq!(place.segments().len(), 1);
    assert_eq!(read(&it, 7, 20).unwrap(), [b"after"]);
    // One without frames too.
    it.seal(head(7, 10), None, Lsn::new(0)).unwrap();
    assert_eq!(read(&it, 7, 20).unwrap(), Vec::<Vec<u8>>::new());
}

#[test]
fn a_connection_that_is_gone_changes_nothing() {
    let place = Place::new();
    let it = place.begin(SlotPast::None);
    let unsealed = it.begin(7).unwrap();
    let next = it.for_connection();
    it.seal(head(7, 10), Some(unsealed), Lsn::new(0)).unwrap();
    assert!(next.kept().transactions.is_empty());
    keep(&next, 8, &[b"frames"]);
    it.discard(8).unwrap();
    assert_eq!(next.kept().transactions, [head(8, 10)]);
}

#[test]
fn it_is_whole_when_it_was_there_before_the_slot_sent_any() {
    let cases = [(SlotPast::None, true), (SlotPast::NoPrepared, true), (SlotPast::Any, false)];
    for (past, is_whole) in cases {
        let place = Place::new();
        assert_eq!(place.begin(past).kept().is_whole, is_whole, "{past:?}");
        assert_eq!(place.begin(SlotPast::Any).kept().is_whole, is_whole, "{past:?}");
        // What the slot sent is at an end, and begins anew.
        assert!(place.begin(SlotPast::NoPrepared).kept().is_whole);
    }
    let place = Place::new();
    keep(&place.begin(SlotPast::None), 7, &[b"of a slot that is gone"]);
    assert_eq!(place.begin(SlotPast::None).kept().transactions, []);
    assert_eq!(place.segments().len(), 0);
}

#[test]
fn another_slots_are_left_alone() {
    let place = Place::new();
    keep(&place.begin(SlotPast::None), 7, &[b"frames"]);
    let other = begin(&place.open(), "other", SlotPast::Any);
    assert!(matches!(other, Err(PreparedError::OtherSlot { .. })));
    assert_eq!(place.segments().len(), 1);
}

#[test]
fn harm_is_told_and_is_a_gap() {
    let place = Place::new();
    keep(&place.begin(SlotPast::None), 7, &[b"frames", b"more of them"]);
    let path = place.segments().remove(0);
    let whole = fs::read(&path).unwrap();
    let mut harmed: Vec<Vec<u8>> = (0..whole.len())
        .map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        })
        .collect();
    harmed.extend((0..whole.len()).map(|length| whole[..length].to_vec()));
    for bytes in harmed {
        fs::write(&path, &bytes).unwrap();
        let it = place.begin(SlotPast::Any);
        let Err(error) = read(&it, 7, 20) else {
            // What lies behind the frames only says that they were proven.
            assert_eq!(read(&it, 7, 20).unwrap(), [&b"frames"[..], b"more of them"]);
            continue;
        };
        assert!(
            matches!(
                error,
                PreparedError::Lost { .. } | PreparedError::Journal(JournalError::Version { .. })
            ),
            "{error:?}"
        );
    }
    fs::remove_file(&path).unwrap();
    let error = read(&place.begin(SlotPast::Any), 7, 20).unwrap_err();
    let error = Error::from(error);
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Gap, false));
}

#[test]
fn an_index_that_is_none_is_told() {
    let place = Place::new();
    keep(&place.begin(SlotPast::None), 7, &[b"frames"]);
    let path = place.path().join(INDEX);
    let whole = fs::read(&path).unwrap();
    let mut told = 0;
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        match PreparedTransactions::open(&place.path()) {
            Err(error) => {
                assert!(!Error::from(error).is_transient());
                told += 1;
            }
            Ok(it) => assert_eq!(it.kept().transactions, [head(7, 10)]),
        }
        assert_eq!(place.segments().len(), 1, "byte {at}");
    }
    assert!(told > whole.len() / 2);
}

/// Work of a stream that was let go of may still be under way: it must not meet the next one's.
#[test]
fn one_has_the_directory_at_a_time() {
    let place = Place::new();
    let it = place.begin(SlotPast::None);
    let work = it.clone();
    let unsealed = it.begin(7).unwrap();
    drop(it);
    let path = place.path();
    let next = std::thread::spawn(move || PreparedTransactions::open(&path));
    std::thread::sleep(Duration::from_millis(50));
    assert!(!next.is_finished());
    work.seal(head(7, 10), Some(unsealed), Lsn::new(0)).unwrap();
    drop(work);
    let next = next.join().unwrap().unwrap();
    assert_eq!(next.kept().transactions, [head(7, 10)]);
    let error = PreparedTransactions::open(&place.path()).unwrap_err();
    assert!(matches!(error, PreparedError::Held { .. }), "{error}");
}
