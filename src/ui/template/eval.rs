//! Nodes to text, over JSON values. A field that is not there is an error, a missing key prints `<no value>` as Go's maps do; values that are no text print
//! as Go prints them: `[a b]`, `map[k:v]`.

use std::cmp::Ordering;
use std::collections::HashMap;

use serde_json::Value;

use super::parse::{Expr, Node};

struct Scope<'a> {
    root: &'a Value,
    variables: HashMap<String, Value>,
    text: String,
}

/// Renders `nodes` for `value`.
pub fn render(nodes: &[Node], value: &Value) -> Result<String, String> {
    let mut scope = Scope { root: value, variables: HashMap::new(), text: String::new() };
    scope.run(nodes, value)?;
    Ok(scope.text)
}

impl Scope<'_> {
    fn run(&mut self, nodes: &[Node], dot: &Value) -> Result<(), String> {
        for node in nodes {
            match node {
                Node::Text(text) => self.text.push_str(text),
                Node::Print(expr) => {
                    let value = self.value(expr, dot)?;
                    let text = value.as_ref().map_or_else(|| "<no value>".into(), show);
                    self.text.push_str(&text);
                }
                Node::Assign(name, expr) => {
                    let value = self.value(expr, dot)?.unwrap_or(Value::Null);
                    self.variables.insert(name.clone(), value);
                }
                Node::If(condition, then, otherwise) => {
                    let branch = if truth(self.value(condition, dot)?.as_ref()) { then } else { otherwise };
                    self.run(branch, dot)?;
                }
                Node::With(expr, body, otherwise) => match self.value(expr, dot)? {
                    Some(value) if truth(Some(&value)) => self.run(body, &value)?,
                    _ => self.run(otherwise, dot)?,
                },
                Node::Range(key, name, list, body, otherwise) => {
                    let items: Vec<(Value, Value)> = match self.value(list, dot)? {
                        Some(Value::Array(items)) => {
                            items.into_iter().enumerate().map(|(at, item)| (at.into(), item)).collect()
                        }
                        Some(Value::Object(map)) => {
                            let mut items: Vec<_> = map.into_iter().map(|(key, item)| (key.into(), item)).collect();
                            items.sort_by(|a: &(Value, Value), b| a.0.as_str().cmp(&b.0.as_str()));
                            items
                        }
                        None | Some(Value::Null) => Vec::new(),
                        Some(other) => return Err(format!("cannot range over {}", show(&other))),
                    };
                    if items.is_empty() {
                        self.run(otherwise, dot)?;
                    }
                    for (at, item) in items {
                        if let Some(key) = key {
                            self.variables.insert(key.clone(), at);
                        }
                        if let Some(name) = name {
                            self.variables.insert(name.clone(), item.clone());
                        }
                        self.run(body, &item)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// `None` for a field that is not there.
    fn value(&self, expr: &Expr, dot: &Value) -> Result<Option<Value>, String> {
        Ok(match expr {
            Expr::Dot => Some(dot.clone()),
            Expr::Literal(value) => Some(value.clone()),
            Expr::Variable(name) if name.is_empty() => Some(self.root.clone()),
            Expr::Variable(name) => {
                Some(self.variables.get(name).cloned().ok_or_else(|| format!("undefined variable ${name}"))?)
            }
            Expr::Field(base, name) => match self.value(base, dot)? {
                // Fields of our own begin with a capital letter, and one that is not there is a slip; keys of labels do not.
                Some(Value::Object(map))
                    if !map.contains_key(name) && name.starts_with(|c: char| c.is_ascii_uppercase()) =>
                {
                    return Err(format!("there is no field {name}"));
                }
                Some(Value::Object(map)) => map.get(name).cloned(),
                None | Some(Value::Null) => None,
                Some(other) => return Err(format!("cannot take field {name} of {}", show(&other))),
            },
            Expr::Group(inner) => self.value(inner, dot)?,
            Expr::Call(name, arguments) => {
                let arguments: Vec<Option<Value>> =
                    arguments.iter().map(|argument| self.value(argument, dot)).collect::<Result<_, _>>()?;
                call(name, &arguments)?
            }
        })
    }
}

fn call(name: &str, arguments: &[Option<Value>]) -> Result<Option<Value>, String> {
    let given = |at: usize| arguments.get(at).and_then(Option::as_ref);
    let need = |at: usize| arguments.get(at).ok_or_else(|| format!("`{name}` needs more arguments"));
    let text = |at: usize| -> Result<String, String> { Ok(need(at)?.as_ref().map(show).unwrap_or_default()) };
    let order = || -> Result<Ordering, String> {
        let (a, b) = (need(0)?.as_ref(), need(1)?.as_ref());
        Ok(match (a.and_then(Value::as_f64), b.and_then(Value::as_f64)) {
            (Some(a), Some(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            _ => a.map(show).cmp(&b.map(show)),
        })
    };
    let all = |separator: &str| arguments.iter().flatten().map(show).collect::<Vec<_>>().join(separator);
    Ok(Some(match name {
        "json" => crate::ui::escape_json(
            &serde_json::to_string(given(0).unwrap_or(&Value::Null)).map_err(|error| error.to_string())?,
        )
        .into(),
        "len" => match given(0) {
            Some(Value::Array(items)) => items.len().into(),
            Some(Value::Object(map)) => map.len().into(),
            Some(Value::String(text)) => text.len().into(),
            None | Some(Value::Null) => 0.into(),
            Some(other) => return Err(format!("no length of {}", show(other))),
        },
        "index" => {
            let mut value = need(0)?.clone();
            for at in arguments.iter().skip(1) {
                value = match (value, at) {
                    (Some(Value::Object(map)), Some(Value::String(key))) => map.get(key).cloned(),
                    (Some(Value::Array(items)), Some(at)) => {
                        let at = at.as_u64().and_then(|at| usize::try_from(at).ok());
                        let item = at.and_then(|at| items.get(at));
                        Some(item.cloned().ok_or("index out of range")?)
                    }
                    (None | Some(Value::Null), _) => None,
                    _ => return Err("`index` takes a list and a number, or a map and a string".into()),
                };
            }
            return Ok(value);
        }
        "slice" => {
            let bound = |at: usize, default: usize| match arguments.get(at) {
                None => Ok(default),
                Some(value) => {
                    let number = value.as_ref().and_then(Value::as_u64).and_then(|at| usize::try_from(at).ok());
                    number.ok_or_else(|| "`slice` takes numbers".to_owned())
                }
            };
            match need(0)? {
                Some(Value::Array(items)) => {
                    let (start, end) = (bound(1, 0)?, bound(2, items.len())?);
                    items.get(start..end).ok_or("slice out of range")?.to_vec().into()
                }
                Some(Value::String(text)) => {
                    let (start, end) = (bound(1, 0)?, bound(2, text.len())?);
                    text.get(start..end).ok_or("slice out of range")?.into()
                }
                None | Some(Value::Null) => return Ok(None),
                Some(other) => return Err(format!("cannot slice {}", show(other))),
            }
        }
        "replace" => text(0)?.replace(&text(1)?, &text(2)?).into(),
        "contains" => text(0)?.contains(&text(1)?).into(),
        "hasPrefix" => text(0)?.starts_with(&text(1)?).into(),
        "hasSuffix" => text(0)?.ends_with(&text(1)?).into(),
        "trim" => text(0)?.trim().into(),
        "pad" => {
            let spaces = |at: usize| {
                " ".repeat(
                    given(at).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok()).unwrap_or(0).min(1000),
                )
            };
            format!("{}{}{}", spaces(1), text(0)?, spaces(2)).into()
        }
        "join" => match given(0) {
            Some(Value::Array(items)) => items.iter().map(show).collect::<Vec<_>>().join(&text(1)?).into(),
            None | Some(Value::Null) => "".into(),
            Some(other) => return Err(format!("cannot join {}", show(other))),
        },
        "split" => text(0)?.split(&text(1)?).map(Value::from).collect::<Vec<_>>().into(),
        "lower" => text(0)?.to_lowercase().into(),
        "upper" => text(0)?.to_uppercase().into(),
        "title" => {
            let text = text(0)?;
            let mut letters = text.chars();
            letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect()).into()
        }
        "print" => all("").into(),
        "println" => (all(" ") + "\n").into(),
        "printf" => printf(&text(0)?, arguments.get(1..).unwrap_or_default()).into(),
        "truncate" => {
            let length = given(1).and_then(Value::as_u64).ok_or("`truncate` needs a length")?;
            text(0)?.chars().take(usize::try_from(length).unwrap_or(usize::MAX)).collect::<String>().into()
        }
        "eq" => {
            order()?;
            arguments[1..].iter().any(|other| other.as_ref().map(show) == given(0).map(show)).into()
        }
        "ne" => (order()? != Ordering::Equal).into(),
        "lt" => (order()? == Ordering::Less).into(),
        "le" => (order()? != Ordering::Greater).into(),
        "gt" => (order()? == Ordering::Greater).into(),
        "ge" => (order()? != Ordering::Less).into(),
        "not" => (!truth(need(0)?.as_ref())).into(),
        "and" => return Ok(pick(arguments, false)),
        "or" => return Ok(pick(arguments, true)),
        _ => return Err(format!("function {name:?} is not known")),
    }))
}

/// The first argument whose truth is `wanted`, else the last.
fn pick(arguments: &[Option<Value>], wanted: bool) -> Option<Value> {
    arguments.iter().find(|value| truth(value.as_ref()) == wanted).or(arguments.last()).cloned().flatten()
}

/// `%s`, `%v`, `%d`, `%q` and `%%`, with a width as in `%-20s` and `%05d`; anything else stands as it is.
fn printf(format: &str, arguments: &[Option<Value>]) -> String {
    let mut text = String::new();
    let mut arguments = arguments.iter();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let flags: String = letters.clone().take_while(|letter| "-+ 0123456789.".contains(*letter)).collect();
        if !flags.is_empty() {
            letters.nth(flags.len() - 1);
        }
        match letters.next() {
            Some(verb @ ('s' | 'v' | 'd' | 't')) => {
                let value = arguments.next().cloned().flatten().as_ref().map_or("<no value>".into(), show);
                text.push_str(&padded(value, &flags, verb != 's'));
            }
            Some('q') => {
                let value = arguments.next().cloned().flatten().as_ref().map(show).unwrap_or_default();
                text.push_str(&padded(format!("{value:?}"), &flags, false));
            }
            Some('%') => text.push('%'),
            Some(other) => text.extend(['%', other]),
            None => text.push('%'),
        }
    }
    text
}

/// Text with the width and precision of a verb: `-20`, `05`, `.12`.
fn padded(mut text: String, flags: &str, number: bool) -> String {
    let (width, precision) = flags.split_once('.').unwrap_or((flags, ""));
    if let (false, Ok(most)) = (number, precision.parse::<usize>()) {
        text = text.chars().take(most).collect();
    }
    let left = width.starts_with('-');
    let zeros = number && width.starts_with('0');
    let width = width.trim_start_matches(['-', '+', ' ', '0']).parse::<usize>().unwrap_or(0).min(1000);
    let fill = width.saturating_sub(text.chars().count());
    match (left, zeros) {
        (true, _) => text + &" ".repeat(fill),
        (false, true) => "0".repeat(fill) + &text,
        (false, false) => " ".repeat(fill) + &text,
    }
}

/// What Go takes for true: anything but false, zero and empty.
fn truth(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Bool(value)) => *value,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
    }
}

/// A value as Go's `%v` prints it.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut items: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", show(value))).collect();
            items.sort();
            format!("map[{}]", items.join(" "))
        }
        other => other.to_string(),
    }
}
