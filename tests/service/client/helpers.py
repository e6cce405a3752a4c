"""Networks that lose what a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx2

Fault = Callable[[int, httpx2.Request], str]
"""Return what happens to request number N: "", "lost" on its way, "unheard" or "cut"."""


class _Cut(httpx2.SyncByteStream):
    """A body whose connection breaks after some bytes."""

    def __init__(self, body: httpx2.SyncByteStream, size: int) -> None:
        self._body, self._size = body, size

    def __iter__(self) -> Iterator[bytes]:
        left = self._size
        for data in self._body:
            yield data[:left]
            left -= len(data)
            if left <= 0:
                break
        raise httpx2.ReadError("the connection broke")

    def close(self) -> None:
        self._body.close()


class FaultyNetwork(httpx2.BaseTransport):
    """A real network with faults; `requests` are those that were sent."""

    def __init__(self, fault: Fault = lambda number, request: "", cut_bytes: int = 200) -> None:
        self._inner = httpx2.HTTPTransport(verify=False)  # which takes 50 ms to prepare, unused
        self._fault, self._cut_bytes = fault, cut_bytes
        self.requests: list[httpx2.Request] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        number = len(self.requests)
        self.requests.append(request)
        fault = self._fault(number, request)
        if fault == "lost":
            raise httpx2.ConnectError("connection refused", request=request)
        response = self._inner.handle_request(request)
        if fault == "unheard":
            response.read()
            raise httpx2.ReadError("the connection broke", request=request)
        if fault == "cut":
            assert isinstance(response.stream, httpx2.SyncByteStream)
            response.stream = _Cut(response.stream, self._cut_bytes)
        return response

    def close(self) -> None:
        self._inner.close()

    def count_sent(self, method: str) -> int:
        """Return the bytes of the bodies of these requests."""
        return sum(len(one.content) for one in self.requests if one.method == method)


def answer_with(*answers: httpx2.Response) -> httpx2.MockTransport:
    """Return a network on which the requests get these answers in turn, the last for ever."""
    left = list(answers)
    return httpx2.MockTransport(lambda _: left.pop(0) if len(left) > 1 else left[0])
