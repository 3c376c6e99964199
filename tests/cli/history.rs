//! `img history`: where every byte of an image came from.

use crate::support::Sandbox;

const BUILDFILE: &str = "FROM busybox\nENV GREETING=hello\nRUN head -c 1000000 /dev/zero > /million\nCOPY file /file\nCMD [\"cat\", \"/file\"]\n";

#[test]
fn each_line_of_the_buildfile_newest_first() {
    let sandbox = Sandbox::new();
    sandbox.write("context/file", "content\n");
    sandbox.build("context", "app", BUILDFILE).ok();
    let rows = sandbox.img(&["history", "--no-trunc", "--format", "{{json .}}", "app"]).ok().json_lines();
    let made: Vec<&str> = rows.iter().map(|row| row["CreatedBy"].as_str().unwrap()).collect();
    let signs = ["CMD [\"cat\"", "COPY file /file", "RUN head -c 1000000", "ENV GREETING=hello"];
    for (row, sign) in made.iter().zip(signs) {
        assert!(row.contains(sign), "{sign} in {row}");
    }
    assert_eq!(rows.len(), 6, "four lines, and two of the base: {made:?}");
    for key in ["ID", "CreatedAt", "CreatedSince", "Size", "Comment"] {
        assert!(rows[0][key].is_string(), "{key} in {}", rows[0]);
    }
    assert!(rows[1]["ID"].as_str().unwrap().starts_with("sha256:"), "{}", rows[1]);
}

#[test]
fn sizes_belong_to_the_step_that_wrote_them() {
    let sandbox = Sandbox::new();
    sandbox.write("context/file", "content\n");
    sandbox.build("context", "app", BUILDFILE).ok();
    let rows =
        sandbox.img(&["history", "--human=false", "--no-trunc", "--format", "{{json .}}", "app"]).ok().json_lines();
    let size = |row: usize| rows[row]["Size"].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!((size(0), size(3)), (0, 0), "CMD and ENV write nothing");
    assert!((1_000_000..1_020_000).contains(&size(2)), "the RUN wrote a million: {}", size(2));
    assert!((8..20_000).contains(&size(1)), "the COPY wrote eight bytes: {}", size(1));
    let total: u64 = (0..rows.len()).map(size).sum();
    assert_eq!(sandbox.inspect("app")["Size"].as_u64(), Some(total), "the history adds up to the image");
}

#[test]
fn the_table_and_quiet() {
    let sandbox = Sandbox::new();
    sandbox.pull("odd");
    let out = sandbox.img(&["history", "odd"]);
    let head = out.ok().stdout().lines().next().unwrap().to_owned();
    let words: Vec<&str> = head.split("  ").map(str::trim).filter(|s| !s.is_empty()).collect();
    assert_eq!(words, ["LAYER", "CREATED", "CREATED BY", "SIZE", "COMMENT"]);
    out.prints(&["base-images whiteouts"]);
    assert!(!out.stdout().contains("<none>"));
    let quiet = sandbox.img(&["history", "--quiet", "odd"]);
    assert_eq!(quiet.ok().stdout().lines().count(), 6);
    sandbox.img(&["history", "nothing"]).refuses(1, &["nothing", "no such image"]);
}

#[test]
fn escapes_in_a_history_do_not_reach_the_terminal() {
    let sandbox = Sandbox::new();
    sandbox.build("context", "evil", "FROM busybox\nLABEL note=\"\u{1b}[31mred\u{7}\"\n").ok();
    let out = sandbox.img(&["history", "--no-trunc", "evil"]);
    assert!(!out.ok().bytes().contains(&0x1b) && !out.bytes().contains(&7), "{out}");
}
