"""What do networks that a worker keeps from job to job, and pins, save?

The same small job through `filmgate serve`: with the first network that a worker loads, again, and
after a job with another network, where memory is for both or for one; then with it pinned. Networks
of FILM's size with random weights, on the CPU: seconds from submission to result, and CPU seconds
of the server and its worker. Predictions are made before. Medians of --runs servers.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any

import httpx
import psutil
from _common import make_video, write_result
from serving import find_port, serve, start

SIZE, FRAMES = (96, 64), 2
LIMITS = {"threads": 1, "chunk": 2, "batch": 1, "guard": False}  # random weights make no images
WAIT_S = 600.0
SPARE_SHARE = 0.5  # of a network, that is left where memory is for one
Row = dict[str, float]


def write_networks(folder: Path) -> dict[str, Path]:
    """Write two networks with random weights; return their files."""
    import torch
    from _film import make_network
    from safetensors.torch import save_file

    tensors = make_network("cpu", torch.float32).state_dict()
    paths = {name: folder / f"{name}.safetensors" for name in ("first", "second")}
    for path in paths.values():
        save_file(tensors, path)
    return paths


class Service:
    """A server that runs, and the jobs of this benchmark."""

    def __init__(self, url: str, clip: Path, networks: dict[str, Path]) -> None:
        self._http = httpx.Client(base_url=url, timeout=WAIT_S)
        self._clip, self._networks = clip, networks
        connections = psutil.net_connections("tcp")
        port = int(url.rpartition(":")[2])
        self._pid = next(c.pid for c in connections
                         if c.laddr.port == port and c.status == psutil.CONN_LISTEN)  # fmt: skip

    def make_body(self, network: str) -> dict[str, Any]:
        """Return the job that runs a network."""
        return {
            "source": {"path": str(self._clip)},
            "tasks": [{"task": "interpolate", "model": str(self._networks[network])}],
            "limits": LIMITS,
        }

    def predict(self) -> int:
        """Predict both jobs, so that they start at once; return the RAM that one and the server
        take."""
        plans = [self._post("/v1/plan", self.make_body(name)) for name in self._networks]
        server = psutil.Process(self._pid).memory_info().rss
        return int(server) + max(int(plan["host_bytes"]) for plan in plans)

    def measure(self, network: str) -> Row:
        """Run a job and return what it took."""
        cpu, begin = self._read_cpu(), perf_counter()
        name = self._post("/v1/jobs", self.make_body(network))["name"]
        job = self._http.get(f"/v1/{name}", params={"wait": 60}).json()
        if "response" not in job:
            raise RuntimeError(f"the job has failed: {job}")
        seconds = perf_counter() - begin
        sleep(0.5)  # the worker frees what it can
        return {"seconds": seconds, "cpu_seconds": self._read_cpu() - cpu}

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self._http.post(path, json=body)
        if answer.is_error:
            raise RuntimeError(f"{path}: {answer.text}")
        return answer.json()

    def _read_cpu(self) -> float:
        server = psutil.Process(self._pid)
        times = [process.cpu_times() for process in (server, *server.children(recursive=True))]
        return float(sum(one.user + one.system for one in times))


@contextmanager
def open_service(
    folder: Path, clip: Path, networks: dict[str, Path], *more: str
) -> Iterator[Service]:
    port = find_port()
    url = f"http://127.0.0.1:{port}"
    with (
        tempfile.TemporaryDirectory(dir=folder) as own,
        start([*serve(Path(own), port, folder), "--plan-s", "600", *more], f"{url}/readyz"),
    ):
        yield Service(url, clip, networks)


def measure(folder: Path, clip: Path, networks: dict[str, Path]) -> dict[str, Row]:
    """Return the rows of one run of each server."""
    rows = {}
    pin = ("--pin", f"interpolate:{networks['first']}")
    size = networks["first"].stat().st_size
    with open_service(folder, clip, networks) as service:
        taken = service.predict()
        rows["first job"] = service.measure("first")
        rows["second job"] = service.measure("first")
        service.measure("second")
        rows["after another network, RAM for both"] = service.measure("first")
    one = int(taken + SPARE_SHARE * size) * 5 // 4  # jobs may use 80 % of it
    with open_service(folder, clip, networks, "--ram", str(one)) as service:
        service.predict()
        service.measure("first")
        service.measure("second")
        rows["after another network, RAM for one: loaded again"] = service.measure("first")
    more = one + size * 5 // 4
    with open_service(folder, clip, networks, "--ram", str(more), *pin) as service:
        service.predict()
        rows["pinned: first job"] = service.measure("first")
        service.measure("second")
        rows["pinned: after another network, RAM for one more"] = service.measure("first")
    return rows


def take_medians(runs: Sequence[dict[str, Row]]) -> dict[str, Row]:
    """Return the median of each figure, and CPU seconds relative to the first job."""
    rows = {name: {key: median(run[name][key] for run in runs) for key in row}
            for name, row in runs[0].items()}  # fmt: skip
    first = rows["first job"]["cpu_seconds"]
    return {name: {**row, "cpu_seconds_x": row["cpu_seconds"] / first}
            for name, row in rows.items()}  # fmt: skip


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = make_video(folder / "small.mp4", *SIZE, FRAMES)
        networks = write_networks(folder)
        size = f"{networks['first'].stat().st_size / 1e6:.0f} MB"
        runs = [measure(folder, clip, networks) for _ in range(options.runs)]
    rows = take_medians(runs)
    for key, row in rows.items():
        print(key, row)
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    write_result("warm_models", {"jobs": rows}, load_average=load, network=size)


if __name__ == "__main__":
    main()
