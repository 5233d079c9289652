"""What a run remembers, behind `distilmt.run`.

    stage    what was done, from which inputs                        lock     who works at it, and whether he lives
    storage  files that are whole or not there

`docs/architecture.md` has all rooms.
"""
