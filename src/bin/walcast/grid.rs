//! Rows under headings, their columns aligned.

use std::fmt::Write as _;

/// `rows` under `head`; every row has as many cells as the head.
pub(crate) fn grid<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    append(&mut text, &head, &widths);
    for row in rows {
        append(&mut text, &row.each_ref().map(String::as_str), &widths);
    }
    text
}

fn append(text: &mut String, cells: &[&str], widths: &[usize]) {
    let start = text.len();
    for (cell, width) in cells.iter().zip(widths) {
        // Writing to a text cannot fail.
        let _ = write!(text, "{cell:width$}  ");
    }
    text.truncate(start + text[start..].trim_end().len());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "1 KiB"], ["long", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(grid(["SLOT", "KEPT"], &rows), "SLOT  KEPT\na     1 KiB\nlong\n");
    }
}
