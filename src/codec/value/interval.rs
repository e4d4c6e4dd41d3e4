//! Binary `interval`, in IntervalStyle `postgres`: `1 year 2 mons -3 days +04:05:06.5`.
//!
//! The three parts (months, days, microseconds) are independent and may differ in sign; a part that
//! follows a negative one shows its plus sign. From PostgreSQL 17 on the extreme value of all three
//! parts at once is an infinity; earlier servers can hold it as a finite one, which nobody means.

use super::time::{two, write_fraction};

pub(super) fn write(out: &mut Vec<u8>, bytes: [u8; 16]) {
    let [t0, t1, t2, t3, t4, t5, t6, t7, d0, d1, d2, d3, m0, m1, m2, m3] = bytes;
    let micros = i64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
    let days = i32::from_be_bytes([d0, d1, d2, d3]);
    let months = i32::from_be_bytes([m0, m1, m2, m3]);
    out.push(b'"');
    match (months, days, micros) {
        (i32::MAX, i32::MAX, i64::MAX) => out.extend_from_slice(b"infinity"),
        (i32::MIN, i32::MIN, i64::MIN) => out.extend_from_slice(b"-infinity"),
        _ => {
            let mut parts = Parts { out, empty: true, after_negative: false };
            parts.write(months / 12, " year");
            parts.write(months % 12, " mon");
            parts.write(days, " day");
            parts.write_clock(micros);
        }
    }
    out.push(b'"');
}

struct Parts<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
    /// Whether the last part written was negative.
    after_negative: bool,
}

impl Parts<'_> {
    fn write(&mut self, value: i32, unit: &str) {
        if value == 0 {
            return;
        }
        self.separate();
        if self.after_negative && value > 0 {
            self.out.push(b'+');
        }
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self.out.extend_from_slice(unit.as_bytes());
        if value != 1 {
            self.out.push(b's');
        }
        self.after_negative = value < 0;
    }

    fn write_clock(&mut self, micros: i64) {
        if micros == 0 && !self.empty {
            return;
        }
        self.separate();
        if micros < 0 {
            self.out.push(b'-');
        } else if self.after_negative {
            self.out.push(b'+');
        }
        let micros = micros.unsigned_abs();
        let seconds = micros / 1_000_000;
        let (hours, minutes, seconds) =
            (seconds / 3600, (seconds / 60 % 60) as u32, (seconds % 60) as u32);
        if hours < 10 {
            self.out.push(b'0');
        }
        self.out.extend_from_slice(itoa::Buffer::new().format(hours).as_bytes());
        let ([m0, m1], [s0, s1]) = (two(minutes), two(seconds));
        self.out.extend_from_slice(&[b':', m0, m1, b':', s0, s1]);
        write_fraction(self.out, (micros % 1_000_000) as u32);
    }

    fn separate(&mut self) {
        if !self.empty {
            self.out.push(b' ');
        }
        self.empty = false;
    }
}
