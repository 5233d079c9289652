"""Labelling a corpus as a job that survives anything: every line exactly once, in order, on any number of workers.

    manifest   what is labelled, with what, how: the identity of a job        source     lines of any shard, streamed
    records    what the teacher said of a line, as checksummed frames         verdicts   whether a label is fit for use
    segments   files of records, one per attempt at a shard                   lease      who works at a shard, and whether he lives
    shards     the state of all shards: free, taken, done                     teacher    texts in, records out
    job        the whole of it: workers, progress, merge                      merge      records -> line-aligned files, with a proof
    events     what happened when                                             cost       of all sessions together
    rank       which hypothesis is best, natively (docs/selection.md)
    status, verify, export, redo, select                                      the commands `distilmt labels ...`

`docs/labelling.md` has the guarantees, the formats and how each is tested.
"""
