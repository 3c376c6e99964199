//! Has the linker strip a release of `img-runtime`: cargo's own setting for that would change the names of the library's functions in `img`
//! (see the `build.rs` of that).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo::rustc-link-arg-bins=-Wl,--strip-all");
    }
}
