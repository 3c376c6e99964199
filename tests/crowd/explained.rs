//! The failures that are nobody's fault when others work on the same names. Each names the commands that may meet it,
//! words of the message, and who caused it. Whatever is not in this table is a problem.

/// The commands that may fail so (empty: all), words that are in the message, and why.
const EXPLAINED: &[(&[&str], &str, &str)] = &[
    (&["create", "history", "inspect", "rmi", "run", "save", "tag"], "no such image: ", "another removed the image"),
    (&["run", "create"], "--pull never forbids", "another removed the image"),
    (&["run", "create"], " was removed meanwhile", "another removed the image"),
    (&["commit", "export", "logs", "rm", "start", "stop"], "no such container: ", "another removed the container"),
    (&["inspect"], "no such container, image, volume or network: ", "another removed it"),
    (&["volume rm"], "no such volume: ", "another removed the volume"),
    (&["volume rm"], " is in use by ", "another uses the volume"),
    (&["rmi"], "no such tag: ", "another removed the tag"),
    (&["rmi"], " was changed meanwhile: it is image", "another moved the tag"),
    (&["rmi"], " is used by the container", "another runs a container of it"),
    (&["run", "create"], " is already in use by container", "another has taken the name"),
];

/// Why `command` may have failed with `message`; `None` if nothing explains it.
pub fn why(command: &str, message: &str) -> Option<&'static str> {
    let fits = |(commands, words, _): &&(&[&str], &str, &str)| {
        (commands.is_empty() || commands.contains(&command)) && message.contains(words)
    };
    EXPLAINED.iter().find(fits).map(|(_, _, why)| *why)
}
