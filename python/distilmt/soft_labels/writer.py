"""Writes the folder that store.py reads, sentence by sentence, in constant memory."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
from pathlib import Path
from types import TracebackType
from typing import Any

from distilmt.errors import ConfigError
from distilmt.soft_labels.store import HEAD, HEADER, INDEX, SENTENCES, VERSION, VOCAB, SoftLabelsStore
from distilmt.state.storage import disk_errors, sync_folder, write_json


class SoftLabelsWriter:
    """A store in the making: `append` in the order of the lines, then `finish`; without it there is no store.

        with SoftLabelsWriter(folder, model=teacher, source=source_hash, k=8, floor=0.001) as writer:
            for blob in blobs:
                writer.append(blob)
            store = writer.finish(target_hash)

    Args:
        folder: made where absent; a store in it is replaced by `finish`.
        model: the teacher's folder, a Marian model: its weights and vocabulary are what the store is bound to.
        source: SHA-256 of the source text (`Corpus.source_hash`).
        k: the most entries of a token; 0: hidden states in place of entries.
        floor: what `encode` was given.
    Raises: DataError: the model's vocabulary cannot be read. ResourceError: the disk refuses.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, model: str | os.PathLike[str], source: str, k: int, floor: float = 0.0
    ) -> None:
        from distilmt.marian.weights import weights_hash
        from distilmt.vocab import Vocab

        self.folder = Path(folder)
        if not 0 <= k <= 1024:
            raise ConfigError(f"soft labels: k must lie in [0, 1024], got {k}")
        vocab = Vocab.load(model)
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self._part(VOCAB), ignore_errors=True)  # of a writer that was killed
            vocab.save(self._part(VOCAB))
        self._facts: dict[str, Any] = {
            "version": VERSION, "k": k, "floor": float(floor), "state_width": 0, "lines": 0, "tokens": 0, "bytes": 0,
            "teacher": weights_hash(Path(model)), "vocab": vocab.hash, "source": source,
        }  # fmt: skip
        self._names = [SENTENCES, INDEX]
        if k == 0:
            from distilmt.soft_labels.states import save_head

            self._facts["state_width"] = save_head(Path(model), self._part(HEAD))
            self._names.append(HEAD)
        with disk_errors(self.folder):
            self._sentences, self._index = (self._part(name).open("wb") for name in (SENTENCES, INDEX))
        self._digests = {name: hashlib.sha256() for name in (SENTENCES, INDEX)}
        self._add(INDEX, struct.pack("<Q", 0))

    def _part(self, name: str) -> Path:
        return self.folder / f".{name}.part"

    def _add(self, name: str, data: bytes) -> None:
        with disk_errors(self.folder / name, len(data)):
            (self._sentences if name == SENTENCES else self._index).write(data)
        self._digests[name].update(data)

    def append(self, blob: bytes) -> None:
        """The next line's sentence, as `encode` gives it; b"" for a line without soft labels."""
        facts = self._facts
        facts["lines"] += 1
        facts["tokens"] += int.from_bytes(blob[:2], "little")  # the first field of a sentence
        facts["bytes"] += len(blob)
        self._add(SENTENCES, blob)
        self._add(INDEX, struct.pack("<Q", facts["bytes"]))

    def finish(self, target: str) -> SoftLabelsStore:
        """Puts the store in place. target: SHA-256 of the target text that the sentences belong to."""
        sha256 = {name: digest.hexdigest() for name, digest in self._digests.items()}
        with disk_errors(self.folder):
            for stream in (self._sentences, self._index):
                stream.flush()
                os.fsync(stream.fileno())
                stream.close()
            # An old store ceases to be one before its files are replaced, and the header comes last.
            (self.folder / HEADER).unlink(missing_ok=True)
            sync_folder(self.folder)
            if (self.folder / VOCAB).exists():
                shutil.rmtree(self.folder / VOCAB)
            for name in [VOCAB, *self._names]:
                os.replace(self._part(name), self.folder / name)
        if HEAD in self._names:
            sha256[HEAD] = hashlib.sha256((self.folder / HEAD).read_bytes()).hexdigest()
        write_json(self.folder / HEADER, self._facts | {"target": target, "sha256": sha256})
        return SoftLabelsStore(self.folder)

    def __enter__(self) -> SoftLabelsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in (self._sentences, self._index):
            stream.close()
        for name in self._names:
            self._part(name).unlink(missing_ok=True)
        shutil.rmtree(self._part(VOCAB), ignore_errors=True)
