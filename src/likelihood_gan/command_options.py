"""The options of the command `likelihood-gan`, and its help.

What a command does is left to `commands` and `fit_command`.
"""

import argparse
import re
from typing import Any, NoReturn

from likelihood_gan import __version__, commands, fit_command
from likelihood_gan.console import WRONG


class _Parser(argparse.ArgumentParser):
    """Errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG, f"likelihood-gan: error: {message}; see `{self.prog} --help`\n")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(
        prog="likelihood-gan",
        description="Learn a distribution of sequences from a text file, one a line; draw and score.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    kinds = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_fit(kinds)
    _add_resume(kinds)
    _add_sample(kinds)
    _add_score(kinds)
    _add_compare(kinds)
    _add_info(kinds)
    return parser


_EXAMPLES = """\
example, from a list of words to new ones:
  likelihood-gan fit words.txt --out words.safetensors --checkpoint words.checkpoint
  likelihood-gan sample words.safetensors -n 20 --new words.txt
  echo house | likelihood-gan score words.safetensors -

`likelihood-gan COMMAND --help` has more. "-" is standard input. Files that end in .gz, .bz2 or .xz are
decompressed. Where a message names a parameter, such as max_len, the option is --max-len, if there is one,
else --set max_len=VALUE. Exit codes: 0 done, 1 training diverged, 2 an option or a file is wrong, 130
interrupted.
"""
_MODEL = "file that `fit` or `save` wrote"
_WORDS = 'text file, one sequence a line; "-" is standard input'


def _add_command(kinds: Any, name: str, run: Any, text: str, examples: str) -> Any:
    parser = kinds.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def _add_fit(kinds: Any) -> None:
    parser = _add_command(
        kinds,
        "fit",
        fit_command.fit,
        "fit a model to a file",
        """\
  likelihood-gan fit words.txt --out words.safetensors
  likelihood-gan fit words.txt --out words.safetensors --checkpoint words.checkpoint --seed 0
  likelihood-gan fit names.tsv --counts --out names.safetensors --set pretrain_epochs=10
  likelihood-gan fit smiles.txt.gz --token-pattern 'Cl|Br|.' --out smiles.safetensors
  likelihood-gan fit secret.txt --generator CharLSTM --out secret.safetensors

The default generator keeps counts of the data, from which much of the list can be rebuilt: CharLSTM does not.
After Ctrl-C, or if the process is killed, `resume` goes on from the checkpoint. Without one, Ctrl-C leaves
the best epoch in OUT.unfinished. OUT itself is only written, and replaced, once the fit is finished.""",
    )
    parser.add_argument("words", metavar="WORDS", help=_WORDS)
    _add_output(parser)
    parser.add_argument(
        "--checkpoint", metavar="PATH", help="keep the state here after every epoch, for `resume`"
    )
    _add_reading(parser, "WORDS")
    group = parser.add_argument_group("the model")
    group.add_argument(
        "--generator", choices=fit_command.GENERATORS, help="what writes; default: ResidualLSTM"
    )
    group.add_argument(
        "--objective", help='of the adversarial epochs, such as "mle", which does without'
    )
    group.add_argument("--pretrain-epochs", type=int, metavar="N", help="of maximum likelihood")
    group.add_argument("--adversarial-epochs", type=int, metavar="N")
    group.add_argument("--max-len", type=int, metavar="N", help="most symbols of a sequence")
    group.add_argument("--vocabulary", metavar="TEXT", help="all symbols that may ever occur")
    group.add_argument(
        "--token-pattern", metavar="REGEX", help="what is one symbol; default: one character"
    )
    group.add_argument(
        "--handle-unknown",
        choices=("error", "neg_inf", "token"),
        help="what the scores do with symbols that the data lack; default: error",
    )
    group.add_argument("--device", help="where to compute, such as cuda")
    group.add_argument("--seed", type=int, metavar="N", help="to repeat a fit")
    _add_settings(
        group,
        "any other parameter of LikelihoodGAN, such as generator__hidden_size=256; repeatable",
    )


def _add_resume(kinds: Any) -> None:
    parser = _add_command(
        kinds,
        "resume",
        fit_command.resume,
        "go on with a fit from its checkpoint",
        """\
  likelihood-gan resume words.checkpoint words.txt --out words.safetensors

The data are those of the fit, and the parameters are in the checkpoint. The result has the same bits as if
the fit had not been interrupted.""",
    )
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="what `fit --checkpoint` wrote; it is kept up to date",
    )
    parser.add_argument("words", metavar="WORDS", help="the data of the fit")
    _add_output(parser)
    _add_reading(parser, "WORDS")
    parser.add_argument("--seed", type=int, metavar="N", help="to repeat a refinement")
    _add_settings(parser, "a parameter of the refinement; repeatable")


def _add_sample(kinds: Any) -> None:
    parser = _add_command(
        kinds,
        "sample",
        commands.sample,
        "draw sequences, one a line",
        """\
  likelihood-gan sample words.safetensors -n 20
  likelihood-gan sample words.safetensors -n 20 --new words.txt --distinct
  likelihood-gan sample words.safetensors --prefix un --match 'ly$' --scores
  likelihood-gan sample words.safetensors -n 5 --temperature 0.7 --min-len 12 --max-len 12

--new, --match and --cut redraw draw until there are enough, so what comes is exactly the distribution under
that condition. --prefix, --temperature and the like change the probabilities of the next symbol instead.""",
    )
    _add_model(parser)
    parser.add_argument("-n", type=int, default=1, metavar="N", help="how many; default: 1")
    parser.add_argument("--new", metavar="FILE", help="none of the sequences of this file")
    parser.add_argument(
        "--match",
        type=_regular_expression,
        metavar="REGEX",
        help="those in which it is found; ^ and $ are both ends",
    )
    parser.add_argument("--distinct", action="store_true", help="none twice")
    parser.add_argument("--prefix", metavar="TEXT", help="what they begin with")
    parser.add_argument("--temperature", type=float, metavar="T", help="below 1: likelier symbols")
    parser.add_argument("--top-k", type=int, metavar="K", help="one of the K likeliest symbols")
    parser.add_argument(
        "--top-p", type=float, metavar="P", help="of those with this share together"
    )
    parser.add_argument("--min-len", type=int, metavar="N", help="fewest symbols")
    parser.add_argument("--max-len", type=int, metavar="N", help="most; default: as in the data")
    parser.add_argument(
        "--banned", metavar="TEXT", help="symbols that do not come behind the prefix"
    )
    parser.add_argument("--allowed", metavar="TEXT", help="the only ones that come behind it")
    parser.add_argument(
        "--cut",
        choices=("keep", "redraw", "error"),
        default="keep",
        help="what becomes of longer ones than --max-len; default: keep, as far as they came",
    )
    parser.add_argument(
        "--scores", action="store_true", help="print a tab and the log-probability, too, in nats"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="to repeat the draw")
    _add_reading(parser, "--new")


def _add_score(kinds: Any) -> None:
    parser = _add_command(
        kinds,
        "score",
        commands.score,
        "print every line, a tab and its log-probability in nats",
        """\
  likelihood-gan score words.safetensors words.txt > scores.tsv
  cut -f1 data.tsv | likelihood-gan score words.safetensors - | sort -t$'\\t' -k2 -g | head

Lines are scored as they come, many at a time: a file need not fit into memory.""",
    )
    _add_model(parser)
    parser.add_argument("sequences", metavar="FILE", help=_WORDS)
    parser.add_argument(
        "--line-by-line", action="store_true", help="answer every line at once, as on a terminal"
    )
    parser.add_argument(
        "--handle-unknown",
        choices=("error", "neg_inf"),
        help="neg_inf: -inf for lines with symbols that the model lacks; default: as the model has it",
    )
    _add_reading(parser, None)


def _add_compare(kinds: Any) -> None:
    parser = _add_command(
        kinds,
        "compare",
        commands.compare,
        "measure a model, and an n-gram model beside it, on a file that it was not fitted to",
        """\
  likelihood-gan compare words.safetensors held-out.txt --training words.txt

The file is halved at random. As many samples are held against one half as the other has; the column "data"
has the other half in their place, which says what real data reach. Likelihoods are of the whole file.""",
    )
    _add_model(parser)
    parser.add_argument("held_out", metavar="HELD_OUT", help=_WORDS)
    parser.add_argument(
        "--training", metavar="FILE", help="the data of the fit: the n-gram model counts these"
    )
    parser.add_argument(
        "-n", type=int, default=10_000, metavar="N", help="most samples; default: 10000"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="to repeat the comparison")
    _add_reading(parser, "--training")


def _add_info(kinds: Any) -> None:
    parser = _add_command(
        kinds,
        "info",
        commands.info,
        "say what a file holds",
        "  likelihood-gan info words.safetensors\n  likelihood-gan info words.checkpoint",
    )
    parser.add_argument("model", metavar="FILE", help=f"{_MODEL}, or a checkpoint")


def _add_model(parser: Any) -> None:
    parser.add_argument("model", metavar="MODEL", help=_MODEL)
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--refined",
        action="store_true",
        help="insist that the model is refined; one that is, is used so anyway",
    )
    group.add_argument(
        "--plain", action="store_true", help="of a refined model, use the one that was refined"
    )


def _add_output(parser: Any) -> None:
    parser.add_argument("--out", required=True, metavar="OUT", help="where the model is saved")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    parser.add_argument(
        "--refine",
        action="store_true",
        help="weigh the samples by a classifier (Refined); its parameters: --set refined__NAME=VALUE",
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="epochs between checkpoints; default: 1"
    )
    parser.add_argument(
        "--verbose",
        type=int,
        metavar="N",
        help="0: silent; N: where there is no terminal, a line every N epochs; default: on terminals",
    )


def _add_settings(parser: Any, text: str) -> None:
    parser.add_argument(
        "--set",
        type=fit_command.setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=text,
    )


def _add_reading(parser: Any, counted: str | None) -> None:
    group = parser.add_argument_group("text files")
    if counted:
        group.add_argument(
            "--counts",
            action="store_true",
            help=f"a tab and a number end each line of {counted}: how often it came",
        )
    group.add_argument(
        "--keep-empty", action="store_true", help="an empty line is the empty sequence"
    )
    group.add_argument("--encoding", default="utf-8", help="default: utf-8")


def _regular_expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from error
    return text
