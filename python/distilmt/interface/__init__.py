"""One schema of options for keywords, YAML and flags, and the commands that take them.

    config     a dataclass from a file, `--set` and flags            values         their types, described
    flags      a dataclass as flags                                  commands       the commands that have no room of their own
    doctor     `distilmt doctor`                                     progress       bars
    invocation the command as it was called

`docs/architecture.md` has all rooms.
"""
