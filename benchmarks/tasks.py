"""The data of the benchmarks: names, census, words, molecules; one seeded split each.

Nothing of it is in the package: words and molecules are in packages that the extra `benchmarks` names
or that are downloaded once. What is fitted to them is left to the experiments.
"""

import functools
import gzip
import random
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from likelihood_gan.datasets import load_first_names, load_kantrowitz_names


@dataclass(frozen=True)
class Split:
    """What a model is fitted on and measured against.

    `fit` is distinct, with `weights` if their frequencies are known; a ninth of it is what early
    stopping may hold out. `test` shares no sequence with it, unless `truth`, the distribution that
    both were drawn from, is known. `settings` are parameters of the estimator.
    """

    fit: list[str]
    test: list[str]
    weights: np.ndarray | None = None
    truth: dict[str, float] | None = None
    valid: Callable[[str], bool] | None = None
    max_len: int = 30
    settings: dict = field(default_factory=lambda: {"validation_fraction": 1 / 9})

    @property
    def symbols(self):
        """All symbols of the task, also those that a fit may not meet."""
        return sorted(set("".join([*self.fit, *self.test])))

    @property
    def unseen(self):
        """The distinct test sequences that are not among those to fit."""
        return sorted(set(self.test) - set(self.fit))

    def hold_out(self, seed):
        """Return weights for training and for scoring: a ninth of the sequences, or a tenth of the people."""
        rng = np.random.default_rng(seed)
        if self.weights is None:
            held_out = (rng.permutation(len(self.fit)) < len(self.fit) // 9).astype(float)
            return 1 - held_out, held_out
        training = rng.binomial(self.weights.astype(int), 0.9)
        return training, self.weights - training


def names(seed):
    """Kantrowitz names, lower-cased, letters only, at most 9: 7,401 distinct; a tenth to test."""
    return _split(report_names(), seed)


def census(seed):
    """20,000 people drawn by the frequencies of 5,163 first names, and 10,000 others to test.

    Most of the next people have a name of the list, so what there is to learn is how frequent the
    known names are. Early stopping, which looks at new names alone, would end that too soon.
    """
    words, shares = load_first_names(return_weights=True)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(20_000, shares)
    test = rng.choice(words, 10_000, p=shares).tolist()
    drawn = [word for word, count in zip(words, counts, strict=True) if count]
    truth = dict(zip(words, shares.tolist(), strict=True))
    settings = {"early_stopping": False, "pretrain_epochs": 100}
    return Split(drawn, test, counts[counts > 0].astype(float), truth, settings=settings)


def first_names(seed):
    """The 5,163 first names of the package, each once; a tenth to test.

    The package's examples use them, but nothing of the defaults was chosen by them.
    """
    return _split(load_first_names(), seed)


def words(seed):
    """50,000 of the 234,450 words of Webster's Second International; a tenth to test."""
    return _split(random.Random(seed).sample(web2_words(), 50_000), seed)


def words100k(seed):
    """100,000 of the same words, and 5,000 others to test."""
    drawn = random.Random(seed).sample(web2_words(), 105_000)
    return Split(drawn[:100_000], drawn[100_000:])


def smiles(seed):
    """20,000 molecules of the MOSES training set, and 2,000 others to test."""
    from rdkit import Chem, RDLogger

    RDLogger.DisableLog("rdApp.*")

    def valid(molecule):
        return bool(molecule) and Chem.MolFromSmiles(molecule) is not None

    drawn = random.Random(seed).sample(_moses(), 22_000)
    return Split(drawn[:20_000], drawn[20_000:], valid=valid, max_len=70)


TASKS = {t.__name__: t for t in (names, census, words, smiles, words100k, first_names)}


@functools.lru_cache(maxsize=1)
def load_split(task, seed):
    """Return the split of a task and seed; the last one is kept in memory."""
    return TASKS[task](seed)


def report_names():
    """Return the report's names: lower-cased, letters only, at most 9, each once."""
    every = {name.lower() for name in load_kantrowitz_names()}
    return sorted(name for name in every if re.fullmatch("[a-z]{1,9}", name))


def web2_words():
    """Return the words of Webster's Second International: lower-cased, letters only."""
    from english_words import get_english_words_set

    return sorted(get_english_words_set(["web2"], lower=True, alpha=True))


def _split(sequences, seed):
    random.Random(seed).shuffle(sequences)
    n_test = len(sequences) // 10
    return Split(sequences[:-n_test], sequences[-n_test:])


def _moses():
    """Read the distinct training molecules from the source package that publishes them."""
    folder = Path("~/likelihood_gan_data").expanduser()
    path = folder / "molsets-0.3.1.tar.gz"
    if not path.exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        only_source = ["--no-binary", "molsets", "--dest", str(folder), "molsets==0.3.1"]
        subprocess.run([*pip, *only_source], check=True)
    with tarfile.open(path) as archive:
        packed = archive.extractfile("molsets-0.3.1/moses/dataset/data/train.csv.gz")
        rows = gzip.decompress(packed.read()).decode().splitlines()[1:]
    return sorted(set(rows))
