"""Settings of the server."""

import ipaddress
import math
from dataclasses import dataclass, field

from intarsia.errors import ConfigError

_COUNTS = (
    *("max_batch", "max_batch_tokens", "max_new_tokens", "default_new_tokens"),
    *("max_choices", "max_queue", "max_body_bytes"),
)


@dataclass(frozen=True)
class ServingConfig:
    """Where the server listens, how it batches and what it refuses.

    Attributes:
        host: Address to listen on. The default is reachable from this machine only.
        port: TCP port; 0 picks a free one.
        name: The model's name in requests. None: the hub id or asset it was loaded from, or its folder's name.
        api_key: Key that requests must carry as `Authorization: Bearer KEY`. None: no key is asked for.
        max_batch: Most rows (choices of requests) generated at once.
        max_batch_tokens: Most positions of one batch: rows times (longest prompt + longest answer). It bounds the
            memory of the key-value cache.
        gather_seconds: How long a free model waits for further requests after the first, in seconds.
        max_prompt_tokens: Longest prompt. None: whatever the model's context leaves room for.
        max_new_tokens: Longest answer a request may ask for, in tokens.
        default_new_tokens: Longest answer to a chat that asks for no length. Rows are batched by what they may need, so
            a large value keeps batches small.
        max_choices: Largest `n` of a request.
        max_queue: Most rows that wait for the model; what comes on top is refused with status 429.
        max_body_bytes: Largest request body.
        grace_seconds: How long running requests may take to finish after the server was told to stop.
        cors_origins: Origins of web pages that may call the server; `"*"` allows all.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    name: str | None = None
    api_key: str | None = field(default=None, repr=False)
    max_batch: int = 32
    max_batch_tokens: int = 32768
    gather_seconds: float = 0.005
    max_prompt_tokens: int | None = None
    max_new_tokens: int = 2048
    default_new_tokens: int = 512
    max_choices: int = 8
    max_queue: int = 256
    max_body_bytes: int = 1 << 20
    grace_seconds: float = 30.0
    cors_origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.host:
            raise ConfigError("host", self.host, "an address or a host name")
        if not 0 <= self.port <= 65535:
            raise ConfigError("port", self.port, "between 0 and 65535")
        if self.name is not None and not self.name.strip():
            raise ConfigError("name", self.name, "a name, or left out")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable() and self.api_key):
            # The value is a secret and does not belong in a message.
            raise ConfigError("api_key", "***", "printable ASCII characters, at least one")
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "at least 1")
        if self.max_prompt_tokens is not None and self.max_prompt_tokens < 1:
            raise ConfigError("max_prompt_tokens", self.max_prompt_tokens, "at least 1, or left out")
        for name in ("gather_seconds", "grace_seconds"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(name, getattr(self, name), "0 or more seconds")
        for origin in self.cors_origins:
            if origin != "*" and not origin.startswith(("http://", "https://")):
                raise ConfigError("cors_origins", origin, "an origin such as https://example.org, or *")

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this machine can connect."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
