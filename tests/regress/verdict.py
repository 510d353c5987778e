"""What pg_regress said of each file, and what becomes of it beside the direct run and the list of explained differences."""
import re
import tomllib  # Python 3.11

LINE = re.compile(r"^(?:test|    )\s+(\S+)\s+\.\.\. (ok|FAILED|failed \(ignored\))")
HUNK_LINES = 16


def parse(log):
    """File → whether pg_regress accepted it, in the order of the schedule. What it ignores (random) it accepts."""
    matches = map(LINE.match, log.read_text(errors="replace").splitlines())
    return {match[1]: match[2] != "FAILED" for match in matches if match}


def judge(names, results, outputs):
    """File → (same, first differing hunk), for all these names. `results` and `outputs` are those of the direct and the pooled run."""
    (direct, pooled), (direct_outputs, pooled_outputs) = results, outputs
    hunks = first_hunks(pooled_outputs / "regression.diffs")
    judged = {}
    for name in names:
        if name not in pooled:
            judged[name] = (False, "did not end")
            continue
        alike = not direct.get(name, True) and bytes_of(direct_outputs, name) == bytes_of(pooled_outputs, name)
        judged[name] = (pooled[name] or alike, hunks.get(name, "pg_regress shows no difference; see its log"))
    return judged


def bytes_of(outputs, name):
    path = outputs / "results" / f"{name}.out"
    return path.read_bytes() if path.exists() else None


def first_hunks(diffs):
    """File → the first hunk of its section in regression.diffs."""
    hunks = {}
    if not diffs.exists():
        return hunks
    for section in re.split(r"^diff -U3 ", diffs.read_text(errors="replace"), flags=re.M)[1:]:
        heading, *lines = section.splitlines()
        name = re.search(r"([^/]+)\.out$", heading)[1]
        starts = [at for at, line in enumerate(lines) if line.startswith("@@")] + [len(lines)]
        hunk = lines[starts[0]:starts[1]] if len(starts) > 1 else lines
        more = [f"… {len(hunk) - HUNK_LINES} more lines"] if len(hunk) > HUNK_LINES else []
        hunks[name] = "\n".join(hunk[:HUNK_LINES] + more)
    return hunks


def listed(here, suite, mode):
    """File → why it differs, of that suite in that mode."""
    with open(here / "expected-differences.toml", "rb") as file:
        return tomllib.load(file).get(suite, {}).get(mode, {})


def report(judged, listed):
    """Prints what differs and the table; false when a file differs that isn't listed or a listed one doesn't."""
    different = {name: hunk for name, (same, hunk) in judged.items() if not same}
    explained = listed or {}
    unknown = [name for name in different if name not in explained]
    agreeing = [name for name, why in explained.items() if name not in different and not why.startswith("sometimes:")]
    for name in unknown:
        print(f"\n--- {name}\n{different[name]}")
    print()
    for name in (name for name in different if name in explained):
        print(f"  {name:32} {explained[name]}")
    for name in agreeing:
        how = "came out the same" if name in judged else "is no test"
        print(f"  {name:32} is listed in expected-differences.toml and {how}")
    counts = {
        "files": len(judged),
        "same": len(judged) - len(different),
        "different, explained": len(different) - len(unknown),
        "different, not explained": len(unknown),
    }
    for what, count in counts.items():
        print(f"  {what:32} {count:4}")
    if unknown:
        print(f"  not explained: {' '.join(unknown)}")
    return not unknown and not agreeing
