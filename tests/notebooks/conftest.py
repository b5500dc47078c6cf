"""One run of all notebooks, small and without a network, for every test of it."""

import os
import sys

import pytest
from runner import CUT_OFF, RUNNER, Chain, can_cut_off, start_runner

# Programs beside the notebooks, and part of no package.
sys.path.insert(0, str(RUNNER.parent))


@pytest.fixture(scope="session")
def chain(tmp_path_factory):
    """Run the profile for checks: offline, from elsewhere, with warnings shown."""
    elsewhere = tmp_path_factory.mktemp("chain")
    folder = elsewhere / "artifacts"
    done = start_runner(
        "--profile=smoke",
        f"--artifacts_dir={folder}",
        before=CUT_OFF if can_cut_off() else (),
        cwd=elsewhere,
        env=os.environ | {"PYTHONWARNINGS": "default"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return Chain(folder, done.stdout, done.stderr, can_cut_off())
