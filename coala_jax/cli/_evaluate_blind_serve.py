"""`coala-jax evaluate blind serve`: give a study's page to people and keep their answers."""

from __future__ import annotations

import argparse
from pathlib import Path

from coala_jax.cli._address_options import add_address
from coala_jax.cli._output import report, say, warning_line

EXAMPLE = """  coala-jax evaluate blind serve study/page.html --out answers
  coala-jax evaluate blind serve study/page.html --out answers --allow-host study.example.org \\
      --allow-origin https://study.example.org"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("page", help="page.html of `blind make`")
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help="for the answers, one file a participant"
    )
    add_address(
        parser,
        8001,
        "Origin of the page where a proxy changes it, such as https://study.example.org; may be "
        "repeated",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command until it is stopped; gives the exit code."""
    from coala_jax._lock import only_writer
    from coala_jax.evaluation import EvaluationError
    from coala_jax.evaluation.blind._inbox import Inbox
    from coala_jax.evaluation.blind._page import embedded_study
    from coala_jax.evaluation.blind._server import own_origins, study_app, study_server
    from coala_jax.serving._access import Access, allowed_hosts, allowed_origins, is_loopback
    from coala_jax.serving._run import address_of, open_socket

    page, out = Path(arguments.page).read_bytes(), Path(arguments.out)
    embedded = embedded_study(page.decode("utf-8", "replace"), arguments.page)
    hosts = allowed_hosts(arguments.host, tuple(arguments.allow_host))
    named = allowed_origins(tuple(arguments.allow_origin))
    with (
        only_writer(out, say, EvaluationError),
        open_socket(arguments.host, arguments.port) as listener,
    ):
        inbox = Inbox(out, embedded)
        access = Access(hosts=hosts, origins=own_origins(hosts, listener.getsockname()[1]) | named)
        server = study_server(study_app(page, inbox, access, say))
        if not is_loopback(arguments.host):
            say(warning_line(f"{arguments.host} is reached from other machines: so is the study"))
        url = f"{address_of(listener)}/"
        report(
            arguments,
            {"url": url, "study": embedded["study"], "out": out},
            [f"study {embedded['study']} at {url}, answers into {out}"],
        )
        server.run(sockets=[listener])
    return 0
