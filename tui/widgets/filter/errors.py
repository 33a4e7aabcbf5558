"""What is wrong with a text that is no filter, and where."""

from __future__ import annotations


class FilterError(ValueError):
    """One sentence for a person, and the place of the character it is about, counted from 0."""

    def __init__(self, message: str, position: int = 0, hint: str = "", *, incomplete: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.hint = hint
        """What was probably meant: `did you mean temp?`; empty where nobody knows."""
        self.incomplete = incomplete
        """The text may be right and only not be finished: it is not held against somebody who still types."""

    @property
    def sentence(self) -> str:
        """Message and hint in one line."""
        return f"{self.message}: {self.hint}" if self.hint else self.message
