"""Carries out what the live model's machine decides: a few threads for one reference."""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Generic, TypeVar

from herdbook.cache import Cache, CachedVersion
from herdbook.core.values import ReplicaReport, ReplicaState, Resolution
from herdbook.errors import (
    BY_REASON,
    Cancelled,
    ClientClosed,
    DeadlineExceeded,
    HerdbookError,
    NoManifest,
    NotFound,
    Unavailable,
)
from herdbook.live import figures, forks, log, messages
from herdbook.live.errors import FirstLoadFailed, forget_locals, words_of
from herdbook.live.follower import Follower
from herdbook.live.held import HeldModel
from herdbook.live.machine import LiveMachine, Step
from herdbook.live.plan import LivePlan, PreparationFailed
from herdbook.live.preparing import Preparer
from herdbook.live.registry import Registry
from herdbook.live.reporter import Reporter
from herdbook.live.settings import LiveSettings
from herdbook.live.slot import ModelSlot
from herdbook.live.status import LiveStatus, status_of
from herdbook.transfer.cancellation import CancelToken
from herdbook.transport.jitter import jitter

ModelT = TypeVar("ModelT")

_JOIN_SECONDS = 0.1

_FLUSH_SECONDS = 2.0
"""How long a live model that closes waits for its last report to be sent."""

_MAX_FAILURE_BYTES = 4096


class LiveEngine(Generic[ModelT]):
    """Follows one reference. Every method may be called by any thread."""

    def __init__(
        self,
        settings: LiveSettings,
        plan: LivePlan[ModelT],
        registry: Registry,
        *,
        cache: Cache,
        slot: ModelSlot[ModelT],
    ) -> None:
        """Will put the model that serves into `slot`; starts nothing."""
        self.first: Future[None] = Future()
        self._settings = settings
        self._plan = plan
        self._preparer = Preparer(plan, timeout_seconds=settings.load_timeout_seconds)
        self._registry = registry
        self._cache = cache
        self.slot = slot
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[Callable[[], messages.Input | None] | None]
        self._jobs = queue.SimpleQueue()
        self._reporter = Reporter(registry.report)
        self._cancel = CancelToken()
        self._files: CachedVersion | None = None
        self._loaded: HeldModel[ModelT] | None = None
        self._worker = threading.Thread(target=self._work, name="herdbook-live", daemon=True)
        self._follower = Follower(settings, registry, feed=self._feed, reporter=self._reporter)
        self._machine = LiveMachine(settings.policy, now=time.monotonic())
        self._told: object = None
        self._untold: LiveStatus | None = None

    def begin(self) -> None:
        """Starts the threads; `first` is done when a first model serves, or fails."""
        forks.watch(self)
        figures.observe(self)
        self._reporter.start()
        self._worker.start()

    def status(self) -> LiveStatus:
        """Describes what goes on now."""
        self.slot.check_process()
        with self._lock:
            return self._status()

    def pin(self, reference: str) -> Resolution:
        """Has the version that a reference names now serve until `unpin`.

        Raises:
            HerdbookError: The registry does not tell which one that is.
        """
        self.slot.check_process()
        resolution = self._registry.resolve(reference)
        self._steer(messages.Pin(resolution))
        return resolution

    def unpin(self) -> None:
        """Has what the reference names serve again."""
        self._steer(messages.Pin(None))

    def pause(self, *, paused: bool) -> None:
        """Has what serves stay, or no longer."""
        self._steer(messages.Pause(paused))

    def refresh(self) -> None:
        """Has what failed be tried again now."""
        self._steer(messages.Refresh())

    def _steer(self, event: messages.Input) -> None:
        self.slot.check_process()
        if self.slot.closing.is_set():
            raise self.slot.absence()
        self._feed(event)
        # The worker may sleep until a time that holds no longer.
        self._jobs.put(lambda: None)

    def forked(self) -> None:
        """Notes that this is the child of the process that started: no thread is here."""
        self.slot.forked()

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

    def close(self, *, limit_seconds: float = math.inf) -> None:
        """Does what `finish` does, unless that was begun before or elsewhere."""
        if self.slot.begin_closing():
            self.finish(limit_seconds=limit_seconds)

    def finish(self, *, limit_seconds: float) -> None:
        """Ends the watch, closes the model after its leases, and ends the threads.

        Args:
            limit_seconds: How long to wait for threads, if that is less than the time for leases.
        """
        limit_seconds = min(limit_seconds, self._settings.drain_timeout_seconds)
        give_up_at = time.monotonic() + limit_seconds
        self._feed(messages.Close())
        self._jobs.put(None)
        closed = f"The live model of {self._settings.reference} was closed while it started."
        with contextlib.suppress(InvalidStateError):
            self.first.set_exception(ClientClosed(closed))
        self._follower.stop()
        self._take_leave()
        self._reporter.close(flush_seconds=_FLUSH_SECONDS)
        self._registry.close()
        self.slot.close()
        threads = (self._worker, self._follower, *self.slot.closers, *self._preparer.given_up)
        for thread in threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(max(_JOIN_SECONDS, give_up_at - time.monotonic()))

    def _take_leave(self) -> None:
        """Has the fleet forget this replica, unless all that it has to say is why it failed."""
        with self._lock:
            machine = self._machine
            if machine.contacted_at is None or machine.lost is not None:
                return
            last = messages.Report(ReplicaState.STOPPED, 0, None, "")
            if machine.failure is not None and machine.serving is None:
                # Another attempt may be under way, which comes to nothing now.
                version, text = machine.failure.resolution.version, machine.failure.text
                last = messages.Report(ReplicaState.FAILED, version, None, text)
            self._reporter.say(self._report(last))

    def _status(self) -> LiveStatus:
        return status_of(
            self._machine,
            self._settings.reference,
            held=self.slot.held,
            closed=self.slot.closing.is_set(),
            now=time.monotonic(),
        )

    def _feed(self, event: messages.Input) -> None:
        with self._lock:
            commands = self._machine.handle(event, now=time.monotonic())
            # Before the slow steps that follow from it, so that it is told when it is so.
            self._tell_news()
            for command in commands:
                self._obey(command)

    def _tell_news(self) -> None:
        status = self._status()
        news = status.news()
        if self._plan.on_change is None or news == self._told:
            return
        self._told = news
        # Only the latest is told, however long the one before takes.
        waiting, self._untold = self._untold, status
        if waiting is None:
            self._jobs.put(self._aside(self._announce))

    def _obey(self, command: messages.Command) -> None:
        match command:
            case messages.CancelFetch():
                self._cancel.cancel()
            case messages.Swap(resolution):
                self._swap()
                self._jobs.put(self._aside(lambda: self._tell_swap(resolution)))
            case messages.Remember(resolution):
                self._jobs.put(self._aside(lambda: self._remember(resolution)))
            case messages.Discard():
                self._jobs.put(self._aside(self._discard))
            case messages.Report():
                self._reporter.say(self._report(command))
            case messages.GiveUp(error):
                self._give_up(error)
            case _:
                self._jobs.put(self._step(command))

    def _step(self, command: messages.Slow) -> Callable[[], messages.Input]:
        match command:
            case messages.Fetch(resolution):
                self._cancel = cancel = CancelToken()
                return lambda: self._fetch(resolution, cancel)
            case messages.Load(resolution):
                return lambda: self._load(resolution)
            case messages.Unload():
                return self._unload
            case messages.Retire():
                return self._retire

    def _work(self) -> None:
        """Does one slow thing after the other, beginning with a look into the cache."""
        self._machine.good = self._cache.last_known_good(
            self._registry.server, self._settings.reference
        )
        self._follower.start()
        self._feed(messages.Tick())
        while True:
            with self._lock:
                wake_at = self._machine.wake_at()
            wait_seconds = None if wake_at is None else max(0.0, wake_at - time.monotonic())
            try:
                job = self._jobs.get(timeout=wait_seconds)
            except queue.Empty:
                self._feed(messages.Tick())
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

    def _outcome(self, job: Callable[[], messages.Input | None]) -> messages.Input | None:
        try:
            return job()
        except PreparationFailed as failure:
            return self._failed(failure.error, failure.activity)
        except BaseException as error:  # noqa: BLE001 - whatever it is, serving goes on
            return self._failed(error, "")

    def _aside(self, work: Callable[[], object]) -> Callable[[], None]:
        """Makes a job that is no step of the machine's: how it ends changes nothing."""

        def job() -> None:
            try:
                work()
            except BaseException:  # noqa: BLE001 - serving and following go on
                log.exception("The live model of %s goes on", self._settings.reference)

        return job

    def _failed(self, error: BaseException, activity: str) -> messages.Failed:
        given_up = isinstance(error, Cancelled) and self._cancel.cancelled
        if not given_up and not self.slot.closing.is_set():
            self._log(error, activity)
        forget_locals(error)
        transient = isinstance(error, Unavailable | DeadlineExceeded)
        return messages.Failed(error, transient, activity, jitter())

    def _log(self, error: BaseException, activity: str) -> None:
        """Has what failed logged once that is told; where it failed, once for each version."""
        with self._lock:
            work, serving = self._machine.work, self._machine.serving
            told = work is not None and self._machine.has_failed(work.resolution)
        if work is None or work.step is Step.RETIRE:
            sentence = f"A step of the live model of {self._settings.reference} failed"
        else:
            sentence = (
                f"{work.resolution.reference} does not serve for {self._settings.reference}, as "
                f"its {activity or work.step.value} failed"
            )
        words = " ".join(f"{type(error).__name__}: {words_of(error)}".split()).rstrip(".")
        rest = "" if serving is None else f" {serving.reference} goes on serving."
        trace = None if told else error

        def write() -> None:
            log.warning("%s: %s.%s", sentence, words, rest, error=trace)

        # Not under the lock, nor before the report: what handles this may ask, or hang. But a
        # process that waits for its first model may end when it hears of the failure.
        if self.first.done():
            self._jobs.put(self._aside(write))
        else:
            write()

    def _fetch(self, resolution: Resolution, cancel: CancelToken) -> messages.Input:
        if resolution.digest is None:
            raise NoManifest(f"The registry does not hold the files of {resolution.reference}.")
        log.info("%s is made ready for %s.", resolution.reference, self._settings.reference)
        source = self._registry.source(resolution, cancel)
        self._files = self._cache.acquire(
            resolution.digest, source, cancelled=lambda: cancel.cancelled
        )
        return messages.Done()

    def _load(self, resolution: Resolution) -> messages.Input:
        files = self._files
        if files is None:
            raise RuntimeError("nothing was fetched")
        if self.slot.closing.is_set():
            raise Cancelled("The live model is closed.")
        self._files = None
        self._loaded = self._preparer.prepare(files, resolution, needed=self.slot.held is None)
        return messages.Done()

    def _unload(self) -> messages.Input:
        self.slot.unload()
        return messages.Done()

    def _swap(self) -> None:
        loaded, self._loaded = self._loaded, None
        if loaded is None:
            raise RuntimeError("nothing was loaded")
        self.slot.put(loaded)
        with contextlib.suppress(InvalidStateError):
            self.first.set_result(None)

    def _retire(self) -> messages.Input:
        self.slot.retire_replaced()
        return messages.Done()

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
            log.warning("What serves could not be recorded for a start without registry: %s", error)

    def _tell_swap(self, resolution: Resolution) -> None:
        log.info("%s serves for %s.", resolution.reference, self._settings.reference)

    def _announce(self) -> None:
        with self._lock:
            status, self._untold = self._untold, None
        if self._plan.on_change is not None and status is not None:
            self._plan.on_change(status)

    def _give_up(self, error: BaseException | None) -> None:
        reference = self._settings.reference
        reason = self._machine.missing_reason
        missing = BY_REASON.get(reason, NotFound)
        cause = error or missing(f"{reference} names no version ({reason}).")
        failure = FirstLoadFailed(f"No model of {reference} could be served: {words_of(cause)}")
        failure.__cause__ = cause
        with contextlib.suppress(InvalidStateError):
            self.first.set_exception(failure)

    def _report(self, report: messages.Report) -> ReplicaReport:
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
