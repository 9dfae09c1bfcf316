"""An OpenAI-compatible server that fails on purpose before it answers."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

# What may come before an answer. "silence" lasts until the client has gone.
TROUBLES = ("busy", "broken", "silence", "dropped", "garbled", "cut", "empty")


class MisbehavingServer:
    """Goes through the troubles of a conversation, one a request, and then answers its last message in capitals.

    Args:
        troubles: Gives the troubles of a conversation by its last message.

    Attributes:
        requests: Bodies of all requests.
        answered: How often each last message was answered.
        authorization: The header of the last request.
    """

    def __init__(self, troubles: Callable[[str], Sequence[str]] = lambda text: ()) -> None:
        self.requests: list[dict[str, Any]] = []
        self.answered: Counter[str] = Counter()
        self.authorization: str | None = None
        self._troubles = troubles
        self._met: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def next_trouble(self, body: dict[str, Any]) -> str | None:
        text = body["messages"][-1]["content"]
        with self._lock:
            self.requests.append(body)
            troubles = self._troubles(text)
            number = self._met[text]
            self._met[text] += 1
            if number < len(troubles):
                return troubles[number]
            self.answered[text] += 1
            return None

    def wait(self) -> None:
        self._closing.wait(5)


class _Handler(BaseHTTPRequestHandler):
    owner: MisbehavingServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.owner.authorization = self.headers.get("Authorization")
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        match self.owner.next_trouble(body):
            case "busy":
                self._send(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.01"})
            case "broken":
                self._send(500, {"error": {"message": "out of memory"}})
            case "silence":
                self.owner.wait()
                self.close_connection = True
            case "dropped":
                self.close_connection = True
                self.connection.close()
            case "garbled":
                self._send_text(200, '{"choices": [{"message"')
            case "cut":
                self._send_text(200, '{"choices": []}', length=1000)
                self.close_connection = True
            case "empty":
                self._send(200, {"choices": []})
            case None:
                self._answer(body)
            case other:
                self._send(int(other), {"error": {"message": f"refused with {other}", "code": "some_code"}})

    def _answer(self, body: dict[str, Any]) -> None:
        text = body["messages"][-1]["content"].upper()
        reply = {
            "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2},
        }
        self._send(200, reply)

    def _send(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._send_text(status, json.dumps(body), headers)

    def _send_text(
        self, status: int, text: str, headers: dict[str, str] | None = None, length: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length or len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass
