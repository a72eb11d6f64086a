"""Use the installed package as a stranger does: `make dist` runs this where no checkout can be imported.

python use_wheel.py FOLDER      # with the golden files, see test_golden.py
"""

import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import likelihood_gan
from likelihood_gan import LikelihoodGAN
from likelihood_gan.datasets import load_first_names

installed = Path(sysconfig.get_path("purelib"))
assert Path(likelihood_gan.__file__).is_relative_to(installed), likelihood_gan.__file__
assert (Path(likelihood_gan.__file__).parent / "py.typed").exists()

names = load_first_names()[::20]
gan = LikelihoodGAN(pretrain_epochs=2, random_state=0).fit(names)
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "names.safetensors"
    gan.save(path)
    assert LikelihoodGAN.load(path).score(names) == gan.score(names)
    command = Path(sysconfig.get_path("scripts")) / "likelihood-gan"
    drawn = subprocess.run([command, "sample", path, "-n", "5"], capture_output=True, check=True)
    assert len(drawn.stdout.split()) == 5
for golden in Path(sys.argv[1]).glob("*.safetensors"):
    assert LikelihoodGAN.load(golden).sample(1)
print(f"likelihood-gan {likelihood_gan.__version__}: the installed package works")
