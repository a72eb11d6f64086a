"""The methods the report names as alternatives, as baselines outside the package; what each costs.

    python -m benchmarks.alternatives                    # cost of one generator update
    python -m benchmarks.alternatives --batch 128 --hidden 64

`ALTERNATIVES` holds functions f(gan, sequences, *, epochs, random_state) of a fitted estimator, which
they leave as it is, that return something with `sample` and, if it has a likelihood, `score_samples`.
"""

from benchmarks.alternatives import gumbel, seqgan, textkd

ALTERNATIVES = {"seqgan": seqgan.train, "gumbel": gumbel.train, "textkd": textkd.train}
