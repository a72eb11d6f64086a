"""Writing a file as a whole or not at all, whoever else writes, reads, or is killed meanwhile."""

import contextlib
import multiprocessing
import os
import random
import signal
import stat
import threading
import time

import pytest
import torch

from likelihood_gan import atomic
from likelihood_gan.atomic import remove_leftovers, write_atomically
from likelihood_gan.files import read_file, write_file


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def leftover_of(path):
    """Leave behind what a process leaves that is killed while it writes."""
    with atomic._temporary(path) as (file, name):
        file.write(b"half")
        file.flush()
        os.link(name, f"{name}.kept")
    os.rename(f"{name}.kept", name)
    return name


@contextlib.contextmanager
def umask(value):
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


# Whose file it is


@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_a_new_file_has_the_permissions_of_the_umask(tmp_path, mask, mode):
    with umask(mask):
        write_atomically(tmp_path / "model", b"new")
    assert mode_of(tmp_path / "model") == mode


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o444])
def test_an_old_file_keeps_its_permissions_and_nobody_else_can_read_it_meanwhile(
    tmp_path, mode, monkeypatch
):
    path = tmp_path / "model"
    path.write_bytes(b"old")
    path.chmod(mode)
    meanwhile = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: meanwhile.extend(map(mode_of, tmp_path.iterdir()))
    )
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert {mode_of(path), *meanwhile} == {mode}


def test_a_link_stays_and_the_file_that_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "model", tmp_path / "link"
    link.symlink_to(target)
    for data in (b"new", b"newer"):  # at first it leads nowhere
        write_atomically(link, data)
        assert link.is_symlink() and target.read_bytes() == data
    assert os.listdir(target.parent) == ["model"] and os.listdir(tmp_path) == ["there", "link"]


def test_links_in_a_circle_are_refused(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="links.*a'"):
        write_atomically(tmp_path / "a", b"new")


def test_a_link_in_place_of_the_temporary_file_is_not_followed(tmp_path, monkeypatch):
    path, precious = tmp_path / "model", tmp_path / "precious"
    precious.write_bytes(b"precious")
    monkeypatch.setattr(atomic.secrets, "token_hex", lambda n: "0")
    (tmp_path / f"{atomic._start_of(path)}0.tmp").symlink_to(precious)
    with pytest.raises(FileExistsError):
        write_atomically(path, b"new")
    assert precious.read_bytes() == b"precious" and not path.exists()


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, "a\nb", ".hidden", " "])
def test_any_name_that_a_file_may_have_works(tmp_path, name):
    for data in (b"old", b"new"):
        write_atomically(tmp_path / name, data)
        assert (tmp_path / name).read_bytes() == data
    assert os.listdir(tmp_path) == [name]


def test_what_is_no_file_is_not_written(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path, error in [
        (tmp_path / "fifo", FileExistsError),
        (tmp_path, OSError),
        (tmp_path / "missing" / "model", FileNotFoundError),
        ("/dev/null", FileExistsError),
    ]:
        with pytest.raises(error) as raised:
            write_atomically(path, b"new")
        assert str(path) in str(raised.value) + str(getattr(raised.value, "__notes__", ""))
    assert os.listdir(tmp_path) == ["fifo"] and stat.S_ISFIFO(os.stat(tmp_path / "fifo").st_mode)


# What is left


def test_file_and_folder_are_on_the_disk_before_it_returns(tmp_path, monkeypatch):
    synced = []

    def fsync(descriptor):
        found = os.fstat(descriptor)
        there = (tmp_path / "model").exists()
        synced.append((stat.S_ISDIR(found.st_mode), there, found.st_size if not there else None))

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(tmp_path / "model", b"ab", b"cd")
    assert synced == [(False, False, 4), (True, True, None)]  # the file, renamed, the folder


@pytest.mark.parametrize("step", ["fsync", "replace", "fchmod"])
@pytest.mark.parametrize("error", [OSError("no space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, step, error):
    path = tmp_path / "model"
    path.write_bytes(b"old")

    def fail(*arguments):
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model"]


def test_what_a_killed_write_left_is_removed_by_the_next_one_and_no_other_file_is(tmp_path):
    path = tmp_path / "model"
    left, of_another = leftover_of(path), leftover_of(tmp_path / "other")
    for name in (".model.tmp", "model.tmp", ".likelihood-gan"):
        (tmp_path / name).touch()
    before = set(os.listdir(tmp_path))
    write_atomically(path, b"new")
    assert set(os.listdir(tmp_path)) == before - {left.name} | {"model"}
    assert of_another.exists()


def test_what_is_being_written_is_no_leftover(tmp_path):
    path = tmp_path / "model"
    with atomic._temporary(path) as (file, name):
        remove_leftovers(path)
        write_atomically(path, b"another's")
        assert name.exists()
        file.write(b"mine")
        file.flush()
        os.replace(name, path)
    assert path.read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["model"]


def test_a_new_file_that_was_taken_for_a_leftover_is_made_again(tmp_path, monkeypatch):
    path, real, tries = tmp_path / "model", os.open, []

    def open_and_lose(name, *arguments):
        descriptor = real(name, *arguments)
        if str(name).endswith(".tmp"):
            tries.append(name)
            if len(tries) == 1:  # before it can be locked
                os.unlink(name)
        return descriptor

    monkeypatch.setattr(os, "open", open_and_lose)
    write_atomically(path, b"new")
    assert len(tries) == 2 and path.read_bytes() == b"new" and os.listdir(tmp_path) == ["model"]


# Many at once


SIZE = 50_000


def write_number(path, number, size=SIZE):
    write_file(path, {"number": number}, {"x": torch.full((size,), float(number))})


def read_number(path):
    """Return the number of a file that is whole."""
    header, tensors = read_file(path)
    assert (tensors["x"] == header["number"]).all()
    return header["number"]


def write_until(path, numbers, end):
    for number in numbers:
        write_number(path, number)
        if time.monotonic() > end:
            return


def test_readers_never_see_half_a_file_while_threads_write_it(tmp_path):
    path = tmp_path / "model"
    write_number(path, 0)
    end = time.monotonic() + 0.5
    ranges = [range(k * 10**6, (k + 1) * 10**6) for k in range(3)]
    threads = [threading.Thread(target=write_until, args=(path, r, end)) for r in ranges]
    for thread in threads:
        thread.start()
    seen = set()
    while any(thread.is_alive() for thread in threads):
        seen.add(read_number(path))
    for thread in threads:
        thread.join()
    assert len(seen) > 3
    assert os.listdir(tmp_path) == ["model"]


def processes(target, *argument_lists):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["likelihood_gan"])  # or every process takes seconds
    started = [context.Process(target=target, args=arguments) for arguments in argument_lists]
    for process in started:
        process.start()
    return started


@pytest.mark.slow
def test_readers_never_see_half_a_file_while_processes_write_it(tmp_path):
    path = tmp_path / "model"
    write_number(path, 0)
    end = time.monotonic() + 15
    ranges = [range(k * 10**6, (k + 1) * 10**6) for k in range(4)]
    writers = processes(write_until, *[(path, r, end) for r in ranges])
    seen = set()
    while any(writer.is_alive() for writer in writers):
        seen.add(read_number(path))
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert len({number // 10**6 for number in seen}) == 4 and len(seen) > 100
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.slow
def test_a_write_that_was_killed_leaves_the_old_or_the_new_file(tmp_path):
    path = tmp_path / "model"
    dice, n_left = random.Random(0), 0
    for _ in range(60):
        write_number(path, 0, size=10**6)
        (writer,) = processes(_write_forever, (path,))
        while read_number(path) == 0 and writer.is_alive():
            pass
        time.sleep(dice.uniform(0, 0.05))
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        assert writer.exitcode == -signal.SIGKILL
        assert read_number(path) > 0
        n_left += len(os.listdir(tmp_path)) > 1
        write_number(path, 0, size=10)
        assert os.listdir(tmp_path) == ["model"]
    assert n_left > 5  # some were killed in the middle


def _write_forever(path):
    for number in range(1, 10**6):
        write_number(path, number, size=10**6)
