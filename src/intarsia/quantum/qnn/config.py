"""The settings of a quantum neural network, its training and its data.

The paper's own settings are not known (only its abstract was at hand): all defaults are a reconstruction's.
"""

from dataclasses import dataclass
from math import ceil, log2

from intarsia.errors import ConfigError, UnknownNameError

FAMILIES = ("ring", "cz-ring", "strong", "brick-wall", "tree")
ENCODINGS = ("angle", "amplitude")
LOSSES = ("squared", "logistic")
INITIALISATIONS = ("uniform", "small")
DEFINITIONS = ("choi", "data", "holevo")
PRECISIONS = ("double", "single")
MOST_QUBITS = 12
_LAYERS = 6


@dataclass(frozen=True)
class CircuitConfig:
    """A variational circuit U(theta), how data enter it and which of its qubits are measured.

    Attributes:
        qubits: Number of qubits n. Qubit 0 is the most significant bit everywhere.
        layers: Number of layers L; by default 6, in a `tree` as many as halve the qubits down to one.
        family: `ring` (RY, RZ on every qubit, then CNOTs to the next one), `cz-ring` (the same with CZ), `strong`
            (RZ RY RZ, then CNOTs over a range that grows with the layer), `brick-wall` (RY, RZ, then CNOTs of
            neighbours in turns), `tree` (RY, RZ, then every second qubit controls its neighbour and is left alone).
        encoding: `angle` (RY of a feature on each qubit) or `amplitude` (the features are the amplitudes).
        measured: The measured qubits M; the others are the discarded ones D.
        reupload: Whether the angles are encoded again before every layer. There is no one U then, so only the
            information about labels (`holevo`) is defined.
        precision: `double` (complex128) or `single` (complex64).
        allow_large: Whether more than 12 qubits are allowed.

    Raises:
        ConfigError: If a value is out of range.
        UnknownNameError: If a family, encoding or precision is unknown.
    """

    qubits: int = 4
    layers: int | None = None
    family: str = "ring"
    encoding: str = "angle"
    measured: tuple[int, ...] = (0,)
    reupload: bool = False
    precision: str = "double"
    allow_large: bool = False

    def __post_init__(self) -> None:
        require_known("circuit family", self.family, FAMILIES)
        require_known("encoding", self.encoding, ENCODINGS)
        require_known("precision", self.precision, PRECISIONS)
        if self.qubits < 2:
            raise ConfigError("qubits", self.qubits, "at least 2: one is measured, one discarded")
        if self.qubits > MOST_QUBITS and not self.allow_large:
            raise ConfigError(
                "qubits", self.qubits, f"at most {MOST_QUBITS}: a unitary has 4^n entries (allow_large lifts this)"
            )
        check_measured(self.measured, self.qubits)
        if self.layers is not None and self.layers < 1:
            raise ConfigError("layers", self.layers, "at least 1")
        if self.family == "tree" and self.layers not in (None, self.depth):
            raise ConfigError("layers", self.layers, f"{self.depth}, which a tree over {self.qubits} qubits has")
        if self.reupload and self.encoding != "angle":
            raise ConfigError("encoding", self.encoding, "'angle' for re-uploading: amplitudes enter only once")

    @property
    def depth(self) -> int:
        """Number of layers."""
        if self.family == "tree":
            return ceil(log2(self.qubits))
        return _LAYERS if self.layers is None else self.layers

    @property
    def parameter_shape(self) -> tuple[int, int, int]:
        """Shape of theta: layers, qubits, angles of a qubit."""
        return self.depth, self.qubits, 3 if self.family == "strong" else 2


@dataclass(frozen=True)
class TrainingConfig:
    """How the circuit is trained, and what is tracked.

    Attributes:
        loss: `squared` ((f - y)^2) or `logistic` (softplus(-4 f y)); with more than two classes the squared distance
            to the class, or its negative log-likelihood.
        initialisation: `uniform` on [0, 2 pi), or `small`: normal with standard deviation 0.1, which is not near the
            identity, because the entanglers are there at zero angles too.
        epochs: Passes over the training samples.
        batch_size: Samples in one step.
        learning_rate: Adam's.
        shuffle_labels: Whether the training labels are shuffled once before training: the null control.
        definitions: What is tracked: `choi`, `data`, `holevo`.
        every: Epochs between two measurements of information; the last is always measured.
        seed: Seed of the split, the initialisation, the order and the shuffled labels, a stream each.

    Raises:
        ConfigError: If a value is out of range.
        UnknownNameError: If a loss, initialisation or definition is unknown.
    """

    loss: str = "squared"
    initialisation: str = "uniform"
    epochs: int = 70
    batch_size: int = 16
    learning_rate: float = 0.02
    shuffle_labels: bool = False
    definitions: tuple[str, ...] = ("choi", "data", "holevo")
    every: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        require_known("loss", self.loss, LOSSES)
        require_known("initialisation", self.initialisation, INITIALISATIONS)
        for definition in self.definitions:
            require_known("definition of information", definition, DEFINITIONS)
        for name in ("epochs", "batch_size", "every"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "at least 1")
        if not self.learning_rate > 0:
            raise ConfigError("learning_rate", self.learning_rate, "above 0")
        if self.seed < 0:
            raise ConfigError("seed", self.seed, "0 or more")


@dataclass(frozen=True)
class DataConfig:
    """Which samples are learned.

    Attributes:
        data: `iris`, `digits`, `breast-cancer`, `wine`, `mnist`, `fashion-mnist` (these two from OpenML, reduced to
            16 x 16), or a CSV or NPZ file.
        classes: The labels that take part, in this order; empty: iris 1 and 2, digits and MNIST 3 and 6, else all
            there are.
        label: Column of a CSV file, or array of an NPZ file (beside `X`), that holds the labels.
        train: Training samples, with the classes' shares of all; 0: 70 % of all, of the named sets at most 200.
        test: Test samples at most; 0: all others.

    Raises:
        ConfigError: If a number is negative or a class is named twice.
    """

    data: str = "iris"
    classes: tuple[str, ...] = ()
    label: str = "y"
    train: int = 0
    test: int = 0

    def __post_init__(self) -> None:
        for name in ("train", "test"):
            if getattr(self, name) < 0:
                raise ConfigError(name, getattr(self, name), "0 or more")
        if len(set(self.classes)) < len(self.classes):
            raise ConfigError("classes", list(self.classes), "different labels")


def check_measured(measured: tuple[int, ...], qubits: int) -> None:
    """Checks the set M of measured qubits.

    Raises:
        ConfigError: If it is empty, holds all qubits, or one twice or out of range.
    """
    if not measured:
        raise ConfigError("measured", list(measured), "at least one qubit")
    if len(set(measured)) < len(measured):
        raise ConfigError("measured", list(measured), "different qubits")
    if not all(0 <= qubit < qubits for qubit in measured):
        raise ConfigError("measured", list(measured), f"qubits from 0 to {qubits - 1}")
    if len(measured) == qubits:
        raise ConfigError("measured", list(measured), "a part of the qubits: with all measured none is discarded")


def require_known(kind: str, name: str, known: tuple[str, ...]) -> None:
    """Checks a name. Raises UnknownNameError."""
    if name not in known:
        raise UnknownNameError(kind, name, known)
