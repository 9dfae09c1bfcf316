import pytest
import torch
from miub_models import tiny_bert, tiny_llama, token_batches
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from intarsia.errors import ConfigError, DataError, ModelError
from intarsia.finetune.miub import MIUBCallback, MIUBConfig, miub_report


class Texts(Dataset):
    def __init__(self, rows=32):
        self.ids = torch.randint(3, 97, (rows, 10), generator=torch.Generator().manual_seed(5))

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        return {"input_ids": self.ids[index], "labels": self.ids[index]}


def train(folder, callback=None, model=None, attach=False, others=(), **settings):
    model = model or tiny_llama()
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=4,
        num_train_epochs=2,
        learning_rate=1e-2,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        seed=3,
        **{"logging_steps": 4, **settings},
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=Texts(), callbacks=list(others))
    if callback is not None:
        callback.attach(trainer) if attach else trainer.add_callback(callback)
    trainer.train()
    return trainer


def test_miub_is_logged_beside_the_loss(tmp_path):
    callback = MIUBCallback(token_batches(), every=4, budget=None)
    trainer = train(tmp_path, callback)
    logged = [entry for entry in trainer.state.log_history if "miub" in entry]
    assert [entry["step"] for entry in logged] == [4, 8, 12, 16] == [found.step for found in callback.history]
    for entry, found in zip(logged, callback.history, strict=True):
        assert "loss" in entry
        assert entry["miub"] == found.report.miub
        assert entry["miub_paper"] == found.report.mean("zscore").paper
        assert entry["miub_paper_softmax"] == found.report.mean("softmax").paper
    assert callback.seconds > 0


def test_measured_steps_are_logged_even_between_logging_steps(tmp_path):
    trainer = train(tmp_path, MIUBCallback(token_batches(), every=5, budget=None), logging_steps=1000)
    logged = {entry["step"]: entry for entry in trainer.state.log_history if "miub" in entry}
    assert list(logged) == [5, 10, 15, 16]
    assert all("loss" in entry for entry in logged.values())


def test_without_logging_the_last_value_joins_the_final_entry(tmp_path):
    trainer = train(tmp_path, MIUBCallback(token_batches(), every=5), logging_strategy="no")
    (entry,) = trainer.state.log_history
    assert "train_loss" in entry
    assert "miub" in entry


def test_training_is_not_disturbed(tmp_path):
    plain, watched = tiny_llama(), tiny_llama()
    train(tmp_path, model=plain)
    trainer = train(tmp_path, MIUBCallback(token_batches(), every=3, budget=None), model=watched)
    for (name, left), right in zip(plain.named_parameters(), watched.parameters(), strict=True):
        assert torch.equal(left, right), name
    assert trainer.model.training


def test_last_value_is_what_the_report_gives_afterwards(tmp_path):
    callback = MIUBCallback(token_batches())
    trainer = train(tmp_path, callback)
    after = miub_report(trainer.model, token_batches())
    assert after.tokens < 1000
    assert callback.history[-1].report.miub == pytest.approx(after.miub, rel=1e-5)
    assert callback.history[-1].report.errors() is None


def test_ten_times_a_run_unless_told_otherwise(tmp_path):
    callback = MIUBCallback(token_batches(), budget=None)
    train(tmp_path, callback, max_steps=20)
    assert [found.step for found in callback.history] == list(range(2, 21, 2))


def test_every_epoch(tmp_path):
    callback = MIUBCallback(token_batches(), every="epoch", budget=None)
    trainer = train(tmp_path, callback)
    assert [found.step for found in callback.history] == [8, 16]
    assert sum("miub" in entry for entry in trainer.state.log_history) == 2


def test_budget_leaves_out_what_would_go_over_it(tmp_path):
    callback = MIUBCallback(token_batches(), every=1, budget=1e-9)
    train(tmp_path, callback)
    assert [found.step for found in callback.history] == [16]


class Clock:
    """A step takes 1 s and a measurement 4 s."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


def test_budget_spreads_measurements_over_the_run(tmp_path, monkeypatch):
    clock = Clock()

    def measure(*args, **kwargs):
        clock.now += 4.0
        return miub_report(*args, **kwargs)

    class Step(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            clock.now += 1.0

    monkeypatch.setattr("intarsia.finetune.miub.callback.time", clock)
    monkeypatch.setattr("intarsia.finetune.miub.callback.miub_report", measure)
    callback = MIUBCallback(token_batches(), every=1, budget=0.2)
    train(tmp_path, callback, max_steps=100, others=[Step()])
    steps = [found.step for found in callback.history]
    # Its 20 rows are five batches of 4, so 7.5 s are expected at first: two of them fit into a fifth of 75 s.
    # Then 4 s are known: three fit into a fifth of 60 s, and four into a fifth of 80 s.
    assert steps == [75, 76, 80, 100]
    assert callback.seconds == 4.0 * len(steps) <= 0.2 * 100


def test_layers_are_logged_on_request(tmp_path):
    trainer = train(tmp_path, MIUBCallback(token_batches(), every=8, per_layer=True, budget=None))
    entry = next(entry for entry in trainer.state.log_history if "miub" in entry)
    assert entry["miub"] == pytest.approx((entry["miub_layer_0"] + entry["miub_layer_1"]) / 2)


class Listener(TrainerCallback):
    def __init__(self):
        self.seen = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.seen.append(dict(logs))


@pytest.mark.parametrize("attach", [False, True])
def test_attached_before_the_reporting_integrations(tmp_path, attach):
    listener = Listener()
    train(tmp_path, MIUBCallback(token_batches(), budget=None), attach=attach, others=[listener])
    assert any("miub" in logs for logs in listener.seen) is attach


def test_headline_follows_the_configuration(tmp_path):
    config = MIUBConfig(normalizations=("softmax",), max_tokens=60)
    callback = MIUBCallback(token_batches(), config, every=100)
    trainer = train(tmp_path, callback)
    assert callback.history[-1].report.tokens == 60
    entry = next(entry for entry in trainer.state.log_history if "miub" in entry)
    assert "miub_paper_softmax" not in entry
    assert entry["miub"] == callback.history[-1].report.mean("softmax").dpi


def test_a_model_without_lora_is_refused_before_training(tmp_path):
    with pytest.raises(ModelError, match="no LoRA module found"):
        train(tmp_path, MIUBCallback(token_batches()), model=tiny_llama().merge_and_unload())


def test_adapter_is_checked_before_training(tmp_path):
    with pytest.raises(Exception, match="unknown LoRA adapter 'x'"):
        train(tmp_path, MIUBCallback(token_batches(), adapter="x"))


def test_batches_are_checked_before_training(tmp_path):
    with pytest.raises(DataError, match="there are no batches"):
        train(tmp_path, MIUBCallback([]))


@pytest.mark.parametrize(
    ("settings", "field"), [({"every": 0}, "every"), ({"every": "step"}, "every"), ({"budget": 0}, "budget")]
)
def test_wrong_settings_are_named(settings, field):
    with pytest.raises(ConfigError, match=f"^{field} is "):
        MIUBCallback(token_batches(), **settings)


def test_encoder_runs_too():
    report = miub_report(tiny_bert(), token_batches())
    assert report.miub > 0
