"""The GPU stack as sections of a sheet: of one node, and of the site. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from backends.allocation import InUse
from backends.domain import OperandPhase, OperandState, Stack, StackEvent, StackHealth, StackNode, Support, plural
from screens.stack_gpus import LABEL, gpus_section
from screens.stack_gpus import pair as _pair
from screens.stack_rows import PHASES
from tui.widgets import units
from tui.widgets.cells import fit
from tui.widgets.columns import Cell
from tui.widgets.glyphs import Glyphs
from tui.widgets.sheet import Line, Prose, Section

LOG_LINES, EVENT_LINES = 4, 5
ALERTS_TOLD = 16
ALERT_STYLES = {"critical": "bad", "warning": "warn"}
LONGEST_TITLE = 24
"""Of an operand in the waterfall: beside it stands what the operand does, on 80 columns too."""


def node_sections(
    stack: Stack, node: StackNode, now: float, glyphs: Glyphs, used: InUse | None = None
) -> list[Section]:
    """What blocks first, be it an operand or a change, then the waterfall, then the rest.

    `used`: None where it is not known what is in use.
    """
    changes = [*_changes(node, now), Section("NOTES", tuple(Prose(note, "warn") for note in node.notes))]
    first = node.health not in (StackHealth.READY, StackHealth.OFF)
    return [
        *_blocker(node, glyphs),
        *(changes if first else ()),
        _waterfall(stack, node, now, glyphs),
        gpus_section(node.capacity, used, None if stack.monitoring is None else stack.monitoring.get(node.name)),
        *(() if first else changes),
        _facts(node),
    ]


def _blocker(node: StackNode, glyphs: Glyphs) -> list[Section]:
    blocker = node.blocker
    if blocker is None:
        return []
    state = blocker.state
    style, _ = PHASES[state.phase]
    kind = "init container" if state.init else "container"
    head = f"{glyphs.of(style)} {blocker.title} {state.phase.value}"
    lines: list[Line | Prose] = [(Cell(f"{head}: {state.reason}" if state.reason else head, style), *_waiting(node))]
    if state.container:
        lines.append(_pair(kind, f"{state.container}" + (f", {state.restarts} restarts" if state.restarts else "")))
    if state.pod:
        lines.append(_pair("pod", f"{state.namespace}/{state.pod}" if state.namespace else state.pod))
    if state.message:
        lines.append(Prose(state.message, style))
    told = [Prose(line) for line in (blocker.log or ())[-LOG_LINES:]]
    if not told and state.pod is not None:
        told = [Prose(blocker.log_problem or "not read yet", "dim")]
    found = [Section("WHAT BLOCKS", tuple(lines)), Section("ITS LAST LOG LINES", tuple(told))]
    if blocker.events:
        found.append(Section("ITS EVENTS", tuple(_event(each) for each in blocker.events[-EVENT_LINES:])))
    return found


def _waiting(node: StackNode) -> tuple[Cell, ...]:
    if not node.waiting:
        return ()
    return (Cell(f"; {node.waiting} operand{' waits' if node.waiting == 1 else 's wait'} for it", "dim"),)


def _event(event: StackEvent) -> Prose:
    times = f" x{event.count}" if event.count > 1 else ""
    head = f"{units.moment(event.at)} {event.reason or ''}{times}"
    return Prose(f"{head} {event.text}", "warn" if event.warning else "")


def _waterfall(stack: Stack, node: StackNode, now: float, glyphs: Glyphs) -> Section:
    width = max([LABEL, *(min(len(_title(stack, state)), LONGEST_TITLE) for state in node.operands)])
    lines = [_step(stack, state, now, glyphs, width) for state in node.operands]
    return Section("THE STACK, IN THE ORDER IT COMES UP", tuple(lines) or ((Cell("nothing runs here", "dim"),),))


def _title(stack: Stack, state: OperandState) -> str:
    operand = stack.operand(state.operand)
    return operand.title if operand is not None else state.operand


def _step(stack: Stack, state: OperandState, now: float, glyphs: Glyphs, width: int) -> Line:
    style, _ = PHASES[state.phase]
    said = [str(state.phase.value)]
    if state.waits_for is not None:
        before = stack.operand(state.waits_for)
        said = [f"waits for the {before.title if before is not None else state.waits_for}"]
    elif state.reason:
        said.append(state.reason)
    elif state.phase is not OperandPhase.READY and state.message:
        said.append(state.message)
    if state.restarts:
        said.append(f"{state.restarts} restarts")
    if state.since is not None and state.phase is not OperandPhase.READY:
        said.append(f"for {units.age(now - state.since)}")
    if state.version and state.phase is OperandPhase.READY:
        said.append(state.version)
    mark = glyphs.of(style) if style != "dim" else " "
    return (
        Cell(f"{mark} ", style),
        Cell(fit(_title(stack, state), width) + " "),
        Cell(", ".join(said), style if style != "good" else ""),
    )


def _changes(node: StackNode, now: float) -> list[Section]:
    found = []
    if node.mig is not None and (node.mig.requested or node.mig.state):
        stuck = node.mig.stuck(now)
        style = "bad" if node.mig.state == "failed" or stuck else ("" if node.mig.state == "success" else "accent")
        lines: list[Line | Prose] = [_pair("wanted", node.mig.requested), _pair("state", node.mig.state, style)]
        if node.mig.since is not None and node.mig.state != "success":
            lines.append(_pair("since", _since(node.mig.since.seconds(now), node.mig.since.exact)))
        if node.mig.reason is not None:
            lines.append(Prose(f"its log: {node.mig.reason}"))
        found.append(Section("MIG MANAGER", tuple(lines)))
    upgrade = node.upgrade
    if upgrade is not None and upgrade.step not in ("", "upgrade-done"):
        style = "bad" if upgrade.step == "upgrade-failed" or upgrade.stuck(now) else "accent"
        lines = [_pair("step", upgrade.step, style)]
        if upgrade.since is not None:
            lines.append(_pair("since", _since(upgrade.since.seconds(now), upgrade.since.exact)))
        if upgrade.hint:
            lines.append(_pair("often", upgrade.hint))
        found.append(Section("DRIVER UPGRADE", tuple(lines)))
    return found


def _since(seconds: float, exact: bool) -> str:
    return units.age(seconds) if exact else f"{units.age(seconds)} or longer"


def _facts(node: StackNode) -> Section:
    return Section(
        "NODE",
        (
            _pair("driver", node.driver_version),
            _pair("kernel", node.kernel),
            _pair("system", node.os),
            _pair("runtime", node.runtime),
            _pair(
                "takes new pods",
                units.yes_no(node.schedulable, "yes", "no: cordoned"),
                "" if node.schedulable else "warn",
            ),
        ),
    )


# The site


def site_sections(stack: Stack) -> list[Section]:
    """What is not about one node: OLM, components, versions, what may not be read."""
    sections = [
        _cluster(stack),
        Section("ALERTS OF THE CLUSTER'S MONITORING", tuple(_alerts(stack))),
        Section(
            "OPERATORS, BY OLM",
            tuple(
                Prose(f"{each.package}: {_operator(each)}",
                      "" if each.healthy and not each.waits_for_approval else "warn")
                for each in stack.operators
            ),
        ),
        Section("REFUSED BY SCCS", tuple(Prose(f"{each.title}: {each.words}", "warn") for each in stack.refused)),
        Section(
            "COMPONENTS",
            tuple(
                _pair(each.name, f"{each.ready} of {each.wanted} ready" + (f": {each.reason}" if each.reason else ""),
                      "" if each.ready >= each.wanted else "warn")
                for each in stack.components
            ),
        ),
        Section(
            "VERSIONS",
            tuple(
                _pair(each.what, _supported(each), "warn" if each.supported is False else "")
                for each in stack.support
            ),
        ),
        Section("NOTES ON THE SITE", tuple((Cell(note, "warn"),) for note in stack.notes)),
        Section(
            "NOT PERMITTED",
            tuple((Cell(f"{each.what}: needs {each.permission}", "warn"),) for each in stack.not_permitted),
        ),
    ]  # fmt: skip
    return [section for section in sections if section.lines]


def _cluster(stack: Stack) -> Section:
    release = stack.cluster
    if release is None and stack.monitoring_url is None and stack.monitoring_problem is None:
        return Section("CLUSTER", ())
    lines: list[Line | Prose] = [_pair("release", stack.title)]
    if release is not None and release.words is not None:
        lines.append(Prose(release.words, "bad" if release.unwell else "accent"))
    if stack.monitoring_problem is not None:
        lines.append(Prose(f"metrics n/a: {stack.monitoring_problem}", "warn"))
    else:
        lines.append(_pair("metrics", stack.monitoring_url))
    if stack.monitoring is not None:
        lines.append(_pair("GPU metrics of", plural(len(stack.monitoring.nodes), "node")))
    return Section("CLUSTER", tuple(lines))


def _alerts(stack: Stack) -> Iterator[Prose]:
    told = stack.monitoring
    for each in () if told is None else told.alerts[:ALERTS_TOLD]:
        since = "" if each.since is None else f"; active since {units.moment(each.since)}"
        yield Prose(f"{each.words}{since}", ALERT_STYLES.get(each.severity or "", ""))
    more = 0 if told is None else len(told.alerts) + told.more_alerts - ALERTS_TOLD
    if more > 0:
        yield Prose(f"and {more} more", "dim")


def _supported(each: Support) -> str:
    return f"supported: {each.wanted}" if each.wanted else "n/a: gpudeck has no table of this release"


def _operator(each: object) -> str:
    from backends.domain import OlmOperator

    assert isinstance(each, OlmOperator)
    said = f"{each.installed_csv or 'not installed'}: {each.csv_phase or 'no CSV'}"
    if each.waits_for_approval:
        said += f"; {each.current_csv} waits for somebody to approve {each.install_plan}"
    return f"{said}; {each.message}" if each.message else said
