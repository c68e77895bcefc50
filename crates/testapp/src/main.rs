//! `testapp`: one static binary, which also makes the `FROM scratch` image.

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    testapp::run(&args)
}
