"""Whatever is a symbol comes back from a file with its type: what `save` writes `load` reads."""

import datetime
import decimal
import enum
import fractions
import uuid

import numpy as np
import pytest
from conftest import tiny
from enumeration import Bigram
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from likelihood_gan import LikelihoodGAN, Refined, SequenceDistribution
from likelihood_gan.vocabulary import UNKNOWN_SYMBOL, Vocabulary, sort_symbols, vocabulary_of


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


ZONES = st.none() | st.timedeltas(-datetime.timedelta(hours=23), datetime.timedelta(hours=23)).map(
    datetime.timezone
)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.text(st.characters(), max_size=4),
    st.text("\ud83d\ude00", max_size=4),  # halves of a character
    st.binary(max_size=4),
    st.dates(),
    st.datetimes(timezones=ZONES),
    st.times(timezones=ZONES),
    st.timedeltas(),
    st.uuids(),
    st.sampled_from([*Colour, *Size, UNKNOWN_SYMBOL]),
    st.dates().map(np.datetime64),
    st.integers(-9, 9).map(lambda days: np.timedelta64(days, "D")),
)
SYMBOLS = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)


def with_types(symbol):
    """Return a symbol together with the types in it, which == takes no account of."""
    kind = type(symbol)
    if kind is tuple:
        return kind, [with_types(part) for part in symbol]
    if kind is frozenset:
        return kind, sorted(repr(with_types(part)) for part in symbol)
    zone = getattr(symbol, "tzinfo", None)
    return kind, symbol, repr(symbol), type(zone), getattr(symbol, "fold", None)


@given(st.lists(SYMBOLS, min_size=1, max_size=6, unique=True))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_symbols_of_every_type_come_back_with_their_types(tmp_path, symbols):
    vocabulary = Vocabulary(symbols, text=False)
    path = tmp_path / "distribution"
    SequenceDistribution(Bigram(vocabulary.n_tokens), vocabulary, 3).save(path)
    given_again = dict(generator=Bigram, vocabulary=[*Colour, *Size])
    again = SequenceDistribution.load(path, **given_again).vocabulary
    assert again.symbols == vocabulary.symbols
    assert list(map(with_types, again.symbols)) == list(map(with_types, symbols))
    assert again.encode(symbols) == list(range(1, len(symbols) + 1))


@given(st.lists(SYMBOLS, max_size=6, unique=True), st.randoms())
def test_the_order_of_symbols_is_that_of_no_corpus(symbols, random):
    shuffled = symbols[:]
    random.shuffle(shuffled)
    assert list(map(with_types, sort_symbols(symbols))) == list(
        map(with_types, sort_symbols(shuffled))
    )


def test_the_order_of_sets_does_not_depend_on_that_in_them():
    # which is another in every process, if they hold text; these have one place in the table
    one, other = frozenset([0, 8]), frozenset([8, 0])
    assert one == other and list(one) != list(other)
    between = frozenset([5, "a"])
    for symbols in ([one, between], [between, one], [other, between], [(other,), (between,)]):
        assert sort_symbols(symbols) in ([one, between], [(one,), (between,)])


DAYS = [datetime.date(2024, 5, day) for day in range(1, 5)]
OTHERS = [
    (decimal.Decimal("1.50"), fractions.Fraction(1, 3), uuid.UUID(int=3)),
    (frozenset("ab"), None, b"\xff", 1j, True),
]


def test_a_fitted_estimator_of_dates_and_others_comes_back(tmp_path):
    data = [tuple(DAYS[:n]) for n in (1, 2, 3, 4)] * 3 + OTHERS
    gan = tiny().fit(data)
    gan.save(tmp_path / "gan")
    again = LikelihoodGAN.load(tmp_path / "gan")
    assert again.vocabulary_.symbols == gan.vocabulary_.symbols
    assert again.held_out_ == gan.held_out_
    np.testing.assert_array_equal(again.score_samples(data), gan.score_samples(data))
    assert again.sample(30, random_state=0) == gan.sample(30, random_state=0)


LIGHTS = [(Colour.RED, Colour.BLUE), (Colour.BLUE,), (Colour.RED,), (Colour.BLUE, Colour.RED)] * 4


def test_an_enum_is_given_to_load_again(tmp_path):
    gan = tiny().fit(LIGHTS)
    gan.save(tmp_path / "gan")
    Refined(gan.distribution_, n_samples=50).fit(LIGHTS).save(tmp_path / "refined")
    for cls, file in ((LikelihoodGAN, "gan"), (SequenceDistribution, "gan"), (Refined, "refined")):
        for missing in ({}, {"vocabulary": Size}):
            with pytest.raises(ValueError, match=r"pass vocabulary= \(Colour\) to load"):
                cls.load(tmp_path / file, **missing)
        for members in (Colour, [Colour.RED], [(Colour.BLUE, 1), Size.LARGE]):
            again = cls.load(tmp_path / file, vocabulary=members)
            assert vocabulary_of(again).symbols == (Colour.BLUE, Colour.RED)
        assert again.sample(9, random_state=0)[0] in {*again.sample(999, random_state=0)}
    again = LikelihoodGAN.load(tmp_path / "gan", vocabulary=Colour)
    np.testing.assert_array_equal(again.score_samples(LIGHTS), gan.score_samples(LIGHTS))
    assert list(again.fit(LIGHTS).vocabulary_.symbols) == sort_symbols(Colour)


def test_an_enum_with_other_members_is_refused(tmp_path):
    tiny().fit(LIGHTS).save(tmp_path / "gan")
    other = enum.Enum("Colour", ["RED", "GREEN"])
    with pytest.raises(ValueError, match=r"pass vocabulary= \(Colour\) to load"):
        LikelihoodGAN.load(tmp_path / "gan", vocabulary=other)


def test_members_of_two_classes_of_one_name_are_refused(tmp_path):
    other = enum.Enum("Colour", ["RED", "GREEN"])
    gan = tiny().fit([(Colour.RED, other.RED), (other.GREEN,), (Colour.BLUE,)])
    with pytest.raises(ValueError, match="members of two classes Colour; rename one"):
        gan.save(tmp_path / "gan")


def test_an_enum_as_the_vocabulary_is_its_members(tmp_path):
    gan = tiny(vocabulary=Colour).fit([(Colour.RED,), (Colour.RED, Colour.RED)] * 3)
    assert gan.vocabulary_.symbols == (Colour.BLUE, Colour.RED)
    gan.save(tmp_path / "gan")
    assert LikelihoodGAN.load(tmp_path / "gan", vocabulary=Colour).vocabulary is Colour
