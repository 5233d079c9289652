"""The job behind `distilmt.distill`.

    methods         names: phases of recipe and objective            recipe_options  what recipes ask the user
    materials       teachers, labels, selections, neighbours: stages of the run, made when a recipe asks
    teaching        teachers trained here, adapted or promoted       cached_teacher  its words, stored once
    preflight       what would stop a run after hours, said before   students        trained phase by phase, and scored
    distill_report  what the run says of itself

`docs/architecture.md` has all rooms.
"""
