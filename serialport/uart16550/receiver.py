"""The receiving half of a UART: characters in order with what was wrong with each, and the overrun.

In: words, an octet in bits 7-0 and its errors (LSR bits 4-2) eight bits higher.  Out: octets, and `errors` as LSR shows
them.  It knows neither registers nor time.  It never holds more than `size` words.

An error shows in LSR when its character is the next to be read (PC16550D, section 8.4, bits 2-4), an overrun at once.
"""

from collections import deque

OVERRUN = 0x02
PARITY = 0x04
FRAMING = 0x08
BREAK = 0x10
DAMAGE = PARITY | FRAMING | BREAK


class Receiver:
    __slots__ = ("words", "size", "level", "fifo", "errors", "flagged", "_last")

    def __init__(self) -> None:
        self.words: deque[int] = deque()
        self.size = 1
        self.level = 1
        """Words at which the receiver interrupts."""
        self.fifo = False
        """Whether an overrun loses the new character (FIFO mode) or the old one."""
        self.errors = 0
        """LSR bits 4-1; who reads LSR clears them."""
        self.flagged = 0
        """Words behind the first that have an error."""
        self._last = 0

    def put(self, word: int) -> None:
        """One character, damaged or not; overruns when there is no room."""
        words = self.words
        if len(words) >= self.size:
            self.errors |= OVERRUN
            if self.fifo:
                return  # it stays in the shift register, to be overwritten
            words.clear()
        words.append(word)
        if word > 0xFF:
            self.flagged += 1
            if len(words) == 1:
                self._show()

    def pop(self) -> int:
        """What RBR holds; when nothing is there, what it held last."""
        words = self.words
        if words:
            self._last = words.popleft()
            if self.flagged and words and words[0] > 0xFF:
                self._show()
        return self._last

    def clear(self) -> None:
        """Forget the characters, and the damage with them (PC16550D, section 8.5, bit 1); an overrun stays."""
        self.words.clear()
        self.flagged = 0
        self.errors &= OVERRUN

    def _show(self) -> None:
        self.flagged -= 1
        self.errors |= self.words[0] >> 8
        self.words[0] &= 0xFF
