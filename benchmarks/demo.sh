#!/usr/bin/env bash
# The demo: every strategy on a recorded benchmark, then a search that trains graph neural networks, and one report.
set -euo pipefail
graphnas="${BIN:?run this as: make demo}/graphnas"
rm -rf demo && mkdir demo

run() { echo; echo "\$ graphnas $*"; "$graphnas" "$@"; }

run spaces
stores=()
for strategy in $("$graphnas" strategies); do
  run search nasbench_graph --on nasbench_graph/cora --strategy "$strategy" --budget 150 --store "demo/table-$strategy.db"
  stores+=("demo/table-$strategy.db")
done

# Cora where it can be found or downloaded, else the karate club that ships with PyG.
task=karate
if "$graphnas" tasks cora >/dev/null 2>&1; then task=cora; fi
train() { run search nasbench_graph --on "$task" --budget 12 --epochs 40 --workers 2 "$@"; }
train --strategy random --store "demo/$task-random.db"
train --strategy evolution --option population=4 --store "demo/$task-evolution.db"

run export "demo/$task-evolution.db" --to svg -o demo/best.svg
run export "demo/$task-evolution.db" --to python -o demo/network.py
run report "${stores[@]}" "demo/$task-evolution.db" --baseline "demo/$task-random.db" -o demo/report.html
echo
echo "The report: $(pwd)/demo/report.html"
