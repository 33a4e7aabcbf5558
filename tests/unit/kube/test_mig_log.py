"""Why a MIG change came to nothing: the line of the MIG manager's log that says it."""

from __future__ import annotations

import pytest

from backends.kubernetes.mig_log import reason_of

BEGUN = 'time="2026-09-01T03:12:45Z" level=info msg="Updating to MIG config: all-1g.10gb"'
LOOKED = 'time="2026-09-01T03:12:46Z" level=fatal msg="Assertion failure: selected configuration not currently applied"'
FATAL = (
    'time="2026-09-01T03:12:58Z" level=fatal msg="Error applying MIG configuration with hooks: '
    'error setting MIGConfig: GPU 0: \\"In use by another client\\""'
)
ENDED = 'time="2026-09-01T03:12:59Z" level=error msg="Error: failed to apply MIG configuration: exit status 1"'
GONE = (
    'time="2026-09-01T03:12:59Z" level=error msg="Error: failed to wait for pods to be deleted: '
    'device-plugin pod did not shutdown: timed out"'
)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (
            [BEGUN, LOOKED, FATAL, "Changing the 'nvidia.com/mig.config.state' node label to 'failed'", ENDED],
            'Error applying MIG configuration with hooks: error setting MIGConfig: GPU 0: "In use by another client"',
        ),
        ([BEGUN, LOOKED, ENDED], "Error: failed to apply MIG configuration: exit status 1"),
        ([BEGUN, LOOKED, GONE], "Error: failed to wait for pods to be deleted: device-plugin pod did not shutdown: "),
        ([FATAL, BEGUN, LOOKED, "Unable to enable MIG mode: it is in use"], "Unable to enable MIG mode: it is in use"),
        ([FATAL, BEGUN], None),
        ([], None),
    ],
)
def test_the_last_change_s_own_words(lines: list[str], reason: str | None) -> None:
    found = reason_of(lines)
    assert found == reason if reason is None else (found or "").startswith(reason)


def test_what_a_log_holds_comes_out_inert_and_bounded() -> None:
    found = reason_of([BEGUN, "Error: \x1b[31m" + "x" * 10_000])
    assert found is not None
    assert found.isprintable()
    assert len(found) <= 200
