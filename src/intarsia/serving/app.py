"""The web application: an OpenAI-compatible API around one model."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

from intarsia import __version__
from intarsia.errors import InputError, IntarsiaError
from intarsia.models import CausalLM
from intarsia.serving.api_errors import ApiError, error_body
from intarsia.serving.config import ServingConfig
from intarsia.serving.gate import Gate
from intarsia.serving.middleware import ChatMessages, ChatMiddleware
from intarsia.serving.prompts import COMPLETION_TOKENS, PromptEncoder, served_name
from intarsia.serving.replies import ChatStyle, Choice, CompletionStyle, ReplyStyle, model_object, usage
from intarsia.serving.requests import Generation, ask_and_wait, sampling_settings
from intarsia.serving.rows import Piece
from intarsia.serving.sampling import SamplingSettings
from intarsia.serving.schemas import ChatRequest, CompletionRequest, GenerationRequest, explain
from intarsia.serving.worker import ClosingError, ModelWorker, QueueFullError

_T = TypeVar("_T")

_RETRY_SECONDS = "1"


def create_app(
    loaded: CausalLM, config: ServingConfig | None = None, *, middleware: ChatMiddleware | None = None
) -> FastAPI:
    """Makes the application; any ASGI server runs it.

    Its lifespan starts and stops the thread that owns the model, so nothing else may use the model meanwhile.

    Args:
        loaded: Model and tokenizer, as `load_causal_lm` gives them.
        config: Settings; host and port matter to `serve` only.
        middleware: Rewrites chats; none by default.
    """
    api = _Api(loaded, config or ServingConfig(), middleware)
    app = FastAPI(title="Intarsia", version=__version__, docs_url=None, redoc_url=None, lifespan=api.lifespan)
    app.state.worker, app.state.model_name = api.worker, api.name
    app.add_api_route("/health", api.health, methods=["GET"])
    app.add_api_route("/v1/models", api.models, methods=["GET"])
    app.add_api_route("/v1/models/{name:path}", api.model, methods=["GET"])
    app.add_api_route("/v1/chat/completions", api.chat, methods=["POST"], response_model=None)
    app.add_api_route("/v1/completions", api.completion, methods=["POST"], response_model=None)
    app.add_exception_handler(RequestValidationError, _on_invalid_body)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(IntarsiaError, _on_known_error)
    app.add_middleware(Gate, config=api.config)
    if api.config.cors_origins:
        # Outermost: a browser asks for permission without a key.
        app.add_middleware(
            CORSMiddleware, allow_origins=list(api.config.cors_origins), allow_methods=["*"], allow_headers=["*"]
        )
    return app


class _Api:
    """The endpoints."""

    def __init__(self, loaded: CausalLM, config: ServingConfig, middleware: ChatMiddleware | None) -> None:
        self.config = config
        self._tokenizer = loaded.tokenizer
        self._middleware = middleware
        self._encoder = PromptEncoder(loaded, config)
        self.name = config.name or served_name(loaded.model.name_or_path or "model")
        self._created = int(time.time())
        self.worker = ModelWorker(loaded, config, self._encoder.context)

    @contextlib.asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Runs the model's thread while the application runs."""
        self.worker.start()
        yield
        self.worker.stop()
        await asyncio.to_thread(self.worker.join)

    async def health(self) -> JSONResponse:
        """Whether the server takes requests, and how many choices it works on."""
        running, waiting = self.worker.counts
        closing = self.worker.closing
        body = {"status": "closing" if closing else "ok", "model": self.name, "running": running, "waiting": waiting}
        return JSONResponse(body, 503 if closing else 200)

    async def models(self) -> dict[str, Any]:
        """The list of models, which is this one."""
        return {"object": "list", "data": [model_object(self.name, self._created, self._encoder.context)]}

    async def model(self, name: str) -> dict[str, Any]:
        """The model's description."""
        self._check_name(name)
        return model_object(self.name, self._created, self._encoder.context)

    async def chat(self, body: ChatRequest, request: Request) -> Response:
        """Answers a conversation."""
        self._check(body)
        if self._middleware is not None and body.reported_tokens is not None:
            message = "this server rewrites replies, so it cannot report logprobs"
            raise ApiError(400, message, param="logprobs", code="unsupported_parameter")
        style = ChatStyle(self.name, reports=body.reported_tokens is not None, includes_usage=body.includes_usage)
        return await _unless_disconnected(request, self._chat(body, style))

    async def completion(self, body: CompletionRequest, request: Request) -> Response:
        """Continues one or several prompts."""
        self._check(body)
        style = CompletionStyle(self.name, reports=body.reported_tokens is not None, includes_usage=body.includes_usage)
        return await _unless_disconnected(request, self._completion(body, style))

    async def _chat(self, body: ChatRequest, style: ReplyStyle) -> Response:
        messages: ChatMessages = [message.as_dict() for message in body.messages]
        if self._middleware is not None:
            messages = await asyncio.to_thread(self._middleware.rewrite_messages, messages, self._ask)
        prompt = await asyncio.to_thread(self._encoder.chat, messages)
        length = self._encoder.answer_length(
            prompt,
            body.max_completion_tokens or body.max_tokens,
            self.config.default_new_tokens,
            param="messages",
        )
        generation = self._generate([(prompt, sampling_settings(body, length))], body.n or 1, continues=False)
        if self._middleware is None:
            return await self._reply(generation, body, style)
        return await self._rewritten_reply(generation, body, style, messages, self._middleware)

    async def _completion(self, body: CompletionRequest, style: ReplyStyle) -> Response:
        prompts = []
        for given in body.prompt:
            prompt = await asyncio.to_thread(self._encoder.completion, given)
            length = self._encoder.answer_length(prompt, body.max_tokens, COMPLETION_TOKENS, param="prompt")
            prompts.append((prompt, sampling_settings(body, length)))
        return await self._reply(self._generate(prompts, body.n or 1, continues=True), body, style)

    def _generate(
        self, prompts: Sequence[tuple[Sequence[int], SamplingSettings]], choices: int, *, continues: bool
    ) -> Generation:
        rows = len(prompts) * choices
        if rows > self.config.max_queue:
            message = f"the request asks for {rows} answers, but at most {self.config.max_queue} may wait"
            raise ApiError(400, message, param="prompt", code="invalid_value")
        return Generation(self.worker, self._tokenizer, prompts, choices, continues=continues)

    async def _reply(self, generation: Generation, body: GenerationRequest, style: ReplyStyle) -> Response:
        pieces = generation.pieces()
        try:
            if not body.stream:
                return JSONResponse(style.whole(await generation.collect(), generation.prompt_tokens))
            # What goes wrong before the first token can still be told by the status.
            first = await anext(pieces)
        except BaseException:
            generation.close()
            raise
        return _EventStream(_events(first, pieces, generation, body, style), generation)

    async def _rewritten_reply(
        self,
        generation: Generation,
        body: GenerationRequest,
        style: ReplyStyle,
        messages: ChatMessages,
        middleware: ChatMiddleware,
    ) -> Response:
        try:
            choices = await generation.collect()
        finally:
            generation.close()
        rewrite = middleware.rewrite_reply
        texts = await asyncio.gather(
            *(asyncio.to_thread(rewrite, messages, choice.text, self._ask) for choice in choices)
        )
        for choice, text in zip(choices, texts, strict=True):
            choice.text = text
        if not body.stream:
            return JSONResponse(style.whole(choices, generation.prompt_tokens))
        return _EventStream(_replayed(choices, generation, body, style), generation)

    def _ask(self, messages: ChatMessages) -> str:
        prompt = self._encoder.chat(messages)
        length = self._encoder.answer_length(prompt, None, self.config.default_new_tokens, param="messages")
        return ask_and_wait(self.worker, self._tokenizer, prompt, SamplingSettings(length, temperature=0.0))

    def _check(self, body: GenerationRequest) -> None:
        self._check_name(body.model)
        if (body.n or 1) > self.config.max_choices:
            message = f"n is {body.n}, but this server allows {self.config.max_choices}"
            raise ApiError(400, message, param="n", code="invalid_value")

    def _check_name(self, name: str) -> None:
        if name != self.name:
            message = f"there is no model {name!r}; this server has {self.name!r}"
            raise ApiError(404, message, param="model", code="model_not_found")


class _EventStream(StreamingResponse):
    """Server-sent events; whatever ends them, the answers they come from are closed."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[str], generation: Generation) -> None:
        super().__init__(events, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._generation = generation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._generation.close()


async def _events(
    first: tuple[int, Piece],
    rest: AsyncIterator[tuple[int, Piece]],
    generation: Generation,
    body: GenerationRequest,
    style: ReplyStyle,
) -> AsyncIterator[str]:
    started: set[int] = set()
    tokens = 0

    def chunks(index: int, piece: Piece) -> str:
        nonlocal tokens
        tokens += piece.tokens
        is_first = index not in started
        started.add(index)
        return "".join(map(_event, style.chunk(index, piece, is_first=is_first)))

    try:
        yield chunks(*first)
        async for index, piece in rest:
            yield chunks(index, piece)
    except IntarsiaError as error:
        # The status is sent already; clients know an event with an error.
        yield _event(_as_api_error(error).body)
        return
    if body.includes_usage:
        yield _event(style.usage_chunk(usage(generation.prompt_tokens, tokens)))
    yield "data: [DONE]\n\n"


def _replayed(
    choices: Sequence[Choice], generation: Generation, body: GenerationRequest, style: ReplyStyle
) -> AsyncIterator[str]:
    async def pieces() -> AsyncIterator[tuple[int, Piece]]:
        for choice in choices:
            yield choice.index, Piece(choice.text, choice.tokens, finish_reason=choice.finish_reason)

    async def events() -> AsyncIterator[str]:
        rest = pieces()
        async for event in _events(await anext(rest), rest, generation, body, style):
            yield event

    return events()


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False, allow_nan=False)}\n\n"


async def _unless_disconnected(request: Request, answer: Awaitable[Response]) -> Response:
    """Awaits an answer, but ends its making when the client goes away."""

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    making, watching = asyncio.ensure_future(answer), asyncio.ensure_future(disconnected())
    try:
        await asyncio.wait({making, watching}, return_when=asyncio.FIRST_COMPLETED)
        # Nobody reads it; proxies know this status as "client closed request".
        return making.result() if making.done() else Response(status_code=499)
    finally:
        watching.cancel()
        making.cancel()


def _as_api_error(error: IntarsiaError) -> ApiError:
    match error:
        case QueueFullError():
            return ApiError(429, str(error), code="queue_full", headers={"Retry-After": _RETRY_SECONDS})
        case ClosingError():
            return ApiError(503, error.what, code="shutting_down", headers={"Retry-After": _RETRY_SECONDS})
        case InputError():
            return ApiError(400, str(error), code="invalid_value")
    return ApiError(500, error.what, code="model_failed")


def _respond(error: ApiError) -> JSONResponse:
    return JSONResponse(error.body, error.status_code, error.headers)


async def _on_known_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, IntarsiaError)
    return _respond(_as_api_error(error))


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, ApiError):
        return _respond(error)
    # The only one that fastapi raises itself: bytes or numbers that its JSON reader fails on.
    message = "the body is not valid JSON" if error.status_code == 400 else error.detail
    return JSONResponse(error_body(error.status_code, message), error.status_code, error.headers)


async def _on_invalid_body(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    message, param, code = explain(error.errors()[0])
    return JSONResponse(error_body(400, message, param=param, code=code), 400)
