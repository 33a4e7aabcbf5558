"""One node, read for as long as somebody looks: connect, run the probe, publish, and start again after a failure."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import Callable
from typing import Any

from backends.contract import DriverHangs, GpudeckError, NoDriver, NoPython, ProbeCut, ProbeSilent, VersionMismatch
from backends.domain import Event, Node, NodeSpec, clean
from backends.feed import Backoff, Clock, SystemClock, Topic, end, problem_of
from backends.nodes import bootstrap, smi_fallback, wire
from backends.nodes.transport import Channel, Transport

SETTLED_SECONDS = 30.0
"""A probe that ran this long had a good start: the next failure waits briefly again."""
NOISE_LINES = 50
"""Lines a login shell may print before the probe speaks."""
FALLBACK_BEATS = 5
"""nvidia-smi costs the node a process start and a full query: one reading per this many fast beats."""
HELD_EVENTS = 4096
"""Events that wait for the state; a probe bounds them for each GPU and code."""
SKEW_BEATS = 5
SKEW_SECONDS = 1.0
"""By so much another clock skew is another one: below it is the network, and a clock that is being slewed."""
MARK_LIMIT = 600


class NodeStream:
    """Publishes one node into `topic`; events go to `on_event`.

    The probe's heartbeat keeps the reading fresh even when nothing changes. Silence for `silence_seconds` is an error:
    the last value stays, the probe is started again.
    """

    def __init__(
        self,
        spec: NodeSpec,
        transport: Transport,
        *,
        fast_seconds: float,
        slow_seconds: float,
        on_event: Callable[[Event], None],
        clock: Clock | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self.spec = spec
        self.topic: Topic[Node] = Topic(f"node/{spec.name}")
        self._transport = transport
        self._options = {
            "protocol": bootstrap.PROTOCOL,
            "fast_seconds": fast_seconds,
            "slow_seconds": slow_seconds,
            "once": False,
        }
        self._fast_seconds = fast_seconds
        self.silence_seconds = max(15.0, fast_seconds * 6)
        self._on_event = on_event
        self._clock = clock or SystemClock()
        self._backoff = backoff or Backoff(first=1.0, most=15.0)
        self._task: asyncio.Task[None] | None = None
        self._skew = 0.0
        self._ahead: deque[float] = deque(maxlen=SKEW_BEATS)
        self._mark: str | None = None
        """Up to where the node's kernel log was told, in the probe's words: the next probe goes on from there."""
        self._held: list[dict[str, Any]] = []
        self._stated = False
        """Whether this run of the probe has told the full state."""
        self._hangs = False
        """Whether NVML held it before it could."""

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"node {self.spec.name}")

    async def close(self) -> None:
        task, self._task = self._task, None
        await end([task])
        await self._transport.close()

    async def _run(self) -> None:
        while True:
            started = self._clock.monotonic()
            try:
                await self._read_by_best_means()
            except Exception as error:  # noqa: BLE001 - a node's stream outlives whatever the node does
                self._failed(error)
            else:
                self._backoff.reset()  # nvidia-smi was read for a while: the probe is due again
                continue
            if self._clock.monotonic() - started > SETTLED_SECONDS:
                self._backoff.reset()
            await self._clock.sleep(self._backoff.next())

    async def _read_by_best_means(self) -> None:
        try:
            await self._read_probe()
        except (NoPython, NoDriver, VersionMismatch) as error:
            await self._read_smi(error)

    def _failed(self, error: BaseException) -> None:
        was_live = self.topic.reading.value is not None and self.topic.reading.error is None
        problem = problem_of(error, self._clock.now(), self.topic.reading.error)
        self.topic.fail(problem)
        if was_live:
            self._connection_event("disconnected", problem.message)

    def _publish(self, node: Node) -> None:
        reading = self.topic.reading
        back = reading.error is not None or reading.value is None
        self.topic.publish(node, self._clock.now())
        if back:
            self._connection_event("connected", f"read through {node.transport}")

    def _connection_event(self, kind: str, text: str) -> None:
        self._on_event(Event(at=self._clock.now(), node=self.spec.name, kind=kind, text=text, source="console"))

    async def _read_probe(self) -> None:
        self._stated, self._hangs, self._held = False, False, []
        self._ahead.clear()
        channel = await self._transport.open(bootstrap.BOOT_COMMAND)
        try:
            await self._greet(channel)
            while True:
                self._handle(await self._message(channel))
        finally:
            await channel.close()

    async def _greet(self, channel: Channel) -> None:
        """Sends the probe and waits for its hello, past whatever a login shell prints first."""
        refusal: GpudeckError | None = None
        try:
            await channel.send(bootstrap.payload({**self._options, "kernel_after": self._mark}))
        except GpudeckError as error:
            # A node without python3 closes stdin before it has read the probe; its own last words say more.
            refusal = error
        for _ in range(NOISE_LINES):
            line = await self._line(channel)
            if not line:
                if refusal is not None:
                    raise refusal
                raise await self._ended(channel)
            if not line.lstrip().startswith(b'{"t"'):
                continue
            message = wire.parse_line(line)
            if message["t"] == "fatal":
                raise wire.fatal(message)
            if message["t"] == "hello":
                if message.get("protocol") != bootstrap.PROTOCOL:
                    raise VersionMismatch(
                        f"the probe speaks protocol {clean(str(message.get('protocol')), 20)},"
                        f" this console {bootstrap.PROTOCOL}"
                    )
                return
        raise ProbeCut(
            f"{NOISE_LINES} lines came before the probe spoke",
            "the login shell of this account prints too much: keep its start-up files silent for non-interactive use",
        )

    async def _message(self, channel: Channel) -> dict[str, Any]:
        line = await self._line(channel)
        if not line:
            raise await self._ended(channel)
        return wire.parse_line(line)

    async def _line(self, channel: Channel) -> bytes:
        try:
            async with asyncio.timeout(self.silence_seconds):
                return await channel.readline(wire.LINE_LIMIT)
        except TimeoutError:
            raise ProbeSilent(
                f"the probe has sent nothing for {self.silence_seconds:.0f} s",
                "the node or the network hangs; the probe is started again",
            ) from None

    async def _ended(self, channel: Channel) -> GpudeckError:
        status = await channel.wait()
        words = clean(await channel.stderr_tail(), 200)
        said = f': "{words}"' if words else ""
        how = "without an exit status" if status is None else f"with status {status}"
        return ProbeCut(f"the probe ended {how}{said}", "it is started again")

    def _handle(self, message: dict[str, Any]) -> None:
        match message["t"]:
            case "delta":
                self._on_delta(message)
            case "state":
                self._on_state(message)
            case "event":
                self._on_event_message(message)
            case "stall":
                self._on_stall(message)
            case "fatal":
                self._tell_held()
                raise wire.fatal(message)
            case _:
                pass  # a newer probe may say more than this console knows

    def _on_state(self, message: dict[str, Any]) -> None:
        self._measure_skew(message, at_once=not self._stated)
        self._stated = True
        self._publish(wire.state(message, self.spec.name, self._skew))
        self._tell_held()
        self._held = []

    def _on_delta(self, message: dict[str, Any]) -> None:
        node = self.topic.reading.value
        if node is None or not self._stated:
            raise ProbeCut("the probe sent a change before a state", "it is started again")
        node = wire.apply_delta(node, message)
        if self._measure_skew(message):
            node = dataclasses.replace(node, clock_skew_seconds=self._skew)
        self._publish(node)

    def _measure_skew(self, message: dict[str, Any], *, at_once: bool = False) -> bool:
        """Whether the node's clock is off by another time than before.

        A message can only be late. Of the last few the one that seems furthest ahead was the least late, and is the
        nearest to the truth.
        """
        ahead = wire.ahead(message, self._clock.now())
        if ahead is None:
            return False
        self._ahead.append(ahead)
        skew = wire.skew(max(self._ahead))
        if not at_once and abs(skew - self._skew) <= SKEW_SECONDS:
            return False
        changed, self._skew = skew != self._skew, skew
        return changed

    def _tell_held(self) -> None:
        """What the kernel log said before the state; told again with the state, which says which GPUs it speaks of."""
        for message in self._held:
            self._tell(message)

    def _on_stall(self, message: dict[str, Any]) -> None:
        """NVML holds a call: the values are those from before it, and are as old as they are.

        The probe is not started again: it would hang in the same call, beside the first one.
        """
        node, stall = self.topic.reading.value, wire.stall(message)
        if node is not None and self._stated:
            self.topic.amend(dataclasses.replace(node, stall=stall))
            return
        self._measure_skew(message, at_once=True)
        self._failed(DriverHangs(stall.told, stall.hint))
        # No state will say which GPUs there are; what the kernel log tells is why.
        self._hangs = True
        self._tell_held()

    def _on_event_message(self, message: dict[str, Any]) -> None:
        if not self._stated and len(self._held) < HELD_EVENTS:
            self._held.append(message)
        if self._stated or self._hangs:
            self._tell(message)

    def _tell(self, message: dict[str, Any]) -> None:
        """By the node as it was last seen, maybe by an earlier run of the probe."""
        event = wire.event(message, self.topic.reading.value, self.spec.name, self._skew)
        if event is not None:
            self._on_event(event)
        mark = message.get("mark")
        if isinstance(mark, str) and len(mark) <= MARK_LIMIT:
            self._mark = mark

    async def _read_smi(self, reason: GpudeckError) -> None:
        """nvidia-smi at a slower beat; every few minutes the loop above tries the probe again."""
        note = f"{reason.message}. {reason.hint}".strip().rstrip(".")
        for beat in range(60):
            if beat:
                await self._clock.sleep(self._fast_seconds * FALLBACK_BEATS)
            last = self.topic.reading.value
            try:
                node = await smi_fallback.read(
                    self._transport, name=self.spec.name, before=() if last is None else last.gpus
                )
            except NoDriver as error:
                raise NoDriver(f"{reason.message}, and {error.message}", reason.hint or error.hint) from None
            notes = (note, f"nvidia-smi: {node.transport_note}" if node.transport_note else "")
            self._publish(dataclasses.replace(node, transport_note=clean(". ".join(filter(None, notes)), 300)))
