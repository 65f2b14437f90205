"""A stand-in for an OpenAI-compatible endpoint on loopback, which misbehaves as it is told.

with standing_in(lambda body, number: Says("[[A]]")) as judge:
    judge.url       # the base URL
    judge.asked     # bodies of the requests so far
"""

import http.server
import json
import math
import threading
import time
from contextlib import contextmanager
from typing import NamedTuple


class Says(NamedTuple):
    """A chat completion; ``probabilities`` of first tokens become their log probabilities."""

    text: str | None
    finish: str = "stop"
    probabilities: dict[str, float] | None = None
    usage: dict | None = {"prompt_tokens": 10, "completion_tokens": 2}  # noqa: RUF012
    refusal: str | None = None
    after: float = 0.0


class Fails(NamedTuple):
    """A status with a body, in the form of OpenAI's errors where it is no text."""

    status: int
    message: str = "broken"
    code: str | None = None
    param: str | None = None
    headers: dict[str, str] = {}  # noqa: RUF012


class Raw(NamedTuple):
    """Any body under any status."""

    body: str
    status: int = 200
    kind: str = "application/json"


class Cut(NamedTuple):
    """A body that ends before it is whole."""

    body: str = '{"choices": [{"message": {"content": "half of'


class Drips(NamedTuple):
    """A blank now and then, as proxies send them, before the reply."""

    blanks: int
    text: str = "late"
    pause: float = 0.05


def question_of(body):
    """The last message of a request."""
    return body["messages"][-1]["content"]


class StandIn:
    """What a test sees of the server.

    Attributes:
        url: base URL.
        asked: bodies of requests, in the order of their arrival.
        headers: of requests, by names in lower case.
        most_at_once: requests that were answered at the same time.
    """

    def __init__(self, url):
        self.url, self.asked, self.headers = url, [], []
        self.most_at_once = 0
        self.arrivals = []
        self._now, self._lock = 0, threading.Lock()

    def enter(self, body, headers):
        with self._lock:
            self.asked.append(body)
            self.headers.append(headers)
            self.arrivals.append(time.monotonic())
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            return len(self.asked)

    def leave(self):
        with self._lock:
            self._now -= 1


@contextmanager
def standing_in(answer):
    """A server whose replies are ``answer(body, number)``; numbers count requests from 1."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            number = stand_in.enter(
                body, {name.lower(): value for name, value in self.headers.items()}
            )
            try:
                if self.path != "/v1/chat/completions":
                    self._send(404, {"error": {"message": f"no route {self.path}"}})
                else:
                    self._answer(answer(body, number))
            except (BrokenPipeError, ConnectionResetError):
                pass
            finally:
                stand_in.leave()

        def _answer(self, said):
            if isinstance(said, Says):
                time.sleep(said.after)
                self._send(200, completion(said))
            elif isinstance(said, Fails):
                error = {"message": said.message, "code": said.code, "param": said.param}
                self._send(said.status, {"error": error}, said.headers)
            elif isinstance(said, Raw):
                self._write(said.status, said.body.encode(), {"Content-Type": said.kind})
            elif isinstance(said, Drips):
                content = json.dumps(completion(Says(said.text))).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(said.blanks + len(content)))
                self.end_headers()
                for _ in range(said.blanks):
                    self.wfile.write(b" ")
                    time.sleep(said.pause)
                self.wfile.write(content)
            else:
                cut = said.body.encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(cut) + 1000))
                self.end_headers()
                self.wfile.write(cut)
                self.close_connection = True

        def _send(self, status, fields, headers=()):
            kind = {"Content-Type": "application/json"}
            self._write(status, json.dumps(fields).encode(), {**kind, **dict(headers)})

        def _write(self, status, content, headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 64

        def handle_error(self, request, client_address):
            pass  # a client that was killed

    with Server(("127.0.0.1", 0), Handler) as server:
        stand_in = StandIn(f"http://127.0.0.1:{server.server_port}/v1")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield stand_in
        finally:
            server.shutdown()
            thread.join()


def completion(said):
    """The body of a chat completion."""
    message = {"role": "assistant", "content": said.text}
    if said.refusal is not None:
        message["refusal"] = said.refusal
    choice = {"index": 0, "message": message, "finish_reason": said.finish}
    if said.probabilities is not None:
        candidates = [
            {"token": token, "logprob": math.log(share)}
            for token, share in said.probabilities.items()
        ]
        choice["logprobs"] = {"content": [{**candidates[0], "top_logprobs": candidates}]}
    fields = {"id": "reply", "object": "chat.completion", "model": "stand-in", "choices": [choice]}
    return fields if said.usage is None else {**fields, "usage": said.usage}
