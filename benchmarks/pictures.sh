#!/usr/bin/env bash
# Two pictures for the read-me, both of synthetic people: the data report, and a sheet of transferred expressions.
# Usage: pictures.sh BIN OUT THREADS, where BIN holds fer-data and fer-model. Interrupted? Run it again: it resumes.
set -euo pipefail
bin=$1 out=$2 threads=$3 work=$2/work
began=$SECONDS
say() { printf '\n== %s (%d s)\n' "$1" "$((SECONDS - began))"; }

say "draw 30 synthetic people and prepare them"
[ -f "$work/ck/truth.csv" ] || "$bin/fer-data" synth ck+ "$work/ck" --subjects 30 --seed 1 --workers "$threads"
"$bin/fer-data" prepare ck+ "$work/ck" "$work/prepared" --landmarks dlib --folds 5 --views virtual --workers "$threads"

say "the data report, and a picture of it"
"$bin/fer-data" report "$work/prepared" --out "$out/report.html"
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -n "$browser" ]; then
  flags=(--headless --disable-gpu --hide-scrollbars --no-first-run --disable-background-networking --user-data-dir="$work/browser")
  [ "$(id -u)" != 0 ] || flags+=(--no-sandbox)
  "$browser" "${flags[@]}" --window-size=1100,1250 --screenshot="$out/report.png" "file://$(realpath "$out/report.html")" 2>/dev/null
else
  echo "no picture of the report: no Chromium found; install it (Debian: apt-get install chromium), or open $out/report.html"
fi

say "train DE-GAN briefly: stage 1 on 24,000 images; the head hardly at all, because the sheet does not use it"
"$bin/fer-model" train --data "$work/prepared" --fold 0 --preset small --run "$work/run" --kimg-gan 24 --kimg-head 0.5

say "transfer: the expressions of people whom no network has seen, drawn on training people"
mapfile -t faces < <("$bin/python" - "$work/prepared/manifest.parquet" <<'PYTHON'
import sys

import pandas as pd

frame = pd.read_parquet(sys.argv[1]).query("fold == 0 and role == 'peak'")
print(*frame.groupby("expression")["image_id"].last(), sep="\n")
PYTHON
)
"$bin/fer-model" transfer "$work/run" "${faces[@]/#/--source-id=}" --columns 7 --out "$out/transfer.png"
say "done: report.html, report.png and transfer.png in $out"
