"""Open the traces of a service; the SDK is loaded only if there is somewhere to send them."""

from __future__ import annotations

from filmgate.errors import NotLoaded
from filmgate.installation import advise_install
from filmgate.service.logs import ServiceLog
from filmgate.service.telemetry.traces import NO_TRACES, Traces, find_endpoint


def open_traces(address: str | None, log: ServiceLog) -> Traces:
    """Return what sends spans to a collector of OpenTelemetry, nothing at all without an address.

    What cannot be sent becomes a line of the log. Raises BadSetting; NotLoaded without the extra.
    """
    if address is None:
        return NO_TRACES
    endpoint = find_endpoint(address)
    try:
        from filmgate.service.telemetry.open_telemetry import connect
    except ImportError as error:
        raise NotLoaded(f"traces need OpenTelemetry, which cannot be loaded here: {error}. Run "
                        f"{advise_install('serve,telemetry')}") from error  # fmt: skip
    return connect(endpoint, log)
