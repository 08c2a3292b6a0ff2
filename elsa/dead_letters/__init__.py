"""Dead letters: listed, shown, replayed to the group that failed, dropped. `App.dead_letters` is the door."""

from elsa.dead_letters.desk import DeadLetters, Filters
from elsa.dead_letters.letter import DeadLetter, Origin
from elsa.dead_letters.opening import open_topic
from elsa.dead_letters.run import Result
from elsa.dead_letters.summary import Summary

__all__ = ["DeadLetter", "DeadLetters", "Filters", "Origin", "Result", "Summary", "open_topic"]
