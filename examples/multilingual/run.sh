#!/usr/bin/env bash
# One student for German and French into English on Multi30k: alone, then with a teacher per direction. The French teacher is trained on the way, with
# the student's vocabulary, as examples/multi30k_en_de.sh trains the English-German one. Resumable: call it again. Estimated: two hours on one core.
#     examples/multilingual/run.sh
set -euo pipefail
text=../shared/data/multi30k
distilmt multilingual --config examples/multilingual/alone.yaml
distilmt train --train $text.train.fr.gz $text.train.en.gz --dev $text.val.fr.gz $text.val.en.gz \
  --vocab runs/de-fr-en/alone/vocab --size 3x3:256:512:4 --updates 3600 --batch-tokens 2048 --learning-rate 1e-3 --warmup 500 \
  --schedule linear --dropout 0.2 --eval-every 400 --max-positions 128 --threads 1 --out runs/de-fr-en/fr-en
distilmt multilingual --config examples/multilingual/distilled.yaml
cat runs/de-fr-en/alone/multilingual.md runs/de-fr-en/distilled/multilingual.md
