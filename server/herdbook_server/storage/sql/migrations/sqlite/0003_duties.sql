-- What one server of many does now and then.
CREATE TABLE duties (
    name TEXT NOT NULL PRIMARY KEY,
    done_at_us INTEGER NOT NULL,
    taken_until_us INTEGER NOT NULL
) STRICT;
