"""From batches to a student, behind `distilmt.train`.

    batches        the plan of a whole training                      trainer        Hugging Face's, subclassed; with trainer_support
    student_loss   an objective inside it                            teachers       several as one
    stored_teacher its words from a store                            own_targets    on-policy training: options, and own_batches
    layer_init     a thinner copy of the teacher                     checkpoints    what is kept
    stop           interrupted, and resumable

`docs/architecture.md` has all rooms.
"""
