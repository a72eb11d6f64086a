"""Language models of transformers as generators: built offline, lawful, trained, refined, saved."""

import json
import pickle
import socket
import sys

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from conftest import NAMES, assert_refused, tiny
from damaging import rewrite
from enumeration import all_rows, stirred
from sklearn.base import clone
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from likelihood_gan import LikelihoodGAN, Refined, SequenceDistribution
from likelihood_gan.checks import check_generator
from likelihood_gan.huggingface import CausalLM, TokenizerPattern
from likelihood_gan.models import NGram, Product
from likelihood_gan.protocols import call_with_rng
from likelihood_gan.sampling import take_rows
from likelihood_gan.vocabulary import Vocabulary

GPT2 = {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2}
HEADS = {"num_hidden_layers": 2, "num_attention_heads": 2}
LLAMA = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 32, **HEADS}
KINDS = {
    "gpt2": GPT2,
    "llama": LLAMA | {"num_key_value_heads": 1},
    "mistral": LLAMA | {"model_type": "mistral", "num_key_value_heads": 1, "sliding_window": 3},
    "gpt_neox": LLAMA | {"model_type": "gpt_neox"},
    "openai-gpt": GPT2 | {"model_type": "openai-gpt"},  # without a cache
}
TEXTS = ["a cat sat", "the cat sat on the mat", "the dog ran", "a dog sat on the mat"]


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("something was to be downloaded")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def built(kind="gpt2", n_tokens=3, **changes):
    """Build a model with weights that are far from alike."""
    return stirred(CausalLM(n_tokens, config=KINDS[kind] | changes)).eval()


@pytest.fixture(scope="module")
def tokenizer():
    """A byte-level tokenizer, as that of GPT-2 is."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=290,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(TEXTS * 10, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


@pytest.fixture(scope="module")
def llama(tokenizer):
    """A model with the ids of the tokenizer: beginning, end and padding are three."""
    settings = {key: value for key, value in LLAMA.items() if key != "model_type"}
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    return AutoModelForCausalLM.from_config(
        LlamaConfig(vocab_size=len(tokenizer), **settings, **special)
    ).eval()


# Laws


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_lawful_generator(kind):
    model = built(kind)
    assert model.caches == (kind != "openai-gpt")
    check_generator(model, n_tokens=3, n_samples=4000)


@pytest.mark.parametrize("choice", [[4, 2, 3], [1, 0, 2]])
def test_a_choice_of_ids_is_a_lawful_generator_too(choice):
    model = GPT2LMHeadModel(GPT2Config(vocab_size=5, n_embd=16, n_layer=1, n_head=2))
    check_generator(CausalLM(model, ids=choice, start=1), n_tokens=3, n_samples=4000)


def test_the_probability_of_a_row_is_the_product_of_what_the_model_predicts():
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=6, n_embd=16, n_layer=1, n_head=2, bos_token_id=4, eos_token_id=5)
    ).eval()
    generator = CausalLM(model, ids=[5, 0, 2], start=4)
    assert generator.symbols == [0, 2]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[4, 2, 0]])).logits[0][:, [5, 0, 2]]
        expected = logits.log_softmax(1)[[0, 1, 2], [2, 1, 0]].sum()
        found = generator.log_prob(torch.tensor([[2, 1, 0, 0, 0]]))
    assert float(found) == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral"])
def test_a_state_is_tensors_with_the_batch_first_and_stays_as_it_was(kind):
    model, rows = built(kind), all_rows(3, 4)
    with torch.no_grad():
        _, state = model.step(torch.zeros(len(rows), dtype=torch.int64), None)
        _, state = model.step(rows[:, 0], state)
        before = [[part.clone() for part in layer] for layer in state]
        expected, _ = model.step(rows[:, 1], state)
        assert all(
            torch.equal(part, old)
            for layer, olds in zip(state, before, strict=True)
            for part, old in zip(layer, olds, strict=True)
        )
        chosen = torch.tensor([7, 2, 2])
        found, _ = model.step(rows[chosen, 1], take_rows(state, chosen))
    torch.testing.assert_close(found, expected[chosen])


def test_without_the_cache_the_same_rows_are_drawn():
    model = built("llama")
    draws = []
    for model.caches in (True, False):
        draws.append(call_with_rng(model.sample, 200, 9, rng=torch.Generator().manual_seed(0)))
    assert torch.equal(*draws)


def test_large_tables_are_made_in_parts(monkeypatch):
    model, rows = built(), all_rows(3, 5)
    with torch.no_grad():
        whole = model.log_prob(rows)
        monkeypatch.setattr("likelihood_gan.huggingface._LOGITS_AT_ONCE", 40)
        torch.testing.assert_close(model.log_prob(rows), whole)


def test_half_precision_sums_in_single():
    model = built("llama", dtype="bfloat16")
    assert model.model.dtype == torch.bfloat16
    with torch.no_grad():
        mass = model.log_prob(all_rows(3, 4)).double().exp().sum()
    assert float(mass) == pytest.approx(1, abs=1e-5)


# In an estimator


@pytest.fixture(scope="module")
def fitted():
    config = GPT2Config(n_embd=16, n_layer=1, n_head=2)
    return tiny(generator=CausalLM, generator_params={"config": config}).fit(NAMES)


def test_a_fit_trains_it_and_repeats_with_the_seed(fitted):
    assert fitted.history_[-1]["validation_nll"] < fitted.history_[0]["validation_nll"]
    again = clone(fitted).fit(NAMES)
    np.testing.assert_array_equal(again.score_samples(NAMES), fitted.score_samples(NAMES))
    other = clone(fitted).set_params(random_state=1).fit(NAMES)
    assert other.score(NAMES) != fitted.score(NAMES)


def test_the_configuration_that_is_given_stays_as_it_was(fitted):
    config = fitted.generator_params["config"]
    assert config.vocab_size == GPT2Config().vocab_size
    assert fitted.generator_.model.config.vocab_size == fitted.vocabulary_.n_tokens


def test_constraints_are_those_of_every_generator_with_steps(fitted):
    drawn = fitted.sample(50, prefix="ma", top_k=3, min_len=5, max_len=8, random_state=0)
    assert all(name.startswith("ma") and 5 <= len(name) <= 8 for name in drawn)
    assert "e" not in "".join(fitted.sample(50, banned="e", random_state=0))
    names, log_probs = fitted.most_probable(5)
    np.testing.assert_allclose(log_probs, fitted.score_samples(names), atol=1e-4)


def test_it_is_refined(fitted):
    refined = Refined(fitted, random_state=0).fit(NAMES)
    assert np.isfinite(refined.score_samples(refined.sample(20, random_state=0))).all()


def product(n_tokens):
    return Product([CausalLM(n_tokens, config=GPT2), NGram(n_tokens)], exponents=[1, 1])


def test_it_corrects_an_n_gram_model_in_a_product(tmp_path):
    gan = tiny(generator=product, generator_params=None).fit(NAMES)
    counts = next(record for record in gan.history_ if record["phase"] == "count")
    assert min(r["validation_nll"] for r in gan.history_) <= counts["validation_nll"]
    check_generator(gan.generator_, gan.vocabulary_.n_tokens, n_samples=2000)
    gan.distribution_.save(tmp_path / "product.safetensors")
    again = SequenceDistribution.load(tmp_path / "product.safetensors")
    np.testing.assert_array_equal(again.score_samples(NAMES), gan.score_samples(NAMES))


# Files


def header_of(path):
    with safetensors.safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["likelihood_gan"])


@pytest.mark.parametrize("config", [GPT2Config(n_embd=16, n_layer=1, n_head=2), LLAMA])
def test_a_file_holds_the_configuration(config, tmp_path):
    path = tmp_path / "lm.safetensors"
    gan = tiny(generator=CausalLM, generator_params={"config": config}).fit(NAMES)
    gan.save(path)
    again = LikelihoodGAN.load(path)
    np.testing.assert_array_equal(again.score_samples(NAMES), gan.score_samples(NAMES))
    assert again.generator_.model.config.to_dict() == gan.generator_.model.config.to_dict()
    assert clone(again).fit(NAMES).score(NAMES) == gan.score(NAMES)
    assert "auto_map" not in json.dumps(header_of(path))


def test_a_chosen_model_is_saved_with_its_ids(llama, tmp_path):
    distribution = SequenceDistribution(CausalLM(llama, ids=[1, 9, 8], start=0), "ab", max_len=5)
    distribution.save(tmp_path / "lm.safetensors")
    again = SequenceDistribution.load(tmp_path / "lm.safetensors")
    rows = ["", "a", "ba", "abba"]
    np.testing.assert_array_equal(again.score_samples(rows), distribution.score_samples(rows))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["model_type", "t5"], ["t5", "causal"]),
        (["model_type", "../../code"], ["code", "causal"]),
        (["trust_remote_code", True], ["trust_remote_code", "GPT2Config"]),
        (["n_embdd", 16], ["n_embdd", "GPT2Config"]),
        (["n_embd", 2 * 10**6], ["must be of shape"]),  # of this, and so on, nothing is made
        (["n_positions", 10**10], ["must be of shape"]),
        (["n_layer", 10**9], ["1000000000 layers, but there are"]),
    ],
)
def test_a_file_builds_known_models_with_known_settings_alone(change, words, tmp_path):
    path = tmp_path / "lm.safetensors"
    SequenceDistribution(CausalLM(3, config=GPT2), "ab", max_len=5).save(path)

    def change_config(header):
        arguments = header["object"]["object"][1]["generator"]["object"][1]["arguments"]["dict"]
        config = dict(arguments)["config"]["dict"]
        config[:] = [pair for pair in config if pair[0] != change[0]] + [change]

    rewrite(path, change_config)
    assert_refused(lambda: SequenceDistribution.load(path), ValueError, words)


def test_settings_that_name_code_are_never_read():
    code = {"auto_map": {"AutoModelForCausalLM": "evil--code.Model"}, "_attn_implementation": "a/b"}
    model = CausalLM(3, config=GPT2 | code | {"attn_implementation": "someone/kernel"})
    assert type(model.model) is GPT2LMHeadModel
    assert not hasattr(model.model.config, "auto_map")
    assert model.model.config._attn_implementation == "sdpa"


class OwnModel(GPT2LMHeadModel):
    pass


def test_a_model_of_another_class_is_used_but_not_saved(tmp_path):
    model = OwnModel(GPT2Config(vocab_size=3, n_embd=16, n_layer=1, n_head=2))
    own = SequenceDistribution(CausalLM(model, ids=[0, 1, 2]), "ab", max_len=5)
    assert np.isfinite(own.score(["ab"]))
    assert_refused(
        lambda: own.save(tmp_path / "own.safetensors"), ValueError, ["OwnModel", "pickle"]
    )
    again = pickle.loads(pickle.dumps(own))
    assert again.score(["ab"]) == own.score(["ab"])


# Texts and ids


def test_a_tokenizer_splits_texts_as_it_does_itself(tokenizer):
    pattern = TokenizerPattern(tokenizer)
    for text in [*TEXTS, "", "a dog, ran!", "unseen words"]:
        pieces = pattern(text)
        assert "".join(pieces) == text
        assert [pattern.ids[piece] for piece in pieces] == tokenizer(text).input_ids
    assert not set(pattern.ids.values()) & set(tokenizer.all_special_ids)


def test_a_part_of_a_character_is_no_text(tokenizer):
    assert_refused(
        lambda: TokenizerPattern(tokenizer)("café"), ValueError, ["café", "ids", "token_pattern"]
    )


def test_texts_are_fitted_drawn_and_saved_through_the_tokenizer(tokenizer, llama, tmp_path):
    model, pattern = CausalLM(llama, tokenizer), TokenizerPattern(tokenizer)
    gan = tiny(generator=model, generator_params=None, token_pattern=pattern)
    gan.set_params(vocabulary=model.symbols, pretrain_epochs=30).fit(TEXTS * 10)
    assert gan.generator_.symbols == list(gan.vocabulary_.symbols)
    before = SequenceDistribution(model, gan.vocabulary_, 10).score(TEXTS)
    assert gan.score(TEXTS) > before + 5
    assert all(pattern(text) for text in gan.sample(20, prefix="the cat", random_state=0))
    gan.save(tmp_path / "texts.safetensors")
    again = LikelihoodGAN.load(tmp_path / "texts.safetensors", token_pattern=pattern)
    assert again.score(TEXTS) == gan.score(TEXTS)
    assert clone(gan).fit(TEXTS * 10).score(TEXTS) == gan.score(TEXTS)


def test_a_text_is_likelier_than_its_ids_by_what_is_no_text(tokenizer, llama):
    by_text, by_id = CausalLM(llama, tokenizer), CausalLM(llama)
    assert by_id.symbols == list(range(3, len(tokenizer)))  # beginning, end and padding are none
    texts = SequenceDistribution(
        by_text, Vocabulary(by_text.symbols, token_pattern=TokenizerPattern(tokenizer)), max_len=10
    )
    ids = SequenceDistribution(by_id, by_id.symbols, max_len=10)
    rows = [tuple(tokenizer(text).input_ids) for text in TEXTS]
    # those of texts are normalised over fewer tokens
    assert (texts.score_samples(TEXTS) > ids.score_samples(rows)).all()


@pytest.mark.parametrize(
    ("special", "start", "end", "symbols"),
    [
        ((0, 1, 2), 0, 1, [3, 4, 5]),
        ((5, 5, None), 5, 5, [0, 1, 2, 3, 4]),
        ((None, 4, 0), 4, 4, [1, 2, 3, 5]),
        ((0, [2, 4], None), 0, 2, [1, 3, 5]),  # several ends: the first is written
    ],
)
def test_beginning_end_and_padding_are_no_symbols(special, start, end, symbols):
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    config = GPT2Config(vocab_size=6, n_embd=16, n_layer=1, n_head=2)
    model = GPT2LMHeadModel(config)
    for name, value in zip(names, special, strict=True):
        setattr(model.config, name, value)
    generator = CausalLM(model)
    assert (generator.start, int(generator.ids[0])) == (start, end)
    assert generator.symbols == symbols
    assert generator.n_tokens == len(symbols) + 1


# Refusals


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: CausalLM(3), TypeError, ["config", "GPT2Config"]),
        (lambda: CausalLM(1, config=GPT2), ValueError, ["model", "2", "1"]),
        (lambda: CausalLM(torch.nn.Linear(1, 1), ids=[0, 1]), TypeError, ["model", "Linear"]),
        (lambda: CausalLM(3, "tokenizer", config=GPT2), ValueError, ["tokenizer", "new"]),
        (lambda: CausalLM(3, config={"model_type": "bert"} | HEADS), ValueError, ["is_decoder"]),
        (lambda: CausalLM(3, config={"n_embd": 16}), ValueError, ["model_type", "None"]),
        (lambda: CausalLM(3, config=GPT2, ids=[0, 1]), ValueError, ["ids", "3", "2"]),
        (lambda: CausalLM(3, config=GPT2, ids=[0, 1, 1]), ValueError, ["ids", "3", "2"]),
    ],
)
def test_a_misuse_is_named(call, error, words):
    assert_refused(call, error, words)


def test_ids_that_the_model_does_not_have_are_named():
    model = built().model
    assert_refused(lambda: CausalLM(model, ids=[0, 3]), ValueError, ["ids", "from 0 to 2", "3"])
    assert_refused(lambda: CausalLM(model, ids=[0, 1], start=-1), ValueError, ["start", "-1"])
    assert_refused(lambda: CausalLM(model, config=GPT2), ValueError, ["config", "new"])
    model.config.eos_token_id = None
    assert_refused(lambda: CausalLM(model), ValueError, ["eos_token_id", "ids="])


def test_rows_that_the_model_cannot_read_are_refused_in_scoring_and_in_steps():
    model = built(n_positions=4)
    assert model.log_prob(torch.tensor([[1, 1, 1, 0]])).isfinite().all()
    words = ["5 tokens", "max_position_embeddings=4", "max_len"]
    long = torch.tensor([[1, 1, 1, 1, 0]])
    assert_refused(lambda: model.log_prob(long), ValueError, words)
    assert_refused(
        lambda: SequenceDistribution(model, "ab", 4).sample(9, min_len=5, max_len=5),
        ValueError,
        words,
    )


def test_without_transformers_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert_refused(
        lambda: CausalLM(3, config=GPT2),
        ImportError,
        ["transformers", "likelihood-gan[huggingface]"],
    )
