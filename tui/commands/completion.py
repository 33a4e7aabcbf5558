"""`gpudeck completion bash|zsh|fish`: scripts made from the command line's own description."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from tui import cli
from tui.theme_names import THEME_NAMES


def completion(arguments: argparse.Namespace) -> int:
    """Prints the script for a shell."""
    print(_SCRIPTS[arguments.shell](dict(_words(cli.parser(), ""))))
    return 0


def _words(parser: cli.Parser, path: str) -> Iterator[tuple[str, list[str]]]:
    """Command path -> the words that may follow: "" for the top, "lab ctl" for a command of a command."""
    words: list[str] = []
    for action in parser.described()._actions:  # noqa: SLF001 - argparse has no public way to list its options
        if action.help == argparse.SUPPRESS:
            continue
        words += [option for option in action.option_strings if option.startswith("--")]
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            words += list(action.choices)
            for name, child in action.choices.items():
                yield from _words(child, f"{path} {name}".strip())
        elif action.choices and not action.option_strings:
            words += [str(choice) for choice in action.choices]
    if "--scenario" in words:
        words.append("list")
    yield path, words


def _bash(words: dict[str, list[str]]) -> str:
    cases = "\n".join(f'        "{path}") words="{" ".join(listed)}" ;;' for path, listed in words.items())
    scenarios, themes = " ".join(_scenarios()), " ".join(THEME_NAMES)
    paths = "|".join(f'"{path}"' for path in words if path)
    return f"""_gpudeck() {{
    local cur prev path word words
    cur="${{COMP_WORDS[COMP_CWORD]}}"; prev="${{COMP_WORDS[COMP_CWORD-1]}}"; path=""
    case "$prev" in
        --theme) COMPREPLY=($(compgen -W "{themes}" -- "$cur")); return ;;
        on|off) COMPREPLY=($(compgen -W "{scenarios}" -- "$cur")); return ;;
        --scenario) COMPREPLY=($(compgen -W "list {scenarios}" -- "$cur")); return ;;
        --config|--out) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    esac
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "${{path:+$path }}$word" in {paths}) path="${{path:+$path }}$word" ;; esac
    done
    case "$path" in
{cases}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -F _gpudeck gpudeck"""


def _zsh(words: dict[str, list[str]]) -> str:
    return "#compdef gpudeck\nautoload -U +X bashcompinit && bashcompinit\n" + _bash(words)


def _fish(words: dict[str, list[str]]) -> str:
    lines = []
    for path, listed in words.items():
        condition = "__fish_use_subcommand" if not path else f"__fish_seen_subcommand_from {path.split()[-1]}"
        for word in listed:
            flag = f"-l {word[2:]}" if word.startswith("--") else f"-a {word}"
            lines.append(f"complete -c gpudeck -f -n '{condition}' {flag}")
    lines += [
        f"complete -c gpudeck -f -l scenario -x -a '{' '.join(['list', *_scenarios()])}'",
        f"complete -c gpudeck -f -l theme -x -a '{' '.join(THEME_NAMES)}'",
        f"complete -c gpudeck -f -n '__fish_seen_subcommand_from on off' -a '{' '.join(_scenarios())}'",
    ]
    return "\n".join(lines)


def _scenarios() -> list[str]:
    from backends.lab.scenarios import SCENARIOS

    return list(SCENARIOS)


_SCRIPTS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
