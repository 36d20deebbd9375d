"""The hub's configuration: all of it comes from the chart's values, by way of `z2jh.py` beside this file."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from tornado.httpclient import AsyncHTTPClient  # type: ignore[import-not-found]
from z2jh import configure, get_config  # type: ignore[import-not-found]

# Python's own client is slow at the many requests that go to the proxy.
AsyncHTTPClient.configure("tornado.curl_httpclient.CurlAsyncHTTPClient")

configure(c)  # type: ignore[name-defined]  # noqa: F821  # JupyterHub hands in `c`

for name, code in sorted(get_config("hub.extraConfig", {}).items()):
    print(f"Loading extra config: {name}")  # noqa: T201  # seen in the hub's log, as upstream does
    exec(code)  # noqa: S102  # what it is for
