"""Experiments with the package, run from the root of the repository: ``python -m benchmarks.refine``.

One experiment a file: `report`, `compare`, `refine`, `labels`, `oracle`, `speed`, and `alternatives`, which is a
folder. They import what they share and never each other:

    store         folders, result files that are resumed, paired tables
    tasks         data, with one seeded split for each seed
    objectives    objectives under the names that stand in the result files
    ngram         the classical control
    starts        estimators that experiments begin with, kept in files
    measures      the figures of one model
    timing        functions timed in turns
    molecules     features of molecules
    literal       the report, transcribed
"""
