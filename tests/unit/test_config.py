"""The configuration file: strict, with the file, the line and the nearest match in every error."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract import ConfigError
from backends.domain import ChangeSpec, KubernetesSpec
from backends.hosts import MOST_NAMES, concrete_hosts, expand_range, matching
from tui.config import Settings, load
from tui.paths import config_file

FULL = """\
theme = "light"
bell = true

[keys]
"fleet.flat" = "t"

[site.prod]
nodes = [
    "dgx[01-03]",
    { name = "lab1", address = "admin@10.0.0.7:2222" },
    "local",
]
platform = "kubernetes"
fast_seconds = 2
slow_seconds = 20.5
connect_timeout_seconds = 5
parallel_connects = 8
change_limit = 12
write_window_max_minutes = 20
write_window_reason = false
changes_directory = "/var/lib/gpudeck"

[site.spare]
nodes = ["local"]
demo = true
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def error_of(tmp_path: Path, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text))
    return caught.value


def test_everything_that_may_be_set(tmp_path: Path) -> None:
    settings = load(written(tmp_path, FULL))
    assert (settings.theme, settings.bell, settings.keys) == ("light", True, {"fleet.flat": "t"})
    prod, spare = settings.sites
    assert [(node.name, node.address, node.local) for node in prod.nodes] == [
        ("dgx01", None, False),
        ("dgx02", None, False),
        ("dgx03", None, False),
        ("lab1", "admin@10.0.0.7:2222", False),
        ("local", None, True),
    ]
    assert (prod.platform, prod.fast_seconds, prod.slow_seconds) == ("kubernetes", 2.0, 20.5)
    assert (prod.ssh.connect_timeout_seconds, prod.ssh.parallel_connects) == (5.0, 8)
    shared = Path("/var/lib/gpudeck")
    assert prod.changes == ChangeSpec(limit=12, window_max_minutes=20, require_reason=False, directory=shared)
    assert spare.changes == ChangeSpec(limit=None, window_max_minutes=60, require_reason=True)
    assert (len(spare.nodes), spare.demo, spare.platform) == (1, True, None)


def test_a_site_tells_which_file_must_be_named_to_find_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "gpudeck").mkdir()
    for path, named in ((config_file(), None), (tmp_path / "other.toml", tmp_path / "other.toml")):
        path.write_text(FULL)
        assert {site.config_file for site in load(path).sites} == {named}
    monkeypatch.chdir(tmp_path)
    assert load(Path("other.toml")).sites[0].config_file == tmp_path / "other.toml"


def test_only_the_first_site_of_a_configuration_is_found_without_its_name(tmp_path: Path) -> None:
    assert [(site.name, site.named) for site in load(written(tmp_path, FULL)).sites] == [
        ("prod", False),
        ("spare", True),
    ]


def test_sites_by_name(tmp_path: Path) -> None:
    settings = load(written(tmp_path, FULL))
    assert settings.site(None).name == "prod"
    assert settings.site("spare").name == "spare"
    with pytest.raises(ConfigError, match="no site is called 'x'") as caught:
        settings.site("x")
    assert "prod, spare" in caught.value.hint
    with pytest.raises(ConfigError, match="no site is configured"):
        Settings().site(None)


TWO_SITES = """[site.a]
nodes = ['x']
fast_seconds = 1.0

[site.b]
nodes = ['y']
"""


@pytest.mark.parametrize(
    ("text", "line", "words", "hint"),
    [
        ("[site.a]\nnode = []\n", 2, "unknown key [site.a] node", "nodes"),
        ("thme = 'x'\n", 1, "unknown key thme", "theme"),
        ("bell = true\ntheme = 'darkk'\n", 2, "no theme is called 'darkk'", "there are: dark, light"),
        ("[filters]\nwarm = 'tmp>85'\n", 2, "filter warm, character 1 of 'tmp>85'", "did you mean temp?"),
        ("bel = true\n", 1, "unknown key bel", "bell"),
        ("bell = 1\n", 1, "bell must be true or false", ""),
        ("[site.a]\nnodes = []\n\nfast_second = 1\n", 4, "fast_second", "fast_seconds"),
        ("[site.a]\nnodes = [{ name = 'x', adress = 'y' }]\n", 2, "adress", "address"),
        ("[site.a]\nplatform = 'docker'\n", 1, "[site.a] names no nodes", "nodes ="),
        ("[site.a]\nnodes = []\n", 1, "[site.a] names no nodes", "nodes ="),
        ("[site.a]\nnodes = 'x'\n", 2, "nodes must be a list", ""),
        ("[site.a]\nnodes = [5]\n", 2, "not 5", ""),
        ("[site.a]\nnodes = [{ address = 'x' }]\n", 2, "needs a name", ""),
        ("[site.a]\nplatform = 'slurm'\n", 2, "not one of docker, kubernetes, openshift", ""),
        ("[site.a]\nkubeconfig = 'x'\n", 2, "kubeconfig needs a cluster", "kubernetes"),
        ("[site.a]\nplatform = 'kubernetes'\nkubeconfig = 'x'\n", 3, "there is no kubeconfig", ""),
        ("[site.a]\nplatform = 'kubernetes'\nnamespaces = [1]\n", 3, "must be a list of names", ""),
        ("[site.a]\nplatform = 'kubernetes'\nkube_config = 'x'\n", 3, "unknown key [site.a] kube_config", "kubeconfig"),
        ("[site.a]\nplatform = 'kubernetes'\nmonitoring_url = 'https://x'\n", 3, "monitoring_url needs OpenShift", ""),
        ("[site.a]\nplatform = 'openshift'\nmonitoring_url = 'http://x'\n", 3, "https://host[:port][/path]", ""),
        ("[site.a]\nplatform = 'openshift'\nmonitoring_url = 'https://u:p@x'\n", 3, "https://host[:port][/path]", ""),
        ("[site.a]\nfast_seconds = 0.01\n", 2, "between 0.2 and 60", ""),
        ("[site.a]\nfast_seconds = true\n", 2, "must be a number", ""),
        ("[site.a]\ndemo = 1\n", 2, "true or false", ""),
        ("[site.a]\nchange_limit = 0\n", 2, "between 1 and 100000", ""),
        ("[site.a]\nchange_limit = true\n", 2, "must be a whole number of workloads or GPUs", ""),
        ("[site.a]\nchange_limits = 5\n", 2, "unknown key [site.a] change_limits", "change_limit"),
        ("[site.a]\nwrite_window_max_minutes = 999\n", 2, "between 1 and 480", ""),
        ("[site.a]\nwrite_window_max_minutes = 1.5\n", 2, "a whole number of minutes", ""),
        ("[site.a]\nwrite_window_reason = 'yes'\n", 2, "true or false", ""),
        ("[site.a]\nssh_config = 'nowhere'\n", 2, "there is no SSH configuration", ""),
        ("[site.a]\nnodes = ['n[3-1]']\n", 2, "runs backwards", ""),
        ("[site.a]\nnodes = ['n1', 'n[1-2]']\n", 2, "names n1 twice: in 'n1' and in 'n[1-2]'", ""),
        ("[site.a]\nnodes = ['::1']\n", 2, "'::1' is an address", '{ name = "node1", address = "::1" }'),
        ("[site.a]\nnodes = ['[::1]:22']\n", 2, "is an address", '{ name = "node1", address = "[::1]:22" }'),
        ("[site.a]\nnodes = ['ssh:x*']\n", 2, "no Host of", ""),
        ('[keys]\n"app.help" = 5\n', 2, "must be text", ""),
        ('[keys]\n"fleet.flatt" = "x"\n', 2, "unknown action 'fleet.flatt'", "did you mean fleet.flat?"),
        ('[keys]\nzzzzzzzzzzzz = "x"\n', 2, "unknown action", "the ids are in the ? help"),
        ("site = 5\n", 1, "must be a table", ""),
        ("[site.'']\nnodes = ['x']\n", 1, "a site needs a name", ""),
        ("theme = 'dark'\n[site.a]\nnodes = ['x']\n[site.b]\ntheme = 'x'\n", 5, "unknown key [site.b] theme", ""),
        (TWO_SITES + "fast_seconds = 0\n", 7, "between 0.2 and 60", ""),
        (TWO_SITES + "slow_seconds = 0\n", 7, "between 1 and 600", ""),
        (TWO_SITES.replace("'y'", "'n[3-1]'"), 6, "runs backwards", ""),
        (TWO_SITES.replace("'y'", "{ name = 'y', fast_seconds = 1 }"), 6, "unknown key a node's fast_seconds", ""),
        ("[site.a]\nnodes = [\n  'x',\n  'n[3-1]',\n]\n", 4, "runs backwards", ""),
        ('[site."a.b"]\nnodes = ["x"]\nfast_seconds = 0\n', 3, "between 0.2 and 60", ""),
        ("site.a.nodes = ['x']\nsite.a.fast_seconds = 0\n", 2, "between 0.2 and 60", ""),
        ("site.a = { nodes = ['x'], fast_seconds = 0 }\n", 1, "between 0.2 and 60", ""),
        ("[keys]\n'fleet.flat' = 5\n", 2, "must be text", ""),
        ("[site.a.settings]\nwarm = 'x'\n[filters]\nwarm = 'tmp>85'\n", 4, "filter warm", "did you mean temp?"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, line: int, words: str, hint: str) -> None:
    error = error_of(tmp_path, text)
    assert error.message.startswith(f"{tmp_path / 'config.toml'}:{line}: ")
    assert words in error.message
    assert hint in error.hint


def test_a_cluster_needs_no_nodes_and_says_how_it_is_reached(tmp_path: Path) -> None:
    (tmp_path / "kube.yaml").write_text("")
    text = """
[site.a]
platform = "openshift"
kubeconfig = "kube.yaml"
context = "prod"
gpu_operator_namespace = "nvidia-gpu-operator"
namespaces = ["team-a"]
monitoring_url = "https://proxy.example.com:8443/prod"

[site.a.settings]
anything = 5
"""
    (site,) = load(written(tmp_path, text)).sites
    url = "https://proxy.example.com:8443/prod"
    spec = KubernetesSpec(tmp_path / "kube.yaml", "prod", "nvidia-gpu-operator", ("team-a",), url)
    assert (site.platform, site.nodes, site.kubernetes, site.settings) == ("openshift", (), spec, {"anything": 5})


def test_broken_toml_and_unreadable_files(tmp_path: Path) -> None:
    assert "line 2" in error_of(tmp_path, "a = 1\nb = \n").message
    assert "nested too deeply" in error_of(tmp_path, f"a = {'[' * 3000}{']' * 3000}\n").message
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "missing.toml")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "binary")


def test_nodes_of_the_ssh_configuration(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("Host h200-1 h200-2\n")
    (tmp_path / "ssh").write_text(
        'Include more\nHost *\n  User x\nHost dgx1 "dgx2" !dgx3 dgx?\nHost=dgx4\n# Host no\nMatch host y\n'
    )
    assert concrete_hosts(tmp_path / "ssh") == ["h200-1", "h200-2", "dgx1", "dgx2", "dgx4"]
    settings = load(written(tmp_path, '[site.a]\nnodes = ["ssh:dgx*", "ssh:h200-?"]\nssh_config = "ssh"\n'))
    assert [node.name for node in settings.sites[0].nodes] == ["dgx1", "dgx2", "dgx4", "h200-1", "h200-2"]
    assert settings.sites[0].ssh.config_file == tmp_path / "ssh"


def test_an_include_loop_ends(tmp_path: Path) -> None:
    (tmp_path / "ssh").write_text("Host a\nInclude ssh\n")
    assert concrete_hosts(tmp_path / "ssh") == ["a"]


def test_brackets_in_patterns_are_literal() -> None:
    assert matching(["a1", "a[1]"], "a[1]") == ["a[1]"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("plain", ["plain"]),
        ("dgx[1-3]", ["dgx1", "dgx2", "dgx3"]),
        ("dgx[08-11]", ["dgx08", "dgx09", "dgx10", "dgx11"]),
        ("r[1-2]n[1,3]-gpu", ["r1n1-gpu", "r1n3-gpu", "r2n1-gpu", "r2n3-gpu"]),
    ],
)
def test_ranges(text: str, names: list[str]) -> None:
    assert expand_range(text) == names


@pytest.mark.parametrize(
    "text", ["a[", "a]", "a[1", "a[]", "a[x]", "a[1-]", "a[2-1]", f"a[1-{MOST_NAMES + 1}]", "a[1-99][1-99]"]
)
def test_ranges_that_make_no_sense(text: str) -> None:
    with pytest.raises(ConfigError):
        expand_range(text)


@given(st.integers(0, 500), st.integers(0, 40), st.integers(1, 4))
def test_a_range_counts_from_its_first_to_its_last(first: int, more: int, width: int) -> None:
    names = expand_range(f"n[{first:0{width}}-{first + more}]")
    assert [int(name[1:]) for name in names] == list(range(first, first + more + 1))
    assert len(set(names)) == len(names)
    assert all(len(name) > width for name in names)


@given(
    st.sampled_from(["nodes", "platform", "ssh_config", "fast_seconds", "slow_seconds", "parallel_connects"]), st.data()
)
def test_a_typo_is_reported_with_the_right_key(
    tmp_path_factory: pytest.TempPathFactory, key: str, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(key) - 1))
    typo = key[:at] + key[at + 1 :]
    error = error_of(tmp_path_factory.mktemp("c"), f"[site.a]\n{typo} = 1\n")
    assert error.hint == f"did you mean {key}?"


@given(st.text(max_size=120))
def test_any_text_is_settings_or_a_config_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("c") / "config.toml"
    path.write_text(text, encoding="utf-8", errors="replace")
    with contextlib.suppress(ConfigError):
        assert load(path).file == path
