#!/usr/bin/env bash
# Trains the reverse teacher, English to German, on Multi30k with the German-English teacher's vocabulary, and scores it on two test sets.
# Resumable: call it again. About an hour on one core.
#     examples/multi30k_en_de.sh
set -euo pipefail
text=../shared/data/multi30k
distilmt train --train $text.train.en.gz $text.train.de.gz --dev $text.val.en.gz $text.val.de.gz \
  --vocab ../shared/models/multi30k-de-en --size 3x3:256:512:4 --updates 3600 --batch-tokens 2048 --learning-rate 1e-3 --warmup 500 \
  --schedule linear --dropout 0.2 --eval-every 400 --max-positions 128 --threads 1 --out runs/multi30k-en-de
for test in test_2016_flickr test_2017_flickr; do
  distilmt evaluate --model runs/multi30k-en-de --test $text.$test.en.gz $text.$test.de.gz --threads 1
done
