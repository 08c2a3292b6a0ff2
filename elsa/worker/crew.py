"""The places that a supervisor keeps filled, and the processes in them.

Made by the supervisor and called by its loop alone: the supervisor decides who is started and ended, the crew does it
and keeps what the next process of a place is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elsa.worker.backoff import RespawnBackoff
from elsa.worker.child import Place, merge

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator, Mapping, Sequence

    from elsa.worker.child import Child
    from elsa.worker.spec import WorkerSpec
    from elsa.worker.switchboard import Switchboard


class Crew:
    """`places` in the order of their index; those that are too many stay, done and empty. Durations are seconds."""

    def __init__(
        self,
        spec: WorkerSpec,
        processes: int,
        board: Switchboard,
        *,
        command: Sequence[str],
        min_life: float,
        longest_backoff: float,
    ) -> None:
        self.processes = processes
        self.places: list[Place] = []
        self._spec = spec
        self._board = board
        self._command = command
        self._min_life = min_life
        self._longest_backoff = longest_backoff
        self._positions: dict[str, Any] = {}
        self._is_quiet = False

    def children(self) -> Iterator[tuple[Place, Child]]:
        """Every process and its place."""
        for place in list(self.places):
            if place.child is not None:
                yield place, place.child

    def resize(self, processes: int) -> list[Place]:
        """Want so many places: surplus ones are done from now on; those to be filled by the caller are returned."""
        self.processes = processes
        for place in self.places[processes:]:
            if not place.is_done:
                place.is_done = place.is_surplus = True
                place.want_nothing()
        wanted = [place for place in self.places[:processes] if place.is_surplus]
        for place in wanted:
            place.is_done = place.is_surplus = False
        new = [
            Place(index, RespawnBackoff(self._min_life, self._longest_backoff))
            for index in range(len(self.places), processes)
        ]
        self.places += new
        # where a process is still on its way out, the next one starts when it has ended
        return [place for place in [*wanted, *new] if place.child is None]

    def spawn(self, place: Place) -> Child:
        """Start a process in a place and tell it all that it needs; raises OSError when the system refuses."""
        child = place.spawn(self._command)
        message = self._spec.message(
            index=place.index, processes=self.processes, slot=place.slot, positions=self._positions
        )
        child.channel.send(message)
        if self._is_quiet:
            child.channel.send({"type": "quiet"})
        self._board.add(place, child)
        return child

    def let_go(self, place: Place, child: Child) -> None:
        """The place is empty: its process has ended, or is left to itself."""
        self._board.drop(child)
        child.channel.close()
        place.child = None

    def quiet(self) -> None:
        """Have every process take no more messages, those that come later too."""
        self._is_quiet = True
        for _, child in self.children():
            child.channel.send({"type": "quiet"})

    def signal(self, number: signal.Signals) -> None:
        """Pass a signal on."""
        for _, child in self.children():
            # before its greeting it may not have the handler yet, and the signal would end it
            if child.has_greeted:
                child.signal(number)

    def remember(self, positions: Mapping[str, Any]) -> None:
        """Keep reported positions of standalone handlers, where a successor goes on."""
        merge(self._positions, positions)

    def due_at(self, silent_after: float) -> float | None:
        """When the next thing is to be done about a place or process, None when nothing waits for a time."""
        moments = [place.due_at for place in self.places]
        for _, child in self.children():
            moments += [child.kill_at, child.silent_at(silent_after)]
        return min((moment for moment in moments if moment is not None), default=None)
