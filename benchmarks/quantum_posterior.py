"""Speed of posterior information beside its peers, on one thread.

    python benchmarks/quantum_posterior.py [--rounds N] [--json FILE]

Qiskit, PennyLane and CVXPY are installed in an environment of their own on first use. Ours and theirs run in turn on
the same states, each after a call that does not count; times are of the processor, a figure is the median over rounds,
a ratio the median of the rounds'.

- All 4^n Pauli expectation values of a state vector of eight qubits: the decompositions of its density matrix by Qiskit
  (`SparsePauliOp`) and PennyLane (`pauli_decompose`); once more Qiskit with the density matrix given ready, while ours
  begins with the vector; and the matrix way, `tr(rho P)` with P from Kronecker products, timed on 64 of the 65,536
  strings.
- A feasible interval, both endpoints: the same programs through CVXPY with Clarabel at our tolerance, written plainly
  (a constraint for each known value), and by the quickest of three ways: that one, one constraint for all values, and
  our own form, a sparse linear matrix inequality over the unknown values. The answers are compared.
- Maximum-entropy chains of four qubits, all 255 components; chains and intervals with and without structure.
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
    rho = np.outer(psi, psi.conj())
    given, found = timed(lambda: SparsePauliOp.from_operator(rho), 21)
    from_vector, _ = timed(lambda: SparsePauliOp.from_operator(np.outer(psi, psi.conj())), 21)
    seconds, value = [from_vector, given], float(np.sum(np.abs(found.coeffs) ** 2))
elif job["what"] == "pennylane":
    import pennylane as qml
    psi = np.array(job["re"]) + 1j * np.array(job["im"])
    seconds, found = timed(lambda: qml.pauli_decompose(np.outer(psi, psi.conj()), pauli=True), 1)
    value = float(sum(abs(number) ** 2 for number in found.values()))
else:
    import itertools
    import cvxpy as cp
    import scipy.sparse as sp
    letters = {"I": np.eye(2), "X": np.array([[0, 1], [1, 0]]), "Y": np.array([[0, -1j], [1j, 0]]),
               "Z": np.diag([1, -1])}
    def matrix(label):
        found = np.ones((1, 1))
        for letter in label:
            found = np.kron(found, letters[letter])
        return found
    known, target = job["known"], job["target"]
    side = 2 ** len(target)
    every = {"".join(one): matrix(one) for one in itertools.product("IXYZ", repeat=len(target))}
    values = np.array([1.0, *known.values()])
    rows = sp.csr_array(np.stack([every[label].T.reshape(-1, order="F") for label in ["I" * len(target), *known]]))
    free = [label for label in every if label not in known and label != target and label.strip("I")]
    embedded = {label: np.block([[one.real, -one.imag], [one.imag, one.real]]) for label, one in every.items()}
    columns = sp.csc_array(np.stack([embedded[label].reshape(-1, order="F") for label in [target, *free]]).T)
    constant = embedded["I" * len(target)] + sum(r * embedded[label] for label, r in known.items())
    def each_constraint():
        sigma = cp.Variable((side, side), hermitian=True)
        legal = [sigma >> 0, cp.real(cp.trace(sigma)) == 1]
        legal += [cp.real(cp.trace(sigma @ every[label])) == r for label, r in known.items()]
        return cp.real(cp.trace(sigma @ every[target])), legal
    def one_constraint():
        sigma = cp.Variable((side, side), hermitian=True)
        legal = [sigma >> 0, cp.real(rows @ cp.vec(sigma, order="F")) == values]
        return cp.real(cp.trace(sigma @ every[target])), legal
    def inequality():
        x = cp.Variable(1 + len(free))
        found = cp.reshape(columns @ x, (2 * side, 2 * side), order="F") + constant
        return x[0], [found >> 0]
    def both(written):
        goal, legal = written()
        ends = []
        for end in (cp.Minimize, cp.Maximize):
            problem = cp.Problem(end(goal), legal)
            problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-7, tol_gap_rel=1e-7, tol_feas=1e-7, max_threads=1)
            ends.append(float(problem.value))
        return ends
    ways = {way.__name__: timed(lambda way=way: both(way), 3) for way in (each_constraint, one_constraint, inequality)}
    seconds, value = None, {name: {"seconds": spent, "ends": ends} for name, (spent, ends) in ways.items()}
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


def theirs(python: Path, job: Mapping[str, Any]) -> tuple[Any, Any]:
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
        "times_faster": statistics.median(b / a for a, b in pairs),
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
    pairs: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        seconds, values = ours(lambda: paulis.pauli_expectations(psi), 21)
        others = {"a matrix for every string": ours(lambda: by_matrices(psi, sampled), 1)[0] * 4**QUBITS / sampled}
        for name in ("Qiskit", "PennyLane"):
            spent, squares = theirs(python, {"what": name.lower(), **state})
            # Qiskit leaves out coefficients below its tolerance.
            if abs(squares * 2**QUBITS * 2**QUBITS - np.sum(values**2)) > 1e-4 * np.sum(values**2):
                sys.exit(f"{name} disagrees")
            if name == "Qiskit":
                others[name], others["Qiskit, its matrix given"] = spent
            else:
                others[name] = spent
        for name, other in others.items():
            pairs.setdefault(name, []).append((seconds, other))
    return [row(f"all Pauli expectations of {QUBITS} qubits, beside {name}", pairs[name]) for name in pairs]


def intervals(python: Path, rounds: int) -> list[dict[str, Any]]:
    found = []
    for n in (3, 4):
        psi = states.haar_state(n, np.random.default_rng(n))
        values = paulis.expectations_of(states.depolarise(states.density_matrix(psi), 1e-3))
        strings = list(values)
        order = [strings[i] for i in np.random.default_rng(n).permutation(len(strings))]
        for count in (4**n // 4, 4**n // 2):
            known, target = {label: values[label] for label in order[:count]}, order[count]
            plain, quickest, apart, best = [], [], 0.0, ""
            for _ in range(rounds):
                seconds, mine = ours(lambda known=known, target=target: feasible_interval(known, target), 3)
                _, ways = theirs(python, {"what": "cvxpy", "known": known, "target": target})
                best = min(ways, key=lambda way: ways[way]["seconds"])
                plain.append((seconds, ways["each_constraint"]["seconds"]))
                quickest.append((seconds, ways[best]["seconds"]))
                for way in ways.values():
                    apart = max(
                        apart, *(abs(a - b) for a, b in zip((mine.lower, mine.upper), way["ends"], strict=True))
                    )
            what, notes = f"feasible interval of {n} qubits, {count} values known", {"apart": f"{apart:.1g}"}
            found.append(row(f"{what}, beside CVXPY, a constraint for each value", plain, **notes, status=mine.status))
            found.append(row(f"{what}, beside CVXPY, its quickest way", quickest, **notes, way=best.replace("_", " ")))
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
    print(json.dumps(haar))
    return structures(rounds), haar


def structures(rounds: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(2)
    rows = []
    for name, psi in (("a W state", states.w_state(4)), ("a state with real amplitudes", states.real_state(4, rng))):
        values = paulis.expectations_of(states.depolarise(states.density_matrix(psi), 1e-3))
        known = dict(list(values.items())[:64])
        calls = {
            "maximum-entropy chain": lambda use, psi=psi: posterior_chain(
                psi, "weight", ChainConfig(stop_below=0.0, structure=use)
            ),
            "feasible interval": lambda use, known=known, values=values: feasible_interval(
                known, list(values)[65], structure=use
            ),
        }
        for what, call in calls.items():
            pairs = []
            for _ in range(rounds):
                seconds = [ours(lambda use=use, call=call: call(use), 3)[0] for use in (True, False)]
                pairs.append((seconds[0], seconds[1]))
            rows.append(row(f"{what} of {name} of 4 qubits, beside no use of structure", pairs))
    return rows


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
