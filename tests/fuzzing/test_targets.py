"""The targets of fuzzing hold for where it begins, and for what is one mutation away."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from netlayer.sansio.link.proof import Channel
from tests.fuzzing import NAMES
from tests.fuzzing.targets import TARGETS, before_admission, corpus

MUTATIONS = 300


class TargetTests(SynchronousTestCase):
    def test_mutations(self) -> None:
        """Each input of each corpus, cut, flipped, doubled and joined at random."""
        rng = random.Random(5)
        self.assertEqual(set(TARGETS), set(NAMES))
        for name, target in TARGETS.items():
            inputs = corpus(name)
            self.assertTrue(inputs)
            for data in inputs:
                target.check(data)
            for _ in range(MUTATIONS):
                data = bytearray(rng.choice(inputs))
                for _ in range(rng.randint(1, 4)):
                    at = rng.randrange(len(data))
                    match rng.randrange(4):
                        case 0:
                            data[at] ^= 1 << rng.randrange(8)
                        case 1:
                            del data[at + 1 : at + 1 + rng.randrange(9)]
                        case 2:
                            data[at:at] = data[at : at + rng.randrange(9)]
                        case 3:
                            data += rng.choice(inputs)[1:]
                try:
                    target.check(bytes(data))
                except Exception as error:
                    raise AssertionError(f"{name}: {bytes(data).hex()}") from error

    def test_would_find(self) -> None:
        """A stranger that is let in is a finding: here every proof is taken for a good one."""

        def any_secret(*_: object, **__: object) -> bytes:
            return bytes(32)

        self.patch(Channel, "secret_of_dialer", any_secret)
        with self.assertRaises(AssertionError):
            for data in corpus("before-admission"):
                before_admission(data)
