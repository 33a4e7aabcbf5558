"""The console without a configuration: what it found, and what the user makes of it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from textual.widgets import SelectionList

import screens.offer
from backends.discovery import Discovery
from screens.offer import OfferScreen
from screens.triage import TriageScreen
from tests.tui.consoles import Opened, build, opened
from tests.tui.fleets import HOSTILE
from tui.config import load
from tui.paths import config_file

LOOKED_AT = ("the NVIDIA driver of this machine", "~/.kube/config", "/var/run/docker.sock", "~/.ssh/config")
HOSTS = Discovery(ssh_config=Path("~/.ssh/config"), ssh_hosts=("dgx01", "dgx02", "h200-a"), looked_at=LOOKED_AT)
EVERYTHING = Discovery(
    driver="580.65.06",
    kubeconfig=Path("~/.kube/config"),
    kube_context="prod",
    docker_socket=Path("/var/run/docker.sock"),
    ssh_config=Path("~/.ssh/config"),
    ssh_hosts=("dgx01", "dgx02"),
    looked_at=LOOKED_AT,
)
NOTHING = Discovery(looked_at=LOOKED_AT)


def found(monkeypatch: pytest.MonkeyPatch, what: Discovery) -> None:
    monkeypatch.setattr(screens.offer, "discover", lambda: what)


async def looked(console: Opened) -> None:
    await console.until(lambda: "Looked at" in console.text, "the end of the search")


def hosts(console: Opened) -> SelectionList[str]:
    return console.screen.query_one("#offer-hosts", SelectionList)  # type: ignore[no-any-return]


async def test_what_was_found_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, EVERYTHING)
    async with opened(build(), (100, 24)) as console:
        assert isinstance(console.screen, OfferScreen)
        await looked(console)
        for each in ("580.65.06", "~/.kube/config (prod)", "/var/run/docker.sock", "2 in ~/.ssh/config", "dgx02"):
            assert each in console.text, each
        assert "not found" not in console.text
        assert "space ticks a host" in console.text


async def test_with_nothing_found_it_says_where_it_looked_and_what_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, NOTHING)
    async with opened(build(), (200, 24)) as console:
        await looked(console)
        assert console.text.count("not found") == 4
        for each in LOOKED_AT:
            assert each in console.text, each
        assert str(config_file()) in console.text
        assert 'nodes = ["dgx[01-32]"]' in console.text
        assert "gpudeck demo" in console.text
        assert not hosts(console).display
        await console.press("enter")
        assert isinstance(console.screen, OfferScreen)
        assert console.app.site is None


async def test_where_it_looked_is_whole_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, NOTHING)
    async with opened(build(), (60, 24)) as console:
        await looked(console)
        words = " ".join(console.text.split())
        assert "Looked at: " + ", ".join(LOOKED_AT) in words


async def test_ticked_hosts_become_a_site(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, HOSTS)
    async with opened(build()) as console:
        await looked(console)
        await console.press("home", "space", "down", "down", "space", "enter")
        await console.until(lambda: isinstance(console.screen, TriageScreen), "the home screen")
        await console.until(lambda: console.app.site is not None and console.site.calls == ["start"], "the site")
        assert [node.name for node in console.site.spec.nodes] == ["dgx01", "h200-a"]
        await console.until(lambda: "0/2 nodes" in console.lines[0], "the header")


async def test_the_first_space_ticks_the_first_host(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, HOSTS)
    async with opened(build()) as console:
        await looked(console)
        await console.press("space")
        assert hosts(console).selected == ["dgx01"]


@pytest.mark.parametrize(
    "theme",
    ["dark", "ansi-16", "mono"],
)
async def test_a_ticked_host_is_seen_in_every_theme(monkeypatch: pytest.MonkeyPatch, theme: str) -> None:
    found(monkeypatch, HOSTS)
    async with opened(build(theme=theme)) as console:
        await looked(console)
        await console.press("home", "down", "space", "down")
        assert hosts(console).selected == ["dgx02"]
        plain, ticked = (_looks(console, host) for host in ("dgx01", "dgx02"))
        assert ticked != plain


def _looks(console: Opened, host: str) -> list[tuple[str, str]]:
    """The segments of the line of `host`, its name left out."""
    (strip,) = (each for each in console.screen._compositor.render_strips() if host in each.text)
    return [(segment.text.replace(host, ""), str(segment.style)) for segment in strip]


async def test_this_machine_needs_no_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, Discovery(driver="580.65.06", looked_at=LOOKED_AT))
    async with opened(build()) as console:
        await looked(console)
        assert "enter opens this machine" in console.text
        await console.press("enter")
        await console.until(lambda: console.app.site is not None and console.site.calls == ["start"], "the site")
        assert [(node.name, node.local) for node in console.site.spec.nodes] == [("local", True)]


@pytest.mark.parametrize("key", ["enter", "w"])
async def test_nothing_ticked_is_said(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    found(monkeypatch, HOSTS)
    async with opened(build()) as console:
        await looked(console)
        await console.press(key)
        assert console.notices == ["Nothing is chosen: tick a host with space."]
        assert isinstance(console.screen, OfferScreen)
        assert not config_file().exists()


async def test_the_configuration_it_writes_is_one_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, HOSTS)
    async with opened(build()) as console:
        await looked(console)
        await console.press("home", "space", "down", "space", "w")
        assert console.notices == [f"Written: {config_file()}"]
        (site,) = load(config_file()).sites
        assert [node.name for node in site.nodes] == ["dgx01", "dgx02"]
        assert stat.S_IMODE(config_file().stat().st_mode) == 0o600
        assert stat.S_IMODE(config_file().parent.stat().st_mode) == 0o700


async def test_a_configuration_that_is_there_is_not_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, HOSTS)
    config_file().parent.mkdir(parents=True)
    config_file().write_text("# mine\n")
    async with opened(build()) as console:
        await looked(console)
        await console.press("home", "space", "w")
        assert console.notices == [f"{config_file()} was not written: File exists"]
    assert config_file().read_text() == "# mine\n"


async def test_a_host_called_in_markup_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, Discovery(ssh_config=Path("c"), ssh_hosts=(HOSTILE[0], "dgx01"), looked_at=LOOKED_AT))
    async with opened(build()) as console:
        await looked(console)
        row = next(y for y, line in enumerate(console.lines) if HOSTILE[0] in line)
        await console.pilot.click(offset=(console.lines[row].index("press"), row))
        await console.pilot.pause()
        assert console.app.is_running
        assert hosts(console).selected == [HOSTILE[0]]


async def test_q_leaves_the_offer(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, HOSTS)
    async with opened(build()) as console:
        await looked(console)
        await console.pilot.press("q")
        await console.until(lambda: not console.app.is_running, "the end")
        assert console.app.return_code == 0


async def test_keys_of_the_console_do_not_open_a_fleet_without_a_site(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, HOSTS)
    async with opened(build()) as console:
        await looked(console)
        await console.press("colon", "slash", "2", "escape")
        assert isinstance(console.screen, OfferScreen)
