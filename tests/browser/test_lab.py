"""A reader opens the first notebook in JupyterLab, runs it, and sees the figure."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import nbformat
import pytest
from pages import is_foreign

pytestmark = pytest.mark.browser
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
FIRST = "00_quickstart.ipynb"
START_S = 60
RUN_S = 120
SETTINGS = {
    # All cells in the page, not only those in view, so that all can be looked at.
    "notebook-extension/tracker": {"windowingMode": "none"},
    # No question about news.
    "apputils-extension/notification": {"fetchNews": "false"},
}
PROMPTS = ".jp-Notebook .jp-CodeCell .jp-InputArea-prompt"


@pytest.fixture
def notebooks(tmp_path):
    """Copy the notebooks without their outputs, so that none is there before a run."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for path in NOTEBOOKS.glob("[0-9]*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, folder / path.name)
    return folder


def own_folders(home):
    """Return an environment in which nothing of the user's own set-up is found."""
    for name, settings in SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(settings))
    return os.environ | {
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_up(server, address, token, log):
    """Wait for the answer to a request; fail with the log if the server ends."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            httpx.get(f"{address}/api/status", params={"token": token})
            return
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail(log.read_text())


@pytest.fixture
def lab(notebooks, tmp_path):
    """Start JupyterLab on a free port; return (address, token)."""
    port, token, log = free_port(), secrets.token_hex(16), tmp_path / "lab.log"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--ServerApp.root_dir={notebooks}", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    command += [f"--IdentityProvider.token={token}", "--LabApp.news_url=None"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    with log.open("w") as out:
        server = subprocess.Popen(
            command, cwd=tmp_path, env=own_folders(tmp_path), stdout=out, stderr=out
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until_up(server, address, token, log)
        yield address, token
    finally:
        server.terminate()
        server.wait(timeout=30)


def code_cells(path):
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code"]


def wait_for_prompts(page, wanted, timeout_s):
    """Wait until what stands before the code cells is as wanted."""
    page.wait_for_function(
        "([selector, wanted]) => wanted === [...document.querySelectorAll(selector)]"
        ".map(prompt => prompt.textContent).join(' ')",
        arg=[PROMPTS, " ".join(wanted)],
        timeout=1000 * timeout_s,
    )


def test_run_all_finishes_and_shows_the_figure(browser, lab, notebooks):
    address, token = lab
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    foreign, failures = [], []
    page.on("request", lambda r: foreign.append(r.url) if is_foreign(r.url) else None)
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto(f"{address}/lab/tree/{FIRST}?token={token}")
    count = len(code_cells(notebooks / FIRST))
    wait_for_prompts(page, ["[ ]:"] * count, START_S)
    # A run before the kernel is connected would do nothing.
    page.wait_for_selector("text=/Python 3 .* Idle/", timeout=1000 * START_S)
    assert not page.query_selector_all(".jp-Notebook .jp-OutputArea-output")
    page.click(".lm-MenuBar-itemLabel >> text=/^Run$/")
    page.click(".lm-Menu-itemLabel >> text=/^Run All Cells$/")
    # A number stands there only when the cell has finished; a star until then.
    wait_for_prompts(page, [f"[{number}]:" for number in range(1, count + 1)], RUN_S)
    figure = page.locator(".jp-Notebook .jp-OutputArea-output img").last
    figure.scroll_into_view_if_needed()
    assert figure.is_visible()
    assert figure.evaluate("image => image.naturalWidth") > 300
    page.keyboard.press("Control+s")
    page.wait_for_selector(".jp-mod-current:not(.jp-mod-dirty)")
    assert not foreign
    assert not failures
    page.close()
    saved = [out for cell in code_cells(notebooks / FIRST) for out in cell.outputs]
    assert {out.output_type for out in saved} == {"stream", "display_data"}
