#!/usr/bin/env bash
# What examples/ladder/generated.yaml needs: the quickstart's corpus, more text of each language, a teacher for each direction and
# a second one for ensembles. Some 9 minutes.
set -euo pipefail
python - <<'PYTHON'
from pathlib import Path
from distilmt.quickstart import write_corpus

write_corpus(Path("runs/generated"), 1, train=20_000, dev=300, test=1000)
write_corpus(Path("runs/generated-more"), 2, train=20_000, dev=1, test=1)
PYTHON
text=runs/generated
train() {
  distilmt train --train $text/train.$1 $text/train.$2 --dev $text/dev.$1 $text/dev.$2 --vocab-size 1000 --vocab-model bpe --size 2x2:128:512:4 \
    --updates 600 --batch-tokens 2304 --dropout 0 --max-positions 64 --learning-rate 3e-3 --warmup 120 --eval-every 300 --threads 1 --out "runs/generated-$1-$2" "${@:3}"
}
train de en
train en de --vocab runs/generated-de-en
train de en --vocab runs/generated-de-en --seed 2 --out runs/generated-de-en-2
