//! Journals cut at every byte, with every bit flipped, and on a disk that is full.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use proptest::prelude::*;

use super::format::{RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use super::*;
use crate::event::{Column, Oid, Relation, ReplicaIdentity, Value};
use crate::lineage::Lineage;
use crate::lsn::Lsn;
use crate::name::{ServerIdentity, SystemId, Timeline};
use crate::testing::Frames;

/// So large that no segment is full.
const LARGE: u64 = u64::MAX;

fn opening(start: u64) -> Opening {
    let identity = ServerIdentity { system_id: SystemId::new(7), timeline: Timeline::new(1) };
    Opening {
        lineage: Lineage::single(identity),
        database: "d".to_owned(),
        slot: "s".to_owned(),
        publications: vec!["p".to_owned()],
        format: ValueFormat::Binary,
        streaming: "off".to_owned(),
        local_only: false,
        messages: Vec::new(),
        start: Lsn::new(start),
        continued: None,
    }
}

fn described() -> Bytes {
    let column = Column {
        name: "note".to_owned(),
        type_oid: Oid::new(25),
        type_name: None,
        type_modifier: -1,
        in_identity: true,
    };
    let relation = Relation {
        oid: Oid::new(1),
        schema: "public".to_owned(),
        name: "orders".to_owned(),
        replica_identity: ReplicaIdentity::Default,
        columns: vec![column],
        catalog: None,
    };
    Frames::new().type_name(9, "public", "mood").relation(&relation).chunk().bytes
}

/// A transaction of one row of `bytes` bytes; it ends 8 after `commit`.
fn transaction(commit: u64, bytes: usize) -> Bytes {
    let content = vec![commit as u8; bytes];
    let mut frames = Frames::new();
    frames.begin(commit).insert(commit, Oid::new(1), &[Value::Text(&content)]).commit(commit);
    frames.chunk().bytes
}

fn open(path: &Path, segment_bytes: u64) -> JournalWriter {
    JournalWriter::open(path, segment_bytes, JournalPosition::default()).unwrap()
}

/// Everything that can be read, and how that ended.
fn read(path: &Path) -> (Vec<Entry>, Result<(), JournalError>) {
    let mut entries = Vec::new();
    let mut reader = match JournalReader::open(path) {
        Ok(reader) => reader,
        Err(error) => return (entries, Err(error)),
    };
    loop {
        match reader.read() {
            Ok(Some(entry)) => entries.push(entry),
            Ok(None) => return (entries, Ok(())),
            Err(error) => {
                let again = reader.read();
                assert!(matches!(again, Err(JournalError::Stopped { .. })), "{again:?}");
                return (entries, Err(error));
            }
        }
    }
}

fn frames(entries: &[Entry]) -> Vec<Bytes> {
    let frames = |entry: &Entry| match entry {
        Entry::Frames(frames) => Some(frames.clone()),
        _ => None,
    };
    entries.iter().filter_map(frames).collect()
}

fn segments(path: &Path) -> Vec<PathBuf> {
    numbers_in(path).unwrap().into_iter().map(|number| segment_path(path, number)).collect()
}

#[test]
fn a_journal_goes_on_where_it_ended_and_reads_as_one() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a/journal");
    let mut writer = open(&path, 400);
    assert_eq!((writer.end(), writer.position()), (None, JournalPosition::default()));
    writer.begin(opening(100)).unwrap();
    writer.append(&described()).unwrap();
    writer.answer(Oid::new(1), b"mood is an enum").unwrap();
    let mut written = vec![described()];
    for commit in (200..300).step_by(20) {
        written.push(transaction(commit, 100));
        writer.append(&written[written.len() - 1]).unwrap();
    }
    // The beginning of one that goes on in another segment.
    written.push(Frames::new().begin(300).chunk().bytes);
    writer.append(&written[written.len() - 1]).unwrap();
    assert_eq!(writer.end(), Some(Lsn::new(288)));
    let position = writer.close().unwrap();

    let mut writer = JournalWriter::open(&path, 400, position).unwrap();
    assert_eq!((writer.end(), writer.torn_bytes()), (Some(Lsn::new(288)), 0));
    assert_eq!(writer.opening().unwrap().slot, "s");
    let rows = Value::Text(&[7; 400]);
    written.push(Frames::new().insert(300, Oid::new(1), &[rows]).chunk().bytes);
    writer.append(&written[written.len() - 1]).unwrap();
    written.push(Frames::new().commit(300).keepalive(400).chunk().bytes);
    writer.append(&written[written.len() - 1]).unwrap();
    assert_eq!(writer.end(), Some(Lsn::new(308)));
    writer.reach(Lsn::new(400)).unwrap();
    drop(writer);
    let mut writer = open(&path, 400);
    assert_eq!(writer.end(), Some(Lsn::new(400)));
    writer.begin(opening(350)).unwrap();
    assert_eq!(writer.end(), Some(Lsn::new(400)));
    writer.close().unwrap();

    let (entries, ended) = read(&path);
    ended.unwrap();
    assert_eq!(frames(&entries), written);
    assert_eq!(entries[0], Entry::Opened(Box::new(Opened::of(opening(100)))));
    let answer = Answer { table: Oid::new(1), said: Bytes::from_static(b"mood is an enum") };
    assert_eq!(entries[2], Entry::Answer(answer));
    assert_eq!(entries[entries.len() - 1], Entry::Opened(Box::new(Opened::of(opening(350)))));
    let openings = entries.iter().filter(|entry| matches!(entry, Entry::Opened(_)));
    assert_eq!(openings.count(), 2);
}

#[test]
fn each_segment_can_be_read_without_those_before_it() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = open(root.path(), 1);
    writer.begin(opening(100)).unwrap();
    writer.append(&described()).unwrap();
    writer.answer(Oid::new(1), b"mood is an enum").unwrap();
    writer.append(&Frames::new().begin(200).chunk().bytes).unwrap();
    writer.append(&Frames::new().commit(200).chunk().bytes).unwrap();
    writer.append(&transaction(300, 1)).unwrap();
    drop(writer);
    let all = segments(root.path());
    assert_eq!(all.len(), 5);
    let continued = [(100, None), (100, None), (100, Some(200)), (208, None)];
    for (path, (end, open)) in all[..4].iter().zip(continued) {
        fs::remove_file(path).unwrap();
        let (entries, ended) = read(root.path());
        ended.unwrap();
        let Entry::Opened(opened) = &entries[0] else { panic!("{entries:?}") };
        let continued = Continued { end: Lsn::new(end), open: open.map(Lsn::new) };
        assert_eq!(opened.opening, Opening { continued: Some(continued), ..opening(100) });
        assert_eq!(opened.described, described());
        let answered = all.iter().position(|segment| segment == path).unwrap() > 0;
        assert_eq!(opened.answers.len(), usize::from(answered));
    }
}

#[test]
fn a_tail_cut_at_any_byte_leaves_a_whole_prefix_with_all_that_was_synced() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = open(root.path(), LARGE);
    writer.begin(opening(100)).unwrap();
    let head = writer.position().byte;
    writer.append(&transaction(200, 30)).unwrap();
    let synced = writer.sync().unwrap();
    writer.append(&transaction(300, 30)).unwrap();
    writer.append(&transaction(400, 30)).unwrap();
    drop(writer);
    let path = segments(root.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    let record = (whole.len() as u64 - head) / 3;
    for cut in 0..=whole.len() as u64 {
        fs::write(&path, &whole[..cut as usize]).unwrap();
        let records = cut.saturating_sub(head) / record;
        let (entries, ended) = read(root.path());
        ended.unwrap();
        assert_eq!(frames(&entries).len() as u64, records, "cut at {cut}");
        let open = JournalWriter::open(root.path(), LARGE, synced);
        if cut < synced.byte {
            assert!(matches!(open, Err(JournalError::Damaged { .. })), "cut at {cut}");
            continue;
        }
        let mut writer = open.unwrap();
        assert_eq!(writer.end(), Some(Lsn::new(108 + 100 * records)));
        assert_eq!(writer.torn_bytes(), (cut - head) % record);
        writer.append(&transaction(900, 5)).unwrap();
        drop(writer);
        let (entries, ended) = read(root.path());
        ended.unwrap();
        assert_eq!(frames(&entries).len() as u64, records + 1);
    }
    fs::remove_file(&path).unwrap();
    let open = JournalWriter::open(root.path(), LARGE, synced);
    assert!(matches!(open, Err(JournalError::Missing { .. })));
}

#[test]
fn a_segment_that_was_not_begun_to_the_end_does_not_count() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = open(root.path(), 1);
    writer.begin(opening(100)).unwrap();
    writer.append(&transaction(200, 30)).unwrap();
    writer.append(&transaction(300, 30)).unwrap();
    drop(writer);
    let last = segments(root.path()).remove(1);
    let whole = fs::read(&last).unwrap();
    let head = whole.len() - RECORD_HEADER_BYTES - transaction(300, 30).len();
    for cut in 0..head {
        fs::write(&last, &whole[..cut]).unwrap();
        let (entries, ended) = read(root.path());
        ended.unwrap();
        assert_eq!(entries.len(), 2, "cut at {cut}");
        let mut writer = open(root.path(), 1);
        assert_eq!(writer.end(), Some(Lsn::new(208)));
        writer.append(&transaction(400, 30)).unwrap();
        drop(writer);
        let (entries, ended) = read(root.path());
        ended.unwrap();
        assert_eq!(frames(&entries), [transaction(200, 30), transaction(400, 30)]);
    }
}

#[test]
fn a_bit_flipped_anywhere_is_named_or_lies_in_the_tail_that_is_cut() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = open(root.path(), 200);
    writer.begin(opening(100)).unwrap();
    for commit in [200, 300, 400, 500, 600] {
        writer.append(&transaction(commit, 30)).unwrap();
    }
    writer.close().unwrap();
    let (written, ended) = read(root.path());
    ended.unwrap();
    let all = segments(root.path());
    assert!(all.len() > 2);
    for path in &all {
        let whole = fs::read(path).unwrap();
        let closed = match Some(path) == all.last() {
            true => whole.len() - RECORD_HEADER_BYTES,
            false => whole.len(),
        };
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(path, &bytes).unwrap();
            let (entries, ended) = read(root.path());
            assert!(written.starts_with(&entries), "byte {at} of {}", path.display());
            if at >= closed {
                // Only the note that everything was synced.
                ended.unwrap();
                assert_eq!(entries.len(), written.len());
                continue;
            }
            let error = ended.unwrap_err();
            let named = match &error {
                JournalError::Damaged { path: named, at: byte, .. } => {
                    assert!(*byte as usize <= at, "{error} for byte {at}");
                    named
                }
                JournalError::Version { path: named, .. } => named,
                _ => panic!("byte {at}: {error}"),
            };
            assert_eq!(named, path, "byte {at}");
            if Some(path) == all.last() {
                let opened = JournalWriter::open(root.path(), 200, JournalPosition::default());
                assert!(opened.is_err(), "byte {at}");
            }
        }
        fs::write(path, &whole).unwrap();
    }
}

#[test]
fn a_segment_that_is_missing_cut_exchanged_or_foreign_is_named() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = open(root.path(), 1);
    writer.begin(opening(100)).unwrap();
    for commit in [200, 300, 400] {
        writer.append(&transaction(commit, 30)).unwrap();
    }
    drop(writer);
    let all = segments(root.path());
    let second = fs::read(&all[1]).unwrap();
    let third = fs::read(&all[2]).unwrap();

    fs::remove_file(&all[1]).unwrap();
    let (_, ended) = read(root.path());
    assert!(matches!(ended, Err(JournalError::Missing { path }) if path == all[1]));

    // Between two records, where it looks like an end.
    let record = RECORD_HEADER_BYTES + transaction(200, 30).len();
    fs::write(&all[1], &second[..second.len() - record]).unwrap();
    let error = read(root.path()).1.unwrap_err().to_string();
    let want = format!("expected {} bytes, found {}", second.len(), second.len() - record);
    assert!(error.contains("000000000002.journal") && error.contains(&want), "{error}");

    fs::write(&all[1], &third).unwrap();
    let error = read(root.path()).1.unwrap_err().to_string();
    assert!(error.contains("expected segment 2, found segment 3"), "{error}");

    let mut newer = second.clone();
    newer[8] = 2;
    let crc = crc32c::crc32c(&newer[..36]);
    newer[36..SEGMENT_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    fs::write(&all[1], &newer).unwrap();
    assert!(matches!(read(root.path()).1, Err(JournalError::Version { found: 2, .. })));

    // The same segment of another journal.
    let other = tempfile::tempdir().unwrap();
    let mut writer = open(other.path(), 1);
    writer.begin(opening(101)).unwrap();
    writer.append(&transaction(200, 30)).unwrap();
    writer.append(&transaction(300, 30)).unwrap();
    drop(writer);
    fs::copy(segments(other.path()).remove(1), &all[1]).unwrap();
    let error = read(root.path()).1.unwrap_err();
    let expected = Expected::Continuation;
    assert!(matches!(error, JournalError::Damaged { expected: e, .. } if e == expected), "{error}");
}

#[test]
fn one_process_writes_and_a_link_is_not_followed() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("journal");
    let mut writer = open(&path, LARGE);
    let second = JournalWriter::open(&path, LARGE, JournalPosition::default());
    assert!(matches!(second, Err(JournalError::Locked { .. })));
    assert!(matches!(read(&path).1, Err(JournalError::Empty { .. })));
    let unopened = writer.append(&transaction(200, 1));
    assert!(matches!(unopened, Err(JournalError::NotOpened { .. })));
    let target = root.path().join("precious");
    fs::write(&target, "mine").unwrap();
    std::os::unix::fs::symlink(&target, segment_path(&path, 1)).unwrap();
    assert!(matches!(writer.begin(opening(1)), Err(JournalError::Io { .. })));
    assert!(matches!(writer.begin(opening(1)), Err(JournalError::Poisoned { .. })));
    drop(writer);
    let opened = JournalWriter::open(&path, LARGE, JournalPosition::default());
    assert!(matches!(opened, Err(JournalError::Io { operation: "open", .. })));
    assert_eq!(fs::read(&target).unwrap(), b"mine");
}

#[test]
fn a_full_disk_is_told_and_poisons_the_writer() {
    let root = tempfile::tempdir().unwrap();
    let mut segment = SegmentWriter::create(&root.path().join("one")).unwrap();
    segment.append(RecordKind::Frames, b"first").unwrap();
    let (good, full) = (segment.bytes(), fs::OpenOptions::new().write(true).open("/dev/full"));
    segment.swap_file(full.unwrap());
    let error = segment.append(RecordKind::Frames, b"second").unwrap_err();
    let JournalError::Io { operation: "write", path, source } = &error else { panic!("{error}") };
    assert_eq!((path, source.kind()), (&root.path().join("one"), std::io::ErrorKind::StorageFull));
    assert!(matches!(segment.sync(), Err(JournalError::Poisoned { .. })));
    let again = segment.append(RecordKind::Frames, b"third");
    assert!(matches!(again, Err(JournalError::Poisoned { .. })));
    assert_eq!(segment.bytes(), good);
}

#[test]
fn a_segment_alone_is_written_proven_and_read_back() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("gid");
    let mut segment = SegmentWriter::create(&path).unwrap();
    assert!(matches!(SegmentWriter::create(&path), Err(JournalError::Io { .. })));
    segment.append(RecordKind::Frames, b"one").unwrap();
    segment.append(RecordKind::Frames, &vec![7; 100_000]).unwrap();
    assert_eq!(segment.durable_bytes(), 0);
    segment.sync().unwrap();
    assert_eq!(segment.durable_bytes(), segment.bytes());
    let mut payload = Vec::new();
    let mut reader = segment.reader();
    assert_eq!(reader.peek().unwrap().map(|record| record.bytes), Some(3));
    assert_eq!(reader.next(&mut payload).unwrap().map(|record| record.bytes), Some(3));
    assert_eq!(reader.next(&mut payload).unwrap().map(|record| record.bytes), Some(100_000));
    assert_eq!((reader.next(&mut payload).unwrap(), payload.len()), (None, 100_003));
    let too_long = segment.append(RecordKind::Frames, &vec![0; 0x4020_0000]);
    assert!(matches!(too_long, Err(JournalError::TooLong { .. })));
    segment.append(RecordKind::Frames, b"three").unwrap();
    segment.close().unwrap();
    let mut reader = SegmentReader::open(&path, 0).unwrap().unwrap();
    while reader.next(&mut payload).unwrap().is_some() {}
    assert_eq!((payload.len(), reader.torn_bytes()), (200_011, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is written, synced, rotated and reopened reads back; and however the end is cut or
    /// garbled after the last sync, a prefix with everything that was synced does.
    #[test]
    fn what_was_synced_survives_any_tail(
        steps in prop::collection::vec(
            (0usize..200, any::<bool>(), prop::bool::weighted(0.1)),
            1..20,
        ),
        segment_bytes in 200u64..3000,
        cut in any::<prop::sample::Index>(),
        garbage in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let root = tempfile::tempdir().unwrap();
        let mut writer = open(root.path(), segment_bytes);
        writer.begin(opening(100)).unwrap();
        let mut written = Vec::new();
        let mut synced = (writer.sync().unwrap(), 0);
        for (at, (bytes, sync, reopen)) in steps.into_iter().enumerate() {
            written.push(transaction(200 + at as u64 * 20, bytes));
            writer.append(&written[at]).unwrap();
            if reopen {
                drop(writer);
                writer = JournalWriter::open(root.path(), segment_bytes, synced.0).unwrap();
            }
            if sync || reopen {
                synced = (writer.sync().unwrap(), at + 1);
            }
        }
        drop(writer);
        let (entries, ended) = read(root.path());
        ended.unwrap();
        prop_assert_eq!(&frames(&entries), &written);

        let last = segments(root.path()).pop().unwrap();
        let mut bytes = fs::read(&last).unwrap();
        let number = *numbers_in(root.path()).unwrap().last().unwrap();
        // What a segment begins with was synced before anything else went in.
        let mut head = SegmentReader::open_numbered(
            &last,
            segment::Extent { number, durable: 0 },
            segment::Access::Read,
        ).unwrap().unwrap();
        head.next(&mut Vec::new()).unwrap();
        let known = if number == synced.0.segment { synced.0.byte } else { 0 };
        let from = known.max(head.read_bytes()) as usize;
        bytes.truncate(from + cut.index(bytes.len() - from + 1));
        bytes.extend(garbage);
        fs::write(&last, &bytes).unwrap();
        let (entries, ended) = read(root.path());
        ended.unwrap();
        let found = frames(&entries);
        prop_assert!(written.starts_with(&found) && found.len() >= synced.1);
        let mut writer = JournalWriter::open(root.path(), segment_bytes, synced.0).unwrap();
        writer.append(&transaction(9000, 3)).unwrap();
        writer.close().unwrap();
        let (entries, ended) = read(root.path());
        ended.unwrap();
        prop_assert_eq!(frames(&entries).len(), found.len() + 1);
    }
}
