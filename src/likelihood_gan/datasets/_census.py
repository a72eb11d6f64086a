"""First names of the 1990 US Census, embedded in the package.

Where the data come from is written in ``first_names.md`` beside them.
"""

import csv
import gzip
from importlib.resources import files
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray


@overload
def load_first_names(return_weights: Literal[False] = False) -> list[str]: ...
@overload
def load_first_names(return_weights: Literal[True]) -> tuple[list[str], NDArray[np.float64]]: ...
@overload
def load_first_names(
    return_weights: bool,
) -> list[str] | tuple[list[str], NDArray[np.float64]]: ...


def load_first_names(
    return_weights: bool = False,
) -> list[str] | tuple[list[str], NDArray[np.float64]]:
    """Load the first names of the 1990 US Census.

    The names are embedded in the package: nothing is downloaded. They are a work of the
    United States government and in the public domain there.

    Parameters
    ----------
    return_weights : bool, default=False
        Whether to return how frequent each name is, too.

    Returns
    -------
    names : list of str, length 5163
        Distinct lower-case names of the letters a-z, sorted.
    weights : ndarray of shape (5163,), dtype float64
        Only if `return_weights` is true. The share of each name among the people with a listed
        name if the sexes are equally frequent: its percent among women plus its percent among
        men, divided by the sum over all names. All are positive and they sum to 1; they can be
        passed as `sample_weight`.

    Notes
    -----
    The percents are from the "Search Area" sample of the 1990 Post-Enumeration Survey and are
    rounded to 0.001. About 10 % of people have a name that is not listed, so the weights
    describe the listed names only.

    References
    ----------
    .. [1] United States Census Bureau, "Frequently Occurring First Names and Surnames From the
       1990 Census", 1995. https://www2.census.gov/topics/genealogy/1990surnames/

    Examples
    --------
    >>> from likelihood_gan.datasets import load_first_names
    >>> names, weights = load_first_names(return_weights=True)
    >>> len(names), names[:3]
    (5163, ['aaron', 'abbey', 'abbie'])
    >>> names[weights.argmax()]
    'james'
    """
    rows = _read()
    names = [row["name"] for row in rows]
    if not return_weights:
        return names
    percents = np.array([float(row["female"]) + float(row["male"]) for row in rows])
    return names, percents / percents.sum()


def load_first_names_by_sex() -> tuple[list[str], list[str]]:
    """Load the first names of the 1990 US Census with the sex of those who bear them.

    The data are those of `load_first_names`: the Census Bureau published a list of female names and
    one of male names.

    Returns
    -------
    names : list of str, length 5494
        Lower-case names, sorted. 331 are in both lists, and so here twice.
    sexes : list of str, length 5494
        "female" or "male": the list that each name is from.

    Examples
    --------
    >>> from likelihood_gan.datasets import load_first_names_by_sex
    >>> names, sexes = load_first_names_by_sex()
    >>> names[:2], sexes[:2], sexes.count("female")
    (['aaron', 'aaron'], ['female', 'male'], 4275)
    """
    pairs = [(r["name"], s) for r in _read() for s in ("female", "male") if float(r[s]) > 0]
    return [name for name, _ in pairs], [sex for _, sex in pairs]


def _read() -> list[dict[str, str]]:
    packed = files("likelihood_gan.datasets").joinpath("first_names.csv.gz").read_bytes()
    return list(csv.DictReader(gzip.decompress(packed).decode("ascii").splitlines()))
