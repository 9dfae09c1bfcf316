"""Training a circuit, with what it knows measured before and after every epoch, and resuming.

The loop is a plain one over `torch.utils.data`. The Hugging Face Trainer would not fit: it moves batches of named
tensors through a `PreTrainedModel`'s forward, saves the model through transformers' formats and evaluates on
predictions, while here every epoch needs the whole unitary and its spectra, and a step takes milliseconds.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from math import pi
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from intarsia import files
from intarsia.errors import ConfigError, InputError, RunExistsError
from intarsia.quantum.qnn.circuits import Circuit
from intarsia.quantum.qnn.config import CircuitConfig, TrainingConfig
from intarsia.quantum.qnn.data import Samples, Split
from intarsia.quantum.qnn.encodings import Encoder
from intarsia.quantum.qnn.information import input_root
from intarsia.quantum.qnn.losses import readout_loss
from intarsia.quantum.qnn.model import QNNModel
from intarsia.quantum.qnn.readout import check_outcomes, class_probabilities
from intarsia.quantum.qnn.tracking import Record, information_record

CHECKPOINT = "checkpoint.safetensors"
HISTORY = "history.json"
# Streams of random numbers, so that e.g. another initialisation leaves the order of the samples as it is.
_SPLIT, _INITIAL, _ORDER, _LABELS = range(4)


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """A trained circuit.

    Attributes:
        model: The classifier.
        start: The angles before training.
        history: One record for each measured epoch: loss, accuracies, information in bits. Epoch 0 is before training.
    """

    model: QNNModel
    start: Tensor
    history: list[Record]


def train(
    split: Split,
    circuit: CircuitConfig,
    training: TrainingConfig | None = None,
    *,
    folder: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TrainingResult:
    """Trains a circuit and measures what it knows.

    The same settings give the same result on the same machine, stopped and resumed or not.

    Args:
        split: Training and test samples.
        circuit: The circuit.
        training: How to train.
        folder: Keeps a checkpoint of every epoch, then the model and its history; a stopped run goes on from it.
        progress: Called with the epochs done and the number of epochs.

    Raises:
        ConfigError: If the measured qubits have fewer outcomes than there are classes, or the circuit re-uploads and
            a definition other than `holevo` is asked for.
        InputError: If samples do not fit the encoding, or labels are not class numbers of at least two classes.
        RunExistsError: If the folder holds a run with other settings or samples.
    """
    training = training or TrainingConfig()
    _check(split, circuit, training)
    run = _Run(split, circuit, training)
    job = _job(split, circuit, training)
    checkpoint = None if folder is None else Path(folder) / CHECKPOINT
    done = 0 if checkpoint is None else run.resume(checkpoint, job)
    if not run.history:
        run.measure(0)
    for epoch in range(done + 1, training.epochs + 1):
        if progress is not None:
            progress(epoch - 1, training.epochs)
        run.step_through(epoch)
        if epoch % training.every == 0 or epoch == training.epochs:
            run.measure(epoch)
        if checkpoint is not None:
            run.save(checkpoint, job, epoch)
    if progress is not None:
        progress(training.epochs, training.epochs)
    model = QNNModel(run.theta.detach().clone(), run.encoder, split.train.classes)
    if folder is not None:
        model.save(folder)
        files.write_json(Path(folder) / HISTORY, run.history)
    return TrainingResult(model, run.start, run.history)


def training_labels(labels: Tensor, training: TrainingConfig) -> Tensor:
    """Returns the labels that are learned: shuffled once for the null control."""
    if not training.shuffle_labels:
        return labels
    return labels[torch.from_numpy(_stream(training.seed, _LABELS).permutation(len(labels)))]


def initial_theta(circuit: CircuitConfig, training: TrainingConfig) -> Tensor:
    """Returns the angles before training, in radians."""
    stream = _stream(training.seed, _INITIAL)
    shape = circuit.parameter_shape
    drawn = stream.uniform(0, 2 * pi, shape) if training.initialisation == "uniform" else stream.normal(0, 0.1, shape)
    return torch.from_numpy(drawn).to(Circuit(circuit).real)


def split_seed(seed: int) -> int:
    """Returns the seed of the split of a run."""
    return int(_stream(seed, _SPLIT).integers(2**32))


class _Run:
    """The state of a run: angles, optimiser, history."""

    def __init__(self, split: Split, circuit: CircuitConfig, training: TrainingConfig) -> None:
        self._circuit, self._settings = Circuit(circuit), training
        # Spectra are taken in double precision even where the circuit is trained in single.
        self._exact = Circuit(replace(circuit, precision="double"))
        self.encoder = Encoder.fit(split.train.features, circuit)
        self._inputs, self._test = (self.encoder.encode(part.features) for part in split)
        self._labels = training_labels(torch.from_numpy(split.train.labels), training)
        self._test_labels = torch.from_numpy(split.test.labels)
        self._classes = len(split.train.classes)
        self._root = input_root(self._inputs) if "data" in training.definitions else None
        self.start = initial_theta(circuit, training)
        self.theta = self.start.clone().requires_grad_()
        self._optimiser = torch.optim.Adam([self.theta], lr=training.learning_rate)
        self.history: list[Record] = []

    def step_through(self, epoch: int) -> None:
        """Trains for one epoch, in an order of its own."""
        for inputs, labels in self._batches(epoch):
            self._optimiser.zero_grad()
            torch.autograd.backward(self._loss(self._circuit.output_states(inputs, self.theta), labels))
            self._optimiser.step()

    @torch.no_grad()
    def measure(self, epoch: int) -> None:
        """Adds a record to the history."""
        config, definitions = self._circuit.config, self._settings.definitions
        unitary = None
        if "choi" in definitions or "data" in definitions:
            unitary = self._exact.unitary(self.theta.double())
        outputs, test = (self._circuit.output_states(inputs, self.theta) for inputs in (self._inputs, self._test))
        chances, test_chances = (class_probabilities(each, config.measured, self._classes) for each in (outputs, test))
        record: Record = {
            "epoch": epoch,
            "loss": float(self._loss(outputs, self._labels)),
            "train_accuracy": _share(chances.argmax(dim=-1) == self._labels),
            "test_accuracy": _share(test_chances.argmax(dim=-1) == self._test_labels),
            "single_shot_accuracy": float(chances.gather(1, self._labels[:, None]).mean()),
        }
        self.history.append(
            record
            | information_record(
                unitary, config.measured, definitions, root=self._root, outputs=outputs, labels=self._labels
            )
        )

    def save(self, path: Path, job: str, epoch: int) -> None:
        """Writes a checkpoint: one file, so that it is whole or not there."""
        state = self._optimiser.state[self.theta]
        tensors = {"theta": self.theta.detach(), **{name: state[name] for name in ("step", "exp_avg", "exp_avg_sq")}}
        metadata = {"job": job, "epoch": str(epoch), "history": json.dumps(self.history)}
        with files.atomic_file(path) as temporary:
            save_file(tensors, temporary, metadata=metadata)

    def resume(self, path: Path, job: str) -> int:
        """Takes up a checkpoint if there is one; returns the epochs done."""
        if not path.exists():
            return 0
        with safe_open(path, "pt") as saved:
            metadata = saved.metadata()
            if metadata["job"] != job:
                raise RunExistsError(path.parent, what="a run with other settings or samples")
            with torch.no_grad():
                self.theta.copy_(saved.get_tensor("theta"))
            self._optimiser.state[self.theta] = {
                name: saved.get_tensor(name) for name in ("step", "exp_avg", "exp_avg_sq")
            }
        self.history = json.loads(metadata["history"])
        return int(metadata["epoch"])

    def _loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return readout_loss(
            outputs,
            labels,
            measured=self._circuit.config.measured,
            classes=self._classes,
            kind=self._settings.loss,
        )

    def _batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        # Its own seed for every epoch, so that a resumed run goes on with the same orders.
        order = torch.Generator().manual_seed(int(_stream(self._settings.seed, _ORDER, epoch).integers(2**62)))
        samples = TensorDataset(self._inputs, self._labels)
        sampler = BatchSampler(RandomSampler(samples, generator=order), self._settings.batch_size, drop_last=False)
        # A generator of its own, or the loader would draw from the global one.
        return iter(DataLoader(samples, sampler=sampler, batch_size=None, generator=order))


def _check(split: Split, circuit: CircuitConfig, training: TrainingConfig) -> None:
    undefined = [definition for definition in training.definitions if definition != "holevo"]
    if circuit.reupload and undefined:
        raise ConfigError(
            "definitions",
            list(training.definitions),
            f"only 'holevo' with re-uploading: {undefined[0]!r} needs one unitary, and every sample has its own",
        )
    classes = split.train.classes
    check_outcomes(circuit.measured, len(classes))
    for name, part in zip(("training", "test"), split, strict=True):
        _check_labels(part, name)
    if len(np.unique(split.train.labels)) < 2:
        raise InputError("all training samples have the same label", fix="give samples of at least two classes")


def _check_labels(samples: Samples, name: str) -> None:
    wrong = set(samples.labels.tolist()) - set(range(len(samples.classes)))
    if wrong:
        raise InputError(
            f"{name} labels {sorted(wrong)} are no class numbers",
            fix=f"labels are 0 to {len(samples.classes) - 1}, for the classes {', '.join(samples.classes)}",
        )
    if len(samples.labels) != len(samples.features):
        raise InputError(f"there are {len(samples.features)} {name} samples, but {len(samples.labels)} labels")


def _job(split: Split, circuit: CircuitConfig, training: TrainingConfig) -> str:
    digest = hashlib.sha256(json.dumps([asdict(circuit), asdict(training)]).encode())
    for part in split:
        for array in (part.features, part.labels):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _share(right: Tensor) -> float:
    return float(right.double().mean())


def _stream(*key: int) -> Any:
    return np.random.default_rng(list(key))
