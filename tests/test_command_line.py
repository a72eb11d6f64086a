"""The command line does what Python does, says what is wrong in one line, and loses nothing."""

import gzip
import importlib
import io
import os
import re
import shlex
import signal
import struct
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import NAMES, tiny
from sklearn.frozen import FrozenEstimator

from likelihood_gan import (
    GenerativeClassifier,
    LikelihoodGAN,
    Refined,
    SequenceDistribution,
    fitting,
)
from likelihood_gan.command_line import main
from likelihood_gan.command_options import make_parser
from likelihood_gan.models import CharLSTM, NGram

COMMANDS = ("fit", "resume", "sample", "score", "compare", "info")
TINY = shlex.split(
    "--generator CharLSTM --set generator__hidden_size=8 --set discriminator__hidden_size=8 "
    "--pretrain-epochs 2 --adversarial-epochs 2 --set batch_size=16 --seed 0"
)
"""The options that make what `tiny` makes."""


@pytest.fixture
def run(capsys):
    """Run a command here; return its exit code and what it printed."""

    def run(*words):
        try:
            code = main([str(word) for word in words])
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def results(run):
    """Run a command that works, if perhaps on a poor model; return its lines."""

    def results(*words):
        code, out, err = run(*words)
        said = [line for line in err.splitlines() if "better explained" not in line]
        assert (code, said) == (0, [])
        return out.splitlines()

    return results


@pytest.fixture(scope="module")
def folder(tmp_path_factory, fitted):
    """What the commands read."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "words.txt").write_text("\n".join(NAMES) + "\n")
    fitted.save(folder / "plain.st")
    Refined(FrozenEstimator(fitted), n_samples=600, random_state=0).fit(NAMES).save(
        folder / "refined.st"
    )
    return folder


@pytest.fixture(scope="module")
def words(folder):
    return folder / "words.txt"


@pytest.fixture(scope="module")
def model(folder):
    return folder / "plain.st"


@pytest.fixture
def stdin(monkeypatch):
    def give(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


@pytest.fixture
def ctrl_c(monkeypatch):
    """Interrupt every fit once an epoch is finished, until `undo` of what is returned."""

    def after(epoch, error=KeyboardInterrupt):
        old = fitting.Fit._end_epoch

        def end_epoch(self, record, watchers):
            if self.run.n_epochs == epoch:
                raise error
            old(self, record, watchers)

        patch = pytest.MonkeyPatch()
        patch.setattr(fitting.Fit, "_end_epoch", end_epoch)
        patches.append(patch)
        return patch

    patches = []
    yield after
    for patch in patches:
        patch.undo()


def same(one, other):
    """Tell whether two models find the names equally probable, to the bit."""
    return (one.score_samples(NAMES) == other.score_samples(NAMES)).all()


# Draw


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ("-n 20", dict(n_samples=20)),
        ("-n 9 --prefix al", dict(n_samples=9, prefix="al")),
        ("-n 9 --temperature 0.5 --max-len 4", dict(n_samples=9, temperature=0.5, max_len=4)),
        ("-n 9 --top-k 3 --min-len 4", dict(n_samples=9, top_k=3, min_len=4)),
        ("-n 9 --top-p .7 --banned ae", dict(n_samples=9, top_p=0.7, banned="ae")),
        ("-n 9 --allowed abcde --cut redraw", dict(n_samples=9, allowed="abcde", cut="redraw")),
        (
            "-n 9 --distinct --match a$",
            dict(n_samples=9, distinct=True, where=re.compile("a$").search),
        ),
    ],
)
def test_sample_prints_what_python_draws(options, arguments, results, model, fitted):
    expected = fitted.sample(**arguments, random_state=3)
    assert results("sample", model, *options.split(), "--seed", 3) == expected


def test_new_leaves_out_what_a_file_holds(results, model, tmp_path, fitted):
    known = fitted.sample(40, min_len=1, random_state=0)[:20]
    listed, counted = tmp_path / "listed.txt", tmp_path / "counted.tsv"
    listed.write_text("\n".join(known))
    counted.write_text("".join(f"{name}\t2\n" for name in known))
    draw = ("sample", model, "-n", 40, "--min-len", 1, "--seed", 0)
    assert set(results(*draw)) & set(known)
    expected = fitted.sample(40, min_len=1, exclude=known, random_state=0)
    assert results(*draw, "--new", listed) == expected
    assert results(*draw, "--new", counted, "--counts") == expected


def test_sampled_scores_are_those_of_score(results, model, tmp_path):
    lines = results("sample", model, "-n", 9, "--scores", "--seed", 0)
    drawn = tmp_path / "drawn.txt"
    drawn.write_text("".join(line.partition("\t")[0] + "\n" for line in lines))
    assert results("score", model, drawn, "--keep-empty") == lines


def test_a_model_is_refined_unless_plain_is_asked_for(results, run, folder, fitted):
    path = folder / "refined.st"
    draw = ("-n", 50, "--seed", 0)
    expected = Refined.load(path).sample(50, random_state=0)
    assert results("sample", path, *draw) == results("sample", path, *draw, "--refined") == expected
    plain = fitted.sample(50, random_state=0)
    assert results("sample", path, *draw, "--plain") == plain != expected
    code, _, err = run("sample", folder / "plain.st", "--refined")
    assert code == 2 and "holds a LikelihoodGAN" in err


# Score


def test_score_prints_every_line_and_its_log_probability(
    results, model, words, tmp_path, stdin, fitted
):
    lines = results("score", model, words)
    expected = fitted.score_samples(NAMES)
    assert [line.split("\t")[0] for line in lines] == NAMES
    np.testing.assert_allclose([float(line.split("\t")[1]) for line in lines], expected, atol=1e-6)
    stdin("\r\n".join(NAMES).encode())
    assert results("score", model, "-") == lines
    packed = tmp_path / "words.txt.gz"
    packed.write_bytes(gzip.compress(words.read_bytes()))
    assert results("score", model, packed) == lines


class Endless(io.RawIOBase):
    """Standard input that goes on, and is interrupted once an answer is there."""

    name = "<stdin>"

    def __init__(self, answered):
        self.answered = answered
        self.n_lines = 0

    def readable(self):
        return True

    def readinto(self, buffer):
        if self.answered():
            raise KeyboardInterrupt
        self.n_lines += 1
        buffer[:4] = b"ada\n"
        return 4


@pytest.mark.parametrize(("options", "most"), [([], 25), (["--line-by-line"], 3)])
def test_lines_are_answered_before_the_end_of_the_stream(options, most, model, monkeypatch, capsys):
    monkeypatch.setattr("likelihood_gan.validation.SEQUENCES_PER_CHUNK", 20)
    stream = Endless(lambda: "ada\t-" in capsys.readouterr().out)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(stream, 4)))
    assert main(["score", str(model), "-", *options]) == 130
    assert stream.n_lines <= most


def test_symbols_that_the_model_lacks_are_told_or_impossible(run, results, model, stdin, tmp_path):
    stdin("ada\nÉva\n".encode())
    code, out, err = run("score", model, "-")
    assert (code, out) == (2, "") and "'É'" in err
    stdin("ada\nÉva\n".encode())
    lines = results("score", model, "-", "--handle-unknown", "neg_inf")
    assert lines[1] == "Éva\t-inf" and float(lines[0].split("\t")[1]) < 0
    lenient = tiny(handle_unknown="neg_inf").fit(NAMES)
    lenient.save(tmp_path / "lenient.st")
    stdin("ada\nÉva\n".encode())
    assert results("score", tmp_path / "lenient.st", "-") == lines
    stdin("ada\nÉva\n".encode())
    assert run("score", tmp_path / "lenient.st", "-", "--handle-unknown", "error")[0] == 2


def test_nothing_in_is_nothing_out(results, model, stdin):
    stdin(b"")
    assert results("score", model, "-") == []
    stdin(b"\n\n")
    assert results("score", model, "-") == []
    stdin(b"\n")
    assert results("score", model, "-", "--keep-empty")[0].startswith("\t-")


# Fit


def test_fit_makes_what_python_makes(results, words, tmp_path, fitted):
    out = tmp_path / "model.st"
    (line,) = results("fit", words, "--out", out, *TINY)
    best = [r for r in fitted.history_ if r["epoch"] == fitted.best_epoch_]
    nats = f"{best[-1]['validation_nll']:.2f} held-out nats per sequence"
    assert line == f"{out}: epoch {fitted.best_epoch_} of 5, {nats}"
    made = LikelihoodGAN.load(out)
    assert same(made, fitted)
    assert made.get_params() == fitted.get_params()


def test_counts_are_weights(results, tmp_path):
    counted = tmp_path / "words.tsv"
    counts = Counter(NAMES * 2 + NAMES[:9])
    counted.write_text("".join(f"{name}\t{n}\n" for name, n in counts.items()))
    results("fit", counted, "--counts", "--out", tmp_path / "model.st", *TINY)
    assert same(LikelihoodGAN.load(tmp_path / "model.st"), tiny().fit(counts))


def test_options_are_parameters(results, tmp_path):
    (tmp_path / "molecules.txt").write_text("CCl\nCBr\nClC\nCC\nBr\n" * 4)
    results(
        *(
            "fit",
            tmp_path / "molecules.txt",
            "--out",
            tmp_path / "model.st",
            "--generator",
            "NGram",
        ),
        *("--token-pattern", "Cl|Br|.", "--vocabulary", "CClBrN", "--max-len", 7),
        *("--handle-unknown", "neg_inf", "--set", "early_stopping=False", "--objective", "mle"),
        *("--set", "pretrain_learning_rate={1: 0.02}", "--set", "generator__order=3"),
        *("--set", "precision=float32", "--device", "cpu"),
    )
    made = LikelihoodGAN.load(tmp_path / "model.st")
    assert made.vocabulary_.symbols == ("Br", "C", "Cl", "N")
    assert (made.max_len_, made.handle_unknown, made.early_stopping) == (7, "neg_inf", False)
    assert made.pretrain_learning_rate == {1: 0.02}
    assert isinstance(made.generator_, NGram) and made.generator_.arguments["order"] == 3
    assert (made.objective, made.precision, made.device) == ("mle", "float32", "cpu")


def test_a_file_is_replaced_only_by_force_and_by_what_is_finished(run, words, tmp_path, ctrl_c):
    out = tmp_path / "model.st"
    out.write_text("precious")
    code, _, err = run("fit", words, "--out", out, *TINY)
    assert code == 2 and "--force" in err
    assert out.read_text() == "precious"
    patch = ctrl_c(0, ValueError("broken"))
    assert run("fit", words, "--out", out, "--force", *TINY)[0] == 2
    assert out.read_text() == "precious"
    patch.undo()
    assert run("fit", words, "--out", out, "--force", *TINY)[0] == 0
    LikelihoodGAN.load(out)


def test_neither_data_nor_a_checkpoint_is_overwritten(run, words, tmp_path):
    copy, checkpoint = tmp_path / "words.txt", tmp_path / "checkpoint"
    copy.write_bytes(words.read_bytes())
    (tmp_path / "link.txt").symlink_to(copy)
    for out, state in ((copy, checkpoint), (tmp_path / "a", copy), (tmp_path / "link.txt", "b")):
        code, _, err = run("fit", copy, "--out", out, "--checkpoint", state, "--force", *TINY)
        assert code == 2 and "different files" in err
    assert copy.read_bytes() == words.read_bytes()
    checkpoint.write_text("of a long fit")
    code, _, err = run("fit", copy, "--out", tmp_path / "a", "--checkpoint", checkpoint, *TINY)
    assert code == 2 and "likelihood-gan resume" in err
    assert checkpoint.read_text() == "of a long fit"


def test_after_ctrl_c_the_message_has_the_command_that_goes_on_to_the_same_bits(
    run, results, words, tmp_path, ctrl_c, fitted
):
    out, checkpoint = tmp_path / "my model.st", tmp_path / "state"
    patch = ctrl_c(3)
    code, shown, err = run("fit", words, "--out", out, "--checkpoint", checkpoint, *TINY)
    assert (code, shown) == (130, "")
    said, _, command = err.removesuffix("\n").partition("; go on with: ")
    assert said == "likelihood-gan: interrupted; fit ended after 3 of 5 epochs"
    assert sorted(os.listdir(tmp_path)) == ["state"]
    name, *again = shlex.split(command)
    assert name == "likelihood-gan"
    assert run(*again)[::2] == (130, err.replace(" --seed 0", ""))  # and once more
    patch.undo()
    results(*again)
    assert same(LikelihoodGAN.load(out), fitted)
    assert LikelihoodGAN.load(out).get_params() == fitted.get_params()


def test_without_a_checkpoint_the_best_epoch_is_kept_under_another_name(
    run, words, tmp_path, ctrl_c
):
    out = tmp_path / "model.st"
    ctrl_c(3)
    code, shown, err = run("fit", words, "--out", out, *TINY)
    assert (code, shown) == (130, "")
    assert "fit ended after 3 of 5 epochs" in err and f"{out}.unfinished" in err
    assert sorted(os.listdir(tmp_path)) == ["model.st.unfinished"]
    assert LikelihoodGAN.load(f"{out}.unfinished").n_iter_ == 3


def test_before_an_epoch_is_finished_there_is_nothing_to_keep(run, words, tmp_path, ctrl_c):
    ctrl_c(0)
    code, _, err = run("fit", words, "--out", tmp_path / "model.st", *TINY)
    assert code == 130 and err.startswith("likelihood-gan: interrupted")
    assert os.listdir(tmp_path) == []


def test_training_that_diverges_is_told_apart_and_not_gone_on_with(run, words, tmp_path):
    rate = ("--set", "pretrain_learning_rate=1e6", "--checkpoint", tmp_path / "state")
    code, out, err = run("fit", words, "--out", tmp_path / "model.st", *TINY, *rate)
    assert (code, out) == (1, "") and "diverged" in err and "learning_rate" in err
    assert "resume" not in err and not (tmp_path / "model.st").exists()


def test_what_diverged_later_is_kept_as_it_was_before(run, words, tmp_path, ctrl_c):
    ctrl_c(3, FloatingPointError("the loss is NaN"))
    out, state = tmp_path / "model.st", tmp_path / "state"
    code, _, err = run("fit", words, "--out", out, "--checkpoint", state, *TINY)
    assert code == 1 and f"{out}.unfinished" in err and "resume" not in err
    kept = LikelihoodGAN.load(f"{out}.unfinished")
    assert kept.n_iter_ == 3 and kept.callbacks is None


def test_progress_is_no_result(run, words, tmp_path):
    code, out, err = run("fit", words, "--out", tmp_path / "model.st", *TINY, "--verbose", 2)
    assert code == 0 and out.startswith(f"{tmp_path}") and out.count("\n") == 1
    assert re.findall(r"^epoch +(\d)", err, re.MULTILINE) == ["2", "4", "5"]
    LikelihoodGAN.load(tmp_path / "model.st")


REFINE = ("--refine", "--set", "refined__n_samples=600")


def test_refine_saves_the_refined_model(results, run, words, tmp_path, folder, monkeypatch, ctrl_c):
    out, state = tmp_path / "model.st", tmp_path / "state"
    results("fit", words, "--out", out, *TINY, *REFINE)
    assert same(Refined.load(out), Refined.load(folder / "refined.st"))

    # and so it does after an interruption, of the fit or of what comes behind it
    patch = ctrl_c(2)
    fit = ("fit", words, "--out", out, *TINY, *REFINE, "--force", "--checkpoint", state)
    command = shlex.split(run(*fit)[2].partition("go on with: ")[2])[1:]
    patch.undo()
    with monkeypatch.context() as later:
        later.setattr(
            Refined, "_fit_classifiers", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        code, _, err = run(*command)
        assert code == 130
        assert shlex.split(err.partition("go on with: ")[2])[1:] == command
        code, _, err = run("fit", words, "--out", tmp_path / "b", *TINY, *REFINE)
        assert code == 130 and same(
            LikelihoodGAN.load(tmp_path / "b.unfinished"), tiny().fit(NAMES)
        )
    results(*command)
    assert same(Refined.load(out), Refined.load(folder / "refined.st"))


# Compare and tell


def table(lines):
    head, *rows = [re.split(r"  +", line.strip()) for line in lines]
    return {row[0]: dict(zip(head, row[1:], strict=True)) for row in rows}


def test_compare_shows_likelihoods_of_all_and_shares_of_samples(
    results, run, model, words, tmp_path, fitted
):
    held_out = tmp_path / "held-out.txt"
    others = sorted({*fitted.sample(60, exclude=NAMES, distinct=True, min_len=1, random_state=5)})
    held_out.write_text("\n".join(others))
    lines = results("compare", model, held_out, "--training", words, "--seed", 0)
    shown = table(lines)
    control = LikelihoodGAN(NGram, vocabulary=fitted.vocabulary_.symbols, early_stopping=False)
    control.fit(NAMES)
    for name, distribution in {"model": fitted, "n-grams": control}.items():
        assert shown["nats per sequence"][name] == f"{-distribution.score(others):.3f}"
        assert shown["perplexity per symbol"][name] == f"{distribution.perplexity(others):.3f}"
    assert shown["nats per sequence"]["data"] == "-"
    # two halves of different new sequences
    assert shown["unique"]["data"] == shown["novel"]["data"] == "1.000"
    assert shown["coverage"]["data"] == "0.000"
    assert lines == results("compare", model, held_out, "--training", words, "--seed", 0)

    code, out, err = run("compare", model, held_out, "--seed", 0)
    alone = table(out.splitlines())
    assert code == 0 and "--training" in err
    assert "n-grams" not in alone["unique"]  # a `CharLSTM` has none inside
    assert alone["novel"]["model"] == "-"
    assert alone["nats per sequence"]["model"] == shown["nats per sequence"]["model"]

    code, _, err = run("compare", model, words, "--training", words)
    assert code == 0 and f"{len(NAMES)} of the {len(NAMES)}" in err


def test_compare_takes_the_n_gram_model_inside(run, words, tmp_path):
    gan = LikelihoodGAN(generator_params={"hidden_size": 8}, pretrain_epochs=1, random_state=0)
    gan.fit(NAMES).save(tmp_path / "model.st")
    inside = table(run("compare", tmp_path / "model.st", words, "--seed", 0)[1].splitlines())
    given = table(
        run("compare", tmp_path / "model.st", words, "--training", words, "--seed", 0)[
            1
        ].splitlines()
    )
    for name in ("nats per sequence", "unique"):
        assert inside[name]["n-grams"] == given[name]["n-grams"]


def test_info_says_what_a_file_holds(results, folder, words, tmp_path, fitted):
    facts = dict(re.split("  +", line, maxsplit=1) for line in results("info", folder / "plain.st"))
    assert facts["holds"] == "LikelihoodGAN"
    assert facts["max_len"] == str(fitted.max_len_)
    n_weights = sum(p.numel() for p in fitted.generator_.parameters())
    assert facts["generator"] == f"CharLSTM, {n_weights:,} weights"
    assert facts["symbols"] == f"{len(set(''.join(NAMES)))}: {''.join(sorted(set(''.join(NAMES))))}"
    assert "hidden_size" in facts["estimator"]
    refined = "\n".join(results("info", folder / "refined.st"))
    assert "Refined" in refined and "log Z" in refined
    fitted.distribution_.save(tmp_path / "distribution.st")
    assert "SequenceDistribution" in "".join(results("info", tmp_path / "distribution.st"))
    state = tmp_path / "state"
    results("fit", words, "--out", tmp_path / "a.st", "--checkpoint", state, *TINY)
    facts = dict(re.split("  +", line, maxsplit=1) for line in results("info", state))
    assert "resume" in facts["holds"] and facts["epochs"] == "5"
    assert facts["data"] == f"{len(NAMES)} distinct sequences"


def test_a_distribution_in_a_file_will_do(results, tmp_path, fitted):
    fitted.distribution_.save(tmp_path / "distribution.st")
    expected = fitted.sample(9, random_state=0)
    assert results("sample", tmp_path / "distribution.st", "-n", 9, "--seed", 0) == expected


# Errors


@pytest.mark.parametrize(
    ("command", "words_of_it"),
    [
        ("", ["COMMAND", "--help"]),
        ("smaple", ["smaple"]),
        ("fit {words}", ["--out", "fit --help"]),
        ("fit missing.txt --out {out}", ["missing.txt", "No such file"]),
        ("fit {folder} --out {out}", ["directory"]),
        ("fit {words} --out {folder}/none/model", ["no folder", "none"]),
        ("fit {words} --out {folder}", ["--out"]),
        (
            "fit {words} --out {out} --set pretain_epochs=3",
            ["pretain_epochs", "mean pretrain_epochs"],
        ),
        ("fit {words} --out {out} --set callbacks=[]", ["callbacks", "no such parameter"]),
        ("fit {words} --out {out} --set batch_size", ["name=value", "batch_size"]),
        ("fit {words} --out {out} --set batch_size=1.5", ["batch_size", "1.5"]),
        ("fit {words} --out {out} --max-len 9 --set max_len=9", ["max_len", "twice"]),
        ("fit {words} --out {out} --max-len 2", ["max_len=2"]),
        ("fit {words} --out {out} --set refined__betas=1", ["refined__betas", "--refine"]),
        ("fit {words} --out {out} --refine --set refined__betas=[0]", ["betas", "[0]"]),
        ("fit {words} --out {out} --refine --set refined__x=1", ["refined__x", "refined__betas"]),
        ("fit {words} --out {out} --checkpoint {folder}/c --every 0", ["every", "0"]),
        ("fit {words} --out {out} --counts", ["tab"]),
        ("fit {model} --out {out}", ["line 1", "UTF-8"]),
        ("resume {model} {words} --out {out}", ["no checkpoint"]),
        ("resume missing {words} --out {out}", ["missing"]),
        ("resume {model} {words} --out {out} --set batch_size=3", ["batch_size", "begun with"]),
        ("sample missing", ["missing"]),
        ("sample {words}", ["words.txt"]),
        ("sample {model} -n 0", ["n_samples", "0"]),
        ("sample {model} -n many", ["-n", "many"]),
        ("sample {model} --match (", ["--match", "("]),
        ("sample {model} --prefix É", ["prefix", "É"]),
        ("sample {model} --temperature nan", ["temperature", "nan"]),
        ("sample {model} --plain --refined", ["--plain", "--refined"]),
        ("score {model}", ["FILE"]),
        ("score {model} missing.txt", ["missing.txt"]),
        ("compare {model} /dev/null", ["no sequences"]),
        ("info {words}", ["words.txt"]),
        ("info missing", ["missing"]),
    ],
)
def test_what_is_wrong_is_one_line(command, words_of_it, run, folder, words, model, tmp_path):
    out = tmp_path / "model.st"
    command = command.format(words=words, out=out, folder=folder, model=model)
    code, shown, err = run(*command.split())
    assert (code, shown) == (2, "")
    assert err.startswith("likelihood-gan: error: ") and err.count("\n") == 1
    assert not [word for word in words_of_it if word not in err], err
    assert os.listdir(tmp_path) == []


def test_what_lines_cannot_hold_is_refused(run, tmp_path, fitted):
    for symbols in ([(1,), (2,)], "a\n"):
        path = tmp_path / "model.st"
        SequenceDistribution(CharLSTM(3, hidden_size=4), symbols, 3).save(path)
        code, out, err = run("sample", path)
        assert (code, out) == (2, "") and "Python" in err
    classifier = GenerativeClassifier(tiny(adversarial_epochs=0), random_state=0)
    classifier.fit(NAMES, [name[-1] == "a" for name in NAMES]).save(path)
    code, out, err = run("sample", path)
    assert (code, out) == (2, "") and "GenerativeClassifier" in err


def test_a_warning_is_one_line(run, tmp_path):
    (tmp_path / "words.txt").write_text("\n".join([*NAMES, ""]))
    poor = ("--set", "pretrain_learning_rate=1e-9", "--objective", "mle")
    code, out, err = run(
        "fit", tmp_path / "words.txt", "--out", tmp_path / "model.st", *TINY[:-2], *poor
    )
    assert code == 0 and out
    assert err.startswith("likelihood-gan: warning: ") and err.count("\n") == 1
    assert "n-gram" in err


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_teaches_by_examples_that_can_be_run(command, run):
    code, out, _ = run(*command.split(), "--help")
    lines = [line.strip() for line in out.splitlines() if line.startswith("  ")]
    examples = [line for line in lines if re.search(r"(^|\| )likelihood-gan ", line)]
    assert code == 0 and examples
    for example in examples:
        words = shlex.split(example.replace("$'", "'"))
        words = words[words.index("likelihood-gan") + 1 :]
        end = next((i for i, word in enumerate(words) if word in ("|", ">")), len(words))
        asked = make_parser().parse_args(words[:end])
        assert command in ("", asked.command)


def test_the_entry_point_is_there():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    module, _, name = project["scripts"]["likelihood-gan"].partition(":")
    assert getattr(importlib.import_module(module), name) is main


# As a process

PYTHON = [sys.executable, "-W", "error", "-m", "likelihood_gan"]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


def test_head_closing_the_pipe_is_no_error(model):
    with (
        subprocess.Popen(["yes", "ada"], stdout=subprocess.PIPE) as yes,
        subprocess.Popen(
            [*PYTHON, "score", model, "-"],
            stdin=yes.stdout,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
        ) as process,
    ):
        yes.stdout.close()
        line = process.stdout.readline()
        process.stdout.close()
        assert line.startswith(b"ada\t-")
        assert (process.stderr.read(), process.wait()) == (b"", 0)


def test_a_full_disk_is_one_line_and_text_is_utf_8_whatever_the_locale(model, tmp_path):
    odd = {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0", "LC_ALL": "C"}
    score = [*PYTHON, "score", model, "-", "--handle-unknown", "neg_inf"]
    settings = dict(input="Éva\n".encode(), env=ENVIRONMENT | odd)
    done = subprocess.run(score, check=False, capture_output=True, **settings)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Éva\t-inf\n".encode(), b"")
    if os.path.exists("/dev/full"):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                score, check=False, stdout=full, stderr=subprocess.PIPE, **settings
            )
        assert done.returncode == 2
        assert done.stderr == b"likelihood-gan: error: No space left on device\n"


def test_in_a_terminal_a_bar_moves_and_ctrl_c_is_one_line(words, tmp_path, results):
    pty, fcntl, termios = map(pytest.importorskip, ("pty", "fcntl", "termios"))  # of Unix
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    out, checkpoint = tmp_path / "model.st", tmp_path / "state"
    options = [option if option != "2" else "400" for option in TINY]
    fit = ["fit", words, "--out", out, "--checkpoint", checkpoint]
    process = subprocess.Popen(
        [*PYTHON, *fit, *options],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=ENVIRONMENT | {"TERM": "xterm"},
    )
    os.close(theirs)
    text, interrupted = "", False
    while True:
        try:
            text += os.read(ours, 2**16).decode(errors="replace")
        except OSError:  # the other side is closed
            break
        # a bar is not drawn for every epoch
        if not interrupted and re.search(r"epoch ([3-9]|\d\d+) of 801", text):
            process.send_signal(signal.SIGINT)
            interrupted = True
    os.close(ours)
    assert process.wait() == 130, text
    bar, last, rest = text.replace("\r\n", "\n").split("\n")
    assert re.search(r"\repoch \d+ of 801, pretrain, [\d.]+ held-out nats ", bar)
    assert "  0%" in bar
    assert last.startswith("likelihood-gan: interrupted; fit ended after ") and rest == ""
    assert f"likelihood-gan resume {checkpoint} {words} --out {out}" in last
    assert sorted(os.listdir(tmp_path)) == ["state"]
    assert int(dict(line.split(None, 1) for line in results("info", checkpoint))["epochs"]) >= 2
