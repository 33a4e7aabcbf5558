"""The changes of a site as its list shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backends.changes.journals import Unreadable
from backends.changes.lock import Held
from backends.changes.record import ChangeRecord
from backends.contract import ChangeRefused


@dataclass(frozen=True, slots=True)
class DeskView:
    """The changes of a site as the state directory knows them, by its name."""

    records: tuple[ChangeRecord, ...] = ()
    """Newest first."""
    unreadable: tuple[Unreadable, ...] = ()
    held: Held = field(default_factory=lambda: Held(None, alive=False))
    """Who holds the site's lock: this console, another one, or one that died."""
    elsewhere: Mapping[str, ChangeRefused] = field(default_factory=dict)
    """Id -> why it is none of this site's: made on another cluster or machine under the same name."""

    def is_running(self, record: ChangeRecord) -> bool:
        """Whether a live console is at it."""
        return self.held.alive and self.held.owner is not None and self.held.owner.change == record.id

    @property
    def at_rest(self) -> tuple[ChangeRecord, ...]:
        """Those that no live console is at."""
        return tuple(each for each in self.records if not self.is_running(each))

    @property
    def left_open(self) -> tuple[ChangeRecord, ...]:
        """Those of this very site that nobody brought to an end."""
        return tuple(
            each
            for each in self.records
            if not each.ended and not self.is_running(each) and each.id not in self.elsewhere
        )

    def offers(self, record: ChangeRecord) -> tuple[str, ...]:
        """What can be done about a change: nothing while it runs, and elsewhere no more than to give it up."""
        if self.is_running(record):
            return ()
        return tuple(each for each in record.offers if each == "abandon" or record.id not in self.elsewhere)
