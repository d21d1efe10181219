"""Stop strings: find them in text that arrives in pieces, and never let a letter of one through.

A stop string may begin in one token and end three later. So text is held back for as long as it may turn out
to be the beginning of one; what comes out is cut just before the first stop string to be complete. Which one
that is does not depend on where the pieces end.

Each stop string is matched by the algorithm of Knuth, Morris & Pratt (1977): `fallback[n]` is the length of
the longest proper prefix of the string that is also a suffix of its first n letters. So a letter that does not
fit leaves the longest beginning that still may, and every letter is looked at once.
"""

from collections.abc import Sequence

from gpt.errors import UsageError


class StopFinder:
    """Passes text on until one of `stops` is complete in it. Raises UsageError for an empty stop string.

    >>> finder = StopFinder(["END"])
    >>> finder.feed("the E"), finder.feed("NDLESS EN"), finder.feed("D of it"), finder.stopped
    ('the ', '', '', True)
    >>> finder = StopFinder(["END"])
    >>> finder.feed("the E"), finder.feed("N"), finder.flush(), finder.stopped
    ('the ', '', 'EN', False)
    """

    def __init__(self, stops: Sequence[str] = ()):
        if isinstance(stops, str):
            stops = [stops]
        if "" in stops:
            raise UsageError("a stop string must not be empty: every text contains the empty one")
        self.stops = list(stops)
        self.stopped = False
        self._fallbacks = [_fallback(stop) for stop in self.stops]
        self._matched = [0] * len(self.stops)  # how many letters of each stop string the text now ends with
        self._held = ""

    def feed(self, text: str) -> str:
        """The text that is certain to stay, of all that was held back and `text`. Nothing once `stopped`."""
        if not self.stops:
            return text
        if self.stopped:
            return ""
        text, start = self._held + text, len(self._held)
        for end in range(start, len(text)):
            self._advance(text[end])
            complete = [len(stop) for stop, n in zip(self.stops, self._matched) if n == len(stop)]
            if complete:
                self.stopped = True
                self._held = ""
                return text[: end + 1 - max(complete)]
        certain = len(text) - max(self._matched)
        self._held = text[certain:]
        return text[:certain]

    def flush(self) -> str:
        """What was held back, when no more text will come."""
        held, self._held = self._held, ""
        self._matched = [0] * len(self.stops)
        return held

    def _advance(self, letter: str) -> None:
        for i, (stop, fallback) in enumerate(zip(self.stops, self._fallbacks)):
            n = self._matched[i]
            while n and stop[n] != letter:
                n = fallback[n]
            self._matched[i] = n + (stop[n] == letter)


def _fallback(stop: str) -> list[int]:
    """fallback[n] for n from 0 to len(stop), as the module's docstring defines it."""
    fallback = [0, 0]
    for letter in stop[1:]:
        n = fallback[-1]
        while n and stop[n] != letter:
            n = fallback[n]
        fallback.append(n + (stop[n] == letter))
    return fallback
