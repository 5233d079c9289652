"""How good translations are, beside `distilmt.evaluate`.

    gap              agreement with the teacher, probability of the own mode
    learned_metrics  COMET and others, in front of metric_worker, a script for another interpreter

`docs/architecture.md` has all rooms.
"""
