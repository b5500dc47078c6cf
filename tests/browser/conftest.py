"""A browser, and the built site on a local port."""

import functools
import http.server
import threading

import chromium
import pytest
from pages import BUILT


@pytest.fixture(scope="session")
def browser():
    """Start Chromium; skip where there is none and none can be had."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="make test-browser")
    try:
        program, environment = chromium.find_chromium()
    except LookupError as error:
        pytest.skip(str(error))
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, env=environment)
        yield started
        started.close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Keep the log of the tests free of requests."""


@pytest.fixture(scope="session")
def site():
    """Serve the built site; return its address."""
    assert (BUILT / "index.html").exists(), "build the site first: make site"
    handler = functools.partial(Quiet, directory=BUILT)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
