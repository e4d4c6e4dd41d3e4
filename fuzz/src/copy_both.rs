//! What is inside CopyData: whatever is read, written again gives the same bytes.
//!
//! The input is a run of backend messages, whole or not.

use walcast::wire::copy_both::{FRAME_BYTES_MAX, ServerMessage, frame_bytes};

/// See the [module](self).
pub fn check(input: &[u8]) {
    crate::bounded(input.len(), 2, || {
        let mut rest = input;
        while let Ok(Some(length)) = frame_bytes(rest) {
            assert!((5..=FRAME_BYTES_MAX).contains(&length));
            let Some((frame, after)) = rest.split_at_checked(length) else { break };
            message(&frame[5..]);
            rest = after;
        }
        message(rest);
    });
}

fn message(body: &[u8]) {
    let Ok(message) = ServerMessage::parse(body) else { return };
    let mut again = Vec::new();
    match message {
        ServerMessage::XLogData { start, end, sent_at, payload } => {
            again.push(b'w');
            again.extend(start.as_u64().to_be_bytes());
            again.extend(end.as_u64().to_be_bytes());
            again.extend(sent_at.as_postgres_micros().to_be_bytes());
            again.extend(payload);
        }
        ServerMessage::Keepalive { end, sent_at, reply_requested } => {
            again.push(b'k');
            again.extend(end.as_u64().to_be_bytes());
            again.extend(sent_at.as_postgres_micros().to_be_bytes());
            // Any byte but 0 asks for a reply.
            assert_eq!(reply_requested, body[body.len() - 1] != 0);
            again.push(body[body.len() - 1]);
        }
    }
    assert_eq!(again, body);
}
