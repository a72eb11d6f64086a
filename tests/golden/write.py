"""Write the golden files: once, and never again.

They are what an older version wrote. Once a version is released, its files are loaded by every later one
(`tests/test_golden.py`): whoever writes them anew removes the test. For a new format, write others beside them.
"""

import json
import pickle
import platform
import string
from pathlib import Path

import numpy
import safetensors
import sklearn
import torch

import likelihood_gan
from likelihood_gan import LikelihoodGAN
from likelihood_gan.datasets import load_first_names

HERE = Path(__file__).parent
QUERIES = ["mary", "john", "zoe", "", "xqzvk"]


def main() -> None:
    """Fit the default model, but smaller, on 65 names, and write it in two ways, with scores."""
    if (HERE / "names.safetensors").exists():
        raise SystemExit("the golden files are there: they are never written again")
    gan = LikelihoodGAN(
        generator_params={"hidden_size": 16},
        discriminator_params={"hidden_size": 16},
        pretrain_epochs=4,
        vocabulary=string.ascii_lowercase,
        random_state=0,
    )
    gan.fit(load_first_names()[::80])
    gan.save(HERE / "names.safetensors")
    (HERE / "names.pickle").write_bytes(pickle.dumps(gan, protocol=4))
    modules = {"likelihood-gan": likelihood_gan, "numpy": numpy, "torch": torch}
    modules |= {"scikit-learn": sklearn, "safetensors": safetensors}
    written = {
        "scores": dict(zip(QUERIES, gan.score_samples(QUERIES).tolist(), strict=True)),
        "sample": gan.sample(5, random_state=0),
        "versions": {"python": platform.python_version()}
        | {name: module.__version__ for name, module in modules.items()},
    }
    (HERE / "scores.json").write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
