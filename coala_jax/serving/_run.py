"""A server from start to end: socket, signals, the engine's thread."""

import asyncio
import contextlib
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import uvicorn

from coala_jax.decoding._reward_model import TextRewardModel
from coala_jax.serving._access import Access
from coala_jax.serving._api import Api
from coala_jax.serving._app import make_app
from coala_jax.serving._connection import server_config
from coala_jax.serving._engine import Engine
from coala_jax.serving._intake import Intake
from coala_jax.serving._limits import Limits

# Connections that wait to be accepted.
BACKLOG = 2048
# Files that the process needs beside a connection's.
OTHER_FILES = 256
# Streams that were ended have so long to say so.
LAST_WORDS_SECONDS = 2.0


def open_socket(host: str, port: int) -> socket.socket:
    """Listen on an address; what comes before the server runs waits.

    Args:
        host: name or address.
        port: 0 takes a free one.

    Raises:
        OSError: names the address.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise OSError(
            f"--host {host} --port {port}: cannot listen there ({error.strerror}); --port 0 takes "
            "a free port"
        ) from error
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class Server:
    """A server of one backbone and one head.

    Attributes:
        engine: generates and scores.
    """

    def __init__(
        self,
        model: TextRewardModel,
        *,
        limits: Limits,
        access: Access,
        served_name: str,
        scale: float,
        log: Callable[[str], None],
        chat_as_text: bool = False,
    ):
        """Prepare to serve.

        Args:
            model: that generates and gives rewards.
            limits: what is allowed.
            access: who may ask.
            served_name: the name that clients ask for.
            scale: guidance scale where a request names none.
            log: told a line a request.
            chat_as_text: as `Intake` takes it.

        Raises:
            GenerationError: the model does not generate.
        """
        intake = Intake(model, limits, chat_as_text=chat_as_text)
        self._limits = intake.limits
        self.engine = Engine(model, intake.limits, log)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="intake")
        self._api = Api(self.engine, intake, self._reader, served_name, scale, int(time.time()))
        config = server_config(
            make_app(self._api, access, intake.limits, log),
            intake.limits.header_seconds,
            intake.limits.shutdown_seconds + LAST_WORDS_SECONDS,
            backlog=BACKLOG,
        )
        self._server = _SignalFree(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._log = log

    def run(self, listener: socket.socket, *, ready: Callable[[], None] | None = None) -> None:
        """Serve until `stop`, or SIGINT or SIGTERM in the main thread.

        Args:
            listener: from `open_socket`; closed at the end.
            ready: called once what requests without options of their own need is compiled; None
                leaves that to the first of them.
        """
        _raise_file_limit(self._limits.requests + BACKLOG + OTHER_FILES)
        self.engine.start()
        try:
            asyncio.run(self._serve(listener, ready))
        finally:
            self.engine.stop()
            self._reader.shutdown(cancel_futures=True)
            listener.close()

    def stop(self) -> None:
        """End from any thread: answers may finish for a while; a second call ends them now."""
        if self._loop is None:  # it has not begun
            self._server.should_exit = True
            return
        with contextlib.suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._end)

    async def _serve(self, listener: socket.socket, ready: Callable[[], None] | None) -> None:
        self._loop = loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self._end)
        if ready is not None and await self._api.warm_up():
            ready()
        await self._server.serve(sockets=[listener])

    def _end(self) -> None:
        loop = asyncio.get_running_loop()
        if self._server.should_exit:
            self.engine.abort()
            return
        self._log("shutting down; answers may finish, a second signal ends them")
        self.engine.refuse()
        self._server.should_exit = True
        loop.call_later(self._limits.shutdown_seconds, self.engine.abort)


class _SignalFree(uvicorn.Server):
    """One whose signals are handled outside."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


def _raise_file_limit(needed: int) -> None:
    """A connection takes a file; systems allow few unless asked."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
