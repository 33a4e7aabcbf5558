"""Several sites, and sites that do not work."""

from __future__ import annotations

from typing import Any, cast

import pytest

from backends.contract import ConfigError, Unreachable
from backends.domain import Fleet, NodeReading, NodeSpec, NodeState, SiteSpec
from backends.site import Site
from tests.scripted import ScriptedTransports
from tests.tui.consoles import ScriptedSite, build, build_on, opened, spec_of
from tests.tui.fleets import fleet, h100, reading


def healthy() -> Fleet:
    return Fleet((reading("dgx01", h100(0)), reading("dgx02", h100(0, node="dgx02"))))


# Several sites, bad sites


async def test_the_next_site_closes_the_one_before() -> None:
    specs = (spec_of(fleet(), "one"), spec_of(healthy(), "two"))
    async with opened(build(*specs, values={"one": fleet(), "two": healthy()})) as console:
        first = console.site
        await console.press("s")
        await console.until(lambda: "  two  " in console.lines[0], "the second site")
        await console.until(lambda: "2/2 nodes" in console.lines[0], "its coverage")
        assert first.calls == ["start", "close"]
        assert first.fleet.demand == 0
        await console.press("colon", *"site one", "enter")
        await console.until(lambda: "3/6 nodes" in console.lines[0], "the first site again")


async def test_a_site_that_has_not_answered_yet_is_in_the_header() -> None:
    specs = (spec_of(fleet(), "one"), spec_of(healthy(), "two"))
    async with opened(build(*specs, values={"one": fleet()})) as console:
        await console.press("s")
        await console.until(lambda: console.site.spec.name == "two" and console.site.calls, "the second site")
        await console.pilot.pause()
        assert "  two  " in console.lines[0]
        assert "0/2 nodes  2 connecting" in console.lines[0]


async def test_dead_ssh_is_a_sentence_with_a_hint() -> None:
    spec = SiteSpec("prod", nodes=(NodeSpec("dgx01"), NodeSpec("dgx02")))
    transports = ScriptedTransports(spec)
    for node in spec.nodes:
        transports.of[node.name].channels.append(Unreachable("connection refused", "is sshd running there?"))
    app = build(spec, factory=lambda each: Site(each, clock=app.clock, transport_factory=lambda _: transports))
    async with opened(app, (120, 24)) as console:
        clock = cast(Any, app.clock)

        async def heard() -> bool:
            await clock.advance(0.2)
            return "0/2 nodes" in console.lines[0] and "connection refused" in console.text

        for _ in range(100):
            if await heard():
                break
            await console.pilot.pause()
        assert await heard(), console.text
        assert "is sshd running there?" in console.text
        assert "Traceback" not in console.text


@pytest.mark.parametrize(
    "error",
    [ConfigError("the SSH configuration cannot be read", "see line 3"), OSError(24, "Too many open files")],
    ids=["known", "unknown"],
)
async def test_a_site_that_does_not_start_is_a_sentence(error: Exception) -> None:
    site: list[ScriptedSite] = []

    def factory(spec: SiteSpec) -> Site:
        site.append(ScriptedSite(spec, cast(Any, app.clock), fleet()))
        site[0].start_error = error
        return cast(Site, site[0])

    app = build(spec_of(fleet()), factory=factory)
    await _says_why(app, error)


async def test_a_site_that_cannot_be_made_is_a_sentence() -> None:
    error = ConfigError("the SSH configuration cannot be read", "see line 3")

    def factory(_spec: SiteSpec) -> Site:
        raise error

    await _says_why(build(spec_of(fleet()), factory=factory), error)


async def _says_why(app: Any, error: Exception) -> None:
    async with opened(app, (120, 24)) as console:
        assert app.is_running
        said = " ".join([console.text, *console.notices])
        assert str(getattr(error, "strerror", None) or error) in said
        assert "Traceback" not in said


async def test_a_node_that_only_connects_is_not_called_live() -> None:
    value = Fleet((NodeReading("dgx01", NodeState.CONNECTING, None, None, None),))
    async with opened(build_on(value)) as console:
        assert "0/1 nodes" in console.lines[0]
        assert "1 connecting" in console.lines[0]
        assert "live" not in console.lines[0]
