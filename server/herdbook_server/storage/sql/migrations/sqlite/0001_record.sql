-- The record: models, versions, aliases, events. Text sorts by code point, times are microseconds UTC.

CREATE TABLE registry (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    revision INTEGER NOT NULL,
    last_version_id INTEGER NOT NULL
) STRICT;
INSERT INTO registry (id, revision, last_version_id) VALUES (1, 0, 0);

CREATE TABLE models (
    name TEXT NOT NULL PRIMARY KEY,
    latest_version INTEGER NOT NULL,
    version_count INTEGER NOT NULL,
    last_number INTEGER NOT NULL,
    created_at_us INTEGER NOT NULL,
    updated_at_us INTEGER NOT NULL,
    deleted_at_us INTEGER,
    revision INTEGER NOT NULL,
    author TEXT NOT NULL,
    tags TEXT NOT NULL,
    description TEXT NOT NULL
) STRICT;
CREATE INDEX models_author ON models (author, name);
CREATE INDEX models_created_at ON models (created_at_us, name);
CREATE INDEX models_updated_at ON models (updated_at_us, name);
CREATE INDEX models_latest_version ON models (latest_version, name);
CREATE INDEX models_version_count ON models (version_count, name);
CREATE INDEX models_deleted ON models (name) WHERE deleted_at_us IS NOT NULL;

-- A text is kept as its first 128 characters, which are indexed, and the rest.
CREATE TABLE model_tags (
    model TEXT NOT NULL REFERENCES models (name),
    key TEXT NOT NULL,
    head TEXT NOT NULL,
    rest TEXT NOT NULL,
    PRIMARY KEY (model, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX model_tags_value ON model_tags (key, head, model);

-- Manifests by digest; `stores` counts how often one was stored, so that the first time can be told.
CREATE TABLE manifests (
    digest BLOB NOT NULL PRIMARY KEY,
    stored_at_us INTEGER NOT NULL,
    stores INTEGER NOT NULL
) STRICT;

CREATE TABLE versions (
    id INTEGER PRIMARY KEY,
    model TEXT NOT NULL REFERENCES models (name),
    number INTEGER NOT NULL,
    deleted_at_us INTEGER,
    stage TEXT NOT NULL,
    manifest_digest BLOB CONSTRAINT versions_manifest REFERENCES manifests (digest),
    size_bytes INTEGER NOT NULL,
    file_count INTEGER NOT NULL,
    created_at_us INTEGER NOT NULL,
    updated_at_us INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    record_bytes INTEGER NOT NULL,
    label TEXT,
    digest TEXT,
    author TEXT NOT NULL,
    framework TEXT NOT NULL,
    format TEXT NOT NULL,
    run_id TEXT,
    code_commit TEXT,
    source_uri TEXT NOT NULL,
    has_input_example INTEGER NOT NULL,
    tags TEXT NOT NULL,
    metrics TEXT NOT NULL,
    params TEXT NOT NULL,
    description TEXT NOT NULL,
    signature TEXT,
    input_example TEXT,
    lineage TEXT,
    environment TEXT,
    packages TEXT
) STRICT;
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
    version_id INTEGER NOT NULL REFERENCES versions (id),
    key TEXT NOT NULL,
    head TEXT NOT NULL,
    rest TEXT NOT NULL,
    PRIMARY KEY (version_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX version_tags_value ON version_tags (key, head, version_id);

CREATE TABLE version_params (
    version_id INTEGER NOT NULL REFERENCES versions (id),
    key TEXT NOT NULL,
    head TEXT NOT NULL,
    rest TEXT NOT NULL,
    PRIMARY KEY (version_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX version_params_value ON version_params (key, head, version_id);

CREATE TABLE version_metrics (
    version_id INTEGER NOT NULL REFERENCES versions (id),
    key TEXT NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (version_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX version_metrics_value ON version_metrics (key, value, version_id);

CREATE TABLE aliases (
    model TEXT NOT NULL,
    alias TEXT NOT NULL,
    version INTEGER NOT NULL,
    moved_at_us INTEGER NOT NULL,
    moved_by TEXT NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (model, alias),
    CONSTRAINT aliases_target FOREIGN KEY (model, version) REFERENCES versions (model, number)
) STRICT;
CREATE INDEX aliases_version ON aliases (model, version, alias);
CREATE INDEX aliases_alias ON aliases (alias, model, version);

CREATE TABLE alias_moves (
    model TEXT NOT NULL,
    alias TEXT NOT NULL,
    revision INTEGER NOT NULL,
    from_version INTEGER NOT NULL,
    to_version INTEGER NOT NULL,
    undo_revision INTEGER,
    rollback INTEGER NOT NULL,
    time_us INTEGER NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (model, alias, revision)
) STRICT;
CREATE INDEX alias_moves_newest ON alias_moves (model, revision DESC, alias);

CREATE TABLE events (
    revision INTEGER NOT NULL,
    position INTEGER NOT NULL,
    kind TEXT NOT NULL,
    model TEXT NOT NULL,
    version INTEGER NOT NULL,
    alias TEXT NOT NULL,
    time_us INTEGER NOT NULL,
    actor TEXT NOT NULL,
    from_value TEXT NOT NULL,
    to_value TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (revision, position)
) STRICT;
CREATE INDEX events_kind ON events (kind, revision, position);
CREATE INDEX events_model ON events (model, revision, position);
CREATE INDEX events_alias ON events (alias, revision, position);
CREATE INDEX events_actor ON events (actor, revision, position);
CREATE INDEX events_time ON events (time_us);

CREATE TABLE requests (
    request_id TEXT NOT NULL PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    time_us INTEGER NOT NULL,
    answer TEXT NOT NULL
) STRICT;
CREATE INDEX requests_time ON requests (time_us);
