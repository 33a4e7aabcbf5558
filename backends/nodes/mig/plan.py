"""What the planner answers: values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby

from backends.nodes.mig.geometry import Layout, Room, Stranded, Wanted
from backends.nodes.mig.target import GpuInstance, Target


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, in order."""

    kind: str
    """cordon, drain, pause-operands, wait-operands, stop-clients, look, mode-on, mode-off, check-mode, reset,
    destroy-ci, destroy-gi, create, verify, start-clients, resume-operands, uncordon; with MIG Manager also label,
    check-label."""
    command: str
    """The exact command line."""
    text: str
    """What it does, or what it must answer."""
    where: str = "node"
    """node or cluster."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What the change costs besides the work that blocks it."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Blocker:
    """Who has to go first."""

    kind: str
    """process, display, monitoring, or unknown where it could not be read."""
    text: str
    pid: int | None = None
    user: str | None = None
    command: str | None = None
    gi: int | None = None
    container_id: str | None = None
    workload: str | None = None
    """The pod or container it belongs to, with its namespace; None where no platform knows it."""
    owner: str | None = None
    """`Deployment llama-70b`: what a person deployed."""
    service: str | None = None


@dataclass(frozen=True, slots=True)
class MigParted:
    """The layout as nvidia-mig-parted and MIG Manager read it."""

    name: str
    """Of the configuration; also a valid value of the label nvidia.com/mig.config."""
    config: str
    """The YAML file. It names every GPU of the node that has MIG, so that none is changed by omission."""
    steps: tuple[Step, ...] = ()
    """How MIG Manager is made to apply it, on a platform that has it."""

    @property
    def label(self) -> tuple[str, ...]:
        """The command that tells MIG Manager, and the one that shows how far it is."""
        return tuple(step.command for step in self.steps if step.kind in ("label", "check-label"))


@dataclass(frozen=True, slots=True)
class Near:
    """A layout that is possible, close to one that is not."""

    why: str
    """In what it is near."""
    plan: Plan


@dataclass(frozen=True, slots=True)
class Plan:
    """The way from the GPU as it is to the wish, or why there is none. Nothing is applied."""

    target: Target
    wish: str
    """As understood: 2x 3g.40gb."""
    possible: bool
    reason: str | None = None
    """Why it is not possible, in sentences."""
    enabled: bool = True
    """MIG mode afterwards."""
    keeps: tuple[GpuInstance, ...] = ()
    destroys: tuple[GpuInstance, ...] = ()
    creates: Layout = ()
    """Largest first."""
    adds: tuple[Wanted, ...] = ()
    """Made where the driver finds a place: what is there stays, and where it stands could not be read."""
    after: Layout | None = None
    """Everything that stands afterwards, by place; None where the places of what stays are not known."""
    room: Room | None = None
    stranded: Stranded = field(default_factory=Stranded)
    steps: tuple[Step, ...] = ()
    costs: tuple[Cost, ...] = ()
    blockers: tuple[Blocker, ...] = ()
    nearest: tuple[Near, ...] = ()
    notes: tuple[str, ...] = ()
    mig_parted: MigParted | None = None

    @property
    def commands(self) -> tuple[str, ...]:
        """What is typed, in order: on the node, and around it in the cluster."""
        return tuple(step.command for step in self.steps)

    @property
    def script(self) -> tuple[str, ...]:
        """`commands` with a comment where another machine begins, if there is more than one."""
        if len({step.where for step in self.steps}) < 2:
            return self.commands
        lines: list[str] = []
        for where, steps in groupby(self.steps, key=lambda step: step.where):
            lines.append("# in the cluster" if where == "cluster" else f"# on {self.target.node or 'the node'}")
            lines += [step.command for step in steps]
        return tuple(lines)

    @property
    def blocked_by(self) -> int:
        """How many are known to be in the way."""
        return sum(each.kind != "unknown" for each in self.blockers)

    @property
    def changes(self) -> bool:
        return bool(self.steps)
