"""The server of a blind study in a thread."""

import http.client
import json
import threading
from contextlib import contextmanager

from coala_jax.evaluation.blind._inbox import Inbox
from coala_jax.evaluation.blind._page import embedded_study
from coala_jax.evaluation.blind._server import own_origins, study_app, study_server
from coala_jax.serving._access import LOOPBACK_NAMES, Access
from coala_jax.serving._run import address_of, open_socket


class Running:
    """A server, and plain HTTP to it.

    Attributes:
        url: of the page.
        log: the lines so far.
    """

    def __init__(self, listener, log):
        self.url, self.log = f"{address_of(listener)}/", log
        self._address = listener.getsockname()[:2]

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection(*self._address, timeout=30)
        said = {"Content-Type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        content = json.dumps(body, indent=1).encode() if isinstance(body, dict) else body
        connection.request(method, path, content, said)
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return found


@contextmanager
def running(page, folder):
    """The server of a page's file, which writes into a folder."""
    content, log = page.read_bytes(), []
    with open_socket("127.0.0.1", 0) as listener:
        hosts = frozenset(LOOPBACK_NAMES)
        access = Access(hosts=hosts, origins=own_origins(hosts, listener.getsockname()[1]))
        inbox = Inbox(folder, embedded_study(content.decode(), page.name))
        server = study_server(study_app(content, inbox, access, log.append))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Running(listener, log)
        finally:
            server.should_exit = True
            thread.join(30)
