"""The statevector simulator beside PennyLane's default.qubit (backprop, broadcast) and DeepQuantum.

    python benchmarks/qnn_simulator.py [--rounds N] [--qubits 4,6,...] [--json FILE]

Forward and backward of one circuit: angle encoding, 4 layers of RY, RZ and a ring of CNOTs, <Z_0> summed over a batch
of 32, double precision, one thread. The others are installed in an environment of their own on first use and run in a
process of their own, each library in its plain documented style. All take turns, so load from elsewhere hits them
alike; a time is the process's processor time, the median of three steps; a ratio is the median of neighbouring
rounds. What could not be installed is left out, and said so.

In the same run: values and gradients agree, mutual information agrees with PennyLane's `math.mutual_info` and QuTiP's
`entropy_mutual`, and real PennyLane and Qiskit circuits are imported and give those libraries' own unitaries.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before any library reads it.
os.environ["OMP_NUM_THREADS"] = "1"

PEERS = {"pennylane": "0.45.1", "deepquantum": "4.5.0", "qutip": "5.3.1", "qiskit": "2.6.2"}
LAYERS, BATCH = 4, 32


# In the environment of the others


def pennylane_circuit(qubits: int) -> Callable[[Any, Any], Any]:
    import pennylane as qml

    @qml.qnode(qml.device("default.qubit", wires=qubits), interface="torch", diff_method="backprop")
    def circuit(angles: Any, theta: Any) -> Any:
        for qubit in range(qubits):
            qml.RY(angles[:, qubit], wires=qubit)
        for layer in range(LAYERS):
            for qubit in range(qubits):
                qml.RY(theta[layer, qubit, 0], wires=qubit)
                qml.RZ(theta[layer, qubit, 1], wires=qubit)
            for qubit in range(qubits):
                qml.CNOT(wires=[qubit, (qubit + 1) % qubits])
        return qml.expval(qml.PauliZ(0))

    return circuit


def pennylane_step(qubits: int, angles: Any, theta: Any) -> Callable[[], tuple[float, Any]]:
    circuit = pennylane_circuit(qubits)

    def step() -> tuple[float, Any]:
        leaf = theta.clone().requires_grad_()
        value = circuit(angles, leaf).sum()
        value.backward()
        return float(value.detach()), leaf.grad

    return step


def deepquantum_step(qubits: int, angles: Any, theta: Any) -> Callable[[], tuple[float, Any]]:
    import deepquantum
    import torch

    circuit = deepquantum.QubitCircuit(qubits)
    for qubit in range(qubits):
        circuit.ry(qubit, encode=True)
    for _ in range(LAYERS):
        for qubit in range(qubits):
            circuit.ry(qubit)
            circuit.rz(qubit)
        for qubit in range(qubits):
            circuit.cnot(qubit, (qubit + 1) % qubits)
    circuit.observable(0)
    circuit.to(torch.double)
    parameters = list(circuit.parameters())
    with torch.no_grad():
        for parameter, value in zip(parameters, theta.flatten(), strict=True):
            parameter.copy_(value)

    def step() -> tuple[float, Any]:
        circuit.zero_grad()
        circuit(angles)
        value = circuit.expectation().sum()
        value.backward()
        return float(value.detach()), torch.stack([parameter.grad.reshape(()) for parameter in parameters]).view_as(
            theta
        )

    return step


STEPS = {"PennyLane default.qubit": pennylane_step, "DeepQuantum": deepquantum_step}


def peer_information(unitary: Any, measured: list[int]) -> dict[str, list[float]]:
    """I(D_i:M_o) and I(M_i:M_o) of the pure state |U>> by other libraries' functions."""
    import numpy
    import pennylane as qml
    import qutip

    qubits = int(numpy.log2(len(unitary)))
    state = unitary.reshape(-1) / 2 ** (qubits / 2)
    density = numpy.outer(state, state.conj())
    references = {
        "di": [qubits + qubit for qubit in range(qubits) if qubit not in measured],
        "mi": [qubits + qubit for qubit in measured],
    }
    whole = qutip.Qobj(density, dims=[[2] * (2 * qubits)] * 2)

    def by_qutip(axes: list[int]) -> float:
        # QuTiP wants the two parts to be the whole state.
        kept = sorted([*axes, *measured])
        places = [[kept.index(axis) for axis in part] for part in (axes, measured)]
        return float(qutip.entropy_mutual(whole.ptrace(kept), *places, base=2))

    return {
        "PennyLane math.mutual_info": [
            float(qml.math.mutual_info(density, axes, measured, base=2)) for axes in references.values()
        ],
        "QuTiP entropy_mutual": [by_qutip(axes) for axes in references.values()],
    }


def imported_circuits() -> dict[str, float]:
    """Largest entries of the differences between our unitaries of imported circuits and their own."""
    import numpy
    import pennylane as qml
    import torch
    from qiskit import QuantumCircuit
    from qiskit.quantum_info import Operator

    from intarsia.quantum.qnn.importing import import_circuit

    generator = torch.Generator().manual_seed(0)
    theta = torch.rand(LAYERS, 3, 2, generator=generator, dtype=torch.float64)
    tape = qml.workflow.construct_tape(pennylane_circuit(3))(torch.zeros(1, 3, dtype=torch.float64), theta)
    # The encoding of a batch has no one matrix; the circuit behind it does.
    weights = torch.rand(2, 3, 3, generator=generator, dtype=torch.float64)
    behind = [*tape.operations[3:], qml.StronglyEntanglingLayers(weights, wires=range(3))]
    ours = import_circuit(behind, wires=range(3)).unitary().numpy()
    theirs = numpy.asarray(qml.matrix(qml.tape.QuantumScript(behind), wire_order=range(3)))
    pennylane = float(numpy.abs(ours - theirs).max())

    block = QuantumCircuit(2, name="block")
    block.ry(0.4, 0)
    block.cx(0, 1)
    circuit = QuantumCircuit(3, 1)
    circuit.h(0)
    circuit.cp(0.7, 2, 1)
    circuit.append(block.to_instruction(), [2, 0])
    circuit.barrier()
    circuit.ccx(0, 1, 2)
    theirs = Operator(circuit).data
    circuit.measure(0, 0)
    order = [int(f"{place:03b}"[::-1], 2) for place in range(8)]
    qiskit = float(numpy.abs(import_circuit(circuit).unitary().numpy() - theirs[numpy.ix_(order, order)]).max())
    return {"PennyLane": pennylane, "Qiskit": qiskit}


def serve() -> None:
    """Answers requests on standard input, one JSON line each."""
    import torch

    torch.set_num_threads(1)
    steps: dict[str, Callable[[], tuple[float, Any]]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        reply: dict[str, Any] = {}
        try:
            if request["do"] == "open":
                angles, theta = (torch.tensor(request[name], dtype=torch.float64) for name in ("angles", "theta"))
                steps[request["peer"]] = STEPS[request["peer"]](request["qubits"], angles, theta)
                value, gradient = steps[request["peer"]]()
                reply = {"value": value, "gradient": gradient.tolist()}
            elif request["do"] == "time":
                reply = {"seconds": median_of_three(steps[request["peer"]])}
            elif request["do"] == "information":
                unitary = torch.complex(*(torch.tensor(request[part], dtype=torch.float64) for part in ("re", "im")))
                reply = {"information": peer_information(unitary.numpy(), request["measured"])}
            else:
                reply = {"imported": imported_circuits()}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        print("REPLY " + json.dumps(reply), flush=True)


# In ours


class Peers:
    """The process of the other libraries."""

    def __init__(self, python: Path) -> None:
        source = str(Path(__file__).resolve().parents[1] / "src")
        self._process = subprocess.Popen(
            [str(python), str(Path(__file__).resolve()), "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": source},
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("REPLY "):
                return dict(json.loads(line.removeprefix("REPLY ")))
        sys.exit("the process of the other libraries died")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)


def peers_python() -> tuple[Path, dict[str, str]]:
    """Returns the interpreter of an environment with the others, made on first use, and why any is missing."""
    import torch
    from platformdirs import user_cache_path

    folder = user_cache_path("intarsia") / "benchmarks" / "qnn-peers"
    python, done = folder / "bin" / "python", folder / "done.json"
    if not done.exists():
        print(f"installing {', '.join(PEERS)} in {folder} ...", file=sys.stderr)
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        missing = {}
        # The same torch first, so that a CPU build is not replaced by one with gigabytes of CUDA.
        wanted = {"torch": torch.__version__, "jaxtyping": "0.3.11", **PEERS}
        for name, version in wanted.items():
            command = [str(python), "-m", "pip", "install", "--quiet", f"{name}=={version}"]
            installed = subprocess.run(command, capture_output=True, text=True)
            if installed.returncode:
                missing[name] = (installed.stderr.strip().splitlines() or ["unknown"])[-1]
        done.write_text(json.dumps(missing), encoding="utf-8")
    return python, dict(json.loads(done.read_text(encoding="utf-8")))


def median_of_three(step: Callable[[], Any]) -> float:
    times = []
    for _ in range(3):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    return statistics.median(times)


def our_step(qubits: int, angles: Any, theta: Any) -> Callable[[], tuple[float, Any]]:
    from intarsia.quantum.qnn.circuits import Circuit
    from intarsia.quantum.qnn.config import CircuitConfig
    from intarsia.quantum.qnn.encodings import angle_states
    from intarsia.quantum.qnn.readout import expectation_z

    circuit = Circuit(CircuitConfig(qubits=qubits, layers=LAYERS))

    def step() -> tuple[float, Any]:
        leaf = theta.clone().requires_grad_()
        value = expectation_z(circuit.output_states(angle_states(angles), leaf), 0).sum()
        value.backward()
        return float(value.detach()), leaf.grad

    return step


def compare(peers: Peers, peer: str, qubits: int, rounds: int) -> dict[str, Any]:
    import torch

    generator = torch.Generator().manual_seed(qubits)
    angles = 3.14 * torch.rand(BATCH, qubits, generator=generator, dtype=torch.float64)
    theta = 6.28 * torch.rand(LAYERS, qubits, 2, generator=generator, dtype=torch.float64)
    step = our_step(qubits, angles, theta)
    value, gradient = step()
    opened = peers.ask(do="open", peer=peer, qubits=qubits, angles=angles.tolist(), theta=theta.tolist())
    if "error" in opened:
        sys.exit(f"{peer}, {qubits} qubits: {opened['error']}")
    difference = max(
        abs(value - opened["value"]),
        float((gradient - torch.tensor(opened["gradient"], dtype=torch.float64)).abs().max()),
    )
    pairs = []
    for _ in range(rounds):
        pairs.append((median_of_three(step), peers.ask(do="time", peer=peer)["seconds"]))
    return {
        "what": f"{qubits} qubits, beside {peer}",
        "ours_ms": 1000 * statistics.median(ours for ours, _ in pairs),
        "other_ms": 1000 * statistics.median(theirs for _, theirs in pairs),
        "ratio": statistics.median(ours / theirs for ours, theirs in pairs),
        "times_faster": statistics.median(theirs / ours for ours, theirs in pairs),
        "largest_difference": difference,
    }


def information_agreement(peers: Peers) -> dict[str, float]:
    """Largest differences in bits over random unitaries of 2 to 4 qubits."""
    import torch

    from intarsia.quantum.qnn.information import choi_information

    worst: dict[str, float] = {}
    for qubits, measured in ((2, (1,)), (3, (0,)), (3, (0, 2)), (4, (1,))):
        generator = torch.Generator().manual_seed(qubits)
        drawn = torch.randn(2**qubits, 2**qubits, generator=generator, dtype=torch.complex128)
        unitary = torch.linalg.qr(drawn).Q
        found = choi_information(unitary, measured)
        reply = peers.ask(do="information", re=unitary.real.tolist(), im=unitary.imag.tolist(), measured=list(measured))
        if "error" in reply:
            sys.exit(reply["error"])
        for name, values in reply["information"].items():
            error = max(abs(mine - other) for mine, other in zip(found[:2], values, strict=True))
            worst[name] = max(worst.get(name, 0.0), error)
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--qubits", default="4,6,8,10,12")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    import torch

    torch.set_num_threads(1)
    python, missing = peers_python()
    for name, reason in missing.items():
        print(f"{name} could not be installed: {reason}", file=sys.stderr)
    peers = Peers(python)
    present = [peer for peer in STEPS if peer.split()[0].lower() not in missing]
    results = []
    for qubits in map(int, options.qubits.split(",")):
        for peer in present:
            results.append(compare(peers, peer, qubits, options.rounds))
            print(json.dumps(results[-1]), flush=True)
    found = {
        "results": results,
        "information_difference_bits": {} if {"pennylane", "qutip"} & set(missing) else information_agreement(peers),
        "imported_difference": {} if {"pennylane", "qiskit"} & set(missing) else peers.ask(do="import"),
        "not_installed": missing,
        "versions": {"torch": torch.__version__, **PEERS},
    }
    peers.close()
    print(json.dumps({name: value for name, value in found.items() if name != "results"}))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
