"""The names of Kantrowitz and Ross: found on this machine, or downloaded and cached.

The lists are freely redistributable with their README but not in the public domain, so the
package carries none of them; it knows their checksums.
"""

import hashlib
import http.client
import os
import sys
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from likelihood_gan.atomic import write_atomically

_FILES = ("female.txt", "male.txt")
_ROWS = {"female.txt": 5001, "male.txt": 2943}
# Of the names joined by "\n", not of the bytes: copies differ in comments and line ends.
_SHA256 = {
    "female.txt": "8281babd67b19bd1fea7fb6d98df5701b0c77071ea9f4e707eef734eff070eef",
    "male.txt": "64c9322b43c4a021cacaa3a8ec14356e2ea215d9d2ba8bdfa93cb742e58340e3",
}
_URL = "https://www.cs.cmu.edu/afs/cs/project/ai-repository/ai/areas/nlp/corpora/names/"
_TIMEOUT = 30.0  # seconds
_LIMIT = 1_000_000  # bytes of a file; the published ones have 36,000 and 20,000

_ENVIRONMENT = "LIKELIHOOD_GAN_DATA"
_DEFAULT_HOME = "~/likelihood_gan_data"
_SUBFOLDER = "kantrowitz_names"
# Where NLTK keeps its data; NLTK need not be installed.
_NLTK_HOMES = (
    "~/nltk_data",
    f"{sys.prefix}/nltk_data",
    f"{sys.prefix}/share/nltk_data",
    "/usr/share/nltk_data",
    "/usr/local/share/nltk_data",
)
_REMEDY = (
    f"Put female.txt and male.txt into a folder and pass it as data_home= or set {_ENVIRONMENT} "
    'to it, or install NLTK and run nltk.download("names").'
)

_README = """\
Names Corpus, Version 1.3 (1994-03-29)
Copyright (C) 1991 Mark Kantrowitz
Additions by Bill Ross

This corpus contains 5001 female names and 2943 male names, sorted
alphabetically, one per line.

You may use the lists of names for any purpose, so long as credit is
given in any published work. You may also redistribute the list if you
provide the recipients with a copy of this README file. The lists are
not in the public domain (I retain the copyright on the lists) but are
freely redistributable.  If you have any additions to the lists of
names, I would appreciate receiving them.

Mark Kantrowitz <mkant+@cs.cmu.edu>
http://www-2.cs.cmu.edu/afs/cs/project/ai-repository/ai/areas/nlp/corpora/names/
"""


def load_kantrowitz_names(
    *, data_home: str | os.PathLike[str] | None = None, download: bool = True
) -> list[str]:
    """Load the names corpus of Mark Kantrowitz and Bill Ross.

    These are the names in the report "GAN Training for Discrete Generators". Credit for the
    lists belongs to Mark Kantrowitz, with additions by Bill Ross; they ask that it be given in
    any published work [1]_.

    The files female.txt and male.txt are looked for, in this order, in `data_home`, in the
    folder named by the environment variable ``LIKELIHOOD_GAN_DATA``, in installed NLTK data
    (``corpora/names`` or ``corpora/names.zip``) and in the cache. In the first two they may lie
    directly or in a subfolder ``kantrowitz_names``. If they are nowhere, they are downloaded and
    cached. Wherever they come from, a checksum of their names is verified.

    Parameters
    ----------
    data_home : str or path-like, optional
        Folder with the files, and the folder to cache them in (in its subfolder
        ``kantrowitz_names``). None: the cache is in the folder named by
        ``LIKELIHOOD_GAN_DATA`` or, if that is not set, in ``~/likelihood_gan_data``.
    download : bool, default=True
        Whether the files may be downloaded if they are nowhere on this machine.

    Returns
    -------
    names : list of str, length 7944
        The 5001 female, then the 2943 male names, in the order and spelling published:
        capitalised, some with a hyphen, an apostrophe or a space. Names in both lists are there
        twice; 7579 are distinct, one of them, ``"Gale "``, by a space at its end only.

    Raises
    ------
    FileNotFoundError
        If the files are nowhere and `download` is false or the download failed. The message
        lists where they were looked for.
    OSError
        If a file is not the published list (nothing is cached if it was a downloaded one), or
        if the cache cannot be written.

    References
    ----------
    .. [1] Mark Kantrowitz, "Names Corpus, Version 1.3", 1994, with additions by Bill Ross.
       http://www.cs.cmu.edu/afs/cs/project/ai-repository/ai/areas/nlp/corpora/names/

    Examples
    --------
    >>> from likelihood_gan.datasets import load_kantrowitz_names
    >>> names = load_kantrowitz_names()  # doctest: +SKIP
    >>> len(names), names[:2]  # doctest: +SKIP
    (7944, ['Abagael', 'Abagail'])
    """
    places = list(dict.fromkeys(_places(data_home)))
    for place in places:
        contents = _read(place)
        if contents is not None:
            return _checked_names(contents, str(place), advice="Replace or remove it.")

    not_found = f"The Kantrowitz names are in none of: {', '.join(map(str, places))}."
    if not download:
        raise FileNotFoundError(
            f"{not_found} download=False forbids to fetch them from {_URL}. {_REMEDY}"
        )
    try:
        contents = {name: _fetch(_URL + name) for name in _FILES}
    except (OSError, http.client.HTTPException) as error:
        raise FileNotFoundError(
            f"{not_found} The download from {_URL} failed: {error!r}. {_REMEDY}"
        ) from error
    names = _checked_names(contents, _URL, advice="Nothing was cached.")
    _write(_cache_home(data_home) / _SUBFOLDER, contents)
    return names


def _cache_home(data_home: str | os.PathLike[str] | None) -> Path:
    """Return the folder that holds the cache."""
    return _folder(data_home or os.environ.get(_ENVIRONMENT) or _DEFAULT_HOME)


def _places(data_home: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Yield the folders and zip files to look in, in order; some may be there twice."""
    for home in (data_home, os.environ.get(_ENVIRONMENT)):
        if home:
            yield _folder(home)
            yield _folder(home) / _SUBFOLDER
    for home in (*os.environ.get("NLTK_DATA", "").split(os.pathsep), *_NLTK_HOMES):
        if home:
            yield _folder(home) / "corpora" / "names"
            yield _folder(home) / "corpora" / "names.zip"
    yield _cache_home(data_home) / _SUBFOLDER


def _folder(path: str | os.PathLike[str]) -> Path:
    # os.path, not Path.expanduser: the latter raises where there is no home folder.
    return Path(os.path.expanduser(path))


def _read(place: Path) -> dict[str, bytes] | None:
    """Return the contents of both files in a folder or zip file, None if one is missing."""
    # os.path, not Path.is_file: the latter raises on a folder that may not be read.
    if all(os.path.isfile(place / name) for name in _FILES):
        return {name: _content(open(place / name, "rb"), place) for name in _FILES}
    if place.suffix == ".zip" and os.path.isfile(place):
        try:
            with zipfile.ZipFile(place) as archive:
                return {name: _content(archive.open(f"names/{name}"), place) for name in _FILES}
        except KeyError:
            return None
        except (zipfile.BadZipFile, zlib.error) as error:
            raise OSError(
                f"{place} is not a readable zip file ({error}). Remove it. {_REMEDY}"
            ) from error
    return None


def _checked_names(contents: dict[str, bytes], source: str, advice: str) -> list[str]:
    """Return the names of both files, having verified the checksums."""
    names = []
    for file, content in contents.items():
        rows = _parse(content)
        if hashlib.sha256("\n".join(rows).encode()).hexdigest() != _SHA256[file]:
            raise OSError(
                f"{file} from {source} is not the published list: expected {_ROWS[file]} names "
                f"with the sha256 {_SHA256[file]}, got {len(rows)} names. {advice} {_REMEDY}"
            )
        names += rows
    return names


def _parse(content: bytes) -> list[str]:
    """Return the lines that are neither blank nor comments."""
    # What cannot be decoded is replaced, and so refused by the checksum.
    lines = content.decode("utf-8-sig", errors="replace").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _fetch(url: str) -> bytes:
    return _content(urllib.request.urlopen(url, timeout=_TIMEOUT), url)


def _content(opened: IO[bytes], source: object) -> bytes:
    """Read and close a file, but no more of it than a list of names may have."""
    with opened:
        content = opened.read(_LIMIT + 1)
    if len(content) > _LIMIT:
        raise OSError(f"{source} has a file of more than {_LIMIT} bytes, which is no list of names")
    return content


def _write(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {"README": _README.encode(), **contents}.items():
        write_atomically(folder / name, content)
