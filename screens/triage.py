"""Triage, the home screen: what is wrong, worst first, and for the selected finding why, whom it hits, what to do.

What lists and tells findings loads with the first of them: the first paint only says that it waits.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Static

from backends.contract import GpudeckError
from tui.actions import Action
from tui.live import LiveScreen
from tui.widgets.columns import Cell, LazyRows
from tui.widgets.filter import Filter, parse, shortened
from tui.widgets.line import StyledLine

if TYPE_CHECKING:
    from backends.domain import Finding, Fleet, Stack, Triage
    from backends.feed import Topic
    from screens.changes import ChangesApp
    from screens.triage_body import Draw, EvidencePane, TriageBody
    from tui.widgets.filter.fields import FieldTable
    from tui.widgets.grid import Grid
    from tui.widgets.sheet import Section

NONE_SELECTED = "No finding is selected."


class KeepsAcknowledgements(Protocol):
    """What of the site this screen changes: nothing on a node, only what the on-call has seen.

    Both may raise GpudeckError; False says that there is no such finding any more.
    """

    def acknowledge(self, finding_id: str, who: str, why: str) -> bool | None: ...

    def unacknowledge(self, finding_id: str) -> bool | None: ...


class TriageScreen(LiveScreen):
    """The selection follows its finding wherever it moves."""

    DEFAULT_CSS = """
    TriageScreen {
        layout: vertical;
        #triage-summary { height: 1; }
        #triage-waiting { height: 1fr; content-align: center middle; text-align: center; color: $text-muted; }
    }
    """  # no file: the home screen's would have every style parsed once more before the first paint
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("triage.acknowledge", "space", "Ack", "Acknowledge the finding, or take that back", group="Triage"),
        Action("triage.show_settled", "a", "All/open", "Show or hide the acknowledged and recovered", group="Triage"),
        Action(
            "triage.change",
            "d",
            "Do",
            "Look at the change that the finding's next step names, and do it",
            show=False,
            group="Triage",
        ),
        Action(
            "triage.logs",
            "l",
            "Logs",
            "The log of what blocks, or of the work that it hits",
            show=False,
            group="Triage",
        ),
        Action("triage.copy", "c", "Copy", "Copy the finding as text to the terminal's clipboard", group="Triage"),
        Action(
            "triage.evidence_down",
            "J,shift+down",
            "Scroll",
            "Scroll the evidence down; tab goes into it",
            show=False,
            group="Triage",
        ),
        Action("triage.evidence_up", "K,shift+up", "Scroll up", "Scroll the evidence up", show=False, group="Triage"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.filter_text = ""
        self._match = Filter()
        self._show_settled = True
        self._body: TriageBody | None = None
        self._listed: dict[str, Finding] = {}
        """The findings in the list, by id."""
        self._listed_from: tuple[object, ...] = ()
        self._is_chosen = False
        """Somebody has done something with what was selected."""
        self._unkept = ""
        """What was last said of acknowledgements that cannot be kept."""

    def compose(self) -> ComposeResult:
        yield StyledLine(id="triage-summary")
        yield Static(id="triage-waiting", markup=False)

    @property
    def triage(self) -> Triage | None:
        """The last good value; None while nothing was looked at because the nodes still connect."""
        triage = self.site.triage.reading.value if self.site else None
        if triage is None or triage.nodes_seen or triage.findings or triage.recovered:
            return triage
        nodes = self.fleet.nodes if self.fleet else ()
        return None if any(reading.state == "connecting" for reading in nodes) else triage

    @property
    def fleet(self) -> Fleet | None:
        return self.site.fleet.reading.value if self.site else None

    @property
    def selected(self) -> Finding | None:
        row = self._body.grid.cursor_row if self._body is not None else None
        return None if row is None else self._listed.get(row.key)

    def topics(self) -> Iterable[Topic[Any]]:
        return () if self.site is None else (self.site.triage, self.site.fleet)

    def crumbs(self) -> tuple[str, ...]:
        return ("Triage",)

    def show(self) -> None:
        """Draws the findings as they are now; costs what changed."""
        triage = self.triage
        waiting = self.query_one("#triage-waiting", Static)
        waiting.display = triage is None
        if self._body is not None:
            self._body.display = triage is not None
        if triage is None:
            self._show_waiting(waiting)
        elif self._body is None:
            self.call_later(self._open_body)
        else:
            self._show_list(triage, self._body)
            self._show_evidence()
            self._tell_unkept(triage)

    @property
    def filter_fields(self) -> FieldTable:
        from screens.finding_fields import FINDING_FIELDS

        return FINDING_FIELDS

    @property
    def filter_found(self) -> bool:
        return bool(self._listed) or self._body is None

    def filter_values(self, field: str) -> Iterable[str]:
        """The nodes of the site."""
        return [reading.name for reading in self.fleet.nodes] if field == "node" and self.fleet else ()

    def apply_filter(self, text: str) -> None:
        """Narrows the findings to what `text` matches; raises FilterError, and the filter before stays in force."""
        self._match = parse(text, self.filter_fields, self.saved_filters)
        self.filter_text = text.strip()
        self.show()

    # Actions

    def action_acknowledge(self) -> None:
        from screens.acknowledge import AcknowledgeDialog, TakeBackDialog, login_name

        finding, self._is_chosen = self.selected, True
        if finding is None:
            self.notify(NONE_SELECTED, timeout=2, markup=False)
        elif finding.recovered_at is not None:
            self.notify("It has recovered: there is nothing to acknowledge.", timeout=3, markup=False)
        elif finding.acknowledged is not None:
            self.app.push_screen(TakeBackDialog(finding, self.glyphs, lambda: self._keeper().unacknowledge(finding.id)))
        else:
            who, found = login_name(), finding.id
            self.app.push_screen(
                AcknowledgeDialog(finding, self.glyphs, who, lambda why: self._keeper().acknowledge(found, who, why))
            )

    def action_show_settled(self) -> None:
        self._show_settled = not self._show_settled
        self.show()

    def action_change(self) -> None:
        from screens.triage_change import propose
        from screens.triage_evidence import can_change

        self._is_chosen = True
        steps = [step for step in self.selected.steps if can_change(step)] if self.selected is not None else []
        if steps and self.site is not None:
            propose(self.app, self.site, steps)
        else:
            said = "No next step of this finding is a change." if self.selected is not None else NONE_SELECTED
            self.notify(said, timeout=3, markup=False)

    def action_logs(self) -> None:
        from screens.logs import open_logs
        from screens.workload_logs import finding_targets, without_log
        from screens.workloads import ownership_of

        finding, site, ownership = self.selected, self.site, ownership_of(self.site)
        self._is_chosen = True
        if finding is None or site is None:
            self.notify(NONE_SELECTED, timeout=2, markup=False)
            return
        found = finding_targets(finding, ownership, site.stack.reading.value)
        if found:
            open_logs(self.app, found[0], found)
            return
        said = without_log(site.spec.platform, ownership, site.ownership.reading.error)
        none = f"It hits nothing that {site.spec.platform} has a log of."
        self.notify(said or none, timeout=4, markup=False)

    def action_copy(self) -> None:
        from screens.triage_evidence import finding_text

        finding, self._is_chosen = self.selected, True
        if finding is not None:
            self.app.copy_to_clipboard(finding_text(finding))
        self.notify(NONE_SELECTED if finding is None else copied_to(os.environ), timeout=4, markup=False)

    def action_evidence_down(self) -> None:
        self._scroll_evidence(1)

    def action_evidence_up(self) -> None:
        self._scroll_evidence(-1)

    # Events

    def on_grid_row_activated(self, event: Grid.RowActivated) -> None:
        event.stop()
        self._open(self._listed.get(event.row.key))

    def on_evidence_pane_activated(self, event: EvidencePane.Activated) -> None:
        event.stop()
        self._open(self.selected)

    def on_screen_resume(self) -> None:
        """Whoever comes back finds the keys at the list."""
        if self._body is not None and self._body.evidence.has_focus and self._body.grid.display:
            self._body.grid.focus()

    def on_grid_row_highlighted(self, event: Grid.RowHighlighted) -> None:
        event.stop()
        self._show_evidence()

    # Inside

    def _open(self, finding: Finding | None) -> None:
        from screens.triage_jump import change_of, screen_of

        self._is_chosen = True
        change = None if finding is None else change_of(finding)
        if change is not None:
            cast("ChangesApp", self.app).changing.open_screen(change)
        elif finding is not None:
            self.app.push_screen(screen_of(finding))

    def _keeper(self) -> KeepsAcknowledgements:
        if self.site is None:
            raise GpudeckError("the site was closed", "open it again")
        return cast(KeepsAcknowledgements, self.site)

    async def _open_body(self) -> None:
        from screens.triage_body import TriageBody

        if self._body is None and self.is_attached:  # not where the console was left meanwhile
            body = self._body = TriageBody(self.glyphs)
            await self.mount(body, after="#triage-waiting")
            self.redraw()

    def _show_waiting(self, waiting: Static) -> None:
        text = self._waiting_for()
        if str(waiting.content) != text:
            waiting.update(Text(text))
        self.query_one("#triage-summary", StyledLine).set_cells([])

    def _waiting_for(self) -> str:
        if self.site is None:
            return getattr(self.app, "site_error", None) or "Opening the site."
        problem = self.site.triage.reading.error
        if problem is not None:
            return f"The findings cannot be told: {problem.message}"
        nodes = self.fleet.nodes if self.fleet else ()
        if not nodes:
            return "No nodes configured: name them in the settings file, or try `gpudeck demo`."
        states = Counter(reading.state.value for reading in nodes)
        counts = ", ".join(f"{count} {state}" for state, count in states.most_common())
        return f"Waiting for the first readings. {len(nodes)} node{'' if len(nodes) == 1 else 's'}: {counts}."

    def _show_list(self, triage: Triage, body: TriageBody) -> None:
        from screens.triage_clear import summary_cells
        from screens.triage_rows import TriageView, shown, triage_row

        now, glyphs = self.clock.now(), self.glyphs
        made_from = (triage, int(now // 60), self._match, self._show_settled)
        if self._listed_from[1:] != made_from[1:] or self._listed_from[0] is not triage:
            self._listed_from = made_from
            findings = shown(triage, TriageView(self._match, self._show_settled, now))
            self._listed = {each.id: each for each in findings}
            body.show_rows(
                LazyRows([each.id for each in findings], lambda index: triage_row(findings[index], now, glyphs)),
                at_top=not (self._is_chosen or body.grid.moved),
            )
        hidden = 0 if self.filter_text else len(shown(triage, TriageView())) - len(self._listed)
        line = summary_cells(triage, hidden, glyphs)
        if self.filter_text:
            every = len(triage.findings) + len(triage.recovered)
            line.insert(0, Cell(f"/{shortened(self.filter_text)}/ shows {len(self._listed)} of {every}", "accent"))
        assert self.site is not None, "a triage comes from a site"
        problem = self.site.triage.reading.error
        if problem is not None:
            line.insert(0, Cell(f"{glyphs.stale} not looked at again: {problem.message}", "stale"))
        self.query_one("#triage-summary", StyledLine).set_cells(line, separator="  ")

    def _tell_unkept(self, triage: Triage) -> None:
        """Once, besides its place in the list: an acknowledgement that is forgotten pages somebody again."""
        claim = next((each.claim for each in triage.findings if each.rule == "acknowledgements"), "")
        if claim and claim != self._unkept:
            self.notify(claim, title="Acknowledgements", severity="warning", timeout=8, markup=False)
        self._unkept = claim or self._unkept

    def _show_evidence(self) -> None:
        """The selected finding in full; where nothing is listed, what was checked."""
        if self._body is None or self.triage is None:
            return
        finding = self.selected
        self._body.evidence.draw(None if finding is None else finding.id, self._drawing(self.triage, finding))

    def _drawing(self, triage: Triage, finding: Finding | None) -> Draw:
        from screens.triage_clear import clear_sections, nothing_listed
        from screens.triage_evidence import Page, evidence_sections

        now, glyphs, fleet = self.clock.now(), self.glyphs, self.fleet
        name, filter_text, site = self._gpu_name(finding), self.filter_text, self.site
        platform = site.spec.platform if site is not None and not _is_judged(site.stack.reading.value, triage) else None

        def draw(width: int, height: int) -> list[Section]:
            sections: list[Section] = []
            if finding is not None:
                sections += evidence_sections(finding, Page(width, height, now, glyphs), name)
            elif triage.findings or triage.recovered:
                sections += nothing_listed(triage, filter_text, width)
            if not (filter_text or any(each.acknowledged is None for each in triage.findings)):
                sections += clear_sections(triage, fleet, now, width, glyphs, platform)
            return sections

        return draw

    def _gpu_name(self, finding: Finding | None) -> str | None:
        subject = finding.subject if finding is not None else None
        reading = self.fleet.get(subject.node) if self.fleet and subject and subject.node else None
        gpus = reading.node.gpus if reading and reading.node else ()
        return next((gpu.name for gpu in gpus if subject and gpu.key == subject.gpu_key), None)

    def _scroll_evidence(self, lines: int) -> None:
        self._is_chosen = True
        if self._body is not None:
            self._body.evidence.scroll_relative(y=lines, animate=False)


def _is_judged(stack: Stack | None, triage: Triage) -> bool:
    """The stack that was read is in the triage, or holds nothing that could be."""
    if stack is None:
        return False
    looked = any(check.subjects for check in triage.checks if check.rule == "operand")
    return looked or not any(node.operands for node in stack.nodes)


def copied_to(environ: Mapping[str, str]) -> str:
    """What became of a copy, as far as it can be told: the terminal does not answer to OSC 52."""
    if environ.get("TMUX"):
        return "Copied; tmux passes it on with: set -g set-clipboard on"
    if environ.get("STY"):
        return "Copied; but GNU screen keeps it from the terminal's clipboard."
    return "Copied to the terminal's clipboard, where it takes OSC 52."
