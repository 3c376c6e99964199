//! `--format`: one way to print lists for all commands. `table` (the default), `json` (one array, as podman prints it;
//! `{{json .}}` gives a line a row, as docker does), or a template. Each row is a JSON object whose keys are docker's
//! column names.

use serde_json::Value;

use super::template::{Template, unescape};
use super::{Escaped, outln, outln_json, table};
use crate::error::Result;

/// A column: its heading and the key of a row that it shows.
pub type Column = (&'static str, &'static str);

/// Prints `rows` (objects) as `format` says; without one, as a table of `columns`.
///
/// # Errors
/// A template that cannot be understood or applied.
pub fn print_list(format: Option<&str>, columns: &[Column], rows: &[Value]) -> Result<()> {
    match format {
        None | Some("table") => print_table(columns, rows),
        Some("json") => outln_json(&rows, false),
        Some(text) => match text.strip_prefix("table ") {
            Some(text) => print_template_table(&unescape(text), rows),
            None => {
                let template = Template::parse(&unescape(text))?;
                rows.iter().try_for_each(|row| outln(Escaped(&template.render(row)?)))
            }
        },
    }
}

/// Prints `values` of an `inspect` as `format` says; without one, as an indented JSON list.
///
/// # Errors
/// A template that cannot be understood or applied.
pub fn print_inspect(format: Option<&str>, values: &[Value]) -> Result<()> {
    match format {
        None => outln_json(&values, true),
        Some("json") => values.iter().try_for_each(|value| outln_json(value, false)),
        Some(text) => {
            let template = Template::parse(&unescape(text))?;
            values.iter().try_for_each(|value| outln(Escaped(&template.render(value)?)))
        }
    }
}

fn print_table(columns: &[Column], rows: &[Value]) -> Result<()> {
    let headings: Vec<&str> = columns.iter().map(|column| column.0).collect();
    let cell = |row: &Value, key: &str| match row.get(key) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    };
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|column| cell(row, column.1)).collect()).collect();
    table::print(&headings, &rows)
}

/// `table {{.A}}\t{{.B}}`: the headings are the field names in upper case.
fn print_template_table(text: &str, rows: &[Value]) -> Result<()> {
    let template = Template::parse(text)?;
    let headings: Vec<String> = text.split('\t').map(heading).collect();
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let rows = rows
        .iter()
        .map(|row| Ok(template.render(row)?.split('\t').map(str::to_owned).collect()))
        .collect::<Result<Vec<Vec<String>>>>()?;
    table::print(&headings, &rows)
}

/// `{{.CreatedAt}}` → `CREATED AT`.
fn heading(cell: &str) -> String {
    let name: String = cell.rsplit('.').next().unwrap_or("").chars().take_while(|c| c.is_alphanumeric()).collect();
    let mut heading = String::new();
    let mut before = ' ';
    for letter in name.chars() {
        if letter.is_uppercase() && before.is_lowercase() {
            heading.push(' ');
        }
        heading.extend(letter.to_uppercase());
        before = letter;
    }
    heading
}

#[cfg(test)]
mod tests {
    #[test]
    fn headings_from_fields() {
        assert_eq!(super::heading("{{.CreatedAt}}"), "CREATED AT");
        assert_eq!(super::heading("{{.ID}}"), "ID");
        assert_eq!(super::heading("{{json .Labels}}"), "LABELS");
    }
}
