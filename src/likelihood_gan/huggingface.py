"""A causal language model of Hugging Face's transformers as a generator, its tokenizer as symbols.

transformers is imported when one is made. Nothing is downloaded: what loads trained weights is the
caller's `from_pretrained`.
"""

import copy
import inspect
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from likelihood_gan.protocols import END, State, by_steps
from likelihood_gan.rules import check, integer
from likelihood_gan.sampling import Autoregressive, log_prob_of
from likelihood_gan.scoring import evaluating
from likelihood_gan.vocabulary import sort_symbols

_LOGITS_AT_ONCE = 2**25
"""Most numbers of a table (batch, time, n_tokens) that `log_prob` makes, unless a row has more."""
_CODE = {"attn_implementation", "auto_map", "experts_implementation", "quantization_config"}
"""Settings that may name code elsewhere; they are neither written nor read."""


class CausalLM(Autoregressive, nn.Module):
    """A causal language model of transformers, such as GPT-2 or Llama, as a generator.

    In scoring and in sampling alike, a row begins behind the model's beginning of a sequence, ends
    with its end, and is not padded with anything that is read.

    Parameters
    ----------
    model : transformers.PreTrainedModel or int
        The model, which is not copied; or the number of tokens, END included, of a new one with
        random weights. So the class itself can be the parameter `generator`.
    tokenizer : transformers.PreTrainedTokenizerBase, optional
        That of the model. The symbols are then texts (see `TokenizerPattern`) and not ids.
    config : transformers.PretrainedConfig or mapping, optional
        Of a new model: its settings, as a configuration or as those that are not at their default
        beside its type, such as ``{"model_type": "gpt2", "n_embd": 64}``. The sizes of the vocabulary
        and the ids of beginning, end and padding are set here.
    ids : sequence of int, optional
        Which id of the model each token is: first the one that ends a sequence, then one a symbol.
        Others have probability 0, what is left is normalised. If missing, all but the model's
        beginning and padding.
    start : int, optional
        The id that is read before the first symbol; the model's beginning if missing, or its end.

    Attributes
    ----------
    symbols : list
        What the tokens from 1 on stand for, in order: ids or, with a tokenizer, texts. They are the
        `vocabulary` of an estimator or a distribution.
    caches : bool
        Whether `step` goes on from keys and values. Models with other states read the whole row again.

    Raises
    ------
    ImportError
        If transformers is not installed.
    TypeError, ValueError
        If an argument is of the wrong type, an id is out of range or missing, settings are unknown,
        or the model is not causal.

    Examples
    --------
    >>> from transformers import GPT2Config
    >>> model = CausalLM(27, config=GPT2Config(n_embd=32, n_layer=1, n_head=2))
    >>> model.sample(5, max_len=8).shape[0]
    5
    """

    ids: Tensor

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        config: Any = None,
        ids: Sequence[int] | None = None,
        start: int | None = None,
    ):
        super().__init__()
        n_tokens = None if isinstance(model, nn.Module) else model
        if n_tokens is not None:
            check(n_tokens, "model", _N_TOKENS)
            if tokenizer is not None:
                raise ValueError(
                    "tokenizer tells the ids of a model that is given, not of a new one"
                )
            model = _new_model(config, int(n_tokens) if ids is None else None)
        elif not isinstance(model, _transformers().PreTrainedModel):
            raise TypeError(f"model must be a model of transformers, got a {type(model).__name__}")
        elif config is not None:
            raise ValueError("config is for a new model: pass the number of tokens, not a model")
        self.model = model
        settings = model.config.get_text_config(decoder=True)
        texts = {} if tokenizer is None else TokenizerPattern(tokenizer).ids
        if ids is None:
            every = texts.values() if texts else range(settings.vocab_size)
            ids, start = _own_ids(settings if tokenizer is None else tokenizer, every, start)
        self.start = int(ids[0] if start is None else start)
        _check_ids(ids, self.start, settings.vocab_size, n_tokens)
        self.register_buffer("ids", torch.tensor(ids, dtype=torch.int64), persistent=False)
        text_of = {i: text for text, i in texts.items()}
        self.symbols = [text_of.get(i, i) for i in ids[1:]]
        self.arguments = _arguments(model, ids, self.start)
        self._all = list(ids) == list(range(settings.vocab_size))
        # XLNet has -1
        self._longest = max(getattr(settings, "max_position_embeddings", None) or 0, 0)
        accepted = inspect.signature(model.forward).parameters
        self._cache_name = next((n for n in ("cache", "past_key_values") if n in accepted), "")
        self.caches = False
        _require_causal(self)
        self.caches = bool(self._cache_name) and _goes_on(self)

    @property
    def n_tokens(self) -> int:
        """Number of tokens: every symbol and END."""
        return len(self.ids)

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token a row; (batch,) -> next-symbol log-probabilities (batch, n_tokens).

        The state is one pair of keys and values a layer, or all ids so far.
        """
        read = (torch.full_like(tokens, self.start) if state is None else self.ids[tokens])[:, None]
        if not self.caches:
            read = read if state is None else torch.cat([state, read], 1)
            return self._log_probs(read)[:, -1], read
        # the cache is made anew, since what reads with it changes it
        cache = _transformers().DynamicCache(state)
        n_read = 0 if state is None else state[0][0].shape[-2]
        log_probs = self._log_probs(read, n_read, use_cache=True, **{self._cache_name: cache})
        return log_probs[:, 0], [tuple(layer[:2]) for layer in cache]

    @by_steps
    def log_prob(self, tokens: Tensor) -> Tensor:
        """Log-probability of each row in nats, (batch, time) -> (batch,)."""
        size = max(1, _LOGITS_AT_ONCE // (tokens.shape[1] * self.n_tokens))
        return torch.cat(
            [log_prob_of(self.next_log_probs(rows), rows) for rows in tokens.split(size)]
        )

    def next_log_probs(self, tokens: Tensor) -> Tensor:
        """Log-probabilities of every next symbol, (batch, time) -> (batch, time, n_tokens)."""
        return self._log_probs(pad(self.ids[tokens[:, :-1]], (1, 0), value=self.start))

    def _log_probs(self, read: Tensor, n_read: int = 0, **how: Any) -> Tensor:
        """Read ids behind `n_read` others, (batch, time) -> (batch, time, n_tokens)."""
        if 0 < self._longest < n_read + read.shape[1]:
            raise ValueError(
                f"rows of {n_read + read.shape[1]} tokens are longer than the model can read, "
                f"config.max_position_embeddings={self._longest}; build it for more, or choose a "
                "smaller max_len"
            )
        how = {"use_cache": False} | how
        logits = self.model(input_ids=read, return_dict=True, **how).logits
        if not self._all:
            logits = logits.index_select(-1, self.ids)
        # half precision is too coarse for sums over a row
        return (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(-1)


class TokenizerPattern:
    """A tokenizer of transformers as `token_pattern`: the symbols are the texts of its tokens.

    They must join to the text again. So it is with tokenizers that keep blanks, such as the
    byte-level ones of GPT-2 and Llama 3. Where it is not so, pass sequences of ids,
    ``tuple(tokenizer(text).input_ids)``, and no tokenizer.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        It is kept, not copied. Special tokens are no symbols.

    Attributes
    ----------
    ids : dict of str to int
        The id of each symbol, in the order of a vocabulary. A token that is no text of its own, such
        as a part of a character or the double of another one, is not among them.

    Raises
    ------
    ValueError
        When it splits a text that needs another token.
    """

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        special = set(tokenizer.all_special_ids)
        texts = {
            i: tokenizer.decode([i], clean_up_tokenization_spaces=False)
            for i in tokenizer.get_vocab().values()
            if i not in special
        }
        times = Counter(texts.values())
        own = {
            t: i
            for i, t in texts.items()
            if t and times[t] == 1 and "\N{REPLACEMENT CHARACTER}" not in t
        }
        self.ids = {text: own[text] for text in sort_symbols(own)}
        self._texts = {i: text for text, i in self.ids.items()}

    def __call__(self, text: str) -> list[str]:
        """Split a text."""
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        odd = [i for i in ids if i not in self._texts]
        if odd:
            raise ValueError(
                f"the tokenizer splits {text[:50]!r} into tokens that are no text of their own, such as "
                f"{self.tokenizer.convert_ids_to_tokens(odd[0])!r}; pass sequences of ids, "
                "tuple(tokenizer(text).input_ids), and no token_pattern"
            )
        return [self._texts[i] for i in ids]

    def __repr__(self) -> str:
        return f"TokenizerPattern({type(self.tokenizer).__name__}, {len(self.ids)} symbols)"


def write_config(value: Any) -> dict[str, Any] | None:
    """Return the settings of a configuration of transformers, None of anything else."""
    transformers: Any = sys.modules.get("transformers")
    if transformers is None or not isinstance(value, transformers.PretrainedConfig):
        return None
    settings: dict[str, Any] = _without_code(value.to_dict())
    return settings


def read_config(settings: Mapping[str, Any]) -> Any:
    """Return a configuration of a causal language model of transformers; no code is loaded.

    Raises
    ------
    ValueError
        If there is no such model, or it has no such settings.
    """
    transformers = _transformers()
    settings = dict(_without_code(settings))
    kind = settings.pop("model_type", None)
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ValueError(
            "config['model_type'] must be that of a causal language model of transformers, such as "
            f"'gpt2' or 'llama', got {kind!r}"
        )
    plain = transformers.AutoConfig.for_model(kind)
    if odd := settings.keys() - plain.to_dict().keys() - plain.attribute_map.keys():
        raise ValueError(
            f"config has {sorted(odd)}, which a {kind} of transformers {transformers.__version__} does "
            f"not know; its settings are those of {type(plain).__name__}"
        )
    return transformers.AutoConfig.for_model(kind, **settings)


def outline(arguments: Mapping[str, Any], n_weights: int) -> nn.Module:
    """Return a module with the weights of ``CausalLM(**arguments)`` by name, shape and type, without memory.

    Raises
    ------
    ValueError
        If it would have more layers than `n_weights`.
    """
    config, ids = arguments["config"], arguments.get("ids")
    if isinstance(config, Mapping):
        config = read_config(config)
    n_layers = getattr(config.get_text_config(decoder=True), "num_hidden_layers", 0)
    if n_layers > n_weights:
        raise ValueError(f"config has {n_layers} layers, but there are {n_weights} weights")
    with torch.device("meta"):
        model = _new_model(config, None if ids is not None else arguments["model"])
    return nn.ModuleDict({"model": model})


_N_TOKENS = integer(2)
_FAILURES = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What models with a state of their own raise when they meet another one."""


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            "likelihood_gan.huggingface needs transformers: pip install 'likelihood-gan[huggingface]'"
        ) from error
    return transformers


def _new_model(config: Any, n_tokens: int | None) -> Any:
    """Build a model with random weights; with `n_tokens` its ids are our tokens."""
    transformers = _transformers()
    if isinstance(config, Mapping):
        config = read_config(config)
    elif not isinstance(config, transformers.PretrainedConfig):
        raise TypeError(
            "config must be a configuration of transformers, such as GPT2Config(), or a mapping of "
            f"settings, got {config!r}"
        )
    if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(
            f"config must be that of a causal language model, got a {type(config).__name__}"
        )
    config = copy.deepcopy(config)
    if n_tokens is not None:
        text = config.get_text_config(decoder=True)
        text.vocab_size, text.bos_token_id, text.eos_token_id = n_tokens, END, END
        text.pad_token_id = None  # its embedding would be kept from learning
    return transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def _own_ids(named: Any, every: Iterable[int], start: int | None) -> tuple[list[int], int | None]:
    """Return the ids of all tokens and the one to start with, by what has names for them."""
    first, end, padding = (getattr(named, f"{n}_token_id", None) for n in ("bos", "eos", "pad"))
    ends = list(end) if isinstance(end, (list, tuple)) else [end]  # Llama 3 has two
    if ends[0] is None:
        raise ValueError(
            "the model has no id that ends a sequence: set eos_token_id in its configuration or its "
            "tokenizer, or pass ids="
        )
    left_out = {first, padding, *ends}
    return [ends[0], *(i for i in every if i not in left_out)], first if start is None else start


def _check_ids(ids: Sequence[int], start: int, vocab_size: int, n_tokens: int | None) -> None:
    """Raise ValueError if ids do not fit a model."""
    if odd := [i for i in (*ids, start) if not 0 <= i < vocab_size]:
        raise ValueError(
            f"ids, start and the bos_token_id and eos_token_id of a model must be from 0 to "
            f"{vocab_size - 1} (config.vocab_size - 1), got {odd[:5]}"
        )
    n = len(set(ids))
    if n != len(ids) or n < 2 or n_tokens not in (None, n):
        wanted = "at least 2" if n_tokens is None else n_tokens
        raise ValueError(
            f"ids must hold {wanted} different ids, the first of which ends a sequence, got "
            f"{n} different ones of {len(ids)}"
        )


def _require_causal(generator: CausalLM) -> None:
    """Raise ValueError if what is predicted depends on what comes later."""
    later = generator.ids[:2]
    read = torch.stack([later[:1].expand(2), later], 1)
    with torch.no_grad(), evaluating(generator):
        first, other = generator._log_probs(read)[:, 0]
    if not torch.allclose(
        first, other, atol=1e-6, rtol=1e-6
    ):  # of one batch: equal but for rounding
        raise ValueError(
            f"model {type(generator.model).__name__} is not causal: it sees the symbol that it is to "
            "predict; some configurations need is_decoder=True"
        )


def _goes_on(generator: CausalLM) -> bool:
    """Tell whether keys and values, taken out of the cache and put back, are all that a model needs."""
    tokens = torch.arange(6, device=generator.ids.device).view(2, 3) % len(generator.ids)
    state, steps = None, []
    generator.caches = True
    try:
        with torch.no_grad(), evaluating(generator):
            for token in pad(tokens[:, :-1], (1, 0)).unbind(1):
                log_probs, state = generator.step(token, state)
                steps.append(log_probs)
            whole = generator.next_log_probs(tokens)
    except _FAILURES:
        return False
    tolerance = max(1e-5, 100 * torch.finfo(generator.model.dtype).eps)
    return bool(state) and torch.allclose(torch.stack(steps, 1), whole, tolerance, tolerance)


def _arguments(model: Any, ids: Sequence[int], start: int) -> dict[str, Any]:
    """Return what `CausalLM` builds such a model with; the model itself if it cannot."""
    known = _transformers().MODEL_FOR_CAUSAL_LM_MAPPING.get(type(model.config), ())
    if type(model) not in (known if isinstance(known, tuple) else (known,)):
        return {"model": model}
    config = write_config(model.config)
    return {"model": len(ids), "config": config, "ids": list(map(int, ids)), "start": start}


def _without_code(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {
        key: _without_code(part)
        for key, part in value.items()
        if not str(key).startswith("_") and key not in _CODE
    }
