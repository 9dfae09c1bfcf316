"""Speed of posterior information beside its peers, on one thread.

    python benchmarks/quantum_posterior.py [--rounds N] [--json FILE]

Qiskit, PennyLane and CVXPY are installed in an environment of their own on first use. Ours and theirs run in turn on
the same states; times are of the processor, a figure is the median over rounds, a ratio the median of the rounds'.

- All 4^n Pauli expectation values of a state of eight qubits: the decompositions of Qiskit (`SparsePauliOp`) and
  PennyLane (`pauli_decompose`) of its density matrix; and the matrix way, `tr(rho P)` with P from Kronecker products,
  timed on 64 of the 65,536 strings.
- A feasible interval, both endpoints: the same programs through CVXPY with Clarabel. The answers are compared.
- A maximum-entropy chain of four qubits, all 255 components; and of a GHZ state with and without structure.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# Read by the numeric libraries when they are imported.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402
from platformdirs import user_cache_path  # noqa: E402

from intarsia.quantum import paulis, states  # noqa: E402
from intarsia.quantum.posterior import ChainConfig, feasible_interval, posterior_chain  # noqa: E402

PEERS = ("qiskit==2.6.1", "pennylane==0.45.1", "cvxpy==1.9.3", "clarabel==0.11.1")
QUBITS = 8

THEIRS = """
import json, sys, time, warnings
import numpy as np
warnings.simplefilter("ignore")
job = json.loads(sys.argv[1])

def timed(call, repeats):
    call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        value = call()
        times.append(time.process_time() - start)
    return sorted(times)[len(times) // 2], value

if job["what"] == "qiskit":
    from qiskit.quantum_info import SparsePauliOp
    psi = np.array(job["re"]) + 1j * np.array(job["im"])
    seconds, found = timed(lambda: SparsePauliOp.from_operator(np.outer(psi, psi.conj())), 5)
    value = float(np.sum(np.abs(found.coeffs) ** 2))
elif job["what"] == "pennylane":
    import pennylane as qml
    psi = np.array(job["re"]) + 1j * np.array(job["im"])
    seconds, found = timed(lambda: qml.pauli_decompose(np.outer(psi, psi.conj()), pauli=True), 1)
    value = float(sum(abs(number) ** 2 for number in found.values()))
else:
    import cvxpy as cp
    letters = {"I": np.eye(2), "X": np.array([[0, 1], [1, 0]]), "Y": np.array([[0, -1j], [1j, 0]]),
               "Z": np.diag([1, -1])}
    def matrix(label):
        found = np.ones((1, 1))
        for letter in label:
            found = np.kron(found, letters[letter])
        return found
    strings = {label: matrix(label) for label in [*job["known"], job["target"]]}
    def both():
        ends = []
        for goal in (cp.Minimize, cp.Maximize):
            side = len(strings[job["target"]])
            sigma = cp.Variable((side, side), hermitian=True)
            constraints = [sigma >> 0, cp.real(cp.trace(sigma)) == 1]
            constraints += [cp.real(cp.trace(sigma @ strings[label])) == r for label, r in job["known"].items()]
            problem = cp.Problem(goal(cp.real(cp.trace(sigma @ strings[job["target"]]))), constraints)
            problem.solve(solver=cp.CLARABEL)
            ends.append(float(problem.value))
        return ends
    seconds, value = timed(both, 1)
print(json.dumps([seconds, value]))
"""


def peers_python() -> Path:
    """Returns the interpreter of an environment with the peers, made on first use."""
    folder = user_cache_path("intarsia") / "benchmarks" / "quantum-posterior-peers"
    python, done = folder / "bin" / "python", folder / "done"
    if not done.exists():
        print(f"installing {', '.join(PEERS)} in {folder} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEERS], check=True)
        done.touch()
    return python


def theirs(python: Path, job: Mapping[str, Any]) -> tuple[float, Any]:
    process = subprocess.run([str(python), "-c", THEIRS, json.dumps(job)], capture_output=True, text=True)
    if process.returncode:
        sys.exit(f"{job['what']} failed:\n{process.stderr[-3000:]}")
    seconds, value = json.loads(process.stdout.strip().splitlines()[-1])
    return seconds, value


def ours(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        value = call()
        times.append(time.process_time() - start)
    return statistics.median(times), value


def row(what: str, pairs: list[tuple[float, float]], **notes: Any) -> dict[str, Any]:
    mine, other = zip(*pairs, strict=True)
    found = {
        "what": what,
        "ours_ms": 1000 * statistics.median(mine),
        "other_ms": 1000 * statistics.median(other),
        "ratio": statistics.median(a / b for a, b in pairs),
        **notes,
    }
    print(json.dumps(found))
    return found


def by_matrices(psi: np.ndarray, count: int) -> None:
    rho = np.outer(psi, psi.conj())
    letters = {letter: paulis.pauli_matrix(letter) for letter in "IXYZ"}
    for label in paulis.labels(QUBITS)[:: 4**QUBITS // count][:count]:
        matrix = np.ones((1, 1))
        for letter in label:
            matrix = np.kron(matrix, letters[letter])
        np.sum(rho * matrix.T)


def expectations(python: Path, rounds: int) -> list[dict[str, Any]]:
    psi = states.haar_state(QUBITS, np.random.default_rng(0))
    state = {"re": psi.real.tolist(), "im": psi.imag.tolist()}
    sampled = 64
    pairs: dict[str, list[tuple[float, float]]] = {"matrices": [], "qiskit": [], "pennylane": []}
    for _ in range(rounds):
        seconds, values = ours(lambda: paulis.pauli_expectations(psi), 21)
        for name in pairs:
            if name == "matrices":
                other = ours(lambda: by_matrices(psi, sampled), 1)[0] * 4**QUBITS / sampled
            else:
                other, squares = theirs(python, {"what": name, **state})
                # Qiskit leaves out coefficients below its tolerance.
                if abs(squares * 2**QUBITS * 2**QUBITS - np.sum(values**2)) > 1e-4 * np.sum(values**2):
                    sys.exit(f"{name} disagrees")
            pairs[name].append((seconds, other))
    names = {"matrices": "a matrix for every string", "qiskit": "Qiskit", "pennylane": "PennyLane"}
    return [row(f"all Pauli expectations of {QUBITS} qubits, beside {names[name]}", pairs[name]) for name in pairs]


def intervals(python: Path, rounds: int) -> list[dict[str, Any]]:
    found = []
    for n in (3, 4):
        psi = states.haar_state(n, np.random.default_rng(n))
        values = paulis.expectations_of(states.depolarise(states.density_matrix(psi), 1e-3))
        strings = list(values)
        order = [strings[i] for i in np.random.default_rng(n).permutation(len(strings))]
        for count in (4**n // 4, 4**n // 2):
            known, target = {label: values[label] for label in order[:count]}, order[count]
            pairs, apart = [], 0.0
            for _ in range(rounds):
                seconds, mine = ours(lambda known=known, target=target: feasible_interval(known, target), 1)
                other, ends = theirs(python, {"what": "cvxpy", "known": known, "target": target})
                pairs.append((seconds, other))
                apart = max(apart, abs(mine.lower - ends[0]), abs(mine.upper - ends[1]))
            what = f"feasible interval of {n} qubits, {count} values known, beside CVXPY with Clarabel"
            found.append(row(what, pairs, apart=f"{apart:.1g}", status=mine.status))
    return found


def chains(rounds: int) -> tuple[list[dict[str, Any]], dict[str, float]]:
    haar = {}
    for order in ("desc", "weight"):
        psi = states.haar_state(4, np.random.default_rng(1))
        config = ChainConfig(stop_below=0.0)
        haar[f"haar_4_qubits_{order}_s"] = statistics.median(
            ours(lambda psi=psi, order=order, config=config: posterior_chain(psi, order, config), 1)[0]
            for _ in range(rounds)
        )
    ghz = states.ghz_state(4)
    pairs = [
        tuple(
            ours(lambda use=use: posterior_chain(ghz, "weight", ChainConfig(stop_below=0.0, structure=use)), 1)[0]
            for use in (True, False)
        )
        for _ in range(rounds)
    ]
    print(json.dumps(haar))
    return [row("maximum-entropy chain of a GHZ state of 4 qubits, beside no use of structure", pairs)], haar


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    python = peers_python()
    rows, haar = chains(options.rounds)
    rows = [*expectations(python, options.rounds), *intervals(python, options.rounds), *rows]
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"results": rows, "chains": haar}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
