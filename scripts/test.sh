#!/usr/bin/env bash
# Every check of this repository, cheapest first. Needs only the Rust toolchain; uses
# cargo-nextest, cargo-deny and python3 where they are installed.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }
has() { cargo "$1" --version >/dev/null 2>&1; }

step "format"
cargo fmt --all --check

if command -v python3 >/dev/null; then
    step "circles of files"
    python3 scripts/circles.py
else
    step "circles of files: skipped, python3 is not installed"
fi

step "lints"
cargo clippy --workspace --all-targets --locked -- -D warnings
# The library alone, without what only the program needs.
cargo check -p lorasweep --lib --no-default-features --locked

step "packages"
# Building each from its package alone (without --no-verify) takes as long as everything else together.
cargo package --workspace --no-verify --locked --offline --allow-dirty --quiet

if has nextest; then
    step "tests (cargo nextest)"
    cargo nextest run --workspace --locked --no-fail-fast
    step "documentation tests"
    cargo test --workspace --doc --locked
else
    step "tests (cargo test, documentation tests included)"
    cargo test --workspace --locked --no-fail-fast
fi

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

if has deny; then
    step "licences and advisories (cargo deny)"
    cargo deny --locked check
else
    step "licences and advisories: skipped, cargo-deny is not installed"
fi

step "all checks passed"
