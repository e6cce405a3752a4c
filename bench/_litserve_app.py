"""A service of LitServe for bench/serving.py: python _litserve_app.py PORT."""

import sys

import litserve
from _failing_model import TIMEOUT_S, act


class Api(litserve.LitAPI):  # type: ignore[misc]  # no type hints
    """Answers {"do": ...}."""

    def setup(self, device: str) -> None:
        """Load nothing."""

    def predict(self, request: dict[str, str]) -> dict[str, str]:
        """Do what the request says."""
        return {"output": act(request["do"])}


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", timeout=TIMEOUT_S, restart_workers=True)
    server.run(port=int(sys.argv[1]), generate_client_file=False)
