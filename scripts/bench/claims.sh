#!/bin/sh
# How often the report's intervals hold for seeds that it has not seen, and what its prior is made of.
#
#   scripts/bench/claims.sh > results/bench/claims.txt
#
# The runs are in crates/reporter/tests/replicated (scripts/bench/replicated.py trains them).
set -eu
cd "$(dirname "$0")/../.."
echo "# The seed's share: what replicated runs say beforehand"
python3 scripts/bench/seed_share.py
echo
echo "# 95 % intervals of the difference of two configurations, from one seed of each, that hold"
echo "# other rows: a report on half of the rows against the other seeds on the other half"
echo "# same rows: the seeds' part of the interval alone, against the other seeds on the same rows"
echo "# left out: the interval over rows alone, against the other seeds on the same rows"
cargo test -q -p lorasweep-reporter --test it -- claims --nocapture --test-threads 1 2>/dev/null |
  grep -E '^(set |all |[a-z]+[-0-9_a-z]* +[0-9.]+ %|[0-9]+ claims)'
