"""Where the built pages are, and what must not happen on one."""

import urllib.parse
from pathlib import Path

BUILT = Path(__file__).parents[2] / "docs" / "_build" / "html"
PHONE = {"width": 390, "height": 844}


def is_foreign(url):
    """Return whether an address is on another host."""
    parts = urllib.parse.urlsplit(url)
    return parts.scheme in ("http", "https", "ws", "wss") and (
        parts.hostname != "127.0.0.1"
    )


def watch(page):
    """Return a list that fills with what must not happen on a page."""
    troubles = []

    def note_request(request):
        if is_foreign(request.url):
            troubles.append(f"asks another host: {request.url}")

    def note_message(message):
        if message.type == "error":
            troubles.append(f"console: {message.text}")

    def note_response(response):
        if response.status >= 400:
            troubles.append(f"{response.status}: {response.url}")

    page.on("request", note_request)
    page.on("response", note_response)
    page.on("console", note_message)
    page.on("pageerror", lambda error: troubles.append(f"script: {error}"))
    return troubles
