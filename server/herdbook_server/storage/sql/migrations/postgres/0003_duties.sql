-- What one server of many does now and then.
CREATE TABLE duties (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    done_at_us BIGINT NOT NULL,
    taken_until_us BIGINT NOT NULL
);
