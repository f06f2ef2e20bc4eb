"""Who may send requests: pages of other sites, which a browser on this machine shows, may not."""

import ipaddress
from collections.abc import Mapping

from slam_plugin.serving.bounds import RequestError

# Nothing but what this server itself sends: no other address, no frame around the page.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Permissions-Policy": "microphone=(self)",
}


def require_own_page(method: str, scheme: str, headers: Mapping[str, str], names: frozenset[str]) -> None:
    """Raise :class:`RequestError` for a request that another site's page may have sent.

    The Host header must be an address or one of ``names``: a name that a site has made to resolve to this machine (DNS
    rebinding) is neither. For other methods than GET and HEAD the Origin, if there is one, must be this server.
    """
    host = headers.get("host", "")
    if not is_own(host, names):
        raise RequestError(400, f"host: found {host[:100]!r}, expected an address, {' or '.join(sorted(names))}")
    origin = headers.get("origin")
    if method not in ("GET", "HEAD") and origin is not None and origin.lower() != f"{scheme}://{host}".lower():
        raise RequestError(403, f"origin: found {origin[:100]!r}, expected {scheme}://{host}")


def is_own(host: str, names: frozenset[str]) -> bool:
    """Return whether a Host header is an address, or one of ``names``, with any port."""
    name, colon, port = host.lower().rpartition(":")
    if not colon or not port.isdigit():
        name = host.lower()
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    return name in names or _is_address(name)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server on ``host``."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
