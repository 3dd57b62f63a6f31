#!/usr/bin/env bash
# The main job on synthetic people: draw 60, prepare them into 5 folds, train both methods on one, print the table.
# Usage: demo.sh BIN OUT THREADS, where BIN holds fer-data and fer-model. Interrupted? Run it again: it goes on.
set -euo pipefail
bin=$1 out=$2 threads=$3
# Less than preset small takes, so that a coffee lasts as long: faces of 32 px, narrower networks, fewer images, the same for both methods.
# More arguments of train may follow.
less=(--preset small --set network.image_size=32 --set network.width=0.25 --kimg-gan 22 --kimg-head 20 "${@:4}")
began=$SECONDS
say() { printf '\n== %s (%d s)\n' "$1" "$((SECONDS - began))"; }

say "draw 60 synthetic people in the layout of CK+"
[ -f "$out/ck/truth.csv" ] || "$bin/fer-data" synth ck+ "$out/ck" --subjects 60 --seed 1 --workers "$threads"

say "prepare: sequences, peak frames, landmarks, aligned faces, 110 views, 5 subject-disjoint folds"
"$bin/fer-data" prepare ck+ "$out/ck" "$out/prepared" --landmarks dlib --folds 5 --workers "$threads"
"$bin/fer-data" inspect "$out/prepared"

say "train the CNN baseline, test on the unseen people of fold 0"
"$bin/fer-model" train --data "$out/prepared" --fold 0 --method cnn --run "$out/runs/cnn" "${less[@]}"

say "train DE-GAN, then the FER head on its frozen encoder, same views, same people"
"$bin/fer-model" train --data "$out/prepared" --fold 0 --method degan --run "$out/runs/degan" "${less[@]}"

say "both on the same unseen people"
"$bin/fer-model" evaluate "$out/runs/cnn" "$out/runs/degan"
say "done"
