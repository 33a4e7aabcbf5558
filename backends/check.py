"""`gpudeck check`: the triage of a site as a document, and as lines for people.

The document's schema is `gpudeck/check/1`: times are seconds since the epoch, a value that is not known is null.
"""

from __future__ import annotations

import dataclasses
import textwrap
import time
from collections.abc import Iterable, Iterator
from typing import Any

from backends.domain import Fleet, Severity, SiteSpec, Stack, Triage, Workloads, plural
from backends.feed import Reading

SCHEMA = "gpudeck/check/1"
INDENT = " " * 10
LINE_WIDTH = 100
"""Of a list of names."""
HITS_TOLD = 4
NODES_TOLD = 8
DAY_SECONDS = 86_400.0
ENGINE_RULE = "operand-engine"
"""Tells a node whose container engine is not read."""
NOT_IN_TIME = "not read in time"


@dataclasses.dataclass(frozen=True, slots=True)
class PlatformParts:
    """What the platform of a site said."""

    stack: Reading[Stack]
    workloads: Reading[Workloads]


def document(
    site: SiteSpec, fleet: Fleet, triage: Triage, now: float, platform: PlatformParts | None = None
) -> dict[str, Any]:
    """Everything the triage says, as JSON values; `platform` is None on a site without one."""
    not_judged = _not_judged(site, fleet, triage, now)
    return {
        "schema": SCHEMA,
        "site": site.name,
        "platform": site.platform,
        "demo": site.demo,
        "at": now,
        "nodes_total": len(fleet.nodes),
        "nodes_seen": triage.nodes_seen,
        "nodes_live": fleet.live_count,
        "nodes_not_judged": not_judged,
        "oldest_reading_at": triage.oldest_reading_at,
        "platform_parts": None if platform is None else platform_parts(platform),
        "platform_not_judged": [] if platform is None else _platform_not_judged(platform, triage, not_judged),
        "findings": findings(triage),
        "recovered": [dataclasses.asdict(finding) for finding in triage.recovered],
        "checks": [dataclasses.asdict(check) for check in triage.checks],
    }


def platform_parts(platform: PlatformParts) -> dict[str, Any]:
    """For the GPU stack and the workloads: when they were read, how many there are, and why not, or not all.

    `count` is null where nothing was read, and where nothing is seen because it may not be, or was not read.
    """
    stack, workloads = platform.stack, platform.workloads
    return {
        "stack": _part(stack, None if stack.value is None else len(stack.value.nodes), stack.value),
        "workloads": _part(workloads, None if workloads.value is None else len(workloads.value.items), workloads.value),
    }


def _part(reading: Reading[Any], count: int | None, value: Stack | Workloads | None) -> dict[str, Any]:
    refused = () if value is None else value.not_permitted
    unread = isinstance(value, Workloads) and any(each.running for each in value.unread)
    return {
        "at": reading.at,
        "count": None if (refused or unread) and not count else count,
        "error": None if reading.error is None else dataclasses.asdict(reading.error),
        "not_permitted": [{"what": each.what, "permission": str(each.permission)} for each in refused],
    }


def _not_judged(site: SiteSpec, fleet: Fleet, triage: Triage, now: float) -> list[dict[str, Any]]:
    """Nodes without current values; `known`: a finding says that something is wrong there, acknowledged or not."""
    from backends.triage.state import is_current

    said = {finding.subject.node for finding in triage.findings if finding.severity is not Severity.INFO}
    # A problem of many nodes is one finding of the site.
    across = any(finding.subject.node is None and finding.rule.startswith("node-") for finding in triage.findings)
    return [
        {
            "node": reading.name,
            "state": str(reading.state),
            "known": reading.name in said or (across and reading.problem is not None),
        }
        for reading in fleet.nodes
        if not is_current(reading, now, site.fast_seconds)
    ]


def _platform_not_judged(
    platform: PlatformParts, triage: Triage, nodes: Iterable[dict[str, Any]]
) -> list[dict[str, Any]]:
    """What was not read of the platform, as a whole or of a node; `known` as for `nodes`, those that are not judged.

    A node that is not judged itself is known here: it counts once.
    """
    said = [finding for finding in triage.findings if finding.severity is not Severity.INFO]
    about_platform = any(finding.rule.startswith("platform-") for finding in said)
    engines = {finding.subject.node for finding in said if finding.rule == ENGINE_RULE}
    silent = {each["node"] for each in nodes}
    whole = [
        {"what": what, "node": None, "why": NOT_IN_TIME if error is None else error.message, "known": about_platform}
        for what, at, error in (
            ("stack", platform.stack.at, platform.stack.error),
            ("workloads", platform.workloads.at, platform.workloads.error),
        )
        if error is not None or at is None
    ]
    workloads = platform.workloads.value
    of_nodes = [
        {
            "what": "workloads",
            "node": each.node,
            "why": each.why,
            # The same problem of many nodes is one finding of the site.
            "known": each.node in silent or bool(engines.intersection({each.node, None})),
        }
        for each in (() if workloads is None else workloads.unread)
        if each.running
    ]
    return [*whole, *of_nodes]


def findings(triage: Triage | None) -> list[dict[str, Any]]:
    """The findings as JSON values, worst first."""
    return [] if triage is None else [dataclasses.asdict(finding) for finding in triage.findings]


def exit_code(told: dict[str, Any]) -> int:
    """3 when no node answers, or no platform where there are no nodes; 1 for a warning or worse that nobody has
    acknowledged, or for a node or a part of the platform that was not judged, else 0."""
    if told["nodes_total"] and not told["nodes_live"]:
        return 3
    parts = told["platform_parts"]
    if not told["nodes_total"] and parts is not None and all(part["at"] is None for part in parts.values()):
        return 3
    if any(not each["known"] for each in (*told["nodes_not_judged"], *told["platform_not_judged"])):
        return 1
    open_findings = (finding for finding in told["findings"] if finding["acknowledged"] is None)
    return int(any(finding["severity"] != Severity.INFO for finding in open_findings))


def render(told: dict[str, Any]) -> str:
    """The document as aligned plain text: a line a finding, worst first, what supports it below."""
    return "\n".join(_lines(told))


def _lines(told: dict[str, Any]) -> Iterator[str]:
    now, listed = told["at"], told["findings"]
    oldest = told["oldest_reading_at"]
    age = "" if oldest is None else f", oldest reading {max(0, round(now - oldest))} s old"
    yield f"{told['site']}: {told['nodes_seen']} of {told['nodes_total']} nodes judged{age}"
    left = told["nodes_not_judged"]
    if left:
        names = ", ".join(f"{each['node']} ({each['state']})" for each in left[:NODES_TOLD])
        more = f" and {len(left) - NODES_TOLD} more" if len(left) > NODES_TOLD else ""
        yield f"{len(left)} of {told['nodes_total']} nodes not judged: {names}{more}"
    yield from _platform_lines(told)
    width = max((len(_label(finding)) for finding in listed), default=0)
    for finding in listed:
        yield ""
        yield f"{Severity(finding['severity']).word:<8}  {_label(finding):<{width}}  {finding['claim']}"
        yield from (INDENT + line for line in _below(finding, now))
    yield ""
    if not listed:
        yield f"nothing is wrong{_where_judged(told)}"
    for finding in told["recovered"]:
        over = finding["closed_as"] or "recovered"
        yield f"{over} {_label(finding)}: {finding['claim']} ({_clock(finding['recovered_at'], now)})"
    yield from _checked(told["checks"])


def _where_judged(told: dict[str, Any]) -> str:
    if told["nodes_not_judged"]:
        return f" on the {told['nodes_seen']} nodes that were judged"
    return " in what was judged" if told["platform_not_judged"] else ""


_PARTS = {"stack": "nodes of the GPU stack", "workloads": "workloads"}


def _platform_lines(told: dict[str, Any]) -> Iterator[str]:
    """What was read of the platform, and what could not be."""
    for name, part in (told["platform_parts"] or {}).items():
        if part["error"] is not None:
            yield f"{told['platform']}: {name} not read: {part['error']['message']}"
        elif part["at"] is None:
            yield f"{told['platform']}: {name} {NOT_IN_TIME}"
        else:
            why = "not permitted" if part["not_permitted"] else "not read"
            count = f"n/a, {why}" if part["count"] is None else part["count"]
            yield f"{told['platform']}: {_PARTS[name]}: {count}"
    silent = {each["node"] for each in told["nodes_not_judged"]} | {None}
    unread = [each for each in told["platform_not_judged"] if each["node"] not in silent]
    for each in unread[:NODES_TOLD]:
        yield f"{told['platform']}: {each['what']} of {each['node']} not read: {each['why']}"
    if len(unread) > NODES_TOLD:
        more = plural(len(unread) - NODES_TOLD, "more node")
        yield f"{told['platform']}: workloads of {more} not read"
    refused = [each for part in (told["platform_parts"] or {}).values() for each in part["not_permitted"]]
    for permission, what in {each["permission"]: each["what"] for each in refused}.items():
        yield f"{told['platform']}: not permitted: {what} (needs: {permission})"


def _label(finding: dict[str, Any]) -> str:
    subject = finding["subject"]
    if subject["node"] is None:
        return "site"
    return str(subject["node"]) if subject["gpu_index"] is None else f"{subject['node']} gpu{subject['gpu_index']}"


def _below(finding: dict[str, Any], now: float) -> Iterator[str]:
    begun_at = finding["since"] if finding["again_at"] is None else finding["again_at"]
    yield f"since {_clock(begun_at, now)}  id {finding['id']}"
    for spell in finding["earlier"]:
        yield f"so before from {_clock(spell['since'], now)} to {_clock(spell['until'], now)}"
    if finding["unseen_since"] is not None:
        gone = ": no longer so" if finding["gone_at"] is not None else ""
        yield f"last looked at {_clock(finding['unseen_since'], now)}{gone}"
    elif finding["gone_at"] is not None:
        yield f"no longer so since {_clock(finding['gone_at'], now)}"
    said = finding["acknowledged"]
    if said is not None:
        why = f": {said['why']}" if said["why"] else ""
        yield f"acknowledged by {said['who']}, {_clock(said['at'], now)}{why}"
    for line in finding["evidence"]:
        when = "" if line["at"] is None else f"{_clock(line['at'], now)}  "
        source = "" if line["source"] is None else f"  [{line['source']}]"
        yield f"- {when}{line['text']}{source}"
    for claim in finding["folded"]:
        yield f"- with it: {claim}"
    if finding["cause"] is not None:
        yield finding["cause"]
    for hit in finding["hits"][:HITS_TOLD]:
        yield f"hits {hit['text']}"
    if not finding["hits_known"]:
        yield "hits not known: what ran there cannot be read any more"
    if len(finding["hits"]) > HITS_TOLD:
        yield f"hits {len(finding['hits']) - HITS_TOLD} more"
    for step in finding["steps"]:
        if step["kind"] != "screen":
            yield f"> {step['text']}" + (f": {step['target']}" if step["target"] else "")
    if finding["advice_source"] is not None:
        yield f"advice: {finding['advice_source']}"


def _clock(at: float, now: float) -> str:
    """Local time; with the date when it is not of the last day."""
    form = "%H:%M:%S" if abs(now - at) < DAY_SECONDS else "%Y-%m-%d %H:%M:%S"
    return time.strftime(form, time.localtime(at))


def _checked(checks: Iterable[dict[str, Any]]) -> Iterator[str]:
    seen = [f"{check['title']} ({check['subjects']})" for check in checks if check["subjects"]]
    blind = [check["title"] for check in checks if not check["subjects"]]
    yield from _wrapped(f"checked: {', '.join(seen) or 'nothing'}")
    if blind:
        yield from _wrapped(f"nothing to judge: {', '.join(blind)}")


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, LINE_WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
