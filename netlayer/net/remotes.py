"""The peers of one node, found by their key, or by the id that they answer for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netlayer.net.remote import Remote

__all__ = ["Remotes"]


class Remotes:
    """Every peer that has connections, a session, or packets that wait for it.

    :param make: makes what stands for one peer, of a node id and of a fingerprint or None.
    """

    def __init__(self, make: Callable[[int, bytes | None], Remote]) -> None:
        self._make = make
        self._by_key: dict[bytes, Remote] = {}
        self._by_id: dict[int, Remote] = {}

    def __iter__(self) -> Iterator[Remote]:
        """Iterate over all of them, each once."""
        return iter(list(dict.fromkeys([*self._by_key.values(), *self._by_id.values()])))

    def with_key(self, fingerprint: bytes, node_id: int) -> Remote:
        """Return the peer with this fingerprint, which is known by now at the latest."""
        remote = self._by_key.get(fingerprint)
        if remote is None:
            remote = self._by_key[fingerprint] = self._make(node_id, fingerprint)
        return remote

    def with_id(self, node_id: int) -> Remote:
        """Return the peer that answers for this id; if none does yet, packets wait for it there."""
        remote = self._by_id.get(node_id)
        if remote is None:
            remote = self._by_id[node_id] = self._make(node_id, None)
        return remote

    def __len__(self) -> int:
        return len(list(iter(self)))

    def find(self, node_id: int) -> Remote | None:
        """Return the peer that answers for this id, or None."""
        return self._by_id.get(node_id)

    def find_key(self, fingerprint: bytes) -> Remote | None:
        """Return the peer with this fingerprint, or None."""
        return self._by_key.get(fingerprint)

    def is_linked(self, node_id: int) -> bool:
        """Tell whether the peer of this id is linked."""
        remote = self._by_id.get(node_id)
        return remote is not None and remote.link is not None

    def awaited(self, node_id: int | None) -> bool:
        """Tell whether packets to this id are unsent or without a receipt."""
        remote = self._by_id.get(node_id) if node_id is not None else None
        return remote is not None and remote.delivery.queued > 0

    def linked(self, remote: Remote, node_id: int) -> None:
        """Have a peer that was linked answer for `node_id`, and get the packets that have waited for that id."""
        if self._by_id.get(remote.node_id) is remote:
            del self._by_id[remote.node_id]  # the same key may have had another id before
        remote.node_id = remote.delivery.peer_id = node_id
        before = self._by_id.get(node_id)
        self._by_id[node_id] = remote
        if before is not None and before is not remote:
            before.end(f"another key answers for id {node_id}")
            remote.adopt(before)
            self.forget(before)

    def unlinked(self, node_id: int | None, fingerprint: bytes | None) -> list[Remote]:
        """Return where packets wait for a peer that is not linked: under its id, and under its key."""
        found = [self._by_id.get(node_id) if node_id is not None else None, self._by_key.get(fingerprint or b"")]
        return [remote for remote in dict.fromkeys(found) if remote is not None and remote.link is None]

    def forget(self, remote: Remote) -> None:
        """Drop a peer of which nothing is left to lose."""
        if remote.fingerprint is not None and self._by_key.get(remote.fingerprint) is remote:
            del self._by_key[remote.fingerprint]
        if self._by_id.get(remote.node_id) is remote:
            del self._by_id[remote.node_id]
        remote.close()

    def look_at_pauses(self) -> None:
        """Have every peer look whether its sender has to pause, or may go on."""
        for remote in self:
            remote.look()

    def close(self) -> None:
        """End all deliveries."""
        for remote in self:
            remote.close()
        self._by_key.clear()
        self._by_id.clear()
