"""Verifying finds what the store has lost, and what is there again."""

from __future__ import annotations

from pathlib import Path

import pytest

from herdbook_server import errors
from herdbook_server.artifacts import verifying
from herdbook_server.artifacts.verifying import Verified, Verifier
from herdbook_server.ports.values import Description
from herdbook_server.registry.callers import Caller
from herdbook_server.registry.versions import Registration
from tests.integration.test_garbage_collection import MODEL, Barn, barn, sha256

__all__ = ["barn"]

CHUNKS = [f"chunk {number}".encode() for number in range(20)]


def path_of(root: Path, data: bytes) -> Path:
    name = sha256(data).hex()
    return root / "artifacts/chunks" / name[:2] / name[2:]


async def verified(barn: Barn, reference: str | None = None) -> list[Verified]:
    """Verify to the end, page by page."""
    verifier = Verifier(database=barn.database, chunks=barn.chunks)
    pages = [await verifier.verify(reference, None)]
    while pages[-1].next is not None:
        pages.append(await verifier.verify(reference, pages[-1].next))
    return pages


def lost(pages: list[Verified]) -> dict[bytes, list[tuple[str, int]]]:
    return {chunk.ref.digest: list(chunk.versions) for page in pages for chunk in page.lost}


async def test_what_is_whole_is_found_so_chunk_by_chunk(
    barn: Barn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "SECONDS", 0)
    await barn.upload(*CHUNKS)
    await barn.register(*CHUNKS[:12], CHUNKS[0])
    pages = await verified(barn)
    assert len(pages) > 2
    assert pages[0].total == (20, sum(map(len, CHUNKS)))
    checked = [ref.digest for page in pages for ref in page.checked]
    assert checked == sorted(map(sha256, CHUNKS))
    assert lost(pages) == {}
    one = await verified(barn, f"{MODEL}:1")
    assert one[0].total == (12, sum(map(len, CHUNKS[:12])))
    assert sum(len(page.checked) for page in one) == 12


async def test_what_is_gone_or_damaged_is_lost_until_it_is_pushed_again(
    barn: Barn, tmp_path: Path
) -> None:
    await barn.upload(*CHUNKS[:4])
    await barn.register(*CHUNKS[:3])
    await barn.register(*CHUNKS[1:4])
    path_of(tmp_path, CHUNKS[0]).unlink()
    path_of(tmp_path, CHUNKS[1]).write_bytes(b"shunk 1")
    path_of(tmp_path, CHUNKS[2]).write_bytes(b"cut")
    expected = {
        sha256(CHUNKS[0]): [(MODEL, 1)],
        sha256(CHUNKS[1]): [(MODEL, 1), (MODEL, 2)],
        sha256(CHUNKS[2]): [(MODEL, 1), (MODEL, 2)],
    }
    for _ in range(2):
        assert lost(await verified(barn)) == expected
        assert lost(await verified(barn, f"{MODEL}:1")) == expected
    missing = await barn.uploads.find_missing(MODEL, [sha256(data) for data in CHUNKS[:4]])
    assert set(missing) == expected.keys()
    await barn.upload(*CHUNKS[:4])
    assert lost(await verified(barn)) == {}


async def test_what_was_lost_and_is_back_counts_as_stored_again(barn: Barn, tmp_path: Path) -> None:
    await barn.upload(b"kept")
    await barn.register(b"kept")
    path = path_of(tmp_path, b"kept")
    path.rename(tmp_path / "backup")
    assert len(lost(await verified(barn))) == 1
    (tmp_path / "backup").rename(path)
    assert lost(await verified(barn, MODEL)) == {}
    assert not await barn.uploads.find_missing(MODEL, [sha256(b"kept")])


async def test_what_a_push_has_brought_is_lost_too_though_no_version_lists_it(
    barn: Barn, tmp_path: Path
) -> None:
    await barn.upload(b"under way")
    path_of(tmp_path, b"under way").unlink()
    assert lost(await verified(barn)) == {sha256(b"under way"): []}
    assert await barn.uploads.find_missing(MODEL, [sha256(b"under way")])


async def test_a_chunk_that_cannot_be_read_is_lost_and_hides_no_other(
    barn: Barn, tmp_path: Path
) -> None:
    await barn.upload(*CHUNKS[:3])
    await barn.register(*CHUNKS[:3])
    path_of(tmp_path, CHUNKS[0]).unlink()
    looped = path_of(tmp_path, CHUNKS[1])
    looped.unlink()
    looped.symlink_to(looped)
    assert lost(await verified(barn)).keys() == {sha256(CHUNKS[0]), sha256(CHUNKS[1])}
    await barn.upload(*CHUNKS[:2])
    assert lost(await verified(barn)) == {}


async def test_what_a_push_brings_while_it_is_found_missing_is_not_lost(
    barn: Barn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await barn.upload(b"kept")
    await barn.register(b"kept")
    path = path_of(tmp_path, b"kept")
    path.unlink()
    get = barn.chunks.get

    async def get_before_it_comes(digest: bytes, size_bytes: int) -> bytes:
        try:
            return await get(digest, size_bytes)
        finally:
            path.write_bytes(b"kept")

    monkeypatch.setattr(barn.chunks, "get", get_before_it_comes)
    assert lost(await verified(barn)) == {}
    assert not await barn.uploads.find_missing(MODEL, [sha256(b"kept")])


async def test_a_damaged_chunk_counts_as_missing_once_a_download_has_verified_it(
    barn: Barn, tmp_path: Path
) -> None:
    await barn.upload(b"kept")
    await barn.register(b"kept")
    path_of(tmp_path, b"kept").write_bytes(b"kelt")
    digests = [sha256(b"kept")]

    async def download(*, verify: bool) -> list[bytes]:
        batches = barn.downloads.download(MODEL, 1, digests, verify=verify)
        return [data async for batch in batches for _, data in batch]

    assert await download(verify=False) == [b"kelt"]
    assert not await barn.uploads.find_missing(MODEL, digests)
    with pytest.raises(errors.ChunkLost):
        await download(verify=True)
    assert await barn.uploads.find_missing(MODEL, digests) == digests


async def test_what_is_collected_while_it_is_verified_is_not_lost(
    barn: Barn, monkeypatch: pytest.MonkeyPatch
) -> None:
    await barn.upload(b"kept", b"garbage")
    await barn.register(b"kept")
    barn.clock.pass_days(2)
    get = barn.chunks.get

    async def collect_and_get(digest: bytes, size_bytes: int) -> bytes:
        await barn.collector.collect(apply=True)
        return await get(digest, size_bytes)

    monkeypatch.setattr(barn.chunks, "get", collect_and_get)
    (page,) = await verified(barn)
    assert len(page.checked) == 2
    assert page.lost == []
    assert await barn.stored() == {sha256(b"kept")}


async def test_a_store_that_is_away_has_lost_nothing(barn: Barn, tmp_path: Path) -> None:
    await barn.upload(b"kept")
    await barn.register(b"kept")
    chunks = tmp_path / "artifacts/chunks"
    chunks.rename(tmp_path / "unmounted")
    with pytest.raises(errors.StoreUnavailable):
        await verified(barn)
    (tmp_path / "unmounted").rename(chunks)
    assert lost(await verified(barn)) == {}


async def test_an_empty_registry_and_a_version_elsewhere_are_told_apart(barn: Barn) -> None:
    (page,) = await verified(barn)
    assert (page.checked, page.total) == ([], (0, 0))
    elsewhere = Registration(MODEL, Description(), source_uri="s3://elsewhere/model")
    await barn.versions.register(Caller("alice"), elsewhere)
    with pytest.raises(errors.NoManifest):
        await verified(barn, f"{MODEL}:1")
