"""Which watchers care about which model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from herdbook_server.ports.references import Reference
from herdbook_server.watch.watcher import Watcher


class Interest:
    """An index from models to watchers, by reference and by prefix."""

    def __init__(self) -> None:
        self._by_model: dict[str, dict[Reference, dict[str, set[Watcher]]]] = {}
        self._by_prefix: dict[str, set[Watcher]] = defaultdict(set)

    def add(self, watcher: Watcher, references: Iterable[tuple[str, Reference]]) -> None:
        """Notes what a watcher wants to hear of.

        `references` pairs its spelling with the meaning.
        """
        for text, reference in references:
            topics = self._by_model.setdefault(reference.model, {})
            topics.setdefault(reference, {}).setdefault(text, set()).add(watcher)
        for prefix in watcher.subscription.model_prefixes:
            self._by_prefix[prefix].add(watcher)

    def remove(self, watcher: Watcher, references: Iterable[tuple[str, Reference]]) -> None:
        """Forgets a watcher."""
        for text, reference in references:
            topics = self._by_model[reference.model]
            spellings = topics[reference]
            spellings[text].discard(watcher)
            if not spellings[text]:
                del spellings[text]
            if not spellings:
                del topics[reference]
            if not topics:
                del self._by_model[reference.model]
        for prefix in watcher.subscription.model_prefixes:
            self._by_prefix[prefix].discard(watcher)
            if not self._by_prefix[prefix]:
                del self._by_prefix[prefix]

    def references(self, models: Iterable[str]) -> Iterator[Reference]:
        """Every reference of these models that somebody watches."""
        for model in models:
            yield from self._by_model.get(model, ())

    def watchers(self, reference: Reference) -> Iterable[tuple[str, Iterable[Watcher]]]:
        """Who watches a reference, by how they spell it."""
        return self._by_model.get(reference.model, {}).get(reference, {}).items()

    def prefix_watchers(self, model: str) -> Iterator[Watcher]:
        """Who watches every alias of a model."""
        for end in range(len(model) + 1):
            yield from self._by_prefix.get(model[:end], ())
