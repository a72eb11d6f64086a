"""The ways in which a fitted estimator or a distribution is copied."""

import copy
import pickle

import joblib


def through_pickle(model, folder, **code):
    return pickle.loads(pickle.dumps(model))


def through_joblib(model, folder, **code):
    joblib.dump(model, folder / "model.joblib")
    return joblib.load(folder / "model.joblib")


def through_deepcopy(model, folder, **code):
    return copy.deepcopy(model)


def through_file(model, folder, **code):
    """Save and load; `code` is what the file does not hold."""
    model.save(folder / "model.safetensors")
    return type(model).load(folder / "model.safetensors", **code)


WAYS = [through_pickle, through_joblib, through_deepcopy, through_file]
