//! One message of pgoutput: whatever is read, written again gives the same bytes, and no piece of
//! it nor more than it is a message.
//!
//! The input is the message itself.

use walcast::wire::Field;
use walcast::wire::pgoutput::Message;
use walcast::wire::streaming::streamed_xid;

use crate::rewritten::rewritten;

/// Longer ones are tried at some of their cuts only.
const ALL_CUTS: usize = 200;

/// See the [module](self).
pub fn check(input: &[u8]) {
    if let Ok(Some(xid)) = streamed_xid(input) {
        assert_eq!(input[1..5], xid.to_be_bytes());
    }
    let mut fields = Vec::new();
    let parsed = crate::bounded(input.len(), 40, || Message::parse(input, 0, &mut fields));
    assert!(fields.len() <= input.len());
    let Ok(message) = parsed else { return };
    assert_eq!(rewritten(&message, &fields, input), input);
    in_a_chunk(input, &message, &fields);

    // PostgreSQL has two forms of Stream Abort; the shorter one is a piece of the longer.
    if input[0] == b'A' {
        return;
    }
    let mut cut = 0;
    while cut < input.len() {
        assert!(Message::parse(&input[..cut], 0, &mut Vec::new()).is_err(), "cut at {cut}");
        cut += 1 + input.len() / ALL_CUTS;
    }
    let longer = [input, &[0]].concat();
    assert!(Message::parse(&longer, 0, &mut Vec::new()).is_err(), "and a byte");
}

/// Where a message lies in its chunk changes nothing of it.
fn in_a_chunk(input: &[u8], message: &Message<'_>, fields: &[Field]) {
    const BASE: usize = 7;
    let chunk = [&[0; BASE], input].concat();
    let mut moved = Vec::new();
    let again = Message::parse(&chunk[BASE..], BASE, &mut moved);
    assert_eq!(again.as_ref(), Ok(message));
    assert_eq!(moved.len(), fields.len());
    for (field, moved) in fields.iter().zip(&moved) {
        assert_eq!(field.value(input), moved.value(&chunk));
    }
}
