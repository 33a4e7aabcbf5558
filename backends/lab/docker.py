"""The Docker Engine API of one simulated node, on a loopback port that the node's SSH server forwards its socket to.

The containers are those of the node's jobs (`backends.lab.jobs`); they come and go with them, and events say so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import web

from backends.feed import Clock
from backends.lab import docker_stats
from backends.lab.dynamics import Meter
from backends.lab.hardware import SimNode
from backends.lab.jobs import Job, jobs
from backends.lab.kube.store import rfc3339

API_VERSION, MIN_API_VERSION, ENGINE_VERSION = "1.51", "1.24", "28.5.1"
IMAGE = "registry.example/llm/runtime:26.07"
IMAGE_ID = "sha256:" + "5e" * 32
TICK_SECONDS = 1.0
EVENTS_KEPT = 1000
STDOUT = 1

Object = dict[str, Any]


class DockerApi:
    """Serves `node`. Containers that a client stopped stay stopped until their job ends."""

    def __init__(self, node: SimNode, clock: Clock) -> None:
        self.node, self.clock = node, clock
        self.port = 0
        """On 127.0.0.1, once it is started."""
        self._meter = Meter(node)
        self._jobs: dict[str, Job] = {}
        self._stopped: dict[str, float] = {}
        """Container id -> when it was stopped."""
        self._restarts: dict[str, float] = {}
        self.followers = 0
        """Clients that follow the events."""
        self._events: deque[tuple[int, Object]] = deque(maxlen=EVENTS_KEPT)
        """Each with its number."""
        self._told = 0
        self._news = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._starting: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Once more changes nothing."""
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start())
        await self._starting

    async def _start(self) -> None:
        self.tick()
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        self._ticking = asyncio.create_task(self._tick(), name=f"lab docker {self.node.name}")

    async def close(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking
        self._wake()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _tick(self) -> None:
        while True:
            await self.clock.sleep(TICK_SECONDS)
            self.tick()

    def tick(self) -> None:
        """The containers as they are now; tells of those that came and went."""
        now = {job.container_id: job for job in jobs(self.node, self._meter, self.clock.now())}
        for gone in self._jobs.keys() - now.keys():
            self._tell("die", self._jobs[gone], {"exitCode": "0"})
            self._tell("destroy", self._jobs[gone])
            self._stopped.pop(gone, None)
            self._restarts.pop(gone, None)
        for fresh in now.keys() - self._jobs.keys():
            self._tell("create", now[fresh])
            self._tell("start", now[fresh])
        self._jobs = now

    def _tell(self, action: str, job: Job, more: dict[str, str] | None = None) -> None:
        at = self.clock.now()
        self._told += 1
        self._events.append(
            (
                self._told,
                {
                    "Type": "container",
                    "Action": action,
                    "status": action,
                    "id": job.container_id,
                    "from": IMAGE,
                    "scope": "local",
                    "Actor": {"ID": job.container_id, "Attributes": {"name": job.name, **labels(job), **(more or {})}},
                    "time": int(at),
                    "timeNano": int(at * 1e9),
                },
            )
        )
        self._wake()

    def execute(self, container_id: str, command: str) -> None:
        """The events of a command run in a container: what a health check sends, time after time."""
        job = self._jobs[container_id]
        self._tell(f"exec_create: {command}", job)
        self._tell(f"exec_start: {command}", job)
        self._tell("exec_die", job, {"exitCode": "0"})

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    # Requests

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        parts = [part for part in request.path.split("/") if part]
        if parts and parts[0][:1] == "v" and parts[0][1:2].isdigit():
            parts = parts[1:]
        if parts[:1] == ["containers"] and len(parts) > 1 and parts[1] != "json":
            return await self._container(request, parts[1], parts[2] if len(parts) > 2 else "")
        act = _ROUTES.get("/".join(parts))
        if act is None:
            return _refused(404, "page not found")
        return await act(self, request)

    async def ping(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(text="OK", headers={"Api-Version": API_VERSION, "Server": f"Docker/{ENGINE_VERSION}"})

    async def version(self, _request: web.Request) -> web.StreamResponse:
        machine = self.node.machine
        return web.json_response(
            {
                "Platform": {"Name": "Docker Engine - Community"},
                "Version": ENGINE_VERSION,
                "ApiVersion": API_VERSION,
                "MinAPIVersion": MIN_API_VERSION,
                "Os": "linux",
                "Arch": "amd64",
                "KernelVersion": machine.kernel,
                "Components": [{"Name": "Engine", "Version": ENGINE_VERSION}],
            }
        )

    async def info(self, _request: web.Request) -> web.StreamResponse:
        machine = self.node.machine
        running = sum(each not in self._stopped for each in self._jobs)
        bare = self.node.host_faults.no_gpu_runtime
        return web.json_response(
            {
                "ID": self.node.name,
                "Name": self.node.name,
                "SystemTime": rfc3339(self.clock.now()),
                "Containers": len(self._jobs),
                "ContainersRunning": running,
                "ContainersStopped": len(self._jobs) - running,
                "ServerVersion": ENGINE_VERSION,
                "OperatingSystem": machine.os,
                "KernelVersion": machine.kernel,
                "NCPU": machine.cpu_count,
                "MemTotal": machine.memory_gib << 30,
                "CgroupDriver": "systemd",
                "CgroupVersion": "2",
                "DefaultRuntime": "runc" if bare else "nvidia",
                "Runtimes": {"runc": {"path": "runc"}, **_nvidia_runtime(bare)},
                "CDISpecDirs": ["/etc/cdi", "/var/run/cdi"],
                **({} if bare else {"DiscoveredDevices": _discovered(self.node)}),
                "Warnings": None,
            }
        )

    async def containers(self, request: web.Request) -> web.StreamResponse:
        everything = request.query.get("all") in ("1", "true", "True")
        wanted = _filters(request.query.get("filters", ""))
        found = [
            self._listed(job)
            for job in self._jobs.values()
            if (everything or job.container_id not in self._stopped) and wanted(job)
        ]
        return web.json_response(found)

    async def events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        seen, wanted = self._told, _event_filters(request.query.get("filters", ""))
        since = request.query.get("since", "")
        if since.isdecimal():
            seen = next((number - 1 for number, each in self._events if each["time"] >= int(since)), seen)
        self.followers += 1
        try:
            while self._runner is not None:
                news = self._news
                for number, each in [told for told in self._events if told[0] > seen]:
                    seen = number
                    if wanted(each):
                        await response.write(json.dumps(each).encode() + b"\n")
                await news.wait()
        except ConnectionError:
            return response
        finally:
            self.followers -= 1
        return response

    async def _container(self, request: web.Request, name: str, what: str) -> web.StreamResponse:
        job = next((job for job in self._jobs.values() if job.name == name or job.container_id.startswith(name)), None)
        if job is None:
            return _refused(404, f"No such container: {name}")
        act = _CONTAINER_ROUTES.get((request.method, what))
        if act is None:
            return _refused(404, "page not found")
        return await act(self, request, job)

    async def inspect(self, _request: web.Request, job: Job) -> web.StreamResponse:
        return web.json_response(self._inspected(job))

    async def logs(self, request: web.Request, job: Job) -> web.StreamResponse:
        """Multiplexed, as for a container without a terminal."""
        response = web.StreamResponse(headers={"Content-Type": "application/vnd.docker.raw-stream"})
        await response.prepare(request)
        stamped = request.query.get("timestamps") in ("1", "true", "True")
        tail = request.query.get("tail", "all")
        begin = request.query.get("since", "").partition(".")[0]
        since = float(begin) if begin.isdecimal() else 0.0
        with contextlib.suppress(ConnectionError):
            async for line in self._lines(job, follow=request.query.get("follow") in ("1", "true", "True"), tail=tail):
                if line[0] < since:
                    continue
                await response.write(_framed(line, stamped))
        return response

    async def stats(self, request: web.Request, job: Job) -> web.StreamResponse:
        """A value a second; the first of a stream is held against none."""
        if request.query.get("stream") in ("0", "false", "False"):
            return web.json_response(self._stats(job, self.clock.now() - 1.0))
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        before = None
        with contextlib.suppress(ConnectionError):
            while job.container_id in self._jobs:
                at = self.clock.now()
                await response.write(json.dumps(self._stats(job, before)).encode() + b"\n")
                before = at
                await self.clock.sleep(1.0)
        return response

    def _stats(self, job: Job, before: float | None) -> Object:
        stopped = job.container_id in self._stopped
        return docker_stats.NOT_RUNNING if stopped else docker_stats.stats(self.node, job, self.clock.now(), before)

    async def _lines(self, job: Job, *, follow: bool, tail: str) -> AsyncIterator[tuple[float, str]]:
        now = self.clock.now()
        steps = int(now - job.started_at) // 10
        first = max(0, steps - (int(tail) if tail.isdecimal() else 500))
        for step in range(first, steps + 1):
            yield job.started_at + 10 * step, f"step {step} of {job.owner}"
        while follow and job.container_id in self._jobs:
            await self.clock.sleep(10.0)
            steps += 1
            yield self.clock.now(), f"step {steps} of {job.owner}"

    async def stop(self, _request: web.Request, job: Job) -> web.StreamResponse:
        if job.container_id in self._stopped:
            return web.Response(status=304)
        self._stopped[job.container_id] = self.clock.now()
        self._tell("die", job, {"exitCode": "137"})
        self._tell("stop", job)
        return web.Response(status=204)

    async def begin(self, _request: web.Request, job: Job) -> web.StreamResponse:
        if self._stopped.pop(job.container_id, None) is None:
            return web.Response(status=304)
        self._restarts[job.container_id] = self.clock.now()
        self._tell("start", job)
        return web.Response(status=204)

    async def restart(self, _request: web.Request, job: Job) -> web.StreamResponse:
        self._stopped.pop(job.container_id, None)
        self._restarts[job.container_id] = self.clock.now()
        self._tell("restart", job)
        return web.Response(status=204)

    def _listed(self, job: Job) -> Object:
        state = "exited" if job.container_id in self._stopped else "running"
        return {
            "Id": job.container_id,
            "Names": [f"/{job.name}"],
            "Image": IMAGE,
            "ImageID": IMAGE_ID,
            "Command": job.command,
            "Created": int(job.started_at),
            "State": state,
            "Status": "Up" if state == "running" else "Exited (137)",
            "Labels": labels(job),
            "Ports": [],
            "HostConfig": {"NetworkMode": "host"},
            "NetworkSettings": {"Networks": {}},
            "Mounts": [],
        }

    def _inspected(self, job: Job) -> Object:
        stopped = self._stopped.get(job.container_id)
        started = self._restarts.get(job.container_id, job.started_at)
        devices = device_ids(self.node, job)
        return {
            "Id": job.container_id,
            "Name": f"/{job.name}",
            "Created": rfc3339(job.started_at),
            "Path": job.command.split(" ", 1)[0],
            "Args": job.command.split(" ")[1:],
            "Image": IMAGE_ID,
            "RestartCount": 0,
            "State": {
                "Status": "running" if stopped is None else "exited",
                "Running": stopped is None,
                "Paused": False,
                "Restarting": False,
                "OOMKilled": False,
                "Dead": False,
                "Pid": 0,
                "ExitCode": 0 if stopped is None else 137,
                "Error": "",
                "StartedAt": rfc3339(started),
                "FinishedAt": "0001-01-01T00:00:00Z" if stopped is None else rfc3339(stopped),
            },
            "HostConfig": {
                "Runtime": "nvidia" if job.asked else "runc",
                "Privileged": not job.asked,
                "DeviceRequests": [
                    {"Driver": "", "Count": 0, "DeviceIDs": devices, "Capabilities": [["gpu"]], "Options": {}}
                ]
                if job.asked
                else [],
                "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0},
            },
            "Config": {
                "Hostname": job.name[:12],
                "User": "",
                "Tty": False,
                "Env": [f"NVIDIA_VISIBLE_DEVICES={','.join(devices)}", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"]
                if job.asked
                else [],
                "Cmd": job.command.split(" "),
                "Image": IMAGE,
                "Labels": labels(job),
            },
            "Mounts": [],
            "NetworkSettings": {},
        }


def _nvidia_runtime(missing: bool) -> Object:
    return {} if missing else {"nvidia": {"path": "nvidia-container-runtime"}}


def _discovered(node: SimNode) -> list[Object]:
    """Left out of `/info` where there is none."""
    return [{"Source": "cdi", "ID": f"nvidia.com/gpu={gpu.index}"} for gpu in node.gpus]


def labels(job: Job) -> dict[str, str]:
    """As Compose writes them."""
    return {
        "com.docker.compose.project": job.namespace,
        "com.docker.compose.service": job.owner,
        "com.docker.compose.container-number": "1",
    }


def device_ids(node: SimNode, job: Job) -> list[str]:
    """What the container was given: UUIDs of GPUs, or of its MIG instance."""
    if job.profile is None or job.instance is None:
        return [node.gpus[index].uuid for index in job.gpus]
    index, gi = job.instance
    return [mig.uuid for mig in node.gpus[index].mig if mig.gi == gi]


def _filter_values(text: str) -> Callable[[str], list[str]]:
    """What a client's `filters` ask for by a key: in the list of today or the table of old clients."""
    try:
        wanted = json.loads(text) if text else {}
    except ValueError:
        wanted = {}

    def values(key: str) -> list[str]:
        found = wanted.get(key, [])
        return list(found) if isinstance(found, list) else [value for value, on in found.items() if on]

    return values


def _event_filters(text: str) -> Callable[[Object], bool]:
    """Of the filters a client may send, those by type and by event; exec_start is also `exec_start: COMMAND`."""
    values = _filter_values(text)
    types, actions = values("type"), values("event")

    def holds(event: Object) -> bool:
        action = str(event["Action"])
        by_action = not actions or action in actions or action.partition(":")[0] in actions
        return by_action and (not types or event["Type"] in types)

    return holds


def _filters(text: str) -> Callable[[Job], bool]:
    """Of the filters a client may send, those by label and by name."""
    values = _filter_values(text)

    def holds(job: Job) -> bool:
        own = labels(job)
        by_label = all(
            own.get(name) == value if equals else name in own
            for name, equals, value in (label.partition("=") for label in values("label"))
        )
        names = values("name")
        return by_label and (not names or any(name in job.name for name in names))

    return holds


def _framed(line: tuple[float, str], stamped: bool) -> bytes:
    at, text = line
    payload = f"{rfc3339(at)[:-1]}.000000000Z {text}\n" if stamped else f"{text}\n"
    content = payload.encode()
    return struct.pack(">BxxxL", STDOUT, len(content)) + content


def _refused(code: int, said: str) -> web.Response:
    return web.json_response({"message": said}, status=code)


_ROUTES: dict[str, Callable[[DockerApi, web.Request], Awaitable[web.StreamResponse]]] = {
    "_ping": DockerApi.ping,
    "version": DockerApi.version,
    "info": DockerApi.info,
    "containers/json": DockerApi.containers,
    "events": DockerApi.events,
}
_CONTAINER_ROUTES: dict[tuple[str, str], Callable[[DockerApi, web.Request, Job], Awaitable[web.StreamResponse]]] = {
    ("GET", "json"): DockerApi.inspect,
    ("GET", "logs"): DockerApi.logs,
    ("GET", "stats"): DockerApi.stats,
    ("POST", "stop"): DockerApi.stop,
    ("POST", "start"): DockerApi.begin,
    ("POST", "restart"): DockerApi.restart,
}
