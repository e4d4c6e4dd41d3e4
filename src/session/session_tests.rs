//! The conversation, byte by byte.

use super::*;

fn now(millis: u64) -> Now {
    Now { elapsed: Duration::from_millis(millis), wall: Timestamp::from_postgres_micros(0) }
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend((body.len() as u32 + 4).to_be_bytes());
    bytes.extend(body);
    bytes
}

fn keepalive(end: u64, reply: u8) -> Vec<u8> {
    let mut body = vec![b'k'];
    body.extend(end.to_be_bytes());
    body.extend([0; 8]);
    body.push(reply);
    message(b'd', &body)
}

fn streaming() -> Session {
    let mut session = Session::new();
    let at = Lsn::new(5);
    let intervals = Intervals { status: Duration::from_secs(1), silence: Duration::from_secs(10) };
    session.start_replication("START", intervals, Progress { flush: at, apply: at });
    let mut input = BytesMut::from(&message(b'W', &[0, 0, 0])[..]);
    assert_eq!(session.handle_input(now(0), &mut input), Ok(Some(Output::Started)));
    session
}

/// Every byte may come alone: the outputs are the same.
fn fed_by_bytes(session: &mut Session, bytes: &[u8]) -> Result<Vec<Output>, SessionError> {
    let mut input = BytesMut::new();
    let mut outputs = Vec::new();
    for byte in bytes {
        input.put_u8(*byte);
        while let Some(output) = session.handle_input(now(1), &mut input)? {
            outputs.push(output);
        }
    }
    Ok(outputs)
}

#[test]
fn a_command_is_answered_with_its_rows() {
    let mut session = Session::new();
    session.query("IDENTIFY_SYSTEM");
    assert_eq!(&session.transmit()[..], b"Q\0\0\0\x14IDENTIFY_SYSTEM\0");
    let mut bytes = message(b'T', &[0, 0]);
    bytes.extend(message(b'D', b"\0\x02\0\0\0\x017\xff\xff\xff\xff"));
    bytes.extend(message(b'C', b"IDENTIFY_SYSTEM\0"));
    bytes.extend(message(b'Z', b"I"));
    let rows = vec![vec![Some("7".to_owned()), None]];
    assert_eq!(fed_by_bytes(&mut session, &bytes), Ok(vec![Output::Answer(Ok(rows))]));
}

#[test]
fn a_refused_command_leaves_the_session_usable() {
    let mut session = Session::new();
    session.query("X");
    let mut bytes = message(b'E', b"SERROR\0VERROR\0C42710\0Mexists\0\0");
    bytes.extend(message(b'Z', b"I"));
    let outputs = fed_by_bytes(&mut session, &bytes).unwrap();
    assert!(matches!(&outputs[..], [Output::Answer(Err(error))] if error.message == "exists"));
}

#[test]
fn frames_are_handed_on_whole_and_a_request_is_answered() {
    let mut session = streaming();
    session.transmit().clear();
    let bytes = [keepalive(9, 0), keepalive(10, 1)].concat();
    let mut input = BytesMut::from(&bytes[..]);
    input.extend_from_slice(b"d\0");
    let output = session.handle_input(now(1), &mut input).unwrap();
    assert_eq!(output, Some(Output::Frames(bytes.into())));
    assert_eq!(&input[..], b"d\0");
    session.handle_time(now(1)).unwrap();
    assert_eq!(session.transmit().len(), 39);
    assert_eq!(session.received(), Some(Lsn::new(10)));
}

#[test]
fn finishing_drops_what_is_still_on_its_way() {
    let mut session = streaming();
    session.finish(now(2));
    assert!(session.transmit().ends_with(b"c\0\0\0\x04"));
    let mut bytes = keepalive(9, 0);
    bytes.extend(message(b'c', b""));
    bytes.extend(message(b'C', b"COPY 0\0"));
    bytes.extend(message(b'Z', b"I"));
    assert_eq!(fed_by_bytes(&mut session, &bytes), Ok(vec![Output::Finished]));
}

#[test]
fn an_end_we_did_not_ask_for_is_an_error() {
    assert_eq!(fed_by_bytes(&mut streaming(), b"c\0\0\0\x04"), Err(SessionError::Ended));
    let error = fed_by_bytes(&mut streaming(), &message(b'E', b"VFATAL\0C57P01\0Mbye\0\0"));
    assert!(matches!(error, Err(SessionError::Server(error)) if error.message == "bye"));
    let mut session = streaming();
    assert_eq!(session.handle_time(now(5_000)), Ok(()));
    assert!(matches!(session.handle_time(now(10_000)), Err(SessionError::Silent(_))));
}

#[test]
fn nonsense_is_named() {
    let error = fed_by_bytes(&mut streaming(), &message(b'd', b"?")).unwrap_err();
    assert!(error.to_string().contains("unknown CopyData message '?'"), "{error}");
    let error = fed_by_bytes(&mut streaming(), &message(b'!', b"")).unwrap_err();
    assert!(error.to_string().contains("unknown backend message '!'"), "{error}");
}

/// Nobody waits for what is sent before its commit.
#[test]
fn a_streamed_transaction_is_a_backlog_until_its_commit() {
    let mut session = streaming();
    let output = |sent_at: i64, payload: &[u8]| {
        let mut body = vec![b'w'];
        body.extend([0; 16]);
        body.extend(sent_at.to_be_bytes());
        body.extend(payload);
        message(b'd', &body)
    };
    let commit_at = |micros: i64| {
        let mut payload = vec![b'c', 0, 0, 0, 7, 0];
        payload.extend([0; 16]);
        payload.extend(micros.to_be_bytes());
        payload
    };
    for frame in [output(900, b"S\0\0\0\x07\x01"), output(900, b"E")] {
        fed_by_bytes(&mut session, &frame).unwrap();
        assert_eq!(session.lag(), Some(Duration::MAX));
    }
    fed_by_bytes(&mut session, &output(5_000, &commit_at(3_000))).unwrap();
    assert_eq!(session.lag(), Some(Duration::from_millis(2)));
    // One that is cut short is for the assembler to refuse.
    fed_by_bytes(&mut session, &output(9_000, b"c\0\0")).unwrap();
}
