"""Long work says how far it is: a bar on a terminal, lines elsewhere, nothing unless it is asked for."""

import os
import re
import struct
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from conftest import NAMES, tiny
from sklearn.frozen import FrozenEstimator

from likelihood_gan import LikelihoodGAN, Refined, progress
from likelihood_gan.callbacks import Checkpoint
from likelihood_gan.progress import Progress, counted, counting, watched

pty, fcntl, termios = map(pytest.importorskip, ("pty", "fcntl", "termios"))  # of Unix


@pytest.fixture
def at_once(monkeypatch):
    """No waiting until something is worth showing."""
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(progress, "LINE_SECONDS", -1.0)


def in_a_terminal(code):
    """Run Python in a terminal of its own; return what is written to it."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    code = "from conftest import *\nimport torch\ntorch.set_num_threads(1)\n" + textwrap.dedent(
        code
    )
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        stdin=other,
        stdout=other,
        stderr=other,
        cwd=os.path.dirname(__file__),
        env=os.environ
        | {"COLUMNS": "120", "TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    os.close(other)
    output = b""
    while True:
        try:
            output += os.read(main, 2**16)
        except OSError:  # the other side is closed
            break
    assert process.wait() == 0, output.decode()
    os.close(main)
    return output.decode()


def test_on_a_terminal_a_fit_is_one_bar_that_moves_within_epochs():
    text = in_a_terminal(
        """
        import tqdm.std
        tqdm.std.tqdm.monitor_interval = 0
        from likelihood_gan import progress
        old = progress.Progress.__init__
        def init(self, *arguments, **settings):
            old(self, *arguments, **settings)
            self._bar.mininterval = 0  # show everything
        progress.Progress.__init__ = init
        tiny(verbose=1).fit(NAMES)
        """
    )
    steps = text.split("\r")
    shown = [re.match(r"epoch (\d) of 5, (\w+)(, [\d.]+ held-out nats)? \|", s) for s in steps]
    found = [match.groups() for match in shown if match]
    phases = ["pretrain", "pretrain", "discriminator", "adversarial", "adversarial"]
    assert list(dict.fromkeys(pair[:2] for pair in found)) == [
        (str(i), phase) for i, phase in enumerate(phases, start=1)
    ]
    assert found[0][2] is None and found[-1][2]
    shares = [int(share) for share in re.findall(r"(\d+)%", text)]
    assert len(set(shares)) > 8 and shares == sorted(shares)  # several within an epoch
    assert re.search(r"100%, \d\d:\d\d gone", text)
    assert "distinct sequences to train on" in steps[1] + steps[0]
    assert text.rstrip("\r\n").count("\n") == 0


def test_on_a_terminal_printed_samples_stand_above_the_bar():
    text = in_a_terminal(
        """
        from likelihood_gan.callbacks import PrintSamples
        tiny(verbose=1, callbacks=[PrintSamples(2)]).fit(NAMES)
        """
    )
    lines = [line.split("\r")[-1] for line in text.replace("\r\n", "\n").split("\n")]
    assert [line[:9] for line in lines[:5]] == [f"epoch   {i}" for i in range(1, 6)]
    assert "|" not in "".join(lines[:5])


def test_without_a_terminal_lines_are_flushed_at_once():
    code = (
        "from conftest import *; import os; tiny(verbose=1).fit(NAMES); os._exit(0)"  # no flushing
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        text=True,
        cwd=os.path.dirname(__file__),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    first, *lines = process.stdout.splitlines()
    assert first.startswith("50 distinct sequences")
    assert [line[:14] for line in lines] == [f"epoch   {i} of 5" for i in range(1, 6)]
    assert all("held-out nats" in line for line in lines)
    assert all(re.search(r"\d:\d\d:\d\d left$", line) for line in lines[:-1])
    assert process.stderr == ""


def test_a_long_epoch_says_something_within(at_once, capsys):
    tiny(verbose=9).fit(NAMES)
    lines = capsys.readouterr().out.splitlines()
    assert any(
        re.match(r"epoch 2 of 5, pretrain, .* nats, \d\d% of its steps", line) for line in lines
    )


def test_what_ends_early_shortens_the_rest(capsys):
    settings = dict(pretrain_learning_rate={1: 3.0}, n_iter_no_change=1)
    gan = tiny(verbose=1, pretrain_epochs=50, adversarial_epochs=0, objective="mle", **settings)
    gan.fit(NAMES)
    last = capsys.readouterr().out.splitlines()[-1]
    assert gan.n_iter_ < 50
    assert last.startswith(f"epoch {gan.n_iter_:3d} of {gan.n_iter_} ")


def test_nothing_is_shown_unless_it_is_asked_for(at_once, capfd):
    gan = tiny().fit(NAMES)
    gan.sample(2000, random_state=0)
    gan.score_samples(NAMES * 10)
    assert capfd.readouterr() == ("", "")


def test_long_samples_and_scores_of_a_verbose_estimator_say_how_far_they_are(at_once, capsys):
    gan = tiny(verbose=1).fit(NAMES)
    capsys.readouterr()
    gan.score_samples(iter(NAMES))
    assert capsys.readouterr().out == f"scoring sequences: {len(NAMES)}\n"
    gan.score(NAMES)
    assert f"scoring sequences: {len(NAMES)} of {len(NAMES)}" in capsys.readouterr().out
    gan.sample(2000, random_state=0)
    assert "drawing sequences: 2,000 of 2,000\n" in capsys.readouterr().out
    gan.set_params(verbose=0).sample(2000, random_state=0)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_refining_says_what_it_does_and_watching_does_not_change_it(
    n_jobs, at_once, capsys, fitted
):
    silent, watched = (
        Refined(FrozenEstimator(fitted), n_samples=600, random_state=0, n_jobs=n, verbose=verbose)
        for n, verbose in ((None, 0), (n_jobs, 1))
    )
    silent.fit(NAMES)
    assert capsys.readouterr().out == ""
    watched.fit(NAMES).score_samples(NAMES)
    lines = iter(capsys.readouterr().out.splitlines())
    for expected in (
        "drawing 3 times 600 sequences",
        "drawing sequences: 600 of 600",
        "fitting 5 classifiers",
        "fitting classifiers: 1 of 5",
        "fitting classifiers: 5 of 5",
        "held-out nats gained",
        "scoring sequences: 56 of 56",
    ):
        assert any(line.startswith(expected) for line in lines), expected
    np.testing.assert_array_equal(watched.score_samples(NAMES), silent.score_samples(NAMES))


def test_what_is_counted_inside_is_not_shown_too(at_once, capsys):
    with watched(1):
        for _ in counted([[1, 2], [3]], 3, "outer"):
            with counting(9, "inner") as add:
                assert add is None
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["outer"] * 2


def test_an_error_within_leaves_no_one_watching(at_once, capsys):
    kept = []
    with pytest.raises(ZeroDivisionError), watched(1):
        kept.append(counted([[1], [2]], 2, "chunks"))  # outlives the watcher
        for _ in kept[0]:
            raise ZeroDivisionError
    with counting(1, "later") as add:
        assert add is None
    kept.clear()
    with counting(1, "later") as add:
        assert add is None


def test_the_time_left_follows_the_speed_so_far(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress(10, "work", done=4) as work:
        assert work.time_left() == ""
        now[0] = 120.0
        work.move(6)
        assert work.time_left() == "0:04:00"
        now[0] = 7200.0
        assert work.time_left() == "4:00:00"
        work.move(10)
        assert work.time_left() == ""


def test_a_fit_that_is_gone_on_with_shows_the_epoch_it_is_in(at_once, capsys, tmp_path):
    class Stop(Exception):
        pass

    def stop(distribution, history):
        if history[-1]["epoch"] == 2:
            raise Stop

    path = tmp_path / "state"
    with pytest.raises(Stop):
        tiny(callbacks=[Checkpoint(path), stop]).fit(NAMES)
    LikelihoodGAN.resume(path, NAMES, verbose=9)
    _, *lines = capsys.readouterr().out.splitlines()
    within = [re.match(r"epoch (\d) of 5, .* of its steps", line) for line in lines]
    assert next(match[1] for match in within if match) == "2"
