"""What whoever runs the HTTP server may set."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from filmgate.errors import BadSetting
from filmgate.units import parse_bytes

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where the server listens and what it takes; each field is a flag. Raises BadSetting."""

    host: str = "127.0.0.1"
    """Address to listen on. Another than that of this machine alone needs a key: filmgate keys."""

    port: int = 8000
    """Port to listen on; 0 chooses a free one."""

    allow: tuple[Path, ...] = ()
    """Folders of this machine from which clients may name files as inputs. Can be given several
    times. Default: none, inputs are uploaded."""

    host_names: tuple[str, ...] = ()
    """Names by which clients reach the server, such as video.example.org; others are refused."""

    max_upload: str = "50GB"
    """Size of one uploaded file at most."""

    upload_quota: str = "200GB"
    """Size of all uploaded files of one key at most."""

    keep_uploads_s: float = 7 * 86_400.0
    """Seconds for which an uploaded file is kept after a job used it last."""

    stop_s: float = 30.0
    """Seconds that running jobs have at the end to finish their segment."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise BadSetting(f"port is {self.port}: pass 0 to 65535")
        for name in ("keep_uploads_s", "stop_s"):
            if not 0 <= getattr(self, name) <= 1e9:
                raise BadSetting(f"{name} is {getattr(self, name)}: pass 0 to 1e9 seconds")
        for size in (self.max_upload, self.upload_quota):
            parse_bytes(size)
        for folder in self.allow:
            if not folder.is_dir():
                raise BadSetting(f"allow is {folder}, which is no folder: pass one that exists")

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine can reach the server."""
        if self.host in LOCAL_HOSTS:
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
