"""The gateways of one transaction."""

from __future__ import annotations

from herdbook_server.storage.sql.aliases import AliasRows
from herdbook_server.storage.sql.chunks import ChunkRows
from herdbook_server.storage.sql.connection import Connection
from herdbook_server.storage.sql.duties import DutyRows
from herdbook_server.storage.sql.events import EventRows
from herdbook_server.storage.sql.manifests import ManifestRows
from herdbook_server.storage.sql.models import ModelRows
from herdbook_server.storage.sql.replicas import ReplicaRows
from herdbook_server.storage.sql.requests import RequestRows
from herdbook_server.storage.sql.versions import VersionRows


class SqlRecords:
    """The gateways over one connection; implements `ports.records.Records`."""

    def __init__(self, connection: Connection) -> None:
        self.models = ModelRows(connection)
        """Rows of models."""
        self.versions = VersionRows(connection)
        """Rows of versions."""
        self.aliases = AliasRows(connection)
        """Rows of aliases and their history."""
        self.events = EventRows(connection)
        """What each revision did."""
        self.requests = RequestRows(connection)
        """First answers, by request id."""
        self.manifests = ManifestRows(connection)
        """Manifests by digest."""
        self.chunks = ChunkRows(connection)
        """The chunk index."""
        self.duties = DutyRows(connection)
        """What one server of many does now and then."""
        self.replicas = ReplicaRows(connection)
        """Reports of replicas."""


class SqlWriteRecords(SqlRecords):
    """The gateways of a write; implements `ports.database.WriteRecords`."""

    def __init__(self, connection: Connection, revision: int) -> None:
        super().__init__(connection)
        self.revision = revision
        """This write's revision."""
