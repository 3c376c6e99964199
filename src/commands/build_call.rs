//! `img build --call`: a Buildfile checked, outlined or listed. The JSON forms are those of `docker buildx build --call`,
//! so that what reads those reads these.

use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use builder::Buildfile;
use builder::buildfile::{Span, Warning};
use builder::plan::{Outline, OutlineUse, description};
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::engine::build::BuildRequest;
use crate::error::Result;
use crate::ui::{self, Escaped};

/// What is asked of `build`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Build,
    Check,
    Outline,
    Targets,
}

/// The value of `--call`: a method and the form of its answer.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    method: Method,
    json: bool,
}

impl Call {
    /// Reads `METHOD[,format=text|json]`.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let (method, rest) = text.split_once(',').unwrap_or((text, ""));
        let method = match method {
            "build" => Method::Build,
            "check" | "lint" => Method::Check,
            "outline" => Method::Outline,
            "targets" => Method::Targets,
            other => return Err(format!("{other:?} is not build, check, outline or targets")),
        };
        let json = match rest {
            "" | "format=text" => false,
            "json" | "format=json" => true,
            other => return Err(format!("{other:?} is not format=text or format=json")),
        };
        Ok(Self { method, json })
    }

    /// With `--check` and `--format`, which say the same in other words.
    pub fn with(mut self, check: bool, format: Option<&str>) -> Self {
        if check && self.method == Method::Build {
            self.method = Method::Check;
        }
        self.json = format.map_or(self.json, |format| format == "json");
        self
    }

    /// An ordinary build.
    pub fn is_build(self) -> bool {
        self.method == Method::Build
    }
}

/// Does what `call` asks for.
pub fn run(engine: &Engine, request: &BuildRequest, call: Call) -> Result<ExitCode> {
    match call.method {
        Method::Check => check(engine, request, call.json),
        Method::Outline => {
            let report = engine.outline_buildfile(request)?;
            if call.json {
                print(&outline_json(&report.outline))?
            } else {
                outline_text(&report.outline)?
            }
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            let file = engine.parse_buildfile(request)?;
            if call.json {
                print(&targets_json(&file))?
            } else {
                targets_text(&file)?
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn print(value: &Value) -> Result<()> {
    ui::outln_json(value, true)
}

fn check(engine: &Engine, request: &BuildRequest, as_json: bool) -> Result<ExitCode> {
    let report = engine.check_buildfile(request)?;
    let count = report.warnings.len();
    let failed = count > 0 || report.error.is_some();
    if as_json {
        let sources: Vec<Value> = report.file.iter().map(|file| source_json(&report.name, file)).collect();
        let mut answer = json!({
            "warnings": report.warnings.iter().map(warning_json).collect::<Vec<_>>(),
            "sources": sources,
        });
        if let Some(error) = &report.error {
            let place = error.diagnostic().map(|diagnostic| location(diagnostic.span));
            let message = error.diagnostic().map_or_else(|| error.to_string(), |diagnostic| diagnostic.message.clone());
            answer["buildError"] = json!({ "message": message, "location": place });
        }
        print(&answer)?;
        return Ok(ExitCode::from(u8::from(failed)));
    }
    for warning in &report.warnings {
        let Some(file) = &report.file else { continue };
        let message = format!("{}: {}", warning.rule.name(), warning.message);
        ui::outln(file.source.diagnostic(warning.span, message))?;
        if let Some(page) = warning.rule.url() {
            ui::outln(format_args!("see {page}\n"))?;
        }
    }
    // What is found is the answer; that the Buildfile cannot be built is an error.
    match (count, &report.error) {
        (0, None) => ui::outln("Check complete, no warnings found.")?,
        (1, None) => ui::outln("Check complete, 1 warning has been found!")?,
        (_, None) => ui::outln(format_args!("Check complete, {count} warnings have been found!"))?,
        (_, Some(_)) => {}
    }
    match report.error {
        Some(error) => Err(error.into()),
        None => Ok(ExitCode::from(u8::from(failed))),
    }
}

fn location(span: Span) -> Value {
    let last = span.end.line.max(span.start.line);
    json!({ "ranges": [{ "start": { "line": span.start.line }, "end": { "line": last } }] })
}

fn source_json(name: &str, file: &Buildfile) -> Value {
    json!({ "filename": name, "language": "Dockerfile", "data": STANDARD.encode(file.source.text()) })
}

fn warning_json(warning: &Warning) -> Value {
    json!({
        "ruleName": warning.rule.name(),
        "description": warning.rule.description(),
        "url": warning.rule.url(),
        "detail": warning.message,
        "location": location(warning.span),
    })
}

/// Adds `key` if there is something to say.
fn set(object: &mut Value, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        object[key] = value.into();
    }
}

fn non_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn outline_json(outline: &Outline) -> Value {
    let args = outline.args.iter().map(|arg| {
        let mut object = json!({ "name": arg.name });
        set(&mut object, "description", non_empty(&arg.description));
        set(&mut object, "value", arg.value.as_deref());
        object["location"] = location(arg.span);
        object
    });
    let uses = |list: &[OutlineUse], key: &str| -> Vec<Value> {
        let one = |used: &OutlineUse| {
            let mut object = json!({ key: used.id });
            set(&mut object, "required", used.required.then_some(true));
            object["location"] = location(used.span);
            object
        };
        list.iter().map(one).collect()
    };
    let lists = [
        ("args", args.collect::<Vec<_>>()),
        ("secrets", uses(&outline.secrets, "name")),
        ("ssh", uses(&outline.ssh, "name")),
        ("cache", uses(&outline.caches, "ID")),
    ];
    let mut object = json!({});
    set(&mut object, "name", outline.name.as_deref());
    set(&mut object, "description", non_empty(&outline.description));
    for (key, list) in lists {
        set(&mut object, key, Some(list).filter(|list| !list.is_empty()));
    }
    object
}

fn outline_text(outline: &Outline) -> Result<()> {
    let mut paragraphs = Vec::new();
    let mut head = Vec::new();
    if let Some(name) = &outline.name {
        head.push(format!("TARGET:      {name}"));
    }
    if !outline.description.is_empty() {
        head.push(format!("DESCRIPTION: {}", outline.description));
    }
    paragraphs.push(head);
    let args = outline.args.iter();
    let args = args.map(|arg| vec![arg.name.clone(), arg.value.clone().unwrap_or_default(), arg.description.clone()]);
    paragraphs.push(columns(&["BUILD ARG", "VALUE", "DESCRIPTION"], args.collect()));
    for (title, list) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        let rows = list.iter().map(|used| vec![used.id.clone(), used.required.to_string()]);
        paragraphs.push(columns(&[title, "REQUIRED"], rows.collect()));
    }
    paragraphs.push(columns(&["CACHE"], outline.caches.iter().map(|cache| vec![cache.id.clone()]).collect()));
    paragraphs.retain(|lines| !lines.is_empty());
    if paragraphs.is_empty() {
        return ui::outln("The target takes no build arguments, secrets or agents, and has no caches.");
    }
    let text: Vec<String> = paragraphs.iter().map(|lines| lines.join("\n")).collect();
    ui::outln(text.join("\n\n"))
}

fn targets_json(file: &Buildfile) -> Value {
    let last = file.stages.len() - 1;
    let targets = file.stages.iter().enumerate().map(|(index, stage)| {
        let mut object = json!({});
        set(&mut object, "name", stage.name.as_deref());
        set(&mut object, "default", (index == last).then_some(true));
        let about = stage.name.as_ref().map(|name| description(name, &stage.comments)).unwrap_or_default();
        set(&mut object, "description", non_empty(&about));
        object["base"] = json!(stage.base);
        set(&mut object, "platform", stage.platform.as_deref());
        object["location"] = location(stage.span);
        object
    });
    json!({ "targets": targets.collect::<Vec<_>>(), "sources": [STANDARD.encode(file.source.text())] })
}

fn targets_text(file: &Buildfile) -> Result<()> {
    let last = file.stages.len() - 1;
    let rows = file.stages.iter().enumerate().filter(|(index, stage)| stage.name.is_some() || *index == last);
    let rows = rows.map(|(index, stage)| {
        let name = stage.name.clone().unwrap_or_default();
        let about = description(&name, &stage.comments);
        let shown = match (name.as_str(), index == last) {
            ("", _) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        };
        vec![shown, if name.is_empty() { String::new() } else { about }]
    });
    ui::outln(columns(&["TARGET", "DESCRIPTION"], rows.collect()).join("\n"))
}

/// A table without rules; nothing if it has no rows.
fn columns(titles: &[&str], rows: Vec<Vec<String>>) -> Vec<String> {
    if rows.is_empty() {
        return Vec::new();
    }
    let rows: Vec<Vec<String>> = std::iter::once(titles.iter().map(|title| (*title).to_owned()).collect())
        .chain(rows)
        .map(|row: Vec<String>| row.iter().map(|cell| Escaped(cell).to_string()).collect())
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}   "));
        cells.collect::<String>().trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}
