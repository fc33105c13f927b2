"""Carries out what the live model's machine decides: a few threads for one reference."""

from __future__ import annotations

import contextlib
import gc
import logging
import queue
import random
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import Generic, TypeVar

from herdbook.cache import Cache, CachedVersion
from herdbook.core.values import Bookmark, ReferenceState, Replica, ReplicaReport, Resolution
from herdbook.core.watching import Disconnected, WatchUpdate
from herdbook.errors import (
    Cancelled,
    DeadlineExceeded,
    ForkedProcess,
    HerdbookError,
    NoManifest,
    Unavailable,
)
from herdbook.live import forks
from herdbook.live import machine as decide
from herdbook.live.errors import FirstLoadFailed, LeasesHeld, NotServing
from herdbook.live.held import HeldModel
from herdbook.live.plan import LivePlan, PreparationFailed
from herdbook.live.registry import Registry
from herdbook.live.reporter import Reporter
from herdbook.live.status import LiveStatus, status_of
from herdbook.transfer.cancellation import CancelToken

ModelT = TypeVar("ModelT")

_log = logging.getLogger("herdbook.live")

_SWAP_READ_SECONDS = 1.0
"""How long the next candidate waits for reads of `current` before the last swap."""

_UNLOAD_READ_SECONDS = 1.0
"""How long a swap with unload-first waits for reads of `current`, while nothing serves."""

_CLOSE_READ_SECONDS = 0.2
"""How long a live model that closes waits for them."""

_REFUSED_SECONDS = 60.0
"""How long a watch that was refused is left alone, at most."""

_FLUSH_SECONDS = 2.0
"""How long a live model that closes waits for its last report to be sent."""

_MAX_FAILURE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """What an engine is told once."""

    reference: str
    replica: Replica
    policy: decide.LivePolicy
    drain_timeout_seconds: float


class LiveEngine(Generic[ModelT]):
    """Follows one reference. Every method may be called by any thread."""

    def __init__(
        self,
        settings: LiveSettings,
        plan: LivePlan[ModelT],
        registry: Registry,
        *,
        cache: Cache,
        publish: Callable[[ModelT], object],
        withdraw: Callable[[], object],
    ) -> None:
        """Will show the model that serves by `publish`, and none by `withdraw`; starts nothing."""
        self.first: Future[None] = Future()
        self._settings = settings
        self._plan = plan
        self._registry = registry
        self._cache = cache
        self._publish = publish
        self._withdraw = withdraw
        self._lock = threading.Lock()
        self._serves = threading.Condition()
        self._closing = threading.Event()
        self._jobs: queue.SimpleQueue[Callable[[], decide.Input | None] | None]
        self._jobs = queue.SimpleQueue()
        self._reporter = Reporter(registry.report)
        self._cancel = CancelToken()
        self._files: CachedVersion | None = None
        self._loaded: HeldModel[ModelT] | None = None
        self._held: HeldModel[ModelT] | None = None
        self._replaced: HeldModel[ModelT] | None = None
        self._closers: list[threading.Thread] = []
        self._forked = False
        self._worker = threading.Thread(target=self._work, name="herdbook-live", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name="herdbook-watch", daemon=True)
        good = cache.last_known_good(registry.server, settings.reference)
        self._machine = decide.LiveMachine(settings.policy, now=time.monotonic(), good=good)
        self._told: object = None

    @property
    def held(self) -> HeldModel[ModelT] | None:
        """The model that serves."""
        return self._held

    @property
    def closed(self) -> bool:
        """Whether `close` has been called."""
        return self._closing.is_set()

    def begin(self) -> None:
        """Starts the threads; `first` is done when a first model serves, or fails."""
        forks.watch(self)
        self._reporter.start()
        self._worker.start()
        self._watcher.start()
        self._feed(decide.Tick())

    def status(self) -> LiveStatus:
        """Describes what goes on now."""
        self.check_process()
        with self._lock:
            return self._status()

    def lease(self, timeout_seconds: float) -> HeldModel[ModelT]:
        """Returns the model that serves, leased; waits a while if none does.

        Raises:
            NotServing: None does.
            ForkedProcess: The process has forked since the start.
        """
        held = self._held
        if held is not None and held.take():
            return held
        self.check_process()
        with self._serves:
            leased = self._serves.wait_for(self._lease_or_reason, timeout_seconds)
        if isinstance(leased, HeldModel):
            return leased
        raise self.absence()

    def _lease_or_reason(self) -> HeldModel[ModelT] | Exception | None:
        held = self._held
        if held is not None and held.take():
            return held
        return self.absence() if self._forked or self._closing.is_set() else None

    def absence(self) -> HerdbookError:
        """Says why there is no model."""
        reference = self._settings.reference
        if self._forked:
            return ForkedProcess(
                f"The live model of {reference} was started before the process forked: "
                "make and start one in the child."
            )
        if self._closing.is_set():
            return NotServing(f"The live model of {reference} is closed.")
        return NotServing(f"No model of {reference} serves at this moment.")

    def check_process(self) -> None:
        """Raises if this is not the process that started.

        Raises:
            ForkedProcess: It is a child of that.
        """
        if self._forked:
            raise self.absence()

    def forked(self) -> None:
        """Notes that this is the child of the process that started: no thread is here."""
        self._forked = True
        self._held = None
        self._withdraw()

    def first_failure(self, timeout_seconds: float) -> FirstLoadFailed:
        """Returns what to raise when the first model takes too long."""
        status = self.status()
        reason = status.failure.reason if status.failure else status.outage_reason
        reason = reason or f"it is still {status.state}"
        error = FirstLoadFailed(
            f"No model of {status.reference} could be served within {timeout_seconds:g} s: {reason}"
        )
        error.__cause__ = self._machine.last_error
        return error

    def close(self) -> None:
        """Ends the watch, closes the model after its leases, and ends the threads."""
        if self._forked or self._closing.is_set():
            return
        give_up_at = time.monotonic() + self._settings.drain_timeout_seconds
        self._feed(decide.Close())
        with self._lock:
            self._closing.set()
        self._jobs.put(None)
        self._reporter.close(flush_seconds=_FLUSH_SECONDS)
        self._registry.close()
        self._end_serving()
        for thread in (self._worker, self._watcher, *self._closers):
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(max(0.1, give_up_at - time.monotonic()))

    def _end_serving(self) -> None:
        held, self._held = self._held, None
        self._withdraw()
        with self._serves:
            self._serves.notify_all()
        if held is not None:
            held.drain(
                self._settings.drain_timeout_seconds,
                read_limit_seconds=_CLOSE_READ_SECONDS,
                ending=threading.Event(),
            )
            held.close()

    def _status(self) -> LiveStatus:
        held = self._held
        return status_of(
            self._machine,
            self._settings.reference,
            leases=0 if held is None else held.leases,
            closed=self._closing.is_set(),
            now=time.monotonic(),
        )

    def _feed(self, event: decide.Input) -> None:
        with self._lock:
            for command in self._machine.handle(event, now=time.monotonic()):
                self._obey(command)
            status = self._status()
            news = _news(status)
            if news != self._told:
                self._told = news
                self._jobs.put(lambda: self._announce(status))

    def _obey(self, command: decide.Command) -> None:
        match command:
            case decide.Fetch(resolution):
                self._cancel = cancel = CancelToken()
                self._jobs.put(lambda: self._fetch(resolution, cancel))
            case decide.CancelFetch():
                self._cancel.cancel()
            case decide.Load(resolution):
                self._jobs.put(lambda: self._load(resolution))
            case decide.Unload():
                self._jobs.put(self._unload)
            case decide.Swap(resolution):
                self._swap()
                self._jobs.put(lambda: self._remember(resolution))
            case decide.Retire():
                self._jobs.put(self._retire)
            case decide.Discard():
                self._jobs.put(self._discard)
            case decide.Report():
                self._reporter.say(self._report(command))
            case decide.GiveUp(error):
                self._give_up(error)

    def _work(self) -> None:
        """Does one slow thing after the other."""
        while True:
            with self._lock:
                wake_at = self._machine.wake_at()
            wait_seconds = None if wake_at is None else max(0.0, wake_at - time.monotonic())
            try:
                job = self._jobs.get(timeout=wait_seconds)
            except queue.Empty:
                self._feed(decide.Tick())
                continue
            if job is None:
                self._finish()
                return
            outcome = self._outcome(job)
            if outcome is not None:
                self._feed(outcome)

    def _finish(self) -> None:
        """Does what was left when the end was wanted: what was loaded is closed."""
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is not None:
                self._outcome(job)
        self._discard()

    def _outcome(self, job: Callable[[], decide.Input | None]) -> decide.Input | None:
        try:
            return job()
        except PreparationFailed as failure:
            return self._failed(failure.error, failure.activity)
        except Exception as error:  # noqa: BLE001 - whatever it is, serving goes on
            return self._failed(error, "")

    def _failed(self, error: BaseException, activity: str) -> decide.Failed:
        if not isinstance(error, Cancelled):
            _log.warning("The live model of %s failed", self._settings.reference, exc_info=error)
        _forget_locals(error)
        transient = isinstance(error, Unavailable | DeadlineExceeded)
        return decide.Failed(error, transient, activity, _jitter())

    def _fetch(self, resolution: Resolution, cancel: CancelToken) -> decide.Input:
        if resolution.digest is None:
            raise NoManifest(f"The registry does not hold the files of {resolution.reference}.")
        source = self._registry.source(resolution, cancel)
        self._files = self._cache.acquire(
            resolution.digest, source, cancelled=lambda: cancel.cancelled
        )
        return decide.Done()

    def _load(self, resolution: Resolution) -> decide.Input:
        files = self._files
        if files is None:
            raise RuntimeError("nothing was fetched")
        if self._closing.is_set():
            raise Cancelled("The live model is closed.")
        model = self._plan.prepare(files.path)
        close = self._plan.closer(model)
        self._loaded = HeldModel(model, resolution, files=files, close=close)
        self._files = None
        return decide.Done()

    def _unload(self) -> decide.Input:
        held, self._held = self._held, None
        self._withdraw()
        if held is None:
            return decide.Done()
        if not self._drain(held, _UNLOAD_READ_SECONDS):
            self._show_again(held)
            raise LeasesHeld(
                f"{held.leases} leases of {held.resolution.reference} did not end "
                f"within {self._settings.drain_timeout_seconds:g} s."
            )
        held.close()
        # What refers to itself in circles would take up the room that the candidate needs.
        gc.collect()
        return decide.Done()

    def _swap(self) -> None:
        loaded, self._loaded = self._loaded, None
        if loaded is None:
            raise RuntimeError("nothing was loaded")
        self._replaced = self._held
        loaded.publish()
        self._show(loaded)

    def _show(self, held: HeldModel[ModelT]) -> None:
        with self._serves:
            self._held = held
            self._publish(held.model)
            self._serves.notify_all()
        with contextlib.suppress(InvalidStateError):
            self.first.set_result(None)

    def _show_again(self, held: HeldModel[ModelT]) -> None:
        with self._lock:
            if self._closing.is_set():
                held.close()
            else:
                self._show(held)

    def _retire(self) -> decide.Input:
        replaced, self._replaced = self._replaced, None
        if replaced is not None:
            self._drain(replaced, _SWAP_READ_SECONDS)
            if replaced.read and not self._closing.is_set():
                # Whoever still has it in some variable need not hold up the next candidate.
                self._close_later(replaced)
            else:
                replaced.close()
        return decide.Done()

    def _close_later(self, held: HeldModel[ModelT]) -> None:
        def close() -> None:
            self._drain(held, self._settings.drain_timeout_seconds)
            held.close()

        thread = threading.Thread(target=close, name="herdbook-close", daemon=True)
        self._closers = [each for each in self._closers if each.is_alive()] + [thread]
        thread.start()

    def _drain(self, held: HeldModel[ModelT], read_limit_seconds: float) -> bool:
        return held.drain(
            self._settings.drain_timeout_seconds,
            read_limit_seconds=read_limit_seconds,
            ending=self._closing,
        )

    def _discard(self) -> None:
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.close()
        files, self._files = self._files, None
        if files is not None:
            files.release()

    def _remember(self, resolution: Resolution) -> None:
        try:
            self._cache.remember_good(self._registry.server, self._settings.reference, resolution)
        except HerdbookError as error:
            _log.warning(
                "What serves could not be recorded for a start without registry: %s", error
            )

    def _announce(self, status: LiveStatus) -> None:
        if self._plan.on_change is None:
            return
        try:
            self._plan.on_change(status)
        except Exception:  # noqa: BLE001 - it is the user's code
            _log.exception("on_change of the live model of %s failed", status.reference)

    def _give_up(self, error: BaseException | None) -> None:
        reference = self._settings.reference
        reason = self._machine.missing_reason
        cause = error or HerdbookError(f"{reference} names no version ({reason}).")
        failure = FirstLoadFailed(f"No model of {reference} could be served: {cause}")
        failure.__cause__ = cause
        with contextlib.suppress(InvalidStateError):
            self.first.set_exception(failure)

    def _report(self, report: decide.Report) -> ReplicaReport:
        serving = report.serving
        return ReplicaReport(
            replica=self._settings.replica,
            reference=self._settings.reference,
            state=report.state,
            version=report.version or None,
            serving_version=None if serving is None else serving.version,
            serving_digest="" if serving is None else serving.digest or "",
            failure=report.failure.encode()[:_MAX_FAILURE_BYTES].decode(errors="ignore"),
        )

    def _watch(self) -> None:
        """Follows the reference until the end."""
        while not self._closing.is_set():
            try:
                for update in self._registry.updates(
                    self._settings.reference, self._settings.replica
                ):
                    self._hear(update)
                if self._closing.is_set():
                    return
            except Exception as error:  # noqa: BLE001 - whatever it is, serving goes on
                self._feed(decide.Lost(error, transient=False))
            self._closing.wait(_REFUSED_SECONDS * (0.5 + 0.5 * _jitter()))

    def _hear(self, update: WatchUpdate) -> None:
        match update:
            case ReferenceState():
                self._feed(decide.Named(update.resolution, update.missing_reason or ""))
            case Bookmark():
                if update.initial_done:
                    # After a break the registry may have forgotten what this replica said.
                    self._reporter.repeat()
                self._feed(decide.Contact())
            case Disconnected():
                self._feed(decide.Lost(update.error, transient=True))


def _jitter() -> float:
    return random.random()  # noqa: S311 - spreads retries


def _news(status: LiveStatus) -> object:
    """Returns what of a status is worth telling when it changes."""
    return (
        status.state,
        status.serving,
        status.target,
        status.failure_count,
        status.missing_reason,
        status.connected,
    )


def _forget_locals(error: BaseException) -> None:
    """Keeps the traceback but not the variables of its frames: among them may be a whole model."""
    chain: BaseException | None = error
    seen = set()
    while chain is not None and id(chain) not in seen:
        seen.add(id(chain))
        traceback.clear_frames(chain.__traceback__)
        chain = chain.__cause__ or chain.__context__
