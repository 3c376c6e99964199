//! Tables as docker prints them: upper case headings, columns three spaces apart and ten wide at least, nothing
//! cut.

use super::{Escaped, out};
use crate::error::Result;

/// Narrowest column, the space after it not counted.
const NARROWEST: usize = 7;

/// Prints `rows` under `headings`; rows may be longer than the terminal, never folded.
pub fn print(headings: &[&str], rows: &[Vec<String>]) -> Result<()> {
    out(render(headings, rows))
}

/// The text of a table; cells are escaped.
#[must_use]
pub fn render(headings: &[&str], rows: &[Vec<String>]) -> String {
    let heading: Vec<String> = headings.iter().map(|&text| text.to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(&heading)
        .chain(rows)
        .map(|row| row.iter().map(|cell| Escaped(&cell.replace(['\n', '\t'], " ")).to_string()).collect())
        .collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let longest = lines.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
            longest.unwrap_or(0).max(NARROWEST)
        })
        .collect();
    let mut text = String::new();
    for row in &lines {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                text.extend(std::iter::repeat_n(' ', widths[column] + 3 - cell.chars().count()));
            }
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::render;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["busybox".into(), "1MB".into()], vec!["a".into(), "77MB".into()]];
        assert_eq!(render(&["NAME", "SIZE"], &rows), "NAME      SIZE\nbusybox   1MB\na         77MB\n");
    }
}
