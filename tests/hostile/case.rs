//! One row of the tables: what is given to `img`, what must come of it, and the rule that this proves. Rows that prove
//! the same rule count once.

/// A row.
pub struct Case {
    /// Unique among all.
    pub name: String,
    /// What must hold, in one line.
    pub rule: &'static str,
    /// What is given.
    pub input: Input,
    /// What must come of it.
    pub outcome: Outcome,
}

/// What is given to `img`.
pub enum Input {
    /// A tar that lies as second layer over the common lower one; its image is well-formed.
    Layer(Vec<u8>),
    /// A blob that lies there instead, announced as it is; its tar is said to be this.
    Blob(Vec<u8>, Vec<u8>),
    /// A file for `load --input`.
    Archive(Vec<u8>),
    /// A file for `load --input` that is made when its turn comes, at the path given: for what is large or no file.
    Made(Box<dyn Fn(&std::path::Path)>),
    /// A build context, made in the directory given, for `build`; the words are further arguments.
    Context(Box<dyn Fn(&std::path::Path)>, &'static [&'static str]),
    /// Folders and archives, made in the directory given, and what is given to `copy`, one after the other until one is
    /// refused; `{}` stands for the directory.
    Copies(Box<dyn Fn(&std::path::Path)>, &'static [&'static [&'static str]]),
}

/// What must come of it.
#[derive(Clone)]
pub enum Outcome {
    /// Exit status 1 and all these words on standard error.
    Refused(&'static [&'static str]),
    /// An image whose tree has an entry for each line (`TYPE MODE UID:GID SIZE PATH[ -> TARGET]`, or its beginning or
    /// end after `…`), and none for a line that begins with `!` (a path).
    Taken(Vec<String>),
}

/// A row for a layer that must be refused.
pub fn refused(name: &str, rule: &'static str, tar: Vec<u8>, words: &'static [&'static str]) -> Case {
    Case { name: name.to_owned(), rule, input: Input::Layer(tar), outcome: Outcome::Refused(words) }
}

/// A row for a layer that is harmless, and what its tree then has.
pub fn taken(name: &str, rule: &'static str, tar: Vec<u8>, tree: &[&str]) -> Case {
    let tree = tree.iter().map(|line| (*line).to_owned()).collect();
    Case { name: name.to_owned(), rule, input: Input::Layer(tar), outcome: Outcome::Taken(tree) }
}
