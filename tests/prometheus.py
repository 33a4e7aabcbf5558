"""A real Prometheus on loopback that scrapes one exporter of a test; started and ended by pid."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

READY_SECONDS = 30.0


class Prometheus:
    """Its data and settings are in `directory`; `rules` are those of one group."""

    def __init__(self, directory: Path) -> None:
        found = shutil.which("prometheus")
        if found is None:
            pytest.skip("prometheus is not there: make testbed")
        self._binary = found
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"

    def start(self, exporter: str, labels: dict[str, str], rules: Sequence[dict[str, Any]]) -> Prometheus:
        """Scrapes `exporter` (host:port), whose series get `labels` as OpenShift's targets do."""
        rule_file = self._directory / "rules.yml"
        rule_file.write_text(yaml.safe_dump({"groups": [{"name": "test", "rules": list(rules)}]}))
        scrape = {"job_name": "dcgm", "static_configs": [{"targets": [exporter], "labels": labels}]}
        beats = {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "250ms"}
        config = {"global": beats, "rule_files": [str(rule_file)], "scrape_configs": [scrape]}
        settings = self._directory / "prometheus.yml"
        settings.write_text(yaml.safe_dump(config))
        with (self._directory / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    self._binary,
                    f"--config.file={settings}",
                    f"--storage.tsdb.path={self._directory / 'data'}",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                    "--log.level=warn",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self._directory,
                env={"PATH": os.environ["PATH"], "HOME": str(self._directory)},
            )
        self._wait_ready()
        return self

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _wait_ready(self) -> None:
        assert self._process is not None
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with opener.open(f"{self.url}/-/ready", timeout=2):
                    return
            except (OSError, urllib.error.URLError):
                time.sleep(0.05)
        self.stop()
        raise RuntimeError((self._directory / "prometheus.log").read_text()[-4000:])
