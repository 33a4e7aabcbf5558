"""`gpudeck lab` and `gpudeck lab ctl`"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys

from backends.contract import ConfigError
from tui import cli


def lab(arguments: argparse.Namespace) -> int:
    """Runs the lab until it is interrupted, or switches a scenario of a running one."""
    if arguments.lab_command == "ctl":
        return _control(arguments)
    scenarios = cli.check_scenarios(arguments.scenario, arguments.platform)
    if scenarios is None:
        return 0
    if arguments.out is None:
        raise ConfigError("gpudeck lab needs --out DIR", "for example: gpudeck lab --out /tmp/lab")
    if not 1 <= arguments.nodes <= 1024:
        raise ConfigError("--nodes must be between 1 and 1024", "")
    if not 0 <= arguments.changing <= 100:
        raise ConfigError("--changing must be between 0 and 100 percent", "")
    asyncio.run(_serve(arguments, scenarios))
    return 0


async def _serve(arguments: argparse.Namespace, scenarios: tuple[str, ...]) -> None:
    from backends.lab.server import Lab, LabSpec, serve

    spec = LabSpec(
        out=arguments.out.absolute(),
        nodes=arguments.nodes,
        scenarios=scenarios,
        seed=arguments.seed,
        hostile=arguments.hostile,
        platform=arguments.platform,
        changing_percent=arguments.changing,
    )

    def ready(running: Lab) -> None:
        print(running.site_file, flush=True)

    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(serve(spec, ready))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _control(arguments: argparse.Namespace) -> int:
    from backends.lab.control import command

    if arguments.op != "list":
        if arguments.scenario_name is None:
            raise ConfigError(f"which scenario is to be switched {arguments.op}?", "see: gpudeck lab --scenario list")
        cli.check_scenarios([arguments.scenario_name])
    answer = asyncio.run(command(arguments.out, arguments.op, arguments.scenario_name))
    active = answer.get("active") or []
    print("active: " + (", ".join(active) or "none"), file=sys.stdout)
    return 0
