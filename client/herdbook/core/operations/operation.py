"""What one call of the API is, whoever makes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Generic, ParamSpec, TypeVar

from google.protobuf.message import DecodeError, Message

from herdbook.errors import FieldInvalid, ResponseInvalid

ResponseT = TypeVar("ResponseT", bound=Message)
ResultT = TypeVar("ResultT")
ItemT = TypeVar("ItemT")
P = ParamSpec("P")


def checked(describe: Callable[P, ResultT]) -> Callable[P, ResultT]:
    """Makes a function that builds messages refuse what fits none, such as a number too large.

    Raises:
        FieldInvalid: An argument cannot be sent.
    """

    @wraps(describe)
    def described(*args: P.args, **kwargs: P.kwargs) -> ResultT:
        try:
            return describe(*args, **kwargs)
        except (ValueError, OverflowError) as error:
            raise FieldInvalid(f"This cannot be sent: {error}") from error

    return described


@dataclass(frozen=True, slots=True)
class Operation(Generic[ResultT]):
    """One unary call."""

    method: str
    """Its path, such as `/herdbook.v1.VersionService/GetVersion`."""

    request: Message

    decode: Callable[[bytes], ResultT]
    """Reads the answer's bytes."""

    repeatable: bool
    """A call that broke may be made again: it cannot take effect twice."""


@dataclass(frozen=True, slots=True)
class Page(Generic[ItemT]):
    """A part of a list."""

    items: tuple[ItemT, ...]

    next_page_token: str
    """Continues the list; empty on the last page."""


@dataclass(frozen=True, slots=True)
class Listing(Generic[ItemT]):
    """A list that comes in pages."""

    make: Callable[[str], Operation[Page[ItemT]]]

    def page(self, page_token: str) -> Operation[Page[ItemT]]:
        """Returns the call for the page that the token names; an empty one names the first."""
        return checked(self.make)(page_token)


class PageTokens:
    """The way through one list, which a server cannot make a circle."""

    def __init__(self) -> None:
        """Starts before the first page."""
        self._seen: set[str] = set()

    def after(self, page: Page[ItemT]) -> str:
        """Returns the token of the page after this one; an empty one if it is the last.

        Raises:
            ResponseInvalid: The list has been there before.
        """
        token = page.next_page_token
        if token in self._seen:
            raise ResponseInvalid("The server's list leads back to a page that has been read.")
        if token:
            self._seen.add(token)
        return token


def unary(
    method: str,
    request: Message,
    response: type[ResponseT],
    read: Callable[[ResponseT], ResultT],
    *,
    repeatable: bool = True,
) -> Operation[ResultT]:
    """Describes a call from its messages."""

    def decode(data: bytes) -> ResultT:
        try:
            return read(response.FromString(data))
        except DecodeError as error:
            raise ResponseInvalid(f"The answer to {method} cannot be read.") from error

    return Operation(method, request, decode, repeatable)
