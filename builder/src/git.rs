//! Addresses of git repositories, as contexts and ADD write them: `URL[#REF[:DIRECTORY]]`, or the same in a query
//! (`?ref=…&subdir=…`), where URL is `https://….git`, `git://…`, `ssh://…`, `file://….git` or `user@host:path`
//! (docs.docker.com, "Build context: Git repositories"; Dockerfile reference, "ADD: Adding files from a Git repository").
//! Nothing is fetched here.

use crate::buildfile::diagnostic::did_you_mean;

/// A place in a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitSource {
    /// The repository, as `git` takes it.
    pub url: String,
    /// Branch, tag or commit; none for the remote's HEAD.
    pub reference: Option<String>,
    /// Directory in it, relative, without `..`; empty for all of it.
    pub directory: String,
    /// The commit that it must be, or the beginning of its name.
    pub commit: Option<String>,
    /// Keep the `.git` directory.
    pub keep_git_dir: bool,
    /// Leave submodules out.
    pub no_submodules: bool,
}

/// Whether `text` is the address of a repository and not of a file.
#[must_use]
pub fn is_git(text: &str) -> bool {
    let before = text.split(['#', '?']).next().unwrap_or(text);
    let known = ["git://", "ssh://", "git+ssh://"].iter().any(|scheme| before.starts_with(scheme));
    let web = ["https://", "http://", "file://"].iter().any(|scheme| before.starts_with(scheme));
    known || (web && before.trim_end_matches('/').ends_with(".git")) || is_scp(before)
}

/// git's own short form for ssh: `user@host:path`.
fn is_scp(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let Some((host, path)) = rest.split_once(':') else { return false };
    let plain = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c) || more.contains(c))
    };
    plain(user, "") && plain(host, ".") && !path.is_empty() && !user.starts_with('-') && !host.starts_with('-')
}

impl GitSource {
    /// Reads an address for which [`is_git`] holds.
    ///
    /// # Errors
    /// A message for a reference or directory that cannot be one, or an unknown field of the query.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (text, fragment) = match text.split_once('#') {
            Some((text, fragment)) => (text, Some(fragment)),
            None => (text, None),
        };
        let (url, query) = text.split_once('?').unwrap_or((text, ""));
        let mut source = Self { url: url.to_owned(), ..Self::default() };
        if let Some(fragment) = fragment {
            let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
            source.reference = Some(reference.to_owned()).filter(|reference| !reference.is_empty());
            source.directory = directory.to_owned();
        }
        for field in query.split('&').filter(|field| !field.is_empty()) {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            if fragment.is_some() && matches!(key, "ref" | "branch" | "tag" | "subdir") {
                return Err(format!("{key} is given in the query, so nothing may stand behind #"));
            }
            source.field(key, value)?;
        }
        source.check()?;
        Ok(source)
    }

    fn field(&mut self, key: &str, value: &str) -> Result<(), String> {
        let switch = || match value {
            "" | "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            other => Err(format!("{key} is true or false, not {other:?}")),
        };
        let reference = match key {
            "ref" => value.to_owned(),
            "branch" => format!("refs/heads/{value}"),
            "tag" => format!("refs/tags/{value}"),
            "subdir" => {
                self.directory = value.to_owned();
                return Ok(());
            }
            "commit" | "checksum" => {
                self.commit = Some(value.to_owned());
                return Ok(());
            }
            "keep-git-dir" => {
                self.keep_git_dir = switch()?;
                return Ok(());
            }
            "submodules" => {
                self.no_submodules = !switch()?;
                return Ok(());
            }
            other => {
                let known = ["ref", "branch", "tag", "subdir", "commit", "checksum", "keep-git-dir", "submodules"];
                let near = did_you_mean(other, known).map(|near| format!(", did you mean {near}?")).unwrap_or_default();
                return Err(format!("unknown field {other:?} in the address of a git repository{near}"));
            }
        };
        if self.reference.is_some() {
            return Err("the reference of a git repository is given twice".to_owned());
        }
        self.reference = Some(reference);
        Ok(())
    }

    fn check(&mut self) -> Result<(), String> {
        // What git-check-ref-format(1) forbids, and whatever `git` could take for an option.
        if let Some(reference) = &self.reference {
            let bad = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
            if reference.starts_with('-') || reference.contains("..") || reference.contains(bad) {
                return Err(format!("{reference:?} cannot be a branch, tag or commit"));
            }
        }
        if self.url.starts_with('-') || self.url.chars().any(char::is_control) {
            return Err(format!("{:?} cannot be the address of a git repository", self.url));
        }
        self.check_commit()?;
        let names: Vec<&str> = self.directory.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
        if names.iter().any(|name| *name == ".." || name.eq_ignore_ascii_case(".git")) {
            return Err(format!("the directory {} leads out of the repository's files", self.directory));
        }
        self.directory = names.join("/");
        Ok(())
    }

    /// Whether `commit` is fit to be one.
    ///
    /// # Errors
    /// A message if it is not.
    pub fn check_commit(&self) -> Result<(), String> {
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        match &self.commit {
            Some(commit) if commit.len() < 7 || commit.len() > 64 || !commit.chars().all(hex) => {
                Err(format!("{commit:?} is no commit: 7 to 64 hexadecimal digits, lower case"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the reference is a whole commit already.
    #[must_use]
    pub fn whole_commit(&self) -> Option<&str> {
        let whole = |text: &&str| matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit());
        self.reference.as_deref().filter(whole)
    }

    /// The last name of the repository's address, which is what messages call it.
    #[must_use]
    pub fn name(&self) -> &str {
        let name = self.url.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or(&self.url);
        name.strip_suffix(".git").unwrap_or(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_addresses_are_git() {
        for (text, expected) in [
            ("https://a.example/x.git", true),
            ("https://a.example/x.git#main:sub", true),
            ("https://a.example/x.git?ref=main", true),
            ("https://a.example/x", false),
            ("https://a.example/x.tar#y.git", false),
            ("git://a.example/x", true),
            ("git@a.example:team/x.git", true),
            ("ssh://git@a.example/x", true),
            ("file:///srv/x.git", true),
            ("a@b", false),
            ("-o@host:x", false),
            ("user@-oProxyCommand=x:y", false),
        ] {
            assert_eq!(is_git(text), expected, "{text}");
        }
    }

    #[test]
    fn parts_of_an_address() {
        let source = GitSource::parse("https://a.example/x.git#v1:a/./b/").unwrap();
        assert_eq!((source.url.as_str(), source.reference.as_deref()), ("https://a.example/x.git", Some("v1")));
        assert_eq!((source.directory.as_str(), source.name()), ("a/b", "x"));
        let source = GitSource::parse("git@h:x.git?branch=b&subdir=s&keep-git-dir=true&checksum=0123456").unwrap();
        assert_eq!((source.reference.as_deref(), source.directory.as_str()), (Some("refs/heads/b"), "s"));
        assert!(source.keep_git_dir && source.commit.as_deref() == Some("0123456"));
        assert_eq!(GitSource::parse("git://h/x#:d").unwrap().reference, None);
        let whole = GitSource::parse(&format!("git://h/x#{}", "a".repeat(40))).unwrap();
        assert!(whole.whole_commit().is_some());
        for (text, part) in [
            ("git://h/x#--upload-pack=evil", "cannot be a branch"),
            ("git://h/x#a..b", "cannot be a branch"),
            ("git://h/x#m:../..", "leads out"),
            ("git://h/x#m:.git/hooks", "leads out"),
            ("git://h/x?rfe=m", "did you mean ref?"),
            ("git://h/x?ref=m&tag=t", "twice"),
            ("git://h/x?ref=m#n", "behind #"),
            ("git://h/x?checksum=zz", "no commit"),
        ] {
            let error = GitSource::parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
