#!/usr/bin/env bash
# Distils the German-English Multi30k teacher into a student of a third of its size: alone, word-kd, seq-kd and both; one run folder per seed.
# Resumable stage by stage: call it again. About 30 minutes a seed on one idle core.
#     examples/multi30k.sh 1        then        distilmt report runs/multi30k-* --out docs/results/multi30k
set -euo pipefail
seed=${1:?which seed}
text=../shared/data/multi30k
exec distilmt distill --train $text.train.de.gz $text.train.en.gz --dev $text.val.de.gz $text.val.en.gz \
  --test $text.test_2016_flickr.de.gz $text.test_2016_flickr.en.gz --test $text.test_2017_flickr.de.gz $text.test_2017_flickr.en.gz \
  --teacher ../shared/models/multi30k-de-en --student-size 3x1:128:512:4 --method word-kd,seq-kd,seq-kd+word-kd --seeds "$seed" \
  --updates 1250 --batch-tokens 2048 --learning-rate 2e-3 --warmup 250 --dropout 0.1 --eval-every 250 --max-positions 128 --threads 1 \
  --title "Multi30k German-English" --out "runs/multi30k-$seed"
