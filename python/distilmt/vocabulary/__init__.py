"""What a vocabulary is made of, below `distilmt.vocab`.

    spm          SentencePiece, probed in a child process            vocab_files  what lies in a folder, read with suspicion
    pieces       from ids to text and back                           tokenizer    other families', by transformers

`docs/architecture.md` has all rooms.
"""
