# What one does with this repository. Tools that are missing are installed where that is possible.
.PHONY: help build test deny soak pg-regress demo demo-check bench bench-gate profile
.DEFAULT_GOAL := help

CLIENTS ?= 200
SECONDS ?= 10
ROUNDS ?= 3
ROWS ?= main
MINUTES ?= 30
FAMILIES ?= all

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: ## target/release/pgweir
	cargo build --release --locked --bin pgweir

test: ## format, lints and all tests, with the feature pam where libpam is; installs PostgreSQL and the drivers they need
	tests/tools/install
	cargo fmt --check
	features=$$(tests/tools/install features) && \
	  cargo clippy --locked --all-targets $$features -- -D warnings && \
	  cargo test --locked --no-fail-fast $$features

deny: ## advisories, licences and sources of dependencies, by deny.toml; needs cargo-deny and the network
	cargo deny --locked check

soak: ## random session state of 8 clients over 3 servers beside plain connections; MINUTES=30 FAMILIES=all|roles,temp,…
	tests/tools/install
	PGWEIR_SOAK_MINUTES=$(MINUTES) PGWEIR_ISOLATION=$(FAMILIES) \
	  cargo test --locked --test isolation -- --nocapture transaction_mode

pg-regress: build ## PostgreSQL's own tests, direct and through pgweir; MODE=transaction SUITE=regress,isolation TESTS="test_setup …" REUSE=1 NO_SWITCH=1 KEEP_SEQUENCES=1
	tests/tools/install pg_regress
	@tests/regress/run --mode $(MODE) --suite $(SUITE) --pgweir $(abspath $(pgweir)) $(if $(REUSE),--reuse) $(if $(NO_SWITCH),--no-switch) $(if $(KEEP_SEQUENCES),--keep-sequences) $(TESTS)

MODE ?= transaction
SUITE ?= regress,isolation

demo: demo-build ## PostgreSQL, pgweir and a load, until Ctrl-C; CLIENTS=200 SECONDS=10
	@ulimit -n $$(ulimit -Hn); exec $(demo) --clients $(CLIENTS) --seconds $(SECONDS)

demo-check: demo-build ## the same without anybody watching; exit status 0 when all was right
	@ulimit -n $$(ulimit -Hn); exec $(demo) --clients $(CLIENTS) --seconds $(SECONDS) --check

bench: SECONDS = 4
bench: bench-build ## beside PgBouncer and haproxy, about 6 minutes; ROWS=main|all|simple,… ROUNDS=3 SECONDS=4 PGBOUNCER=path FLOOR=1
	@exec $(compare) --rows $(ROWS) --rounds $(ROUNDS) --seconds $(SECONDS) $(if $(FLOOR),--floor)

bench-help: bench-build
	@exec $(compare) --help

bench-gate: gate-build ## user instructions a transaction against the recorded ones, half a minute; RECORD=1 records them; SESSION_STATE=discard
	tests/tools/install valgrind
	@PGWEIR_GATE_SESSION_STATE=$(or $(SESSION_STATE),transparent) exec $(gate) $(if $(RECORD),record,check) $(pgweir)

profile: gate-build ## flame graphs and system calls of a transaction; OUT=directory
	tests/tools/install valgrind strace
	@exec $(gate) profile $(pgweir) $(OUT)

OUT ?= target/profile
pgweir = $(or $(CARGO_TARGET_DIR),target)/release/pgweir
gate = $(or $(CARGO_TARGET_DIR),target)/debug/examples/gate

# The driver needs no speed, and `make test` has built it already.
.PHONY: gate-build
gate-build: build
	cargo build --locked --example gate

examples = $(or $(CARGO_TARGET_DIR),target)/release/examples
demo = $(examples)/demo
compare = $(examples)/compare

.PHONY: demo-build bench-build bench-help
demo-build:
	cargo build --release --locked --bin pgweir --example demo

bench-build:
	tests/tools/install postgres
	tests/tools/install haproxy || true
	cargo build --release --locked --bin pgweir --example compare --example floor
