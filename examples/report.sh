#!/usr/bin/env bash
# The run behind the example report (docs/results/example): a sixth of Multi30k, 400 updates, two seeds. Far from what a student can
# become; all that a report has is in it. The processors' watts are declared, not measured. About 15 minutes of one idle core.
#     examples/report.sh        then        cp runs/example/report.{json,md} docs/results/example/
set -euo pipefail
text=../shared/data/multi30k
exec distilmt distill --train $text.train.de.gz $text.train.en.gz --dev $text.val.de.gz $text.val.en.gz --subset 0.17 \
  --test $text.test_2016_flickr.de.gz $text.test_2016_flickr.en.gz --teacher ../shared/models/multi30k-de-en --student-size 3x1:128:512:4 \
  --method seq-kd,seq-kd+word-kd --cache-teacher 8 --seeds 1 2 \
  --updates 400 --batch-tokens 2048 --learning-rate 2e-3 --warmup 100 --eval-every 100 --max-positions 128 --threads 1 \
  --energy model --cpu-watts 0.8 8 --attribution cpu-share --country DEU --price-per-hour 0.05 --currency EUR \
  --title "Multi30k German-English, a sixth" --out runs/example
