"""Files that an older version wrote are loaded, and score the same; `golden/write.py` says how they were made."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from likelihood_gan import LikelihoodGAN, SequenceDistribution

GOLDEN = Path(__file__).parent / "golden"
WRITTEN = json.loads((GOLDEN / "scores.json").read_text())
READERS = {
    "file": lambda: LikelihoodGAN.load(GOLDEN / "names.safetensors"),
    "distribution": lambda: SequenceDistribution.load(GOLDEN / "names.safetensors"),
    "pickle": lambda: pickle.loads((GOLDEN / "names.pickle").read_bytes()),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_golden_files_score_the_same(read):
    model, scores = read(), WRITTEN["scores"]
    assert len(scores) == 5 and np.ptp(list(scores.values())) > 10
    np.testing.assert_allclose(model.score_samples(list(scores)), list(scores.values()), atol=1e-5)


def test_a_golden_file_is_saved_to_the_same_model(tmp_path):
    model = READERS["file"]()
    model.save(tmp_path / "again")
    again = LikelihoodGAN.load(tmp_path / "again")
    names = list(WRITTEN["scores"])
    np.testing.assert_array_equal(again.score_samples(names), model.score_samples(names))
    assert again.history_ == model.history_ and again.best_epoch_ == model.best_epoch_
