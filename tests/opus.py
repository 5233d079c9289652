"""Small texts and folders of OPUS-MT's layout for tests of vocabularies."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import sentencepiece

SYLLABLES = {
    "de": "der hund kat ze haus sieht fin det lie bt gro ße gar ten fluß und ur schön ent ver kei ten",
    "en": "the dog cat house sees find love big gar den ri ver and at o' clock un re ing tion y 漢",
}


def sentences(language: str, count: int = 300, seed: int = 1) -> list[str]:
    """Sentences of invented words, each of one to three syllables, the same for the same arguments."""
    rng = random.Random(f"{language}{seed}")
    syllables = SYLLABLES[language].split()
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 3))) for _ in range(250)]
    return [" ".join(rng.choices(words, k=rng.randint(2, 9))).capitalize() + " ." for _ in range(count)]


def opus_folder(folder: Path, *, separate: bool) -> Path:
    """As OPUS-MT ships them: a SentencePiece model for each side, ids of their own order in vocab.json."""
    folder.mkdir()
    pieces: dict[str, list[str]] = {}
    for side, language in (("source", "de"), ("target", "en")):
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences(language)), model_writer=model, vocab_size=60, minloglevel=2
        )
        (folder / f"{side}.spm").write_bytes(model.getvalue())
        processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        pieces[side] = [processor.id_to_piece(i) for i in range(3, 60)]
    names = {"vocab": pieces["source"] if separate else sorted({*pieces["source"], *pieces["target"], "\U00010348"})}
    if separate:
        names["target_vocab"] = pieces["target"]
    for name, text_pieces in names.items():
        tags = [] if separate else [">>deu<<", ">>fra<<"]
        ordered = ["</s>", "<unk>", *tags, *reversed(text_pieces), "<pad>"]
        (folder / f"{name}.json").write_text(json.dumps({piece: i for i, piece in enumerate(ordered)}))
    config = {"separate_vocabs": separate, "source_lang": "de", "target_lang": "en", "model_max_length": 99}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder
