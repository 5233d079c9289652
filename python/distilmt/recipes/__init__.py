"""Ways of making training data, one file each: a function from a corpus and its labels to a corpus, line-aligned with it."""
