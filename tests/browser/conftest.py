"""A browser, and the built site on a local port."""

import chromium
import pytest
from pages import BUILT
from server import serve


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


@pytest.fixture(scope="session")
def site():
    """Serve the built site; return its address."""
    assert (BUILT / "index.html").exists(), "build the site first: make site"
    with serve(BUILT) as address:
        yield address
