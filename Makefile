# `make test` is everything that is checked without the network, once the packages are there. It needs Rust, a C compiler,
# make, bash, Python 3.11 or newer with venv and pip, node and npm (for the contract's tools, contracts/README.md), and uses
# cargo-nextest when it is there; cargo-deny is not part of it (`make deny`). All Rust suites share the dev profile, so that nothing is compiled twice.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The counts are read from what cargo prints: colours would be in the way.
export CARGO_TERM_COLOR := never

SUITES := check-fmt lint contracts tests doc-tests docs dependencies python
PACKAGES := cargo tree --locked --workspace --depth 0 --prefix none | grep -c '^dstore'
DEPENDENCIES := cargo tree --locked -p dstore -e normal --prefix none
BARE := $(DEPENDENCIES) --no-default-features

.PHONY: help test $(SUITES) artifact sepolia deny advisories fmt demo bench bench-python fuzz

help:
	@echo 'make test   everything that is checked (cold: about 20 minutes on 2 cores)'
	@echo 'make demo   store a file on three nodes, lose one, get the file back'
	@echo 'make bench  the whole system, beside the limits of this machine'
	@echo 'make bench-python  what a transfer costs from Python, beside Rust'
	@echo 'make fuzz   look for inputs that break something: 60 s for each target, or TARGET=name SECONDS=600 (0: until ^C)'
	@echo 'make fmt    format the code'
	@echo 'make artifact  what clients embed of the contract, and its gas snapshot, after a change to it'
	@echo 'Parts of make test: $(SUITES)'
	@echo 'Not part of it: make deny (licences, with cargo-deny), make advisories (asks the network),'
	@echo '                make sepolia (the rules of a ledger on a public chain; spends test ether)'

# One after the other, whatever -j says: cargo locks the target folder, and lines of several suites would mix. All of
# them, also when one fails.
test:
	@failed=; for suite in $(SUITES); do $(MAKE) --no-print-directory $$suite || failed+=" $$suite"; done; \
	if [ -n "$$failed" ]; then echo "make test: failed:$$failed" >&2; exit 1; fi
	@echo 'make test: $(words $(SUITES)) suites passed'

check-fmt:
	@cargo fmt --all --check
	@cargo fmt --manifest-path dstore/fuzz/Cargo.toml --check
	@echo "check-fmt: $$(git ls-files '*.rs' 2>/dev/null | wc -l) files are formatted"

# The second time as users build it: without the test kit. The third time without the ledger on Ethereum.
lint:
	@cargo clippy --locked --workspace --all-targets --features dstore/testing -- -D warnings
	@cargo clippy --locked --workspace -- -D warnings
	@cargo clippy --locked -p dstore --no-default-features --features testing --all-targets -- -D warnings
	@echo "lint: $$($(PACKAGES)) packages without a warning"

# Before the Rust tests, which need the anvil that it installs.
contracts:
	@contracts/bin/check

artifact:
	@contracts/bin/check --write

tests:
	@if cargo nextest --version >/dev/null 2>&1; then \
		cargo nextest run --locked --workspace --features dstore/testing --no-fail-fast 2>&1 | .ci/count tests; \
	else \
		cargo test --locked --workspace --features dstore/testing --lib --bins --tests --no-fail-fast 2>&1 | .ci/count tests; \
	fi

doc-tests:
	@cargo test --locked --workspace --features dstore/testing --doc --no-fail-fast 2>&1 | .ci/count doc-tests

docs:
	@RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --features dstore/testing --no-deps
	@echo "docs: $$($(PACKAGES)) packages without a warning"

# What an application that embeds dstore gets with it. Without the ledger on Ethereum nothing of ethers is there, nor
# tokio, which ethers-providers names and nothing of this library runs.
dependencies:
	@if $(BARE) | grep -E '^(tokio|ethers-[a-z]+) '; then echo 'dependencies: only the feature ethereum may need these' >&2; exit 1; fi
	@through=$$($(DEPENDENCIES) --no-dedupe --depth 1 | grep -cE '^tokio ') || true; \
	if [ "$$through" != 0 ]; then echo 'dependencies: dstore must not need tokio' >&2; exit 1; fi
	@echo "dependencies: $$($(BARE) | cut -d' ' -f1,2 | sort -u | wc -l) packages, none of them tokio or ethers;" \
		"$$($(DEPENDENCIES) | cut -d' ' -f1,2 | sort -u | wc -l) with the feature ethereum"

# After the Rust tests, whose dstore-cli it runs: wheel, types, style and tests of dstore-py.
python:
	@dstore-py/bin/check

# Needs ETH_RPC_URL or ALCHEMY_API_KEY, and ETH_PRIVATE_KEY (docs/ethereum.md), here or in .env.
sepolia:
	@set -a; if [ -f .env ]; then . ./.env; fi; \
	cargo test --locked -p dstore --features testing --test ethereum -- --ignored --nocapture on_a_public_chain

# cargo install --locked cargo-deny
deny:
	cargo deny --locked check bans licenses sources

# Fetches the database of advisories.
advisories:
	cargo deny --locked check advisories

fmt:
	cargo fmt --all
	$(or $(CARGO_TARGET_DIR),target)/python/bin/ruff format --config dstore-py/pyproject.toml dstore-py benches/python.py    # once make python has made it
	cargo fmt --manifest-path dstore/fuzz/Cargo.toml
	cd contracts && bin/forge fmt

demo:
	cargo run --locked --release -p dstore-cli -- demo

bench:
	cargo bench --locked -p dstore-bench --bench system

# What a transfer costs from Python, beside Rust.
PYTHON_BENCH = $(or $(CARGO_TARGET_DIR),target)/python-bench
bench-python:
	cargo build --locked --release -p dstore-cli -p dstore-bench --bins
	python3 -m venv $(PYTHON_BENCH)
	$(PYTHON_BENCH)/bin/pip install --quiet ./dstore-py
	$(PYTHON_BENCH)/bin/python benches/python.py --cli $(or $(CARGO_TARGET_DIR),target)/release/dstore-cli \
		--rust $(or $(CARGO_TARGET_DIR),target)/release/transfer $(BENCH)

# libFuzzer on the stable toolchain: the flags are those that instrument code for it. With --target they leave build
# scripts and macros alone. Needs a C++ compiler beside what the rest needs. Corpora grow from run to run; what is found
# ends as a file in dstore/fuzz/findings (CONTRIBUTING.md says what to do with it), and this ends with an error.
TARGET ?=
SECONDS ?= 60
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
FUZZ_DIR = $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)/fuzz
FUZZER = $(FUZZ_DIR)/$(HOST)/release/dstore-fuzz
INSTRUMENTED := --cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares

fuzz:
	@RUSTFLAGS='$(INSTRUMENTED)' cargo build --release --manifest-path dstore/fuzz/Cargo.toml \
		--target $(HOST) --target-dir $(FUZZ_DIR)
	@targets='$(TARGET)'; failed=; \
	for target in $${targets:-$$(TARGET= $(FUZZER))}; do \
		corpus=dstore/fuzz/corpus/$$target; mkdir -p $$corpus dstore/fuzz/findings; \
		TARGET=$$target SEEDS=$$corpus $(FUZZER); \
		TARGET=$$target $(FUZZER) $$corpus -max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=1024 \
			-verbosity=0 -print_final_stats=1 -artifact_prefix=dstore/fuzz/findings/$$target- || failed+=" $$target"; \
		echo "fuzz: $$target: $$(ls $$corpus | wc -l) inputs kept"; \
	done; \
	if [ -n "$$failed" ]; then echo "fuzz: failed:$$failed; what was found is in dstore/fuzz/findings" >&2; exit 1; fi
