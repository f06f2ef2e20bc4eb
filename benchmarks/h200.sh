#!/usr/bin/env bash
# Measure on one GPU in at most nine minutes, from a bare machine with torch: every stage of `python -m benchmarks.gpu`.
#
#   OUT=folder [WHEELS=folder] bash benchmarks/h200.sh [--tiny] [--stages STAGE ...]
#
# WHEELS holds the packages that the machine lacks; `pip download` on another machine fills it. The figures are in
# $OUT/gpu.json after each stage, so whatever ends this script early leaves what was measured.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${OUT:?the folder for the figures}"

if [ -n "${WHEELS:-}" ]; then
    python -m pip install --quiet --no-index --no-deps "$WHEELS"/*.whl
fi
mkdir -p "$OUT"
export PYTHONPATH="$PWD"
exec python -m benchmarks.gpu --minutes 8.5 --out "$OUT/gpu.json" "$@"
