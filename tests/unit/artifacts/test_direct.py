"""Direct transfers: what clients brought becomes chunks, and nothing else does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from herdbook_server import errors
from herdbook_server.artifacts.direct import CHUNKS_AT_ONCE_MAX, DirectTransfers
from herdbook_server.ports.chunks import StoreUnavailable
from tests.support.waiting import eventually
from tests.unit.artifacts.memory import FixedClock, MemoryAccess, MemoryIndex, MemoryStore, ref

MODEL = "fraud/tc"
DATA = b"chunk"


class Barn:
    """Direct transfers, and what they rest on."""

    def __init__(self) -> None:
        self.index = MemoryIndex()
        self.store = MemoryStore()
        self.access = MemoryAccess(self.store)
        self.direct = DirectTransfers(database=self.index, clock=FixedClock(), access=self.access)

    async def bring(self, *chunks: bytes) -> str:
        """Bring chunks; returns the proof."""
        signed = await self.direct.sign_uploads(MODEL, [ref(data) for data in chunks])
        self.access.bring(signed.requests, chunks)
        return signed.proof

    async def confirm(self, proof: str, *chunks: bytes, model: str = MODEL) -> Sequence[bytes]:
        return await self.direct.confirm(model, [ref(data) for data in chunks], proof)


@pytest.fixture
async def barn() -> Barn:
    return Barn()


async def test_what_was_brought_is_stored_known_and_discarded(barn: Barn) -> None:
    proof = await barn.bring(b"one", b"two")
    digests = [ref(b"one").digest, ref(b"two").digest]
    assert await barn.confirm(proof, b"one", b"two", b"three") == sorted(digests)
    assert set(barn.store.chunks) == set(digests)
    assert barn.index.known == {(MODEL, digest) for digest in digests}
    assert not barn.access.incoming


async def test_what_the_model_knows_is_confirmed_without_being_brought(barn: Barn) -> None:
    barn.index.known.add((MODEL, ref(DATA).digest))
    assert await barn.confirm("0" * 32, DATA) == [ref(DATA).digest]


async def test_what_is_stored_is_not_copied_but_becomes_known(barn: Barn) -> None:
    barn.index.stored.add(ref(DATA).digest)
    assert await barn.confirm(await barn.bring(DATA), DATA) == [ref(DATA).digest]
    assert barn.access.kept == []
    assert (MODEL, ref(DATA).digest) in barn.index.known


async def test_a_chunk_that_is_named_twice_is_kept_once(barn: Barn) -> None:
    proof = await barn.bring(DATA)
    assert await barn.confirm(proof, DATA, DATA) == [ref(DATA).digest]
    assert barn.access.kept == [ref(DATA).digest]


async def test_a_proof_is_good_for_one_model(barn: Barn) -> None:
    proof = await barn.bring(DATA)
    assert await barn.confirm(proof, DATA, model="another") == []
    assert not barn.index.known


async def test_wrong_bytes_are_not_confirmed(barn: Barn) -> None:
    signed = await barn.direct.sign_uploads(MODEL, [ref(DATA)])
    barn.access.bring(signed.requests, [b"other"])
    assert await barn.confirm(signed.proof, DATA) == []
    assert not barn.store.chunks


async def test_what_cannot_be_kept_is_an_error_and_not_known(barn: Barn) -> None:
    proof = await barn.bring(DATA)
    barn.access.failure = StoreUnavailable("It is slow.")
    with pytest.raises(errors.StoreUnavailable):
        await barn.confirm(proof, DATA)
    assert not barn.index.known
    barn.access.failure = None
    assert await barn.confirm(proof, DATA) == [ref(DATA).digest]


async def test_what_cannot_be_discarded_is_left_for_garbage_collection(
    barn: Barn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    proof = await barn.bring(DATA)

    async def refuse(digests: Sequence[bytes], *, batch: str) -> None:
        raise StoreUnavailable("It is slow.")

    monkeypatch.setattr(barn.access, "discard", refuse)
    with caplog.at_level(logging.WARNING):
        assert await barn.confirm(proof, DATA) == [ref(DATA).digest]
    assert "left for garbage collection" in caplog.text


async def test_a_confirmation_waits_for_what_is_being_deleted(barn: Barn) -> None:
    proof = await barn.bring(DATA)
    barn.index.deleting.add(ref(DATA).digest)
    confirming = asyncio.create_task(barn.confirm(proof, DATA))
    await eventually(lambda: bool(barn.index.refused), "it was refused once")
    assert not barn.store.chunks
    barn.index.deleting.clear()
    assert await confirming == [ref(DATA).digest]


@pytest.mark.parametrize("count", [0, CHUNKS_AT_ONCE_MAX + 1])
async def test_how_many_chunks_a_call_takes_is_limited(barn: Barn, count: int) -> None:
    chunks = [ref(b"%d" % number) for number in range(count)]
    if count:
        with pytest.raises(errors.FieldInvalid):
            await barn.direct.sign_uploads(MODEL, chunks)
        with pytest.raises(errors.FieldInvalid):
            await barn.direct.confirm(MODEL, chunks, "0" * 32)
    else:
        assert (await barn.direct.sign_uploads(MODEL, chunks)).requests == []


async def test_uploads_are_refused_where_the_store_is_not_trusted(barn: Barn) -> None:
    barn.access.takes_uploads = False
    assert (barn.direct.gives_downloads, barn.direct.takes_uploads) == (True, False)
    with pytest.raises(errors.DirectUnavailable):
        await barn.direct.sign_uploads(MODEL, [ref(DATA)])
    with pytest.raises(errors.DirectUnavailable):
        await barn.confirm("proof", DATA)
