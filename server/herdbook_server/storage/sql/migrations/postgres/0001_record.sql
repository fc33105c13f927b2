-- The record: models, versions, aliases, events. Text sorts by code point, times are microseconds UTC.

CREATE TABLE registry (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    revision BIGINT NOT NULL,
    last_version_id BIGINT NOT NULL
);
INSERT INTO registry (id, revision, last_version_id) VALUES (1, 0, 0);

CREATE TABLE models (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    latest_version BIGINT NOT NULL,
    version_count BIGINT NOT NULL,
    last_number BIGINT NOT NULL,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    deleted_at_us BIGINT,
    revision BIGINT NOT NULL,
    author TEXT COLLATE "C" NOT NULL,
    tags TEXT NOT NULL,
    description TEXT COLLATE "C" NOT NULL
);
CREATE INDEX models_author ON models (author, name);
CREATE INDEX models_created_at ON models (created_at_us, name);
CREATE INDEX models_updated_at ON models (updated_at_us, name);
CREATE INDEX models_latest_version ON models (latest_version, name);
CREATE INDEX models_version_count ON models (version_count, name);
CREATE INDEX models_deleted ON models (name) WHERE deleted_at_us IS NOT NULL;

-- A text is kept as its first 128 characters, which are indexed, and the rest.
CREATE TABLE model_tags (
    model TEXT COLLATE "C" NOT NULL REFERENCES models (name),
    key TEXT COLLATE "C" NOT NULL,
    head TEXT COLLATE "C" NOT NULL,
    rest TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (model, key)
);
CREATE INDEX model_tags_value ON model_tags (key, head, model);

-- Manifests by digest; `stores` counts how often one was stored, so that the first time can be told.
CREATE TABLE manifests (
    digest BYTEA NOT NULL PRIMARY KEY,
    stored_at_us BIGINT NOT NULL,
    stores BIGINT NOT NULL
);

CREATE TABLE versions (
    id BIGINT PRIMARY KEY,
    model TEXT COLLATE "C" NOT NULL REFERENCES models (name),
    number BIGINT NOT NULL,
    deleted_at_us BIGINT,
    stage TEXT COLLATE "C" NOT NULL,
    manifest_digest BYTEA CONSTRAINT versions_manifest REFERENCES manifests (digest),
    size_bytes BIGINT NOT NULL,
    file_count BIGINT NOT NULL,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    record_bytes BIGINT NOT NULL,
    label TEXT COLLATE "C",
    digest TEXT COLLATE "C",
    author TEXT COLLATE "C" NOT NULL,
    framework TEXT COLLATE "C" NOT NULL,
    format TEXT COLLATE "C" NOT NULL,
    run_id TEXT COLLATE "C",
    code_commit TEXT COLLATE "C",
    source_uri TEXT COLLATE "C" NOT NULL,
    has_input_example BIGINT NOT NULL,
    tags TEXT NOT NULL,
    metrics TEXT NOT NULL,
    params TEXT NOT NULL,
    description TEXT COLLATE "C" NOT NULL,
    signature TEXT,
    input_example TEXT,
    lineage TEXT,
    environment TEXT,
    packages TEXT
);
CREATE UNIQUE INDEX versions_number ON versions (model, number);
CREATE UNIQUE INDEX versions_label ON versions (model, label);
CREATE INDEX versions_newest ON versions (model, number DESC);
CREATE INDEX versions_of_stage ON versions (model, stage, number) WHERE deleted_at_us IS NULL;
CREATE INDEX versions_any_number ON versions (number);
CREATE INDEX versions_any_label ON versions (label);
CREATE INDEX versions_stage ON versions (stage, model, number DESC);
CREATE INDEX versions_author ON versions (author, model, number DESC);
CREATE INDEX versions_framework ON versions (framework, model, number DESC);
CREATE INDEX versions_format ON versions (format, model, number DESC);
CREATE INDEX versions_digest ON versions (digest);
CREATE INDEX versions_run_id ON versions (run_id);
CREATE INDEX versions_code_commit ON versions (code_commit);
CREATE INDEX versions_size_bytes ON versions (size_bytes);
CREATE INDEX versions_file_count ON versions (file_count);
CREATE INDEX versions_created_at ON versions (created_at_us);
CREATE INDEX versions_updated_at ON versions (updated_at_us);
CREATE INDEX versions_manifest_digest ON versions (manifest_digest);

CREATE TABLE version_tags (
    version_id BIGINT NOT NULL REFERENCES versions (id),
    key TEXT COLLATE "C" NOT NULL,
    head TEXT COLLATE "C" NOT NULL,
    rest TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (version_id, key)
);
CREATE INDEX version_tags_value ON version_tags (key, head, version_id);

CREATE TABLE version_params (
    version_id BIGINT NOT NULL REFERENCES versions (id),
    key TEXT COLLATE "C" NOT NULL,
    head TEXT COLLATE "C" NOT NULL,
    rest TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (version_id, key)
);
CREATE INDEX version_params_value ON version_params (key, head, version_id);

CREATE TABLE version_metrics (
    version_id BIGINT NOT NULL REFERENCES versions (id),
    key TEXT COLLATE "C" NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (version_id, key)
);
CREATE INDEX version_metrics_value ON version_metrics (key, value, version_id);

CREATE TABLE aliases (
    model TEXT COLLATE "C" NOT NULL,
    alias TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    moved_at_us BIGINT NOT NULL,
    moved_by TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (model, alias),
    CONSTRAINT aliases_target FOREIGN KEY (model, version) REFERENCES versions (model, number)
);
CREATE INDEX aliases_version ON aliases (model, version, alias);
CREATE INDEX aliases_alias ON aliases (alias, model, version);

CREATE TABLE alias_moves (
    model TEXT COLLATE "C" NOT NULL,
    alias TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    from_version BIGINT NOT NULL,
    to_version BIGINT NOT NULL,
    undo_revision BIGINT,
    rollback BIGINT NOT NULL,
    time_us BIGINT NOT NULL,
    actor TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (model, alias, revision)
);
CREATE INDEX alias_moves_newest ON alias_moves (model, revision DESC, alias);

CREATE TABLE events (
    revision BIGINT NOT NULL,
    position BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    alias TEXT COLLATE "C" NOT NULL,
    time_us BIGINT NOT NULL,
    actor TEXT COLLATE "C" NOT NULL,
    from_value TEXT COLLATE "C" NOT NULL,
    to_value TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (revision, position)
);
CREATE INDEX events_kind ON events (kind, revision, position);
CREATE INDEX events_model ON events (model, revision, position);
CREATE INDEX events_alias ON events (alias, revision, position);
CREATE INDEX events_actor ON events (actor, revision, position);
CREATE INDEX events_time ON events (time_us);

CREATE TABLE requests (
    request_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    fingerprint BYTEA NOT NULL,
    time_us BIGINT NOT NULL,
    answer TEXT NOT NULL
);
CREATE INDEX requests_time ON requests (time_us);
