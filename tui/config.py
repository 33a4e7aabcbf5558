"""The configuration file: strict TOML. A key that is not known is an error that names file, line and nearest match."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from backends.contract import ConfigError
from backends.domain import ChangeSpec, DockerSpec, KubernetesSpec, NodeSpec, SiteSpec, SshSpec, clean
from backends.hosts import concrete_hosts, expand_range, matching
from tui.action_ids import ACTION_IDS, unknown_action
from tui.paths import config_file
from tui.theme_names import THEME_NAMES
from tui.toml_lines import TomlLines

PLATFORMS = ("docker", "kubernetes", "openshift")
"""Those of gpudeck itself; other parties' are asked for only where one is named."""
CLUSTERS = frozenset({"kubernetes", "openshift"})
LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Settings:
    """A whole configuration."""

    theme: str | None = None
    bell: bool = False
    """Whether the terminal rings for a new critical finding."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Action id -> keys, separated by commas."""
    filters: Mapping[str, str] = field(default_factory=dict)
    """Name -> filter, each of which means something."""
    sites: tuple[SiteSpec, ...] = ()
    file: Path | None = None
    places: Mapping[str, str] = field(default_factory=dict)
    """Where `theme`, each action of `keys` and each `filters.NAME` are set, as "file:line"."""

    def placed(self, key: str, error: ConfigError) -> ConfigError:
        """`error` with the place of `key`, where the file sets it."""
        place = self.places.get(key)
        return error if place is None else ConfigError(f"{place}: {error.message}", error.hint)

    def site(self, name: str | None) -> SiteSpec:
        """The site called `name`, the first one without a name; raises ConfigError."""
        if not self.sites:
            raise ConfigError("no site is configured", f"write a [site.NAME] into {self.file}")
        if name is None:
            return self.sites[0]
        for site in self.sites:
            if site.name == name:
                return site
        raise ConfigError(f"no site is called {clean(name)!r}", f"there is: {', '.join(s.name for s in self.sites)}")


def load(path: Path) -> Settings:
    """The settings in `path`; raises ConfigError with file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", "name another file with --config") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text", "name another file with --config") from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}", "see the configuration example in the README") from None
    except RecursionError:
        raise ConfigError(f"{path} is nested too deeply", "see the configuration example in the README") from None
    return _Reader(path, TomlLines(text)).settings(document)


class _Reader:
    """Checks one table of a parsed document key by key: the document itself, or a site's."""

    def __init__(self, path: Path, lines: TomlLines, table: tuple[str, ...] = ()) -> None:
        self._path = path
        self._lines = lines
        self._table = table

    def settings(self, document: dict[str, Any]) -> Settings:
        self._known(document, ("theme", "bell", "keys", "filters", "site"), "")
        keys = self._typed(document, "keys", dict, "a table of action = key", {})
        for action, key in keys.items():
            if action not in ACTION_IDS:
                raise self._error(("keys", action), *unknown_action(action))
            if not isinstance(key, str):
                raise self._error(("keys", action), f'the key of "{action}" must be text, like "f"')
        theme = self._typed(document, "theme", str, "the name of a theme", None)
        if theme is not None and theme not in THEME_NAMES:
            raise self._error(
                "theme", f"no theme is called {clean(theme, 64)!r}", f"there are: {', '.join(THEME_NAMES)}"
            )
        filters, filter_places = self._filters(document)
        sites = self._typed(document, "site", dict, "a table [site.NAME]", {})
        return Settings(
            theme=theme,
            bell=self._typed(document, "bell", bool, "true or false", False),
            keys=keys,
            filters=filters,
            sites=tuple(
                replace(
                    _Reader(self._path, self._lines, ("site", name)).site(name, sites[name]),
                    named=name != next(iter(sites)),
                )
                for name in sites
            ),
            file=self._path,
            places={key: self._place((key,)) for key in document}
            | {action: self._place(("keys", action)) for action in keys}
            | filter_places,
        )

    def _filters(self, document: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
        """Name -> text, and `filters.NAME` -> place."""
        filters = self._typed(document, "filters", dict, "a table of name = filter", {})
        if not filters:
            return {}, {}
        from tui.saved_filters import SavedFilters

        places = {f"filters.{name}": self._place(("filters", name)) for name in filters}
        for name, text in filters.items():
            if not isinstance(text, str):
                place = places[f"filters.{name}"]
                raise ConfigError(f'{place}: the filter {clean(name, 32)} must be text, like "temp>85"')
        SavedFilters(filters, places)
        return filters, places

    def site(self, name: str, table: Any) -> SiteSpec:
        if not isinstance(table, dict):
            raise self._error((), "a site is a table: [site.NAME]")
        if not clean(name, 64).strip():
            raise self._error((), "a site needs a name: [site.prod]")
        self._known(table, tuple(_SITE_KEYS), f"[site.{name}] ")
        values = {key: self._typed(table, key, kind, wanted, None) for key, (kind, wanted) in _SITE_KEYS.items()}
        platform = self._platform(values["platform"])
        ssh_config = None
        if values["ssh_config"] is not None:
            ssh_config = (self._path.parent / Path(values["ssh_config"]).expanduser()).absolute()
            if not ssh_config.is_file():
                raise self._error("ssh_config", f"there is no SSH configuration {ssh_config}")
        default = SshSpec()
        site = SiteSpec(
            name=clean(name, 64),
            nodes=self._nodes(name, values["nodes"] or [], ssh_config),
            platform=platform,
            kubernetes=self._kubernetes(platform, values),
            docker=self._docker(platform, values),
            settings=values["settings"] or {},
            ssh=SshSpec(
                config_file=ssh_config,
                connect_timeout_seconds=self._seconds(
                    "connect_timeout_seconds",
                    values["connect_timeout_seconds"],
                    default.connect_timeout_seconds,
                    1,
                    120,
                ),
                parallel_connects=int(
                    self._seconds("parallel_connects", values["parallel_connects"], default.parallel_connects, 1, 256)
                ),
            ),
            fast_seconds=self._seconds("fast_seconds", values["fast_seconds"], 1.0, 0.2, 60),
            slow_seconds=self._seconds("slow_seconds", values["slow_seconds"], 10.0, 1, 600),
            changes=self._changes(values),
            demo=bool(values["demo"]),
            config_file=None if self._path.absolute() == config_file().absolute() else self._path.absolute(),
        )
        if not site.nodes and platform not in CLUSTERS:
            raise self._error((), f"[site.{site.name}] names no nodes", 'nodes = ["dgx[01-32]"]')
        return site

    def _platform(self, name: str | None) -> str | None:
        if name is None or name in PLATFORMS:
            return name
        from backends import registry

        known = sorted({*PLATFORMS, *registry.names()})
        if name not in known:
            raise self._error("platform", f"platform {clean(name, 64)!r} is not one of {', '.join(known)}")
        return name

    def _kubernetes(self, platform: str | None, values: dict[str, Any]) -> KubernetesSpec:
        for key in _KUBERNETES_KEYS:
            if values[key] is not None and platform not in CLUSTERS:
                raise self._error(key, f"{key} needs a cluster", 'set platform = "kubernetes" or "openshift"')
        namespaces = values["namespaces"] or []
        if not all(isinstance(name, str) and name for name in namespaces):
            raise self._error("namespaces", 'namespaces must be a list of names, ["team-a", "team-b"]')
        kubeconfig = None
        if values["kubeconfig"] is not None:
            kubeconfig = (self._path.parent / Path(values["kubeconfig"]).expanduser()).absolute()
            if not kubeconfig.is_file():
                raise self._error("kubeconfig", f"there is no kubeconfig {kubeconfig}")
        url = values["monitoring_url"]
        if url is not None and platform != "openshift":
            raise self._error("monitoring_url", "monitoring_url needs OpenShift", 'set platform = "openshift"')
        if url is not None and not re.fullmatch(r"https://[^\s/@?#]+(/[^\s?#]*)?", url):
            raise self._error(
                "monitoring_url", f"{clean(url, 96)} is no address of the form https://host[:port][/path]"
            )
        return KubernetesSpec(
            kubeconfig=kubeconfig,
            context=values["context"],
            gpu_operator_namespace=values["gpu_operator_namespace"],
            namespaces=tuple(namespaces),
            monitoring_url=url,
        )

    def _docker(self, platform: str | None, values: dict[str, Any]) -> DockerSpec:
        for key in _DOCKER_KEYS:
            if values[key] is not None and platform != "docker":
                raise self._error(key, f"{key} needs Docker", 'set platform = "docker"')
        files: dict[str, Path | None] = {}
        for key in ("docker_ca", "docker_cert", "docker_key"):
            named = values[key]
            files[key] = None if named is None else (self._path.parent / Path(named).expanduser()).absolute()
        if any(files.values()) and not all(files.values()):
            raise self._error("docker_ca", "TLS needs docker_ca, docker_cert and docker_key together")
        return DockerSpec(
            socket=values["docker_socket"] or DockerSpec().socket,
            url=values["docker_url"],
            ca=files["docker_ca"],
            cert=files["docker_cert"],
            key=files["docker_key"],
        )

    def _changes(self, values: dict[str, Any]) -> ChangeSpec:
        default = ChangeSpec()
        limit, longest, reason = (
            values[key] for key in ("change_limit", "write_window_max_minutes", "write_window_reason")
        )
        return ChangeSpec(
            limit=None if limit is None else int(self._seconds("change_limit", limit, 0, 1, 100_000)),
            window_max_minutes=int(
                self._seconds("write_window_max_minutes", longest, default.window_max_minutes, 1, 480)
            ),
            require_reason=default.require_reason if reason is None else reason,
            directory=self._shared(values["changes_directory"]),
        )

    def _shared(self, named: str | None) -> Path | None:
        """It need not be there: what is wrong with it is told when something is to be changed."""
        return None if named is None else (self._path.parent / Path(named).expanduser()).absolute()

    def _nodes(self, site: str, entries: list[Any], ssh_config: Path | None) -> tuple[NodeSpec, ...]:
        nodes: dict[str, tuple[NodeSpec, Any]] = {}
        for entry in entries:
            for node in self._node(entry, ssh_config):
                if node.name in nodes:
                    first = nodes[node.name][1]
                    message = f"[site.{site}] names {node.name} twice: in {first!r} and in {entry!r}"
                    raise self._error("nodes", message, word=_word(entry))
                nodes[node.name] = (node, entry)
        return tuple(node for node, _ in nodes.values())

    def _node(self, entry: Any, ssh_config: Path | None) -> Iterable[NodeSpec]:
        if isinstance(entry, dict):
            self._known(entry, ("name", "address"), "a node's ", within="nodes")
            name = self._typed(entry, "name", str, "a name", None)
            if not name:
                raise self._error(
                    "nodes", 'a node written as a table needs a name: { name = "dgx01", address = "10.0.0.1" }'
                )
            return [NodeSpec(_name(name), address=self._typed(entry, "address", str, "[user@]host[:port]", None))]
        if not isinstance(entry, str) or not entry.strip():
            raise self._error(
                "nodes", f"a node is a name, a range, a pattern or a table, not {entry!r}", word=_word(entry)
            )
        if entry == LOCAL:
            return [NodeSpec(LOCAL, local=True)]
        try:
            if entry.startswith("ssh:"):
                return [NodeSpec(_name(host)) for host in self._pattern(entry.removeprefix("ssh:"), ssh_config)]
            if entry.count(":") > 1:
                example = f'{{ name = "node1", address = "{clean(entry, 64)}" }}'
                raise ConfigError(f"{clean(entry, 64)!r} is an address, and no name", f"give it one: {example}")
            return [NodeSpec(_name(name)) for name in expand_range(entry)]
        except ConfigError as error:
            raise self._error("nodes", error.message, error.hint, _word(entry)) from None

    def _pattern(self, pattern: str, ssh_config: Path | None) -> list[str]:
        file = ssh_config or Path("~/.ssh/config").expanduser()
        found = matching(concrete_hosts(file), pattern)
        if not found:
            raise ConfigError(
                f"no Host of {file} matches {pattern!r}", "patterns are those of ssh_config: dgx-*, node??"
            )
        return found

    def _seconds(self, key: str, value: Any, default: float, least: float, most: float) -> float:
        if value is None:
            return default
        if isinstance(value, bool) or not least <= value <= most:
            raise self._error(key, f"{key} must be between {least:g} and {most:g}, not {value}")
        return float(value)

    def _typed(self, table: dict[str, Any], key: str, kind: Any, wanted: str, default: Any) -> Any:
        value = table.get(key)
        if value is None:
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self._error(key, f"{key} must be {wanted}, not {value!r}")
        return value

    def _known(self, table: dict[str, Any], known: tuple[str, ...], place: str, within: str = "") -> None:
        for key in table:
            if key in known:
                continue
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
            raise self._error(within or key, f"unknown key {place}{clean(key, 64)}", hint, key if within else "")

    def _error(self, key: str | tuple[str, ...], message: str, hint: str = "", word: str = "") -> ConfigError:
        """`key` is one of this table; none is the table itself. Of a value of several lines, the one with `word`."""
        path = (key,) if isinstance(key, str) else key
        return ConfigError(f"{self._place((*self._table, *path), word)}: {message}", hint)

    def _place(self, path: tuple[str, ...], word: str = "") -> str:
        return f"{self._path}:{self._lines.line(path, word)}"


def _word(entry: Any) -> str:
    """By which an entry of a list is found in the text."""
    return entry if isinstance(entry, str) else ""


_SITE_KEYS: dict[str, tuple[Any, str]] = {
    "nodes": (list, 'a list of nodes, ["dgx[01-32]", "ssh:h200-*", "local"]'),
    "platform": (str, "the name of a backend: " + ", ".join(PLATFORMS)),
    "kubeconfig": (str, "the path of a kubeconfig"),
    "context": (str, "the name of a context of the kubeconfig"),
    "gpu_operator_namespace": (str, "the name of a namespace"),
    "namespaces": (list, 'a list of names, ["team-a", "team-b"]'),
    "monitoring_url": (str, "the address of thanos-querier, https://thanos.example.com"),
    "docker_socket": (str, "the path of the engine's socket on the nodes"),
    "docker_url": (str, "the address of the engines, tcp://{node}:2376"),
    "docker_ca": (str, "the path of a CA certificate"),
    "docker_cert": (str, "the path of a client certificate"),
    "docker_key": (str, "the path of its key"),
    "settings": (dict, "a table of what the platform's plug-in wants to know"),
    "ssh_config": (str, "the path of an OpenSSH configuration"),
    "fast_seconds": ((int, float), "a number of seconds"),
    "slow_seconds": ((int, float), "a number of seconds"),
    "connect_timeout_seconds": ((int, float), "a number of seconds"),
    "parallel_connects": (int, "a whole number"),
    "change_limit": (int, "a whole number of workloads or GPUs"),
    "write_window_max_minutes": (int, "a whole number of minutes"),
    "write_window_reason": (bool, "true or false"),
    "changes_directory": (str, "the path of a directory that a group shares"),
    "demo": (bool, "true or false"),
}

_DOCKER_KEYS = ("docker_socket", "docker_url", "docker_ca", "docker_cert", "docker_key")
_KUBERNETES_KEYS = ("kubeconfig", "context", "gpu_operator_namespace", "namespaces")


def _name(name: str) -> str:
    return clean(name, 128)
