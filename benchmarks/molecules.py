"""What a molecule written in SMILES must keep in memory, as features for a scikit-learn pipeline.

Strings only; the parser of rdkit is used by `parses` alone.
"""

from collections import Counter

from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler

from likelihood_gan.ngrams import NGramHasher

AROMATIC = "cnos"


def structure(molecule):
    """Count what n-grams cannot see: open branches and rings, and what the rings are made of."""
    found, depth, rings = Counter(), 0, {}
    for i, symbol in enumerate(molecule):
        if symbol == "(":
            depth += 1
        elif symbol == ")":
            depth -= 1
            found["closes nothing"] += depth < 0
        elif symbol.isdigit() and symbol in rings:
            ring = molecule[rings.pop(symbol) : i]
            branches = ring.count("(") - ring.count(")")
            found[f"ring ends {branches} branches deeper"] += 1
            if "(" not in ring and ")" not in ring:
                found[f"ring of {min(sum(c.isalpha() for c in ring), 9)}"] += 1
            n_aromatic = min(sum(c in AROMATIC for c in ring), 9)
            found[f"{n_aromatic} aromatic, {ring.count('n')} nitrogens in ring"] += 1
        elif symbol.isdigit():
            rings[symbol] = i - 1  # where its first atom is
        elif symbol in AROMATIC and not rings and not molecule[i + 1 : i + 2].isdigit():
            found["aromatic outside rings"] += 1
    return dict(found) | {
        "branches open": depth,
        "unbalanced": depth != 0,
        "rings open": len(rings),
        "a ring open": bool(rings),
        "length": len(molecule),
        "aromatic": sum(symbol in AROMATIC for symbol in molecule),
    }


def parses(molecule):
    """Tell whether rdkit reads it: one feature that says all."""
    from rdkit import Chem, RDLogger

    RDLogger.DisableLog("rdApp.*")
    return {"parses": bool(molecule) and Chem.MolFromSmiles(molecule) is not None}


def with_features(*functions):
    """Hashed n-grams beside the features that functions give: one union away."""
    parts = [
        make_pipeline(
            FunctionTransformer(_each, kw_args={"function": f}), DictVectorizer(), MaxAbsScaler()
        )
        for f in functions
    ]
    union = make_union(NGramHasher((1, 6)), *parts)
    judge = LogisticRegression(solver="liblinear", dual=True, tol=0.01, max_iter=1000)
    return make_pipeline(union, judge)


def _each(sequences, function):
    return [{k: float(v) for k, v in function(sequence).items()} for sequence in sequences]
