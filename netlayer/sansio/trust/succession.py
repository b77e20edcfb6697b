"""Successions: a key takes the place of another one, as both have signed.

Whoever holds a former key can sign another succession, so the first one that is seen is the one that counts. That
decides everything: a key has one successor and succeeds one key, and a key that was replaced never comes back. So a
statement needs neither a time nor a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise

import attrs

from netlayer.errors import RemoteProtocolError
from netlayer.sansio.trust.tickets import Signer, key_fingerprint
from netlayer.wire.succession import MAX_FORMER, Former, decode_succession, encode_succession, statement

__all__ = ["Succession", "Successions", "former_fingerprints", "succeed"]


@attrs.frozen
class Succession:
    """What somebody has shown of its former keys, which nobody has checked yet.

    :ivar key: the public key that it has now, DER.
    :ivar content: what :func:`former_fingerprints` reads.
    """

    key: bytes
    content: bytes


def succeed(former: Signer, key: Signer, *, before: Succession | None) -> Succession:
    """Return the succession of a key that takes the place of another one.

    :param former: the identity that is replaced.
    :param key: the one that takes its place.
    :param before: the succession of the former key; None if that was the first one.
    """
    said = statement(key_fingerprint(former.public_key), key_fingerprint(key.public_key))
    last = Former(former.public_key, former.sign(said), key.sign(said))
    earlier = decode_succession(before.content) if before is not None else ()
    return Succession(key.public_key, encode_succession((*earlier, last)[-MAX_FORMER:]))


def former_fingerprints(succession: Succession, verifier: Signer) -> tuple[bytes, ...]:
    """Return the fingerprints of the former keys, the oldest first; up to sixteen signatures are checked.

    :raises RemoteProtocolError: when that is not what all these keys have signed.
    """
    formers = decode_succession(succession.content)
    keys = [*(former.key for former in formers), succession.key]
    fingerprints = [key_fingerprint(key) for key in keys]
    if len(set(fingerprints)) != len(fingerprints):
        raise RemoteProtocolError("a succession in which a key comes twice")
    for former, key, pair in zip(formers, keys[1:], pairwise(fingerprints), strict=True):
        said = statement(*pair)
        if not verifier.verify(former.key, said, former.signature):
            raise RemoteProtocolError("a succession that the former key has not signed")
        if not verifier.verify(key, said, former.next_signature):
            raise RemoteProtocolError("a succession that the new key has not signed")
    return tuple(fingerprints[:-1])


class Successions:
    """Which key has taken the place of which, all by their fingerprints.

    :param limit: how many are kept; of more, the oldest are forgotten. None for all.
    """

    def __init__(self, *, limit: int | None = None) -> None:
        self._limit = limit
        self._successors: dict[bytes, bytes] = {}
        self._formers: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._successors)

    def learn(self, fingerprints: Sequence[bytes]) -> bool:
        """Take over that each of some keys was replaced by the next one.

        :returns: whether it is so from now on; not if it contradicts what is known, of which nothing changes then.
        """
        pairs = list(pairwise(fingerprints))
        if not all(self._is_possible(former, key) for former, key in pairs):
            return False
        if not set(fingerprints).isdisjoint(self.successors(fingerprints[-1])):
            return False  # a former key would come back
        self.load(pairs)
        return True

    def load(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Take over pairs of a former key and the one in its place that were learned elsewhere, if that can be.

        Two who have learned at once may have brought a former key back; then neither of them is anybody's last key.
        """
        for former, key in pairs:
            if former not in self._successors and key not in self._formers:
                self._successors[former] = key
                self._formers[key] = former
        while self._limit is not None and len(self._successors) > self._limit:
            former = next(iter(self._successors))
            del self._formers[self._successors.pop(former)]

    def knows(self, fingerprints: Iterable[bytes]) -> bool:
        """Tell whether each of some keys is known to be replaced by the next one."""
        return all(self._successors.get(former) == key for former, key in pairwise(fingerprints))

    def successor(self, fingerprint: bytes) -> bytes | None:
        """Return the key that has taken the place of another one, or None if none is known."""
        return self._successors.get(fingerprint)

    def successors(self, fingerprint: bytes) -> Iterator[bytes]:
        """Yield all keys that are in the place of a key, one after the other."""
        return islice(self._walk(self._successors, fingerprint), len(self._successors))

    def formers(self, fingerprint: bytes) -> tuple[bytes, ...]:
        """Return the last keys in whose place a key is, the oldest first, and as many as can be shown."""
        return tuple(islice(self._walk(self._formers, fingerprint), MAX_FORMER))[::-1]

    # ---- private

    def _is_possible(self, former: bytes, key: bytes) -> bool:
        is_known = self._successors.get(former) == key
        return is_known or (former not in self._successors and key not in self._formers)

    @staticmethod
    def _walk(steps: dict[bytes, bytes], fingerprint: bytes) -> Iterator[bytes]:
        """Yield what is reached from a key, step by step."""
        step = steps.get(fingerprint)
        while step is not None:
            yield step
            step = steps.get(step)
