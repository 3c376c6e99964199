//! An ignore file, an empty line, and paths to judge: judging from the root down and step by step agree, and a directory
//! that is not entered hides nothing.

use builder::context::Ignore;

pub fn run(bytes: &[u8]) {
    let cut = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap_or(bytes.len());
    let (patterns, paths) = bytes.split_at(cut);
    let Ok(ignore) = Ignore::parse(patterns) else { return };
    for path in paths.split(|&byte| byte == b'\n').filter(|path| !path.is_empty()).take(8) {
        let judged = ignore.judge(path);
        if let Some(at) = path.iter().rposition(|&byte| byte == b'/').filter(|&at| at > 0 && at + 1 < path.len()) {
            let parent = ignore.judge(&path[..at]);
            assert_eq!(ignore.enter(&parent, path).ignored, judged.ignored);
            if parent.ignored && !judged.ignored {
                assert!(ignore.may_take_back_below(&path[..at]), "a walk would have skipped what is wanted");
            }
        }
    }
}
