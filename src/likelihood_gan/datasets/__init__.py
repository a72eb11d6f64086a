"""Sequences to learn from: lists of names, embedded or found or downloaded, and text files.

They are plain lists of strings; the estimator turns them into tokens.
"""

from likelihood_gan.datasets._census import load_first_names, load_first_names_by_sex
from likelihood_gan.datasets._kantrowitz import load_kantrowitz_names
from likelihood_gan.datasets._text import iter_sequences, read_sequences

__all__ = [
    "iter_sequences",
    "load_first_names",
    "load_first_names_by_sex",
    "load_kantrowitz_names",
    "read_sequences",
]
