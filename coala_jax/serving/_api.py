"""The routes: requests through intake and engine to answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from typing import Any, NamedTuple, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from coala_jax.decoding._config import GenerationError
from coala_jax.decoding._rewards import Rewards
from coala_jax.serving._engine import Engine
from coala_jax.serving._errors import ApiError, stopping, timed_out
from coala_jax.serving._fields import json_object
from coala_jax.serving._gate import ACCOUNT, client_left, read_body
from coala_jax.serving._intake import Intake
from coala_jax.serving._replies import STREAM_END, Reply, event, scores
from coala_jax.serving._requests import (
    GenerationRequest,
    chat_request,
    completion_request,
    score_request,
)
from coala_jax.serving._tickets import Failed, Finished, Piece, Ticket

OWNER = "coala-jax"
# A client that does not read what it is sent is given up so long after its request timed out.
SEND_SECONDS = 5.0

Made = TypeVar("Made")


class Api(NamedTuple):
    """The routes and what they need.

    Attributes:
        engine: generates and scores.
        intake: reads prompts.
        reader: the one thread of the intake.
        model: the name that is served.
        scale: guidance scale where a request names none.
        started: seconds since 1970, when the model came to be as far as clients are concerned.
    """

    engine: Engine
    intake: Intake
    reader: Executor
    model: str
    scale: float
    started: int

    async def warm_up(self) -> bool:
        """Compile what requests without options of their own need; whether that was let end.

        Raises:
            GenerationError: it failed.
        """
        body = {"model": self.model, "prompt": "a", "max_tokens": 1}
        asked = completion_request(body, self.model, self.intake.limits, self.scale)
        (first,) = self.intake.choices(asked)
        try:
            # Alone; and together, where one opens the rows and the other is put among them.
            for choices in ([first], [first, first._replace(number=1)]):
                ticket = Ticket()
                self.engine.generate(ticket, choices)
                for _ in choices:
                    while not isinstance(await ticket.next(), Finished):
                        pass
                self.engine.cancel(ticket)
        except ApiError as error:
            if not self.engine.works:  # it was told to end
                return False
            raise GenerationError(
                "the model fails under these limits, as said above; lower --batch-size or "
                "--max-context"
            ) from error
        return True

    async def health(self, _: Request) -> Response:
        """Whether requests are answered."""
        if not self.engine.works:
            raise stopping()
        return JSONResponse({"status": "ok"})

    async def models(self, _: Request) -> Response:
        """The one model."""
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def one_model(self, request: Request) -> Response:
        """The one model, by its name."""
        asked = request.path_params["name"]
        if asked != self.model:
            raise ApiError(
                404,
                f"the model {asked!r} is not served here",
                code="model_not_found",
                param="model",
            )
        return JSONResponse(self._model())

    async def completions(self, request: Request) -> Response:
        """Responses to texts."""
        body = await self._body(request)
        asked = completion_request(body, self.model, self.intake.limits, self.scale)
        return await self._generate(request, asked, chat=False)

    async def chat_completions(self, request: Request) -> Response:
        """Responses to a conversation."""
        body = await self._body(request)
        asked = chat_request(body, self.model, self.intake.limits, self.scale)
        return await self._generate(request, asked, chat=True)

    async def score(self, request: Request) -> Response:
        """Rewards of given responses."""
        body = await self._body(request)
        items = score_request(body, self.model, self.intake.limits)
        until = self._until()
        rows = await self._read(lambda: self.intake.score_rows(items), request.receive, until)
        request.scope[ACCOUNT]["responses"] = len(rows)
        ticket = Ticket()
        self.engine.score(ticket, rows)
        async with self.attended(ticket, request.receive, until):
            made = await ticket.next()
        assert isinstance(made, Rewards)
        return JSONResponse(scores(self.model, made))

    async def _body(self, request: Request) -> dict[str, Any]:
        return json_object(await read_body(request.scope, request.receive, self.intake.limits))

    def _until(self) -> float:
        """When a request that begins now must be answered, by the clock of the loop."""
        return asyncio.get_running_loop().time() + self.intake.limits.request_seconds

    async def _read(self, work: Callable[[], Made], receive: Receive, until: float) -> Made:
        """Work of the intake, for as long as the client is there and time is not up."""
        ticket = Ticket()  # the engine has none yet: this one can only fail
        async with self.attended(ticket, receive, until):
            reading = asyncio.get_running_loop().run_in_executor(self.reader, work)
            failing = asyncio.create_task(ticket.next())
            try:
                await asyncio.wait((reading, failing), return_when=asyncio.FIRST_COMPLETED)
                if failing.done():
                    failing.result()
                return await reading
            finally:
                # What has begun goes on; what waits behind others does not begin.
                reading.cancel()
                failing.cancel()

    async def _generate(self, request: Request, asked: GenerationRequest, chat: bool) -> Response:
        until = self._until()
        choices = await self._read(lambda: self.intake.choices(asked), request.receive, until)
        # Of every prompt once, however many responses it has.
        prompt_tokens = sum(len(choice.prompt) for choice in choices[:: asked.choices])
        account = request.scope[ACCOUNT]
        account["prompt"] = prompt_tokens
        reply = Reply(self.model, chat, asked.seed, prompt_tokens, asked.usage)
        ticket = Ticket()
        self.engine.generate(ticket, choices)
        if asked.stream:
            return EventStream(self, reply, ticket, len(choices), until)
        pieces = [
            Piece(number, "", None if asked.likely is None else ())
            for number in range(len(choices))
        ]
        ends = dict[int, Finished]()
        async with self.attended(ticket, request.receive, until):
            while len(ends) < len(choices):
                told = await ticket.next()
                if isinstance(told, Piece):
                    pieces[told.number] = pieces[told.number].followed_by(told)
                elif isinstance(told, Finished):
                    ends[told.number] = told
        account["new"] = sum(end.tokens for end in ends.values())
        return JSONResponse(reply.whole(pieces, [ends[number] for number in sorted(ends)]))

    @contextlib.asynccontextmanager
    async def attended(self, ticket: Ticket, receive: Receive, until: float) -> AsyncIterator[None]:
        """Wait for a ticket's events: the ticket fails where the client leaves or time is up.

        Whatever happens, the engine has forgotten the ticket at the end.
        """

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            ticket.tell(Failed(client_left()))

        late = Failed(timed_out(self.intake.limits.request_seconds))
        timer = asyncio.get_running_loop().call_at(until, ticket.tell, late)
        watcher = asyncio.create_task(watch())
        try:
            yield
        finally:
            watcher.cancel()
            timer.cancel()
            self.engine.cancel(ticket)

    def _model(self) -> dict[str, Any]:
        return {
            "id": self.model,
            "object": "model",
            "created": self.started,
            "owned_by": OWNER,
            "max_model_len": self.intake.limits.context,
        }


class EventStream(Response):
    """An answer sent as it comes, by server-sent events."""

    media_type = "text/event-stream"

    def __init__(self, api: Api, reply: Reply, ticket: Ticket, choices: int, until: float):
        """Prepare to send.

        Args:
            api: whose engine has the ticket.
            reply: makes the events.
            ticket: tells what came.
            choices: how many responses there are.
            until: when the request must be answered, by the clock of the loop.
        """
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._api, self._reply, self._ticket, self._choices = api, reply, ticket, choices
        self._until = until

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; one that holds an error ends a stream that failed."""
        account = scope[ACCOUNT]
        with contextlib.suppress(TimeoutError):
            async with (
                self._api.attended(self._ticket, receive, self._until),
                asyncio.timeout_at(self._until + SEND_SECONDS),
            ):
                start = {"type": "http.response.start", "status": self.status_code}
                await send({**start, "headers": self.raw_headers})
                try:
                    async for sent in self._events(account):
                        await send(_part(event(sent)))
                except ApiError as error:
                    account["ended"] = error.code
                    await send(_part(event(error.body())))
                await send({**_part(event(STREAM_END)), "more_body": False})

    async def _events(self, account: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        for number in range(self._choices):
            if opening := self._reply.opening(number):
                yield opening
        going, account["new"] = self._choices, 0
        while going:
            told = await self._ticket.next()
            if isinstance(told, Piece):
                yield self._reply.piece(told)
            elif isinstance(told, Finished):
                going -= 1
                account["new"] += told.tokens
                yield self._reply.end(told)
        if self._reply.usage:
            yield self._reply.count(account["new"])


def _part(content: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, "more_body": True}
