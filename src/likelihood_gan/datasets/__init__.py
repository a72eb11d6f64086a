"""Lists of names to learn from: one embedded, one found on the machine or downloaded.

They are plain lists of strings; the estimator turns them into tokens.
"""

from likelihood_gan.datasets._census import load_first_names, load_first_names_by_sex
from likelihood_gan.datasets._kantrowitz import load_kantrowitz_names

__all__ = ["load_first_names", "load_first_names_by_sex", "load_kantrowitz_names"]
