//! Every folder below `Buildfile-examples/` is built, and run, and must print its `expect.txt`. A file `run.args` holds
//! arguments for the program, one line each; a file `build.args` flags for the build.

use std::path::Path;

use crate::support::{Sandbox, images};

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).map(|text| text.lines().map(str::to_owned).collect()).unwrap_or_default()
}

fn example(name: &str) {
    let folder = images::repository().join("Buildfile-examples").join(name);
    let expected = std::fs::read_to_string(folder.join("expect.txt")).expect("an example has an expect.txt");
    let sandbox = Sandbox::new();
    let context = folder.to_string_lossy().into_owned();
    let flags = lines(&folder.join("build.args"));
    let mut build = vec!["build", "--tag", "example"];
    build.extend(flags.iter().map(String::as_str));
    build.push(&context);
    sandbox.img(&build).ok();
    let arguments = lines(&folder.join("run.args"));
    let mut run = vec!["run", "--rm", "--network", "none", "example"];
    run.extend(arguments.iter().map(String::as_str));
    sandbox.img(&run).ok().prints_exactly(&expected);
    // The second build is all cache, and gives the same image.
    let id = sandbox.inspect("example")["Id"].clone();
    sandbox.img(&build).ok();
    assert_eq!(sandbox.inspect("example")["Id"], id);
}

macro_rules! examples {
    ($($test:ident: $folder:literal),* $(,)?) => {
        $(#[test] fn $test() { example($folder); })*

        #[test]
        fn every_folder_is_a_test() {
            let mut listed = vec![$($folder),*];
            listed.sort_unstable();
            let folder = images::repository().join("Buildfile-examples");
            let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
            let folders = entries.filter(|entry| entry.path().is_dir());
            let mut there: Vec<String> = folders.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
            there.sort();
            assert_eq!(there, listed);
        }
    };
}

examples! {
    static_c: "static-c",
    shell_tool: "shell-tool",
    python_service: "python-service",
    node_app: "node-app",
    multi_stage_c: "multi-stage-c",
    cache_and_heredoc: "cache-and-heredoc",
    onbuild_and_arg: "onbuild-and-arg",
}
