"""Files that were damaged, or written by someone else: bytes at random, and JSON with a right digest."""

import copy
import random

import torch

from likelihood_gan.files import read_file, write_file

ODD = [
    *(None, True, -1, 0, 1, 3, 10**6, 2**63, 10**400, -0.5, 1e308, float("nan"), float("inf")),
    *("", "x", "a" * 300, [], {}, [[]], {"x": 1}, [None], ["x", {}], {"tuple": 3}, {"same": ""}),
    *({"array": "x"}, {"class": "CharLSTM"}, {"object": ["CharLSTM", {}]}, {"code": "f"}, "\ud800"),
]
DTYPES = torch.float32, torch.float64, torch.int64, torch.int32, torch.bool, torch.uint8


def damage_bytes(data: bytes, dice: random.Random) -> bytes:
    """Flip a bit, cut, exchange, overwrite, repeat or add."""
    found, n = bytearray(data), len(data)
    while found == data:
        # the header is where most can go wrong, but most bytes are elsewhere
        start, end = sorted(
            dice.randrange(n if dice.random() < 0.5 else min(n, 3000)) for _ in "ab"
        )
        kind = dice.randrange(7)
        if kind <= 1:
            found[start] ^= 1 << dice.randrange(8)
        elif kind == 2:
            del found[start : n if dice.random() < 0.5 else end]
        elif kind == 3:
            found[start], found[end] = found[end], found[start]
        elif kind == 4:
            found[start:end] = dice.randbytes(min(end - start, 16))
        elif kind == 5:
            found[start:start] = found[start:end]
        else:
            found += dice.randbytes(dice.randrange(1, 20))
    return bytes(found)


def rewrite(path, change) -> None:
    """Change the header of a file, and give it the digest of what it has then."""
    header, tensors = read_file(path)
    change(header)
    write_file(path, header, tensors)


def mutate(header, tensors, dice: random.Random) -> None:
    """Change one field, or one tensor, so that JSON stays JSON."""
    if dice.random() < 0.1:
        name = dice.choice(list(tensors))
        tensors[name] = _mutated(tensors[name], dice)
        return
    places = list(_places(header))
    owner, key = dice.choice(places)
    kind = dice.randrange(6)
    if kind == 0:
        del owner[key]
    elif kind == 1 and type(owner[key]) in (int, float):
        owner[key] = dice.choice([owner[key] + 1, -owner[key], owner[key] * 10, owner[key] / 2])
    elif kind == 2:
        other, place = dice.choice(places)
        owner[key] = copy.deepcopy(other[place])
    elif kind == 3 and isinstance(owner, dict):
        owner[dice.choice(["x", "fit", "__class__", "_private", "score_", "tuple"])] = owner.pop(
            key
        )
    elif kind == 4 and isinstance(owner, list):
        owner.insert(key, copy.deepcopy(owner[key]))
    else:
        owner[key] = copy.deepcopy(dice.choice(ODD))


def _places(value):
    keys = value if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from _places(value[key])


def _mutated(tensor, dice: random.Random):
    kind = dice.randrange(4)
    if kind == 0:
        return tensor.to(dice.choice(DTYPES))
    if kind == 1:
        return tensor[..., None].clone()
    if kind == 2:
        return tensor.flatten()[: max(tensor.numel() - 1, 0)].clone()
    return torch.cat([tensor.flatten(), tensor.flatten()[:1]])
