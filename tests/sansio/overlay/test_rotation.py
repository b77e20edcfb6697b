"""Which addresses of a name are tried."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netlayer.sansio.overlay.rotation import MAX_ADDRESSES, Rotation


class RotationTests(SynchronousTestCase):
    def test_next(self) -> None:
        """Those that have failed behind TCP wait until all others have failed."""
        rotation = Rotation()
        for expected in (["a", "b", "c"], ["b", "c"], ["c"], ["a", "b", "c"], ["b", "c"]):
            self.assertEqual(rotation.choose(["a", "b", "c"]), expected)
            rotation.failed(expected[:1])

    def test_nowhere(self) -> None:
        """When TCP stands nowhere, all are tried again: who has failed may be well by now."""
        rotation = Rotation()
        rotation.failed(["a"])
        self.assertEqual(rotation.choose(["a", "b"]), ["b"])
        rotation.failed([])
        self.assertEqual(rotation.choose(["a", "b"]), ["a", "b"])

    def test_moved(self) -> None:
        """Addresses that the name has no more are forgotten."""
        rotation = Rotation()
        rotation.failed(["a"])
        self.assertEqual(rotation.choose(["c"]), ["c"])
        self.assertEqual(rotation.choose(["a", "c"]), ["a", "c"])

    def test_limit(self) -> None:
        """So many are tried at most, each once."""
        many = [f"host{number}" for number in range(20)]
        self.assertEqual(Rotation().choose([*many, *many]), many[:MAX_ADDRESSES])
        self.assertEqual(Rotation().choose(["a", "a"]), ["a"])
        self.assertEqual(Rotation().choose([]), [])

    @given(
        st.sets(st.integers(0, 6).map(str), min_size=1),
        st.sets(st.integers(0, 6).map(str)),
        st.sets(st.integers(0, 6).map(str)),
    )
    def test_found(self, addresses: set[str], wrong: set[str], silent: set[str]) -> None:
        """The one right address is found in as many attempts as there are addresses, and one."""
        rotation, order = Rotation(), [*sorted(addresses), "right"]
        for _ in order:
            reached = next((each for each in rotation.choose(order) if each not in silent - wrong), None)
            if reached == "right":
                return
            rotation.failed([reached] if reached is not None else [])
        self.fail("it was never reached")
