"""Options of commands that ask a judge, and the judge that they make."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coala_jax.cli._derived_options import add_fields, from_options
from coala_jax.cli._output import report, say, warning_line
from coala_jax.cli._parser import UsageError, natural_number, non_negative_number
from coala_jax.evaluation.judge._settings import JudgeSettings, Prices

if TYPE_CHECKING:
    from coala_jax.evaluation._chat import ChatRequest
    from coala_jax.evaluation.judge._judge import Judge

CACHE = "judge-replies.jsonl"
FIELDS = tuple(name for name in JudgeSettings.__dataclass_fields__ if name != "model")
TAKES = {"retries": natural_number, "temperature": non_negative_number}
NAMES = {"send_temperature": "--no-temperature"}


def add_judge_options(parser: argparse.ArgumentParser) -> None:
    """Add which judge is asked and how."""
    group = parser.add_argument_group(
        "judge", "any endpoint that speaks OpenAI's protocol of chat completions"
    )
    group.add_argument("--judge", metavar="MODEL", required=True, help="name of the model there")
    group.add_argument(
        "--cache",
        metavar="FILE",
        default=CACHE,
        help="every reply is kept here as it arrives, and is not asked for again (default: "
        "%(default)s)",
    )
    add_fields(
        group, JudgeSettings, FIELDS, takes=TAKES, names=NAMES, defaults=JudgeSettings(model="-")
    )
    group.add_argument(
        "--prices",
        nargs=2,
        type=non_negative_number,
        metavar=("IN", "OUT"),
        help="of a million tokens of prompts and of replies, to count what is spent",
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="count requests, tokens and price, and send nothing",
    )


def dry_run(arguments: argparse.Namespace, requests: Sequence[ChatRequest]) -> int:
    """Print what asking would take; gives the exit code."""
    from coala_jax.evaluation.judge._cache import read_cache
    from coala_jax.evaluation.judge._estimate import CHARACTERS_PER_TOKEN, estimate

    cache = read_cache(Path(arguments.cache))
    found = estimate(_settings(arguments), requests, cache, _prices(arguments))
    lines = [
        f"{found['requests']:,} requests to {found['model']}, {found['distinct']:,} of them "
        f"distinct, {found['cached']:,} answered in {cache.path}",
        f"to ask: {found['to_ask']:,}, with about {found['prompt_tokens_estimate']:,} prompt "
        f"tokens (an estimate: characters / {CHARACTERS_PER_TOKEN}) and at most "
        f"{found['completion_tokens_at_most']:,} tokens of replies",
    ]
    if (price := found["price_estimate"]) is not None:
        lines.append(f"price: about {price:,.2f} if every reply is as long as it may be")
    return report(arguments, {"dry_run": found}, [*lines, "nothing was sent"])


@contextmanager
def open_judge(arguments: argparse.Namespace) -> Iterator[Judge]:
    """The judge that the options mean, with the only pen of its cache."""
    from coala_jax.evaluation.judge._judge import open_judge as opened

    cache, prices = Path(arguments.cache), _prices(arguments)
    with opened(_settings(arguments), cache, say, prices) as judge:
        yield judge


def account_lines(account: Mapping[str, Any]) -> list[str]:
    """What `Judge.account` says, for people."""
    lines = [
        f"judge {account['model']} at {account['base_url']}: {account['asked']:,} replies asked "
        f"for, {account['cached']:,} from {account['cache']}, {account['failed']:,} failed, "
        f"{account['retries']:,} further attempts",
        f"tokens of this run: {account['prompt_tokens']:,} in, {account['completion_tokens']:,} "
        "out" + ("" if account["price"] is None else f"; price {account['price']:,.4f}"),
        *(
            f"asked with {_temperature(each)}, for at most {each['max_tokens']:,} tokens a reply"
            for each in account["sampling"]
        ),
    ]
    if account["uncounted"]:
        lines.append(f"the endpoint counted no tokens of {account['uncounted']:,} replies")
    for url, count in account["cached_elsewhere"].items():
        lines.append(
            warning_line(
                f"{count:,} cached replies were given by {url}; if another model answers there, "
                "give another --cache"
            )
        )
    if account["failed"]:
        lines.append(
            warning_line(
                f"{account['failed']:,} requests got no reply; run the same command again: it asks "
                "for these alone"
            )
        )
    if account["unreadable_cache_lines"]:
        lines.append(
            warning_line(
                f"{account['unreadable_cache_lines']:,} lines of {account['cache']} cannot be "
                "read; what they held was asked for again"
            )
        )
    return lines


def _temperature(sampling: Mapping[str, Any]) -> str:
    value = sampling["temperature"]
    return "no temperature" if value is None else f"temperature {value:g}"


def _settings(arguments: argparse.Namespace) -> JudgeSettings:
    try:
        return from_options(arguments, JudgeSettings, model=arguments.judge)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _prices(arguments: argparse.Namespace) -> Prices | None:
    return None if arguments.prices is None else Prices(*arguments.prices)
