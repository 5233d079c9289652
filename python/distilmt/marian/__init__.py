"""Marian models as folders, below `distilmt.models`.

    sizes         presets and ENCxDEC:HIDDEN:FFN:HEADS               model_folder  what lies in a folder, read with suspicion
    weights       safetensors: headers, hashes                       check         `distilmt check`, with its probe

`docs/architecture.md` has all rooms.
"""
