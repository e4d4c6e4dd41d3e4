//! Makes the corpus that fuzzing starts from: `seeds <directory>` fills `<directory>/<target>`
//! from `tests/golden`, `fuzz/regressions` and a few texts. Files are named after what they hold.

// What the coverage of an instrumented build calls; the fuzzer's own main stays out.
use libfuzzer_sys as _;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::{Path, PathBuf};

use walcast::event::{Oid, Value};
use walcast::wire::Field;
use walcast::wire::copy_both::{ServerMessage, frame_bytes};
use walcast::wire::pgoutput::Message;

type Seeds = BTreeMap<&'static str, BTreeSet<Vec<u8>>>;

const SETTINGS: &[&str] = &[
    "postgres://walcast@db1:5433,db2/shop?sslmode=verify-full&target_session_attrs=read-write",
    "host=/var/run/postgresql port=5432 user='a b' dbname=shop options='-c a=b' keepalives_idle=3",
    "16/B374D848",
    "public.*",
    "[source]\nurl = \"postgres://u:${PASSWORD}@h/d\"\nslot = \"s\"\npublication = [\"p\", \"q\"]\n\
     [pipeline]\nstate = \"state\"\nmemory = \"64MiB\"\nstatus_interval = \"10s\"\n\
     [[sink]]\nname = \"a\"\ntype = \"file\"\npath = \"a.jsonl\"\nretry = { first = \"1s\" }\n",
];

fn main() -> Result<(), Box<dyn Error>> {
    let target = std::env::args_os().nth(1).map(PathBuf::from).ok_or("usage: seeds <directory>")?;
    let mut seeds = Seeds::new();
    let mut golden = 0;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    for major in std::fs::read_dir(root)?.filter_map(Result::ok).filter(|it| it.path().is_dir()) {
        for file in std::fs::read_dir(major.path())? {
            of_frames(&std::fs::read(file?.path())?, &mut seeds)?;
            golden += 1;
        }
    }
    if golden == 0 {
        return Err("there are no golden frames".into());
    }
    let settings = SETTINGS.iter().map(|text| text.as_bytes().to_vec());
    seeds.entry("settings").or_default().extend(settings);
    let acts = seeds.entry("streamed").or_default();
    acts.extend([b"\x00\x09\x03\x0a\x0c\x09\x07\x05".to_vec(), (0..=255).collect()]);
    for (name, inputs) in seeds {
        let directory = target.join(name);
        std::fs::create_dir_all(&directory)?;
        for (at, input) in inputs.iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{at:04}")), input)?;
        }
        println!("{name}: {} seeds", inputs.len());
    }
    Ok(())
}

/// The whole conversation for the session, every message for pgoutput and the reader, every value.
fn of_frames(frames: &[u8], seeds: &mut Seeds) -> Result<(), Box<dyn Error>> {
    seeds.entry("session").or_default().insert(frames.to_vec());
    // Records to write, and to be damaged.
    seeds.entry("journal").or_default().insert([&[1], &frames[..frames.len().min(500)]].concat());
    seeds.entry("copy_both").or_default().insert(frames[..frames.len().min(4096)].to_vec());
    let (mut at, mut in_block, mut types) = (0, false, BTreeMap::new());
    while let Some(length) = frame_bytes(&frames[at..])? {
        let message = ServerMessage::parse(&frames[at + 5..at + length])?;
        at += length;
        let ServerMessage::XLogData { payload, .. } = message else { continue };
        let mut payload = payload.to_vec();
        if in_block && !matches!(payload[0], b'E' | b'O') {
            payload.drain(1..5);
        }
        in_block = payload[0] == b'S' || in_block && payload[0] != b'E';
        of_values(&payload, &mut types, seeds)?;
        let operations = [&[8, 0, 2, 7, 7, 1, 5, 6, 4], &payload[..]].concat();
        seeds.entry("reader").or_default().insert(operations);
        seeds.entry("pgoutput").or_default().insert(payload);
    }
    Ok(())
}

fn of_values(
    payload: &[u8],
    types: &mut BTreeMap<Oid, Vec<u32>>,
    seeds: &mut Seeds,
) -> Result<(), Box<dyn Error>> {
    let mut fields = Vec::new();
    let (relation, spans) = match Message::parse(payload, 0, &mut fields)? {
        Message::Relation(relation) => {
            let of_columns = relation.columns().map(|column| column.type_oid.as_u32());
            types.insert(relation.oid, of_columns.collect());
            return Ok(());
        }
        Message::Insert { relation, new } => (relation, vec![new]),
        Message::Update { relation, old, new } => {
            (relation, old.map(|(_, span)| span).into_iter().chain([new]).collect())
        }
        Message::Delete { relation, old, .. } => (relation, vec![old]),
        _ => return Ok(()),
    };
    let types = types.get(&relation).ok_or("a row of an unknown table")?;
    for span in spans {
        let of_span: &[Field] = &fields[span.first..span.first + span.count];
        for (oid, field) in types.iter().zip(of_span) {
            let (Value::Text(bytes) | Value::Binary(bytes)) = field.value(payload) else {
                continue;
            };
            if let Some(selector) = walcast_fuzz::values::selector(*oid) {
                let input = [&selector, bytes].concat();
                seeds.entry("values").or_default().insert(input);
            }
        }
    }
    Ok(())
}
