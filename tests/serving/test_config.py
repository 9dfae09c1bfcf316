"""Settings of the server and what they refuse."""

import math

import pytest

from intarsia.errors import ConfigError
from intarsia.serving import ServingConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("host", ""),
        ("port", -1),
        ("port", 65536),
        ("name", " "),
        ("max_batch", 0),
        ("max_batch_tokens", 0),
        ("max_prompt_tokens", 0),
        ("max_new_tokens", 0),
        ("default_new_tokens", 0),
        ("max_choices", 0),
        ("max_queue", 0),
        ("max_body_bytes", 0),
        ("gather_seconds", -1.0),
        ("grace_seconds", math.nan),
        ("cors_origins", ("example.org",)),
    ],
)
def test_wrong_values_are_named(field, value):
    with pytest.raises(ConfigError, match=f"^{field} is "):
        ServingConfig(**{field: value})


@pytest.mark.parametrize("key", ["", "line\nbreak", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(key):
    with pytest.raises(ConfigError, match="api_key") as caught:
        ServingConfig(api_key=key)
    assert not key or key not in str(caught.value)


def test_the_key_is_not_shown():
    assert "secret" not in repr(ServingConfig(api_key="secret"))


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("192.168.0.2", False),
        ("box", False),
    ],
)
def test_which_hosts_are_this_machine(host, local):
    assert ServingConfig(host=host).is_loopback == local
