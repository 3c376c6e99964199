use super::*;

fn with(input: &str, vars: &[(&str, &str)]) -> Result<String, String> {
    let lookup = |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    Expander::new('\\').word(input, &lookup)
}

fn expand(input: &str) -> String {
    let vars = [
        ("v", "value"),
        ("empty", ""),
        ("path", "/a/b/c.tar.gz"),
        ("sp", "a b"),
        ("star", "x*y*z"),
        ("PWD", "/home"),
        ("ünï", "code"),
    ];
    with(input, &vars).unwrap_or_else(|error| format!("error: {error}"))
}

#[test]
fn plain_variables_and_quotes() {
    for (input, expected) in [
        ("hello", "hello"),
        ("he'll'o", "hello"),
        ("he\"ll\"o", "hello"),
        ("$v", "value"),
        ("${v}", "value"),
        ("$v.x", "value.x"),
        ("${v}x$v", "valuexvalue"),
        ("$vx", ""),
        ("'$v'", "$v"),
        ("\"$v\"", "value"),
        ("\\$v", "$v"),
        ("\"\\$v\"", "$v"),
        ("'\\$v'", "\\$v"),
        ("\"a\\b\"", "a\\b"),
        ("\"a\\\\b\"", "a\\b"),
        ("\"a\\\"b\"", "a\"b"),
        ("a\\b", "ab"),
        ("a\\\\b", "a\\b"),
        ("tail\\", "tail"),
        ("$", "$"),
        ("a$", "a$"),
        ("$.", "$."),
        ("$$", ""),
        ("$1x", "x"),
        ("$ünï", "code"),
        ("'it''s'", "its"),
        ("\"'$v'\"", "'value'"),
        ("  $sp  ", "  a b  "),
    ] {
        assert_eq!(expand(input), expected, "{input}");
    }
}

#[test]
fn defaults_alternatives_and_demands() {
    for (input, expected) in [
        ("${v:-w}", "value"),
        ("${empty:-w}", "w"),
        ("${empty-w}", ""),
        ("${none:-w}", "w"),
        ("${none-w}", "w"),
        ("${none:-}", ""),
        ("${v:+w}", "w"),
        ("${empty:+w}", ""),
        ("${empty+w}", "w"),
        ("${none:+w}", ""),
        ("${none+w}", ""),
        ("${v:?m}", "value"),
        ("${empty?m}", ""),
        ("${none:-$v}", "value"),
        ("${none:-${empty:-${v}}}", "value"),
        ("${none:-'a}b'}", "a}b"),
        ("${none:-a\\}b}", "a}b"),
        ("${none:-a b}", "a b"),
        ("\"${none:-\"x y\"}\"", "x y"),
    ] {
        assert_eq!(expand(input), expected, "{input}");
    }
}

#[test]
fn trimming_and_replacing() {
    for (input, expected) in [
        ("${path#*/}", "a/b/c.tar.gz"),
        ("${path##*/}", "c.tar.gz"),
        ("${path%.*}", "/a/b/c.tar"),
        ("${path%%.*}", "/a/b/c"),
        ("${path%/*}", "/a/b"),
        ("${path%%/*}", ""),
        ("${v#val}", "ue"),
        ("${v#xyz}", "value"),
        ("${v%e}", "valu"),
        ("${v#?}", "alue"),
        ("${v##*}", ""),
        ("${v#*}", "value"),
        ("${star#x\\*}", "y*z"),
        ("${star%\\**}", "x*y"),
        ("${star%%\\**}", "x"),
        ("${v/a/A}", "vAlue"),
        ("${path//\\//-}", "-a-b-c.tar.gz"),
        ("${path/\\//-}", "-a/b/c.tar.gz"),
        ("${v//?/x}", "xxxxx"),
        ("${v/*/z}", "z"),
        ("${v//none/x}", "value"),
        ("${v/l*/}", "va"),
        ("${v//e/$sp}", "valua b"),
        ("${none#x}", ""),
        ("${none/a/b}", ""),
        ("${empty//a/b}", ""),
    ] {
        assert_eq!(expand(input), expected, "{input}");
    }
}

#[test]
fn mistakes_are_named() {
    for (input, part) in [
        ("${", "missing"),
        ("${v", "missing"),
        ("${}", "bad substitution"),
        ("${:x}", "bad substitution"),
        ("${v:x}", "modifier"),
        ("${v=x}", "modifier"),
        ("${v:-x", "missing"),
        ("${none:?do set it}", "none: do set it"),
        ("${none?}", "not allowed to be unset"),
        ("${empty:?}", "not allowed to be empty"),
        ("'x", "single quote"),
        ("\"x", "double quote"),
        ("${v/a}", "missing"),
        ("${v#\\q}", "invalid escape"),
    ] {
        let error = with(input, &[("v", "value"), ("empty", "")]).expect_err(input);
        assert!(error.contains(part), "{input}: {error}");
    }
}

#[test]
fn options_change_the_reading() {
    let vars = |name: &str| (name == "v").then(|| "value".to_owned());
    let raw = Expander { keep_quotes: true, keep_escapes: true, keep_unset: true, ..Expander::new('\\') };
    assert_eq!(raw.word("\"$v\" '$v' \\$v $x ${x:-y}", &vars).unwrap(), "\"value\" '$v' \\$v $x ${x:-y}");
    let heredoc = Expander { ignore_quotes: true, ..Expander::new('\\') };
    assert_eq!(heredoc.word("it's \"$v\" \\$v", &vars).unwrap(), "it's \"value\" $v");
    let windows = Expander::new('`');
    assert_eq!(windows.word("c:\\$v`$v", &vars).unwrap(), "c:\\value$v");
}

#[test]
fn words_split_only_where_nothing_is_quoted() {
    let vars = |name: &str| (name == "l").then(|| "80 443".to_owned());
    let words = |input: &str| Expander::new('\\').expand(input, &vars).unwrap().words;
    assert_eq!(words("$l 8080"), ["80", "443", "8080"]);
    assert_eq!(words("\"$l\" a\\ b"), ["80 443", "a b"]);
    assert_eq!(Expander::new('\\').expand("$q$q$l", &vars).unwrap().unset, ["q"]);
}

#[test]
fn output_and_depth_are_bounded() {
    let big = "x".repeat(600_000);
    let vars = |_: &str| Some(big.clone());
    assert!(Expander::new('\\').word("$a$a", &vars).is_err());
    assert!(Expander::new('\\').word("${a//x/yyyy}", &vars).is_err());
    let deep = format!("{}{}", "${n:-".repeat(10_000), "}".repeat(10_000));
    assert!(with(&deep, &[]).is_err());
}
