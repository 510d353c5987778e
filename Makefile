# What one does with this repository. Tools that are missing are installed where that is possible.
.PHONY: help build test demo demo-check bench
.DEFAULT_GOAL := help

CLIENTS ?= 200
SECONDS ?= 10
ROUNDS ?= 5

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: ## target/release/pgweir
	cargo build --release --locked --bin pgweir

test: ## format, lints and all tests; installs PostgreSQL and the drivers they need
	tests/tools/install
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --no-fail-fast

demo: demo-build ## PostgreSQL, pgweir and a load, until Ctrl-C; CLIENTS=200 SECONDS=10
	@ulimit -n $$(ulimit -Hn); exec $(demo) --clients $(CLIENTS) --seconds $(SECONDS)

demo-check: demo-build ## the same without anybody watching; exit status 0 when all was right
	@ulimit -n $$(ulimit -Hn); exec $(demo) --clients $(CLIENTS) --seconds $(SECONDS) --check

bench: SECONDS = 4
bench: ## CPU a transaction beside PgBouncer on this machine, about 4 minutes; ROUNDS=5 SECONDS=4 PGBOUNCER=path
	tests/tools/install postgres
	cargo build --release --locked --bin pgweir --example compare
	@ulimit -n $$(ulimit -Hn); exec $(examples)/compare --rounds $(ROUNDS) --seconds $(SECONDS)

examples = $(or $(CARGO_TARGET_DIR),target)/release/examples
demo = $(examples)/demo

.PHONY: demo-build
demo-build:
	cargo build --release --locked --bin pgweir --example demo
