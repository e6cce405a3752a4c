"""A service of Ray Serve for bench/serving.py: python _ray_app.py PORT."""

import sys
import threading
from typing import Any

from _failing_model import TIMEOUT_S, act
from ray import serve


class Api:
    """Answers {"do": ...}."""

    async def __call__(self, request: Any) -> dict[str, str]:
        """Do what the request says."""
        return {"output": act((await request.json())["do"])}


if __name__ == "__main__":
    serve.start(http_options={"port": int(sys.argv[1]), "request_timeout_s": TIMEOUT_S})
    serve.run(serve.deployment(Api).bind(), route_prefix="/predict")
    threading.Event().wait()
