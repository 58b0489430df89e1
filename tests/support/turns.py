"""What waits for its turn in tests of nat.dirty and nat.line."""

from collections.abc import Callable


class Turn:
    """A thing of nat.dirty: notes its name in `done` when it is flushed, then does what `then` says."""

    def __init__(self, name: str, done: list[str], then: Callable[[], object] = lambda: None) -> None:
        self.name = name
        self.done = done
        self.then = then

    def flush(self, now: float) -> None:
        self.done.append(self.name)
        self.then()
