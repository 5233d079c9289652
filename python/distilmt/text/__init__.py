"""Text as lines and pairs, below `distilmt.corpus`: nothing lost, nothing shifted.

    files      bytes: compression, atomic writes                     lines      what a line is, what is quarantined
    alignment  whether two files are translations, line by line      dataset    columns of Hugging Face datasets
    corpora    corpora made of others                                split      `distilmt split`
    grammar    the generated corpus, with its lexicon

`docs/architecture.md` has all rooms.
"""
