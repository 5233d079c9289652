"""What stands behind `distilmt.translate.Translator`.

    search         its options                                       model_options  the same as flags of commands
    native_model   in front of csrc/engine, with its families        device         in front of csrc/device (attention, libraries)
    compute_type   float32, bfloat16, float16, int8                  transformers_engine  models that the native one does not know
    ensemble       several models as one                             neighbours     kNN-MT at each step
    long_lines     what is longer than the model                     forced         soft labels of given targets, as a store
    inputs         what it is given, checked                         results        what it gives back

`docs/architecture.md` has all rooms.
"""
