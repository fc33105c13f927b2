-- What is not the record: the contents of manifests, the chunk index, the reports of replicas.

-- Chunks of a file are packed: 32 bytes of SHA-256 and 4 bytes of size, big-endian, for each.
CREATE TABLE manifest_files (
    manifest_digest BYTEA NOT NULL,
    path TEXT COLLATE "C" NOT NULL,
    chunks BYTEA NOT NULL,
    PRIMARY KEY (manifest_digest, path)
);

-- Who lists a chunk; kept without a foreign key, as a manifest has up to a million of them.
CREATE TABLE manifest_chunks (
    manifest_digest BYTEA NOT NULL,
    chunk_digest BYTEA NOT NULL,
    size_bytes BIGINT NOT NULL,
    PRIMARY KEY (manifest_digest, chunk_digest)
);
CREATE INDEX manifest_chunks_chunk ON manifest_chunks (chunk_digest);

CREATE TABLE chunks (
    digest BYTEA NOT NULL PRIMARY KEY,
    size_bytes BIGINT NOT NULL,
    touched_at_us BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL CHECK (state IN ('writing', 'stored', 'deleting'))
) WITH (fillfactor = 80);

CREATE TABLE model_chunks (
    digest BYTEA NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (digest, model)
);

CREATE TABLE replicas (
    replica_id TEXT COLLATE "C" NOT NULL,
    reference TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    serving_version BIGINT NOT NULL,
    reported_at_us BIGINT NOT NULL,
    expires_at_us BIGINT NOT NULL,
    host TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    serving_digest TEXT COLLATE "C" NOT NULL,
    failure TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (replica_id, reference)
) WITH (fillfactor = 60);
CREATE INDEX replicas_reference ON replicas (reference, replica_id);
CREATE INDEX replicas_serving ON replicas (model, serving_version);
