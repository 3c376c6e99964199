//! The part of Go's text/template that people write behind `--format` (docs.docker.com, "Format command and log
//! output"): fields, `json`, `range`, `if`, `with`, `index`, `len`, `join`, `split`, `println`, comparisons, pipelines
//! and variables, evaluated over JSON values. Parsing is separate from evaluating.

mod eval;
mod parse;

use serde_json::Value;

use crate::error::{CommandError, Result};

/// A parsed template.
pub struct Template(Vec<parse::Node>);

impl Template {
    /// Parses `text`.
    ///
    /// # Errors
    /// A usage error that names what was not understood.
    pub fn parse(text: &str) -> Result<Self> {
        parse::parse(text).map(Self).map_err(|reason| {
            CommandError::usage(format!("cannot understand the format {text:?}: {reason}"))
                .hint("formats look like '{{.Name}}' or '{{json .}}'")
        })
    }

    /// The text for one value.
    ///
    /// # Errors
    /// A field that is not there, an operation on the wrong type.
    pub fn render(&self, value: &Value) -> Result<String> {
        eval::render(&self.0, value).map_err(|reason| CommandError::new(format!("cannot apply the format: {reason}")))
    }
}

/// Backslash sequences that a shell leaves in `--format` and docker understands: `\t`, `\n`.
#[must_use]
pub fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Template;

    fn render(template: &str) -> String {
        let value = json!({
            "Name": "web", "Id": 7, "State": {"Running": true, "Pid": 12}, "Args": ["a", "b"],
            "Labels": {"com.x/y": "1", "a": "2"}, "Ports": {"80/tcp": [{"HostPort": "8080"}]}, "Empty": []
        });
        Template::parse(template).unwrap().render(&value).unwrap()
    }

    #[test]
    fn what_scripts_use() {
        for (template, expected) in [
            ("{{.Name}}", "web"),
            ("{{ .State.Pid }}-x", "12-x"),
            ("{{json .Args}}", "[\"a\",\"b\"]"),
            ("{{range .Args}}{{.}} {{end}}", "a b "),
            ("{{range $i, $v := .Args}}{{$i}}={{$v}};{{end}}", "0=a;1=b;"),
            ("{{range $k, $v := .Labels}}{{$k}}={{$v}} {{end}}", "a=2 com.x/y=1 "),
            ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
            ("{{if eq .Name \"db\"}}1{{else if gt .Id 3}}2{{else}}3{{end}}", "2"),
            ("{{index .Labels \"com.x/y\"}}", "1"),
            ("{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8080"),
            ("{{println .Name}}", "web\n"),
            ("{{slice .Name 0 2}}{{slice .Args 1}}", "we[b]"),
            ("{{printf \"%-5s|%5s|%03d\" .Name .Name .Id}}", "web  |  web|007"),
            ("{{if hasPrefix .Name \"w\"}}{{replace .Name \"e\" \"o\"}}{{end}}", "wob"),
            ("{{range $i, $e := .Args}}{{if $i}}, {{end}}{{$e}}{{end}}", "a, b"),
            ("{{range $k, $v := .Ports}}{{$k}} {{(index $v 0).HostPort}}{{end}}", "80/tcp 8080"),
            ("{{title .Name}} {{.Name | printf \"%q\"}} {{split \"a,b\" \",\"}}", "Web \"web\" [a b]"),
            ("{{with $x := .State}}{{$x.Pid}}{{end}}", "12"),
            ("{{if $x := .Name}}{{$x}}{{end}}", "web"),
            ("{{len .Args}} {{join .Args \",\"}}", "2 a,b"),
            ("{{.Name | upper | printf \"%s!\"}}", "WEB!"),
            ("a {{- .Name -}} b", "awebb"),
            ("{{with .State}}{{.Pid}}{{end}}{{range .Empty}}x{{else}}none{{end}}", "12none"),
            ("{{$n := .Name}}{{$n}}{{/* no */}}", "web"),
            ("{{if and .Name (not .Empty)}}ok{{end}}", "ok"),
            ("{{.Args}} {{.missing}}", "[a b] <no value>"),
        ] {
            assert_eq!(render(template), expected, "{template}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["{{.Name", "{{end}}", "{{if .A}}", "{{nope .A}}", "{{.Name | }}", "{{\"x}}"] {
            let refused = match Template::parse(bad) {
                Err(_) => true,
                Ok(template) => template.render(&json!({"A": 1, "Name": "x"})).is_err(),
            };
            assert!(refused, "{bad}");
        }
    }
}
