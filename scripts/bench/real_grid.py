"""The table of real runs that the planner's benchmark replays, from a sweep's evaluations.

    python real_grid.py evaluations.csv table.csv

One row for each run at each epoch's end: a schedule that does not decay makes every prefix of a run
a run of its own. A diverged run has no rows after it was lost.
"""

import csv
import sys

COLUMNS = ["rank", "learning_rate", "batch_size", "epochs", "seed", "eval_loss", "seconds"]


def main(source, target):
    with open(source, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if float(row["epoch"]) % 1 == 0]
    rows = [{**row, "epochs": int(float(row["epoch"]))} for row in rows if row["step"] != "0"]
    # A trial of fewer epochs is the beginning of one of more.
    rows = list({tuple(row[name] for name in COLUMNS[:5]): row for row in rows}.values())
    rows.sort(key=lambda row: [float(row[name]) for name in COLUMNS[:5]])
    with open(target, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{target}: {len(rows)} rows")


if __name__ == "__main__":
    main(*sys.argv[1:])
