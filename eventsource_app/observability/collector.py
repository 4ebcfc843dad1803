"""Where traces go: the address of a collector, and the protocol that it stands for. Nothing of OpenTelemetry is imported here."""

import re
from urllib.parse import urlsplit


def goes_by_grpc(endpoint: str) -> bool:
    """Say whether spans go there by gRPC (``host:4317``), or else by HTTP; raises ``ValueError`` with what it must be."""
    by_http = re.match("https?://", endpoint) is not None
    url = urlsplit(endpoint if by_http else f"grpc://{endpoint}")
    try:
        has_port = url.port is not None
    except ValueError:  # what stands there is none
        raise _what_it_must_be() from None
    if (
        not url.hostname
        or re.search(r"\s", endpoint)
        or not (by_http or (has_port and url.netloc == endpoint))
    ):
        raise _what_it_must_be()
    return not by_http


def _what_it_must_be() -> ValueError:
    return ValueError("host:4317 for gRPC, or http://host:4318 (or https) for HTTP")
