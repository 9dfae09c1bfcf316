"""The tied head: its three forms agree, and what is cached is never stale."""

import pytest
import torch
from torch import Tensor, nn

from intarsia.compress import SEEConfig, SEEEmbedding, SEEHead, TermTable
from intarsia.compress import compressed_embedding as base
from intarsia.errors import ModelError, UnknownNameError

VOCAB, DIM = 31, 18


def embedding_of(*, exact: tuple[int, ...] = (4, 2), padding_idx: int | None = 7, **settings: object) -> SEEEmbedding:
    generator = torch.Generator().manual_seed(0)
    units = torch.randint(9, (VOCAB, 4, 3), generator=generator)
    mask = torch.arange(4) < torch.randint(1, 5, (VOCAB, 1), generator=generator)
    mask[list(exact)] = False
    table = TermTable(units, torch.zeros_like(units), mask, torch.ones(9, dtype=torch.long), torch.tensor(exact).long())
    made = SEEEmbedding.from_table(table, DIM, SEEConfig(**settings), padding_idx=padding_idx)  # type: ignore[arg-type]
    with torch.no_grad():
        for number, parameter in enumerate(made.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)) * 0.3)
    return made


def hidden_of(*shape: int) -> Tensor:
    return torch.randn(*shape, DIM, generator=torch.Generator().manual_seed(5))


ALL = {"lowrank": 2, "token_scale": True}


@pytest.mark.parametrize("settings", [{}, ALL, {"mean": False}])
@pytest.mark.parametrize("form", ["cached", "chunked", "contracted"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_logits_are_products_with_the_dense_matrix(
    settings: dict[str, object], form: str, shape: tuple[int, ...]
) -> None:
    embedding = embedding_of(**settings)
    bias = nn.Parameter(torch.arange(VOCAB, dtype=torch.float32))
    head = SEEHead(embedding, form=form, bias=bias)  # type: ignore[arg-type]
    hidden = hidden_of(*shape)
    expected = hidden @ embedding.to_dense().T + bias
    torch.testing.assert_close(head(hidden), expected, rtol=0, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(head(hidden), expected, rtol=0, atol=1e-5)
    assert (head.in_features, head.out_features) == (DIM, VOCAB)


@pytest.mark.parametrize("form", ["cached", "contracted"])
def test_gradients_are_those_of_the_dense_matrix(form: str) -> None:
    embedding = embedding_of(**ALL)
    hidden = hidden_of(4).requires_grad_()
    upstream = torch.randn(4, VOCAB, generator=torch.Generator().manual_seed(1))
    weights = [hidden, *embedding.parameters()]
    every = torch.arange(VOCAB)
    expected = torch.autograd.grad(hidden @ embedding(every).T, weights, upstream)
    ours = torch.autograd.grad(SEEHead(embedding, form=form)(hidden), weights, upstream)  # type: ignore[arg-type]
    for gradient, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=0, atol=1e-4)


@pytest.mark.parametrize("chunk", [1, 7, VOCAB, 100])
def test_chunks_do_not_matter(chunk: int) -> None:
    embedding = embedding_of()
    hidden = hidden_of(2, 3)
    whole = hidden @ embedding.to_dense().T
    torch.testing.assert_close(embedding.logits(hidden, chunk=chunk), whole, rtol=0, atol=1e-5)


def test_training_rebuilds_rows_for_the_gradient_and_keeps_none(monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = embedding_of()
    built: list[int] = []
    rows = embedding.rows
    monkeypatch.setattr(embedding, "rows", lambda ids: built.append(len(ids)) or rows(ids))
    logits = embedding.logits(hidden_of(2).requires_grad_(), chunk=16)
    assert built == [16, 15]
    logits.sum().backward()
    assert sorted(built) == [15, 15, 16, 16]


def test_the_cache_follows_every_change_of_a_weight() -> None:
    embedding = embedding_of(**ALL)
    head, hidden = SEEHead(embedding), hidden_of(3)

    def current() -> Tensor:
        return hidden @ embedding.to_dense().T

    with torch.no_grad():
        torch.testing.assert_close(head(hidden), current())
        for parameter in embedding.parameters():
            parameter.mul_(1.5)
            torch.testing.assert_close(head(hidden), current())
    optimizer = torch.optim.Adam(embedding.parameters(), lr=0.1)
    SEEHead(embedding)(hidden).square().sum().backward()
    optimizer.step()
    with torch.no_grad():
        torch.testing.assert_close(head(hidden), current())
    embedding.load_state_dict(embedding_of(**ALL).state_dict())
    with torch.no_grad():
        torch.testing.assert_close(head(hidden), current())


def test_an_unchanged_matrix_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "CHUNK", VOCAB)
    embedding = embedding_of()
    built: list[int] = []
    rows = embedding.rows
    monkeypatch.setattr(embedding, "rows", lambda ids: built.append(len(ids)) or rows(ids))
    head = SEEHead(embedding)
    with torch.no_grad():
        for _ in range(3):
            head(hidden_of(2))
    assert len(built) == 1


def test_the_head_has_no_weights_of_its_own() -> None:
    assert list(SEEHead(embedding_of()).parameters()) == []


def test_half_precision_states_get_half_precision_logits() -> None:
    embedding = embedding_of()
    hidden = hidden_of(2)
    for form in ("cached", "chunked", "contracted"):
        with torch.no_grad():
            logits = SEEHead(embedding, form=form)(hidden.bfloat16())  # type: ignore[arg-type]
        assert logits.dtype == torch.bfloat16
        torch.testing.assert_close(logits.float(), hidden @ embedding.to_dense().T, rtol=0.05, atol=0.1)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown form of the head 'chunk'[^§]*chunked"):
        SEEHead(embedding_of(), form="chunk")  # type: ignore[arg-type]
    normalised = embedding_of(layernorm=True)
    with pytest.raises(ModelError, match=r"cannot be contracted[^§]*normalised"):
        SEEHead(normalised, form="contracted")(hidden_of(1))
