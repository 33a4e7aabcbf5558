"""Over SSH every byte is latency: Textual is told before it is imported, and takes it from there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import sys
from tui.commands.console import prepare
assert "textual" not in sys.modules
prepare()
from textual import constants
from textual.app import App
print(constants.MAX_FPS, App().animation_level, constants.SMOOTH_SCROLL)
"""


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "60 none False"),
        ({"SSH_TTY": "/dev/pts/3"}, "15 none False"),
        ({"SSH_CONNECTION": "192.0.2.7 50022 192.0.2.1 22"}, "15 none False"),
        ({"SSH_TTY": "/dev/pts/3", "TEXTUAL_FPS": "30", "TEXTUAL_ANIMATIONS": "full"}, "30 full False"),
    ],
    ids=["here", "tty", "connection", "what the user sets stands"],
)
def test_no_animation_and_few_frames_over_ssh(environ: dict[str, str], said: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TEXTUAL_")}
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=False, env={**kept, **environ}
    )
    assert done.stdout.strip() == said, done.stderr
