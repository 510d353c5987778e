//! What is fuzzed, replayed: every file of tests/fuzz/corpus; those with a name that says what they are also cut short and with a byte
//! changed. With PGWEIR_FUZZ_SECONDS, random changes for so long, where cargo-fuzz isn't to be had.

#[path = "fuzz/harness/parsers.rs"]
mod harness;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Inputs, and whether each was written rather than found, which has a hash for a name.
fn corpus(target: &str) -> Vec<(bool, Vec<u8>)> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let files = fs::read_dir(corpus.join(target)).unwrap_or_else(|e| panic!("{target}: {e}"));
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    let is_written = |path: &Path| path.file_name().is_some_and(|name| name.len() < 40);
    paths.iter().map(|path| (is_written(path), fs::read(path).expect("a file"))).collect()
}

#[test]
fn the_corpus_is_survived() {
    for (target, _) in harness::TARGETS {
        let files = corpus(target);
        assert!(files.len() >= 2, "{target}");
        for (is_written, bytes) in files {
            harness::run(target, &bytes);
            if !is_written {
                continue;
            }
            let step = bytes.len() / 64 + 1;
            for at in (0..bytes.len()).step_by(step) {
                harness::run(target, &bytes[..at]);
                for change in [0x01, 0x80, 0xff] {
                    let mut changed = bytes.clone();
                    changed[at] ^= change;
                    harness::run(target, &changed);
                }
            }
        }
    }
}

/// A step of xorshift: any bytes will do, and a failure comes again.
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 16) as usize
}

#[test]
fn random_changes_are_survived() {
    let asked = std::env::var("PGWEIR_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let Some(seconds) = asked else { return };
    let each = Duration::from_secs(seconds) / harness::TARGETS.len() as u32;
    for (target, _) in harness::TARGETS {
        let (files, until, mut state, mut runs) = (corpus(target), Instant::now() + each, 0x9e37_79b9, 0_u64);
        while Instant::now() < until {
            let mut bytes = files[next(&mut state) % files.len()].1.clone();
            for _ in 0..1 + next(&mut state) % 6 {
                let at = next(&mut state) % (bytes.len() + 1);
                match next(&mut state) % 5 {
                    0 => bytes.insert(at, next(&mut state) as u8),
                    1 if at < bytes.len() => drop(bytes.remove(at)),
                    2 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][next(&mut state) % 5],
                    3 if at < bytes.len() => bytes[at] ^= 1 << (next(&mut state) % 8),
                    _ => {
                        let (_, other) = &files[next(&mut state) % files.len()];
                        let from = next(&mut state) % (other.len() + 1);
                        bytes.truncate(at);
                        bytes.extend_from_slice(&other[from..]);
                    }
                }
            }
            harness::run(target, &bytes);
            runs += 1;
        }
        println!("{target}: {runs} runs");
    }
}
