"""How fast is a job accepted for good, and what does a client see when a worker fails?

Submissions at a fixed rate, each answered after its commit to the disk (open loop: a slow answer
delays no other request). A small job from submission to result, with 1 and 16 clients. Then jobs
whose worker raises, crashes, is killed or hangs: seconds until the client knows, what it reads at
the end, and whether the next job is done. With --peers PYTHON, which has litserve and ray, requests
that do nothing and the same failures there; they keep no job.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import httpx
import psutil
from _common import make_video, write_result

FAILURES = ("raise", "crash", "kill", "hang")
PEERS = {"litserve": "LitServe", "ray": "Ray Serve"}
OURS = "filmgate serve"
CLIENT_S, STEP_S = 25.0, 8.0  # a client waits so long; a step may take so long
LIMITS = {"segment": "6/25", "chunk": 4, "threads": 1}  # segments of 8 frames


def find_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def start(words: Sequence[str], url: str, **environment: str) -> Iterator[None]:
    """Run a server until the end of the `with`; it has answered `url` before."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(words, env={**os.environ, **environment}, stdout=log, stderr=log)
        try:
            wait_for(process, url)
            yield
        except httpx.HTTPError:
            log.seek(0)
            print(log.read().decode(errors="replace")[-4000:], file=sys.stderr)
            raise
        finally:
            stop_with_children(process)


def stop_with_children(process: "subprocess.Popen[bytes]") -> None:
    """End a server and what it started, by force after ten seconds."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    for child in (*children, process):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait()


def wait_for(process: "subprocess.Popen[bytes]", url: str) -> None:
    """Wait until a server answers, with whatever but an error of its own."""
    for _ in range(1200):
        with suppress(httpx.HTTPError):
            if httpx.get(url, timeout=2).status_code < 500:
                return
        if process.poll() is not None:
            break
        sleep(0.1)
    raise httpx.ConnectError(f"{url} does not answer")


def describe(seconds: Sequence[float]) -> dict[str, float]:
    """Return percentiles in ms."""
    ordered = sorted(seconds)
    return {f"p{p}_ms": 1000 * ordered[min(len(ordered) - 1, len(ordered) * p // 100)]
            for p in (50, 95, 99)}  # fmt: skip


def send_at_rate(call: Callable[[int], object], rate: float, seconds: float) -> list[float]:
    """Call at a fixed rate; return the seconds from when each was due to its answer."""
    begin, took = perf_counter() + 0.5, list[float]()

    def send(number: int) -> None:
        due = begin + number / rate
        sleep(max(0.0, due - perf_counter()))
        call(number)
        took.append(perf_counter() - due)

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(send, range(int(rate * seconds))))
    return took


def send_from_clients(call: Callable[[int], object], clients: int, count: int) -> dict[str, float]:
    """Let clients call one after another; return percentiles and calls per second."""
    took = list[float]()

    def send(number: int) -> None:
        begin = perf_counter()
        call(number)
        took.append(perf_counter() - begin)

    begin = perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(send, range(count)))
    return {**describe(took), "per_s": count / (perf_counter() - begin)}


class Sender:
    """Sends the same document again and again, with little work of its own; one per server."""

    def __init__(self, port: int, path: str, body: str) -> None:
        self._port, self._path, self._body = port, path, body
        self._local = threading.local()  # a connection for each thread

    def send(self, **headers: str) -> None:
        """Send it and read the answer, whatever it is. Without one the connection is made again."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = HTTPConnection("127.0.0.1", self._port, timeout=CLIENT_S)
            self._local.connection = connection
        try:
            connection.request(
                "POST", self._path, self._body, {"Content-Type": "application/json", **headers}
            )
            connection.getresponse().read()
        except (OSError, HTTPException):
            connection.close()


class OurClient:
    """A client of `filmgate serve`."""

    def __init__(self, url: str, clip: Path) -> None:
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
        self.http = httpx.Client(base_url=url, timeout=60, limits=limits)
        self.body = {"source": {"path": str(clip)}, "limits": LIMITS}

    def submit(self, key: str, *, is_new: bool = True) -> str:
        answer = self.http.post("/v1/jobs", json=self.body, headers={"Idempotency-Key": key})
        answer.raise_for_status()
        if is_new != (answer.status_code == 202):
            raise RuntimeError(f"job {key} is {'not new' if is_new else 'not stored'}")
        return answer.headers["location"]

    def finish(self, place: str) -> dict[str, Any]:
        while True:
            job: dict[str, Any] = self.http.get(f"{place}?wait=30").json()
            if job["done"]:
                return job

    def time_first_news(self, place: str) -> float:
        """Return the seconds until an event says that something failed."""
        begin = perf_counter()
        with self.http.stream("GET", f"{place}/events") as stream:
            for line in stream.iter_lines():
                if line.startswith("event: ") and line[7:] in ("worker_died", "requeued", "failed"):
                    return perf_counter() - begin
        return perf_counter() - begin


def measure_ours(folder: Path, rate: float, seconds: float) -> dict[str, Any]:
    """Return what submissions and small jobs take."""
    clip = make_video(folder / "small.mp4", 64, 48, 8)
    port = find_port()
    url = f"http://127.0.0.1:{port}"
    with start(serve(folder / "speed", port, folder), f"{url}/readyz"):
        client = OurClient(url, clip)
        client.finish(client.submit("first"))  # it is planned, and everything is loaded
        jobs = {f"{clients} clients": send_from_clients(
            lambda n, c=clients: client.finish(client.submit(f"job-{c}-{n}")),  # type: ignore[misc]
            clients, 40) for clients in (1, 16)}  # fmt: skip
        sender = Sender(port, "/v1/jobs", json.dumps(client.body))
        took = send_at_rate(
            lambda n: sender.send(**{"Idempotency-Key": f"rate-{n}"}), rate, seconds
        )
        client.submit(f"rate-{len(took) - 1}", is_new=False)  # they were stored
    clients = {f"{OURS}: small job to its result, {n}": row for n, row in jobs.items()}
    return {"rate": {f"{OURS}: job on the disk": describe(took)}, "clients": clients}


def serve(folder: Path, port: int, allowed: Path) -> list[str]:
    return [sys.executable, "-m", "filmgate", "serve", str(folder), "--port", str(port),
            "--devices", "cpu", "--allow", str(allowed), "--step-s", str(STEP_S),
            "--max-waiting", "100000",
            "--max-waiting-per-key", "100000"]  # fmt: skip


def fail_ours(folder: Path, kind: str) -> dict[str, Any]:
    """Return what a client sees of a job during whose 10th step of each process this happens."""
    long, short = make_video(folder / "long.mp4", 64, 48, 96), folder / "small.mp4"
    port = find_port()
    url = f"http://127.0.0.1:{port}"
    words = serve(folder / kind, port, folder)
    with start(words, f"{url}/readyz", FILMGATE_FAULT=f"compute.step={kind}@10"):
        client = OurClient(url, long)
        begin = perf_counter()
        place = client.submit("bad")
        news_s = client.time_first_news(place)
        job = client.finish(place)
        total_s = perf_counter() - begin
        following = OurClient(url, short)
        begin = perf_counter()
        is_next_done = "response" in following.finish(following.submit("next"))
        attempts = job["metadata"]["attempts"]
        return {
            "known_s": news_s, "seen": "done" if "response" in job else str(job["error"])[:80],
            "after_s": total_s, "attempts": len(attempts),
            "next": "done" if is_next_done else "failed", "next_s": perf_counter() - begin,
        }  # fmt: skip


def measure_peer(python: str, name: str, rate: float, seconds: float) -> dict[str, Any]:
    """Return what requests take that do nothing, and what a client sees of failures."""
    port = find_port()
    url = f"http://127.0.0.1:{port}/predict"
    words = [python, str(Path(__file__).with_name(f"_{name}_app.py")), str(port)]
    client = httpx.Client(timeout=CLIENT_S, limits=httpx.Limits(max_connections=100))

    def ask(what: str) -> str:
        try:
            answer = client.post(url, json={"do": what})
        except httpx.HTTPError as error:
            return type(error).__name__
        return f"{answer.status_code} {' '.join(answer.text[:60].split())}"

    with start(words, url.replace("/predict", "/")):
        ask("nothing")
        clients = {f"{n} clients": send_from_clients(lambda _: ask("nothing"), n, 40 * n)
                   for n in (1, 16)}  # fmt: skip
        sender = Sender(port, "/predict", json.dumps({"do": "nothing"}))
        took = send_at_rate(lambda _: sender.send(), rate, seconds)
    failures = {}
    for kind in FAILURES:
        with start(words, url.replace("/predict", "/")):
            ask("nothing")
            begin = perf_counter()
            seen = ask(kind)
            known_s, begin = perf_counter() - begin, perf_counter()
            following = ask("nothing")
            failures[f"{PEERS[name]}: {kind}"] = {
                "known_s": known_s, "seen": seen, "after_s": known_s, "attempts": 1,
                "next": "done" if following.startswith("200") else following,
                "next_s": perf_counter() - begin,
            }  # fmt: skip
    title = f"{PEERS[name]}: request that does nothing"
    return {"rate": {title: describe(took)},
            "clients": {f"{title}, {n}": row for n, row in clients.items()},
            "failures": failures}  # fmt: skip


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", help="a Python with litserve and ray")
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = measure_ours(folder, options.rate, options.seconds)
        result["failures"] = {f"{OURS}: {kind}": fail_ours(folder, kind) for kind in FAILURES}
    for peer in PEERS if options.peers else ():
        for key, rows in measure_peer(options.peers, peer, options.rate, options.seconds).items():
            result[key] |= rows
    print(json.dumps(result, indent=1))
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    write_result("serving", result, load_average=load, rate_per_s=f"{options.rate:g}")


if __name__ == "__main__":
    threading.stack_size(1 << 20)
    main()
