"""The stages of training: their losses by closed forms, what learns, and going on after a stop."""

import copy

import pytest
import torch

from intarsia.compress.compressing import compress_model
from intarsia.compress.evaluating import text_quality
from intarsia.compress.see.methods import SEESettings
from intarsia.compress.stages import distillation_loss, row_error, state_error
from intarsia.compress.stages_config import StagesConfig
from intarsia.compress.teacher_states import matched_layers, states_of, store_teacher_states
from intarsia.compress.texts import token_rows
from intarsia.compress.training import train_stages
from intarsia.errors import ConfigError, DataError, IntarsiaError, ModelError

SHORT = StagesConfig(state_steps=4, distil_steps=4, batch_size=2, length=16, row_sample=64)


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Losses


def test_row_error_is_relative_to_the_variance():
    original = numbers(50, 8)
    mean = original.mean().expand_as(original)
    assert float(row_error(mean, original, float(original.var(correction=0)))) == pytest.approx(1.0)
    assert float(row_error(original, original, 1.0)) == 0.0


def test_state_error_does_not_depend_on_how_long_states_are():
    teacher = numbers(2, 3, 2, 8)
    near = [teacher[:, :, layer] * 1.01 for layer in range(2)]
    assert float(state_error(near, teacher)) == pytest.approx(0.01**2, rel=0.02)
    # A first token a thousand times longer, as in many models, counts as much as any other.
    teacher[:, 0] *= 1000
    student = [teacher[:, :, layer].clone() for layer in range(2)]
    student[1][:, 1] *= 2
    assert float(state_error(student, teacher)) == pytest.approx(2 / 5 / 3 / 2)
    # However wrong a state is, it counts no more than 4.
    student[1][:, 1] *= -1e6
    assert float(state_error(student, teacher)) == pytest.approx(2 / 3 / 2, rel=1e-3)
    assert float(state_error([-states for states in student], teacher)) <= 4


def test_distillation_is_divergence_and_cross_entropy():
    student, teacher, labels = numbers(2, 3, 7), numbers(2, 3, 7, seed=1), torch.tensor([[1, 2, 3], [4, 5, 6]])
    loss = distillation_loss(student, teacher, labels, temperature=2.0, weight=0.3)
    p, log_q = (teacher / 2).softmax(-1), (student / 2).log_softmax(-1)
    divergence = (p * (p.log() - log_q)).sum(-1).mean()
    entropy = -student.log_softmax(-1).gather(-1, labels[..., None]).mean()
    assert float(loss) == pytest.approx(float(0.3 * 4 * divergence + 0.7 * entropy), rel=1e-5)
    same = distillation_loss(teacher, teacher, labels, temperature=2.0, weight=1.0)
    assert float(same) == pytest.approx(0.0, abs=1e-6)


# The original's states


def test_states_are_those_of_the_model_and_made_once(original, text, tmp_path):
    rows = token_rows(original.tokenizer, text, 16, limit=5)
    layers = matched_layers(original.model, 0)
    assert layers == (1, 2)
    assert matched_layers(original.model, 1) == (2,)
    counts = []
    stored = store_teacher_states(original.model, rows, layers, tmp_path, progress=counts.append)
    assert sum(counts) == 5
    with torch.no_grad():
        expected = torch.stack(states_of(original.model, rows, layers), 2)
    assert torch.allclose(torch.stack([stored[row] for row in range(5)]), expected, atol=1e-5)
    head = original.model.get_output_embeddings()
    with torch.no_grad():
        logits = original.model(input_ids=rows[:1]).logits
        assert torch.allclose(head(stored[0][None, :, -1]), logits, atol=1e-4), "the last are what the head reads"
    store_teacher_states(original.model, rows, layers, tmp_path, progress=counts.append)
    assert sum(counts) == 5, "they are read again, not made again"
    with torch.no_grad():
        original.model.get_input_embeddings().weight.mul_(1.1)
    store_teacher_states(original.model, rows, layers, tmp_path, progress=counts.append)
    assert sum(counts) == 10, "another model has other states"


# Training


@pytest.mark.parametrize("method", ["svd", "see"])
def test_training_brings_the_student_nearer_and_leaves_the_layers(original, text, method, lexicon):
    settings = SEESettings(lexicon=lexicon, steps=20, merges=20, min_usage=4, terms=6) if method == "see" else None
    student = compress_model(original, method, 3.0, settings=settings).model
    layers = {name: p.clone() for name, p in student.named_parameters() if "layers" in name}
    embedding = student.compressed.to_dense()
    config = StagesConfig(state_steps=20, distil_steps=40, batch_size=4, length=16)
    seen = []
    curve = train_stages(student, original, text, config, held_out=text[:3], points=2, progress=seen.append)
    assert sum(seen) == 60
    assert [(point.stage, point.step) for point in curve] == [(0, 0), (1, 10), (1, 20), (2, 40), (2, 60)]
    assert curve[0].loss is None
    assert curve[-1].held_out_ce < curve[0].held_out_ce
    assert curve[2].loss < curve[1].loss or curve[4].loss < curve[3].loss
    assert all(torch.equal(p, layers[name]) for name, p in student.named_parameters() if name in layers)
    assert not torch.equal(student.compressed.to_dense(), embedding)
    assert all(parameter.requires_grad for parameter in student.parameters()), "it may be fine-tuned afterwards"
    rows = token_rows(original.tokenizer, text[:3], 16, limit=8)
    assert text_quality(student, rows).cross_entropy == pytest.approx(curve[-1].held_out_ce, abs=1e-5)


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(original, text, tmp_path):
    config = StagesConfig(state_steps=6, distil_steps=6, batch_size=2, length=16, head_positions=5)
    student = compress_model(original, "svd", 3.0).model
    whole, halves = copy.deepcopy(student), copy.deepcopy(student)
    expected = train_stages(whole, original, text, config, held_out=text[:3])

    class Stop(Exception):
        pass

    def stop_at(step):
        done = []

        def progress(count):
            done.append(count)
            if sum(done) >= step:
                raise Stop

        return progress

    # In the middle of stage 1, then in the middle of stage 2.
    for step in (4, 11):
        with pytest.raises(Stop):
            train_stages(
                copy.deepcopy(halves), original, text, config, held_out=text[:3], work=tmp_path, progress=stop_at(step)
            )
    seen = []
    curve = train_stages(halves, original, text, config, held_out=text[:3], work=tmp_path, progress=seen.append)
    assert sum(seen) == 12
    assert torch.allclose(halves.compressed.to_dense(), whole.compressed.to_dense(), atol=1e-6)
    assert [point.step for point in curve] == [point.step for point in expected]
    assert curve[-1].held_out_ce == pytest.approx(expected[-1].held_out_ce, abs=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["states"], "checkpoints go, the original's states stay"


def test_other_settings_never_go_on_from_these_checkpoints(original, text, tmp_path):
    student = compress_model(original, "svd", 3.0).model

    def stop(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stages(copy.deepcopy(student), original, text, SHORT, work=tmp_path, progress=stop)
    other = StagesConfig(**{**vars(SHORT), "seed": 1})
    seen = []
    train_stages(student, original, text, other, work=tmp_path, progress=seen.append)
    assert seen == [1] * 8


def test_adapted_layers_are_merged_and_the_original_is_not_touched(original, text):
    before = {name: tensor.clone() for name, tensor in original.model.state_dict().items()}
    student = compress_model(original, "int4").model
    config = StagesConfig(state_steps=0, distil_steps=5, batch_size=2, length=16, lora_rank=2)
    curve = train_stages(student, original, text, config)
    assert len(curve) == 6
    assert not any("lora" in name for name, _ in student.named_modules())
    name = next(name for name in before if "q_proj" in name)
    assert not torch.equal(student.base.get_parameter(name), before[name]), "the layers learnt"
    assert all(torch.equal(tensor, before[key]) for key, tensor in original.model.state_dict().items())


def test_a_stage_can_be_left_out(original, text):
    student = compress_model(original, "svd", 3.0).model
    config = StagesConfig(**{**vars(SHORT), "state_steps": 0})
    assert [point.stage for point in train_stages(student, original, text, config, points=1)] == [0, 2]
    config = StagesConfig(**{**vars(SHORT), "distil_steps": 0, "state_weight": 0.0, "row_sample": 0})
    assert [point.stage for point in train_stages(student, original, text, config, points=1)] == [0, 1]


# Bad input


def test_what_cannot_be_trained(original, text):
    bits = compress_model(original, "int4").model
    with pytest.raises(ModelError, match="nothing of int4 can be trained"):
        train_stages(bits, original, text, SHORT)
    student = compress_model(original, "svd", 3.0).model
    with pytest.raises(DataError, match="less than one row of 16"):
        train_stages(student, original, ["the dog"], SHORT)
    student.resize_token_embeddings(student.compressed.num_embeddings + 1)
    with pytest.raises(ModelError, match=r"the original's embedding is 336 x 24, the student's 337 x 24"):
        train_stages(student, original, text, SHORT)


def test_a_loss_that_is_no_number_ends_the_run(original, text):
    student = compress_model(original, "svd", 3.0).model
    with torch.no_grad():
        student.compressed.mean.fill_(float("inf"))
    with pytest.raises(IntarsiaError, match=r"not a number any more.*\n.*lower the learning rate"):
        train_stages(student, original, text, SHORT)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state_steps": -1}, "state_steps is -1, but it must be at least 0"),
        ({"length": 1}, "length is 1, but it must be at least 2"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"temperature": 0.0}, "temperature is 0.0, but it must be above 0"),
        ({"distil_weight": 1.5}, "distil_weight is 1.5, but it must be between 0 and 1"),
        ({"lora_rank": -1}, "lora_rank is -1"),
    ],
)
def test_settings_are_checked(change, message):
    with pytest.raises(ConfigError, match=message):
        StagesConfig(**change)
