"""The embedded names, and where the Kantrowitz names are looked for.

But for one test the latter need not exist: made-up lists with their own checksums stand in.
"""

import hashlib
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from likelihood_gan.datasets import (
    _kantrowitz,
    load_first_names,
    load_first_names_by_sex,
    load_kantrowitz_names,
)

SMALL = {
    "female.txt": ["Ann-Marie", "Dee Dee", "Gale", "Gale "],
    "male.txt": ["Abe", "Gale", "Zorro"],
}
SMALL_NAMES = SMALL["female.txt"] + SMALL["male.txt"]


def write_lists(folder: Path, lists: dict[str, list[str]] = SMALL) -> Path:
    """Write the lists in NLTK's way: one name a line, nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, names in lists.items():
        (folder / file).write_text("\n".join(names) + "\n")
    return folder


def write_published_lists(folder: Path) -> Path:
    """Write the lists as an archive of the nineties might: comments, blank lines, CRLF."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, names in SMALL.items():
        lines = ["# List of names", "#", "", *names, "", ""]
        (folder / file).write_bytes("\r\n".join(lines).encode())
    return folder


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without the names, whose published lists are the small ones; its home page."""
    website, home = tmp_path / "website", tmp_path / "home"
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(home))
    monkeypatch.delenv("LIKELIHOOD_GAN_DATA", raising=False)
    monkeypatch.delenv("NLTK_DATA", raising=False)
    monkeypatch.setattr(_kantrowitz, "_NLTK_HOMES", ("~/nltk_data",))
    monkeypatch.setattr(_kantrowitz, "_URL", website.as_uri() + "/")
    monkeypatch.setattr(_kantrowitz, "_ROWS", {file: len(SMALL[file]) for file in SMALL})
    checksums = {
        file: hashlib.sha256("\n".join(names).encode()).hexdigest() for file, names in SMALL.items()
    }
    monkeypatch.setattr(_kantrowitz, "_SHA256", checksums)
    return tmp_path


# The 1990 Census


def test_first_names_are_sorted_distinct_and_lower_case():
    names = load_first_names()
    assert len(names) == 5163
    assert names == sorted(set(names))
    assert all(name.isascii() and name.isalpha() and name.islower() for name in names)


def test_weights_are_positive_and_sum_to_one():
    names, weights = load_first_names(return_weights=True)
    assert names == load_first_names()
    assert weights.shape == (5163,)
    assert weights.dtype == np.float64
    assert (weights > 0).all()
    assert weights.sum() == pytest.approx(1, abs=1e-12)


def test_weights_are_the_sum_of_the_published_percents():
    names, weights = load_first_names(return_weights=True)
    weight = dict(zip(names, weights, strict=True))
    # Mary: 2.629 % of women, 0.009 % of men. James: 3.318 % of men, 0.010 % of women.
    assert weight["mary"] / weight["james"] == pytest.approx((2.629 + 0.009) / (3.318 + 0.010))
    # The lists cover about 90 % of each sex, and the rarest listed name has 0.001 %.
    assert weights.min() == pytest.approx(0.001 / 180, rel=0.01)


def test_names_by_sex_are_the_two_published_lists():
    names, sexes = load_first_names_by_sex()
    assert len(names) == len(sexes) == 5494
    assert [sexes.count(sex) for sex in ("female", "male")] == [4275, 1219]
    assert list(dict.fromkeys(names)) == load_first_names()
    of = {sex: {n for n, s in zip(names, sexes, strict=True) if s == sex} for sex in set(sexes)}
    assert len(of["female"] & of["male"]) == 331
    assert "mary" in of["female"] and "bob" in of["male"] - of["female"]


def test_the_caller_may_change_the_list():
    load_first_names().clear()
    assert load_first_names()


# Kantrowitz: where the lists are found


@pytest.mark.parametrize("layout", ["", "kantrowitz_names"])
def test_lists_are_found_in_data_home(machine, layout):
    write_lists(machine / "lists" / layout)
    for data_home in (machine / "lists", str(machine / "lists")):
        assert load_kantrowitz_names(data_home=data_home, download=False) == SMALL_NAMES


@pytest.mark.parametrize("layout", ["", "kantrowitz_names"])
def test_lists_are_found_in_the_folder_of_the_environment_variable(machine, monkeypatch, layout):
    write_lists(machine / "lists" / layout)
    monkeypatch.setenv("LIKELIHOOD_GAN_DATA", str(machine / "lists"))
    assert load_kantrowitz_names(download=False) == SMALL_NAMES
    assert load_kantrowitz_names(data_home=machine / "empty", download=False) == SMALL_NAMES


def test_lists_are_found_in_every_folder_of_nltk_data(machine, monkeypatch):
    write_lists(machine / "second" / "corpora" / "names")
    folders = [str(machine / "first"), str(machine / "second")]
    monkeypatch.setenv("NLTK_DATA", os.pathsep.join(folders))
    assert load_kantrowitz_names(download=False) == SMALL_NAMES


def test_lists_are_found_in_the_zip_file_of_nltk(machine):
    lists = write_lists(machine / "lists")
    corpora = machine / "home" / "nltk_data" / "corpora"
    corpora.mkdir(parents=True)
    with zipfile.ZipFile(corpora / "names.zip", "w") as archive:
        for file in SMALL:
            archive.write(lists / file, f"names/{file}")
    assert load_kantrowitz_names(download=False) == SMALL_NAMES


def test_data_home_comes_before_the_environment_variable(machine, monkeypatch):
    write_lists(machine / "right")
    write_lists(machine / "wrong", {"female.txt": ["Eve"], "male.txt": ["Adam"]})
    monkeypatch.setenv("LIKELIHOOD_GAN_DATA", str(machine / "wrong"))
    assert load_kantrowitz_names(data_home=machine / "right") == SMALL_NAMES


def test_comments_blank_lines_and_line_ends_do_not_change_the_names(machine):
    write_published_lists(machine / "lists")
    assert load_kantrowitz_names(data_home=machine / "lists", download=False) == SMALL_NAMES


# Kantrowitz: the download and its cache


@pytest.mark.parametrize("chosen_by", ["data_home", "environment", "default"])
def test_a_download_is_cached_with_its_licence_and_read_from_there(machine, monkeypatch, chosen_by):
    website = write_published_lists(machine / "website")
    cache = machine / ("home/likelihood_gan_data" if chosen_by == "default" else "cache")
    if chosen_by == "environment":
        monkeypatch.setenv("LIKELIHOOD_GAN_DATA", str(cache))
    data_home = cache if chosen_by == "data_home" else None

    assert load_kantrowitz_names(data_home=data_home) == SMALL_NAMES
    cached = cache / "kantrowitz_names"
    assert {path.name for path in cached.iterdir()} == {"README", "female.txt", "male.txt"}
    assert "Copyright (C) 1991 Mark Kantrowitz" in (cached / "README").read_text()

    shutil.rmtree(website)
    assert load_kantrowitz_names(data_home=data_home, download=False) == SMALL_NAMES


def test_half_a_cache_is_completed(machine):
    write_published_lists(machine / "website")
    load_kantrowitz_names()
    (machine / "home" / "likelihood_gan_data" / "kantrowitz_names" / "male.txt").unlink()
    assert load_kantrowitz_names() == SMALL_NAMES


@pytest.mark.parametrize("content", [b"Abe\nGale\n", b"<html>moved</html>", b"\xff\xfe\x00", b""])
def test_a_corrupted_download_is_refused_and_not_cached(machine, content):
    (write_published_lists(machine / "website") / "male.txt").write_bytes(content)
    with pytest.raises(OSError, match=r"male\.txt from .*expected 3 names.*Nothing was cached"):
        load_kantrowitz_names(data_home=machine / "cache")
    assert not (machine / "cache").exists()


# Kantrowitz: errors


def test_an_altered_list_is_refused_by_name(machine):
    (write_lists(machine / "lists") / "female.txt").write_text("Eve\n")
    with pytest.raises(OSError, match=r"female\.txt from .*lists.*expected 4 .*got 1 .*Replace"):
        load_kantrowitz_names(data_home=machine / "lists")


def test_a_broken_zip_file_is_refused_by_name(machine):
    corpora = machine / "home" / "nltk_data" / "corpora"
    corpora.mkdir(parents=True)
    (corpora / "names.zip").write_bytes(b"not a zip file")
    with pytest.raises(OSError, match=r"names\.zip is not a readable zip file.*Remove it"):
        load_kantrowitz_names()


@pytest.mark.parametrize(
    ("download", "reason"), [(True, "The download from .* failed"), (False, "download=False")]
)
def test_not_found_says_where_it_looked_and_what_to_do(machine, monkeypatch, download, reason):
    monkeypatch.setenv("NLTK_DATA", str(machine / "nltk"))
    with pytest.raises(FileNotFoundError, match=reason) as caught:
        load_kantrowitz_names(data_home=machine / "mine", download=download)
    message = str(caught.value)
    nltk_homes = (machine / "nltk", machine / "home" / "nltk_data")
    for place in (
        *(machine / "mine", machine / "mine" / "kantrowitz_names"),
        *(home / "corpora" / name for home in nltk_homes for name in ("names", "names.zip")),
    ):
        assert message.count(f"{place},") + message.count(f"{place}.") >= 1
    for remedy in ("data_home=", "LIKELIHOOD_GAN_DATA", 'nltk.download("names")'):
        assert remedy in message
    assert not (machine / "mine").exists()


# Kantrowitz: the real lists, collected only where a copy is at hand

_REFERENCE = Path(
    os.environ.get("LIKELIHOOD_GAN_DATA") or Path(__file__).resolve().parents[2] / "shared/data"
)
if any((_REFERENCE / layout / "female.txt").is_file() for layout in ("", "kantrowitz_names")):

    def test_the_real_lists_have_7944_rows_and_7579_distinct_names():
        names = load_kantrowitz_names(data_home=_REFERENCE, download=False)
        assert len(names) == 7944
        assert len(set(names)) == 7579
        assert names[:2] == ["Abagael", "Abagail"]
        assert names[5000:5002] == ["Zuzana", "Aamir"]


# Kantrowitz: what is too large


def test_a_download_is_encrypted_and_ends():
    assert _kantrowitz._URL.startswith("https://")
    assert _kantrowitz._TIMEOUT <= 60


def test_a_download_that_is_too_large_is_cut_and_refused(machine):
    write_lists(machine / "website", SMALL | {"male.txt": ["x" * 2 * _kantrowitz._LIMIT]})
    with pytest.raises(FileNotFoundError, match=r"download .* failed.*male.txt.*more than 1000000"):
        load_kantrowitz_names()
    assert not (machine / "home" / "likelihood_gan_data").exists()


def test_a_zip_file_that_unpacks_to_too_much_is_refused(machine):
    place = machine / "home" / "nltk_data" / "corpora" / "names.zip"
    place.parent.mkdir(parents=True)
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in SMALL:
            archive.writestr(f"names/{name}", "x" * 50 * _kantrowitz._LIMIT)
    assert place.stat().st_size < _kantrowitz._LIMIT
    with pytest.raises(OSError, match="names.zip has a file of more than 1000000 bytes"):
        load_kantrowitz_names(download=False)


def test_a_list_that_is_too_large_is_not_read(machine):
    write_lists(machine / "lists", SMALL | {"male.txt": ["x" * 2 * _kantrowitz._LIMIT]})
    with pytest.raises(OSError, match="lists has a file of more than 1000000 bytes"):
        load_kantrowitz_names(data_home=machine / "lists", download=False)
