"""The proxy that the environment names.

aiohttp would find it too (`trust_env`), and with it a login in `~/.netrc`: read from the disk with every request, and
refused beside a token, which it then may not send.
"""

from __future__ import annotations

import urllib.request
from urllib.parse import urlsplit


def proxy_for(url: str) -> str | None:
    """By HTTPS_PROXY or HTTP_PROXY, and NO_PROXY; None: `url` is asked without one."""
    parts = urlsplit(url)
    if parts.hostname is None or urllib.request.proxy_bypass(parts.hostname):
        return None
    return urllib.request.getproxies().get(parts.scheme)
