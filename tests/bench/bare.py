"""The floor: the smallest Textual application with a header, a text and a footer."""

from __future__ import annotations

from textual.app import App, ComposeResult
from textual.widgets import Footer, Header, Static


class Bare(App[None]):
    def compose(self) -> ComposeResult:
        yield Header()
        yield Static("bare application painted")
        yield Footer()


if __name__ == "__main__":
    Bare().run()
