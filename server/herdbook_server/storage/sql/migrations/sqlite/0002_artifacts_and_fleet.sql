-- What is not the record: the contents of manifests, the chunk index, the reports of replicas.

-- Chunks of a file are packed: 32 bytes of SHA-256 and 4 bytes of size, big-endian, for each.
CREATE TABLE manifest_files (
    manifest_digest BLOB NOT NULL,
    path TEXT NOT NULL,
    chunks BLOB NOT NULL,
    PRIMARY KEY (manifest_digest, path)
) STRICT;

-- Who lists a chunk; kept without a foreign key, as a manifest has up to a million of them.
CREATE TABLE manifest_chunks (
    manifest_digest BLOB NOT NULL,
    chunk_digest BLOB NOT NULL,
    size_bytes INTEGER NOT NULL,
    PRIMARY KEY (manifest_digest, chunk_digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX manifest_chunks_chunk ON manifest_chunks (chunk_digest);

CREATE TABLE chunks (
    digest BLOB NOT NULL PRIMARY KEY,
    size_bytes INTEGER NOT NULL,
    touched_at_us INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('writing', 'stored', 'deleting'))
) STRICT, WITHOUT ROWID;

CREATE TABLE model_chunks (
    digest BLOB NOT NULL,
    model TEXT NOT NULL,
    PRIMARY KEY (digest, model)
) STRICT, WITHOUT ROWID;

CREATE TABLE replicas (
    replica_id TEXT NOT NULL,
    reference TEXT NOT NULL,
    model TEXT NOT NULL,
    state TEXT NOT NULL,
    version INTEGER NOT NULL,
    serving_version INTEGER NOT NULL,
    reported_at_us INTEGER NOT NULL,
    expires_at_us INTEGER NOT NULL,
    host TEXT NOT NULL,
    name TEXT NOT NULL,
    serving_digest TEXT NOT NULL,
    failure TEXT NOT NULL,
    PRIMARY KEY (replica_id, reference)
) STRICT;
CREATE INDEX replicas_reference ON replicas (reference, replica_id);
CREATE INDEX replicas_serving ON replicas (model, serving_version);
