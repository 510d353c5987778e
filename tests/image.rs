//! The image without Docker: what its Dockerfile promises, and the binary it contains, built by the same command, run
//! without environment by somebody who is not root.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::cluster::{self, Cluster};
use support::pgweir::{As, Config, Pgweir};

fn dockerfile() -> Vec<(String, String)> {
    let text = include_str!("../Dockerfile").replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(' '))
        .map(|(word, rest)| (word.to_owned(), rest.trim().to_owned()))
        .collect()
}

fn all<'a>(instructions: &'a [(String, String)], word: &str) -> Vec<&'a str> {
    instructions.iter().filter(|(name, _)| name == word).map(|(_, rest)| rest.as_str()).collect()
}

/// The instructions after the last FROM: what the image that is used consists of.
fn final_stage() -> Vec<(String, String)> {
    let instructions = dockerfile();
    let last = instructions.iter().rposition(|(word, _)| word == "FROM").expect("a FROM");
    instructions[last..].to_vec()
}

#[test]
fn two_stages_and_the_second_has_no_compiler() {
    let instructions = dockerfile();
    let bases = all(&instructions, "FROM");
    assert_eq!(bases.len(), 2);
    assert!(bases[0].starts_with("rust:") && !bases[1].starts_with("rust"), "{bases:?}");
    assert!(all(&final_stage(), "RUN").is_empty(), "nothing is run in the second stage");
    assert_eq!(
        all(&final_stage(), "COPY"),
        ["--from=build /src/target/release/pgweir /usr/local/bin/pgweir"]
    );
}

#[test]
fn it_does_not_run_as_root() {
    let stage = final_stage();
    let user = all(&stage, "USER");
    let id: u32 = user.first().and_then(|user| user.split(':').next()?.parse().ok()).expect("a numeric USER");
    assert!(id > 0);
    let position = |word: &str| stage.iter().position(|(name, _)| name == word);
    assert!(position("USER") < position("ENTRYPOINT"));
}

#[test]
fn ports_health_and_entry_need_no_shell() {
    let stage = final_stage();
    assert_eq!(all(&stage, "EXPOSE"), ["6432 9127"]);
    let health = all(&stage, "HEALTHCHECK");
    assert!(
        health[0].ends_with(r#"CMD ["/usr/local/bin/pgweir", "--health", "127.0.0.1:9127"]"#),
        "{health:?}"
    );
    assert!(all(&stage, "ENTRYPOINT")[0].starts_with('['));
    assert!(all(&stage, "CMD")[0].starts_with('['));
}

#[test]
fn everything_the_build_needs_reaches_it() {
    let ignored = include_str!("../.dockerignore");
    let instructions = dockerfile();
    let copied = all(&instructions, "COPY").join(" ");
    for needed in ["Cargo.toml", "Cargo.lock", "src", "benches", "tests"] {
        assert!(copied.contains(needed) && ignored.contains(&format!("!{needed}")), "{needed}");
    }
}

/// Builds as the Dockerfile does; does nothing when it is built already.
fn release_binary() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let instructions = dockerfile();
    let build = all(&instructions, "RUN")[0];
    let arguments: Vec<&str> = build.split_whitespace().skip(1).collect();
    assert!(build.starts_with("cargo build --release --locked"), "{build}");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo tells its tests would make build scripts run again in the next build that isn't a test's.
    let told = |name: &str| name.starts_with("CARGO_") && !matches!(name, "CARGO_HOME" | "CARGO_TARGET_DIR");
    for (name, _) in std::env::vars().filter(|(name, _)| told(name)) {
        cargo.env_remove(name);
    }
    cluster::run(cargo.args(arguments).current_dir(root));
    root.join(target).join("release/pgweir")
}

/// A copy where somebody else can read it, as in the image.
fn installed(binary: &Path) -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("our directory");
    std::fs::copy(binary, dir.path().join("pgweir")).expect("copied");
    dir
}

#[test]
fn the_binary_runs_unprivileged_without_environment() {
    let cluster = Cluster::shared();
    let place = installed(&release_binary());
    let binary = place.path().join("pgweir");
    let pgweir = Pgweir::start_binary(&binary, &Config::new(cluster), As::Nobody);
    assert_eq!(pgweir.client().value("SELECT 1"), "1");
    let health = |port: u16| {
        let mut command = Command::new(&binary);
        command.env_clear().args(["--health", &format!("127.0.0.1:{port}")]);
        command.status().expect("it starts").success()
    };
    assert!(health(pgweir.metrics_port));
    let port = pgweir.metrics_port;
    assert!(pgweir.stop().success());
    assert!(!health(port));
}
