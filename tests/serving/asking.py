"""A server in a thread, ways to ask it, and control over its steps."""

import http.client
import json
import socket
import threading
from contextlib import contextmanager, suppress

from coala_jax.serving._access import Access
from coala_jax.serving._limits import Limits
from coala_jax.serving._run import Server, address_of, open_socket

MODEL = "tiny"
# Pools of few: what scores larger ones is compiled for every size.
LIMITS = Limits(
    rows=2,
    new_tokens=32,
    choices=4,
    waiting=6,
    requests=64,
    plan_seconds=0,
    body_bytes=20_000,
    top_k=4,
)
# What a test waits for at most; reached only where something is broken.
PATIENCE = 60


def refused(answer, status):
    """The error of an answer, which has the form of the API."""
    found, _, body = answer
    assert found == status, body
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert isinstance(body["error"]["message"], str)
    assert isinstance(body["error"]["code"], str)
    return body["error"]


def found_json(headers):
    return headers.get("content-type") == "application/json"


class Running:
    """A server in a thread, and plain HTTP to it.

    Attributes:
        server: the server.
        address: its host and port.
        log: the lines so far.
    """

    def __init__(self, listener):
        self.server, self.url = None, address_of(listener)
        self.address = listener.getsockname()[:2]
        self.log = []
        self._logged = threading.Condition()

    def note(self, line):
        if "fault" in line:
            print(line)  # pytest shows it beside what failed
        with self._logged:
            self.log.append(line)
            self._logged.notify_all()

    def wait_for_log(self, part, count=1):
        """Until so many lines of the log hold the text; gives the first of them."""

        def found():
            return [line for line in self.log if part in line]

        with self._logged:
            assert self._logged.wait_for(lambda: len(found()) >= count, PATIENCE)
            return found()[0]

    def ask(self, method, path, body=None, headers=(), raw=None):
        """Status, headers and JSON of an answer."""
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE)
        content = raw if raw is not None else None if body is None else json.dumps(body)
        given = {"Content-Type": "application/json"} if content is not None else {}
        connection.request(method, path, content, {**given, **dict(headers)})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, found, json.loads(text) if found_json(found) else text

    def complete(self, **fields):
        """The answer to a request for completions."""
        body = {"model": MODEL, "prompt": "the student asks", "max_tokens": 4, **fields}
        return self.ask("POST", "/v1/completions", body)


@contextmanager
def running(model, *, limits=LIMITS, access=None, **options):
    """A server that runs meanwhile."""
    with open_socket("127.0.0.1", 0) as listener:
        one = Running(listener)
        one.server = Server(
            model,
            limits=limits,
            access=access or Access(),
            served_name=MODEL,
            scale=1.0,
            log=one.note,
            **options,
        )
        thread = threading.Thread(target=one.server.run, args=(listener,))
        thread.start()
        try:
            yield one
        finally:
            one.server.stop()
            thread.join(PATIENCE)
            assert not thread.is_alive()


class Steps:
    """Steps of all sessions, each of which waits for leave.

    Attributes:
        dropped: rows that were ended before they were done, in order.
    """

    def __init__(self):
        self._leave = threading.Semaphore(0)
        self._free = False
        self._waits = threading.Event()
        self.dropped = []

    def allow(self, count):
        self._leave.release(count)

    def wait_until_used(self):
        """Until a step waits for leave that was not given."""
        assert self._waits.wait(PATIENCE)

    def free(self):
        """Wait no longer."""
        self._free = True
        self._leave.release(100)

    def wait(self):
        if self._free or self._leave.acquire(blocking=False):
            return
        self._waits.set()
        if not self._free:
            assert self._leave.acquire(timeout=PATIENCE)


class Sent:
    """A request on a connection of its own, whose answer is read line by line."""

    def __init__(self, running, path, body, headers=""):
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(content)}\r\n{headers}\r\n"
        self._socket = socket.create_connection(running.address, timeout=PATIENCE)
        self._socket.sendall(head.encode() + content)
        self._lines = self._socket.makefile("rb")

    def events(self):
        """Contents of the events as they come, to the end of the stream."""
        for line in self._lines:
            if line.startswith(b"data: "):
                content = line.removeprefix(b"data: ").strip()
                if content == b"[DONE]":
                    return
                yield json.loads(content)
        raise AssertionError("the stream broke off")

    def status(self):
        """The status; the answer has begun."""
        return int(self._lines.readline().split()[1])

    def rest(self):
        """How many bytes come to the end of the connection."""
        count = 0
        with suppress(ConnectionResetError):
            while part := self._socket.recv(2**20):
                count += len(part)
        return count

    def leave(self):
        self._lines.close()
        self._socket.close()
