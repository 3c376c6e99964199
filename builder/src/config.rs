//! An image's config while it is built: the JSON document as it was, with typed ways to read and change what the
//! instructions concern (Docker image spec v1.2, OCI image spec config.md). Fields that this program does not know stay
//! as the base image has them. What is empty is left out, and maps are sorted, so that equal images are equal bytes.

use serde_json::{Map, Value, json};
use store::DiffId;

use crate::platform::Platform;

/// Largest config accepted from a base image, in bytes (RELIABILITY: config 8 MiB).
const CONFIG_MAX: usize = 8 << 20;

/// A config document.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    document: Map<String, Value>,
}

impl Config {
    /// The config of an image with nothing in it.
    #[must_use]
    pub fn scratch(platform: &Platform) -> Self {
        let mut document = Map::new();
        document.insert("architecture".to_owned(), json!(platform.architecture));
        document.insert("os".to_owned(), json!(platform.os));
        if !platform.variant.is_empty() {
            document.insert("variant".to_owned(), json!(platform.variant));
        }
        // BuildKit begins there too.
        document.insert("config".to_owned(), json!({ "WorkingDir": "/" }));
        Self { document }
    }

    /// Reads the config of a base image. What describes how that image was made by old builders is dropped.
    ///
    /// # Errors
    /// A message if it is no config.
    pub fn parse(raw: &[u8]) -> Result<Self, String> {
        if raw.len() > CONFIG_MAX {
            return Err(format!("the config has {} bytes, the limit is {CONFIG_MAX}", raw.len()));
        }
        let value: Value = serde_json::from_slice(raw).map_err(|error| format!("the config is no JSON: {error}"))?;
        let Value::Object(mut document) = value else { return Err("the config is no JSON object".to_owned()) };
        for stale in ["container", "container_config", "docker_version", "id", "parent"] {
            document.remove(stale);
        }
        match document.get("config") {
            Some(Value::Object(_)) => {}
            None | Some(Value::Null) => {
                document.insert("config".to_owned(), json!({}));
            }
            Some(_) => return Err("`config` in the config is no object".to_owned()),
        }
        if document.get("history").is_some_and(|history| !history.is_array() && !history.is_null()) {
            return Err("`history` in the config is no list".to_owned());
        }
        Ok(Self { document })
    }

    fn inner(&self) -> Option<&Map<String, Value>> {
        self.document.get("config").and_then(Value::as_object)
    }

    /// Sets a field of `config`; empty values remove it.
    fn set(&mut self, field: &str, value: Value) {
        let empty = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        let Some(Value::Object(inner)) = self.document.get_mut("config") else { return };
        if empty {
            inner.shift_remove(field);
        } else {
            inner.insert(field.to_owned(), value);
        }
    }

    /// All that the config says to a container, as JSON: without history and layers.
    pub(crate) fn value(&self) -> Value {
        let of = |name: &str| self.document.get(name).map(|value| (name.to_owned(), value.clone()));
        Value::Object(["config", "author"].into_iter().filter_map(of).collect())
    }

    fn text(&self, field: &str) -> &str {
        self.inner().and_then(|inner| inner.get(field)).and_then(Value::as_str).unwrap_or_default()
    }

    fn texts(&self, field: &str) -> Vec<String> {
        let items = self.inner().and_then(|inner| inner.get(field)).and_then(Value::as_array);
        items
            .map(|items| items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect())
            .unwrap_or_default()
    }

    /// Environment as name and value, in order.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        let split = |entry: String| match entry.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (entry, String::new()),
        };
        self.texts("Env").into_iter().map(split).collect()
    }

    /// Sets a variable, in its place if it is there.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let mut env = self.texts("Env");
        let entry = format!("{name}={value}");
        match env.iter_mut().find(|entry| entry.split('=').next() == Some(name)) {
            Some(there) => *there = entry,
            None => env.push(entry),
        }
        self.set("Env", json!(env));
    }

    /// Working directory; empty if not set.
    #[must_use]
    pub fn working_dir(&self) -> &str {
        self.text("WorkingDir")
    }

    /// Sets the working directory.
    pub fn set_working_dir(&mut self, path: &str) {
        self.set("WorkingDir", json!(path));
    }

    /// User; empty if not set.
    #[must_use]
    pub fn user(&self) -> &str {
        self.text("User")
    }

    /// Sets the user.
    pub fn set_user(&mut self, user: &str) {
        self.set("User", json!(user));
    }

    /// The shell of shell forms.
    #[must_use]
    pub fn shell(&self) -> Vec<String> {
        let shell = self.texts("Shell");
        if shell.is_empty() { vec!["/bin/sh".to_owned(), "-c".to_owned()] } else { shell }
    }

    /// Whether a SHELL was chosen, here or in the base image.
    #[must_use]
    pub fn has_shell(&self) -> bool {
        !self.texts("Shell").is_empty()
    }

    /// Sets the shell.
    pub fn set_shell(&mut self, shell: &[String]) {
        self.set("Shell", json!(shell));
    }

    /// Sets the command.
    pub fn set_cmd(&mut self, args: &[String]) {
        self.set("Cmd", json!(args));
        self.set("ArgsEscaped", json!(true));
    }

    /// Removes the command that the base image has.
    pub fn reset_cmd(&mut self) {
        self.set("Cmd", Value::Null);
    }

    /// Sets the entry point.
    pub fn set_entrypoint(&mut self, args: &[String]) {
        self.set("Entrypoint", json!(args));
    }

    /// Adds a label.
    pub fn set_label(&mut self, name: &str, value: &str) {
        self.set_member("Labels", name, json!(value));
    }

    /// Adds a volume.
    pub fn add_volume(&mut self, path: &str) {
        self.set_member("Volumes", path, json!({}));
    }

    /// Adds a port, `80/tcp`.
    pub fn add_port(&mut self, port: &str) {
        self.set_member("ExposedPorts", port, json!({}));
    }

    /// Sets one member of a map, which is then sorted.
    fn set_member(&mut self, field: &str, name: &str, value: Value) {
        let mut map =
            self.inner().and_then(|inner| inner.get(field)).and_then(Value::as_object).cloned().unwrap_or_default();
        map.insert(name.to_owned(), value);
        map.sort_keys();
        self.set(field, Value::Object(map));
    }

    /// Sets the signal that stops the container.
    pub fn set_stop_signal(&mut self, signal: &str) {
        self.set("StopSignal", json!(signal));
    }

    /// Sets the health check; times in nanoseconds, zeros left out.
    pub fn set_healthcheck(&mut self, check: &crate::buildfile::Healthcheck) {
        let mut value = Map::new();
        value.insert("Test".to_owned(), json!(check.test));
        let numbers = [
            ("Interval", check.interval),
            ("Timeout", check.timeout),
            ("StartPeriod", check.start_period),
            ("StartInterval", check.start_interval),
            ("Retries", check.retries),
        ];
        for (name, number) in numbers.into_iter().filter(|(_, number)| *number != 0) {
            value.insert(name.to_owned(), json!(number));
        }
        self.set("Healthcheck", Value::Object(value));
    }

    /// The triggers for images built on this one.
    #[must_use]
    pub fn on_build(&self) -> Vec<String> {
        self.texts("OnBuild")
    }

    /// Adds a trigger.
    pub fn add_on_build(&mut self, trigger: &str) {
        let mut triggers = self.on_build();
        triggers.push(trigger.to_owned());
        self.set("OnBuild", json!(triggers));
    }

    /// Removes all triggers: they are done when a build begins with the image.
    pub fn clear_on_build(&mut self) {
        self.set("OnBuild", Value::Null);
    }

    /// Sets the author.
    pub fn set_author(&mut self, author: &str) {
        self.document.insert("author".to_owned(), json!(author));
    }

    /// History entries of the base image, as they are.
    #[must_use]
    pub fn history(&self) -> Vec<Value> {
        self.document.get("history").and_then(Value::as_array).cloned().unwrap_or_default()
    }

    /// When the base image was created, as written in it.
    #[must_use]
    pub fn created(&self) -> Option<&str> {
        self.document.get("created").and_then(Value::as_str)
    }

    /// The platform it is for.
    #[must_use]
    pub fn platform(&self) -> Option<Platform> {
        let text = |field: &str| self.document.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        let variant = text("variant").map(|variant| format!("/{variant}")).unwrap_or_default();
        Platform::parse(&format!("{}/{}{variant}", text("os")?, text("architecture")?)).ok()
    }

    /// The bytes of the whole config with these layers, history and time.
    #[must_use]
    pub fn finish(&self, layers: &[DiffId], history: Vec<Value>, created: &str) -> Vec<u8> {
        let mut document = self.document.clone();
        document.insert("created".to_owned(), json!(created));
        document.insert("history".to_owned(), Value::Array(history));
        document.insert("rootfs".to_owned(), json!({ "type": "layers", "diff_ids": layers }));
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_stays() {
        let raw = br#"{"os":"linux","architecture":"arm64","variant":"v8","x-own":{"b":1,"a":2},
            "container":"gone","config":{"Env":["A=1","B"],"Foo":[1],"Cmd":["x"],"OnBuild":["RUN x"]},
            "history":[{"created_by":"base","odd":true}],"rootfs":{"type":"layers","diff_ids":[]}}"#;
        let mut config = Config::parse(raw).unwrap();
        assert_eq!(config.env(), [("A".into(), "1".into()), ("B".into(), String::new())]);
        config.set_env("A", "2");
        config.set_env("C", "x=y");
        config.reset_cmd();
        config.clear_on_build();
        config.set_label("z", "1");
        config.set_label("a", "2");
        let layer = DiffId(store::Digest::of(b"l"));
        let out: Value = serde_json::from_slice(&config.finish(&[layer], config.history(), "T")).unwrap();
        assert_eq!(out["x-own"], json!({"b":1,"a":2}));
        assert_eq!(out["config"], json!({"Env":["A=2","B","C=x=y"],"Foo":[1],"Labels":{"a":"2","z":"1"}}));
        assert_eq!(serde_json::to_string(&out["config"]["Labels"]).unwrap(), r#"{"a":"2","z":"1"}"#);
        assert_eq!(out["history"][0]["odd"], json!(true));
        assert_eq!(out["rootfs"]["diff_ids"], json!([layer.to_string()]));
        assert!(out.get("container").is_none());
        assert_eq!(config.platform().unwrap().to_string(), "linux/arm64");
    }

    #[test]
    fn refuses_what_is_no_config() {
        for bad in ["", "[]", "{\"config\":1}", "{\"history\":1}"] {
            assert!(Config::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Config::parse(b"{\"config\":null}").unwrap().env().is_empty());
    }
}
