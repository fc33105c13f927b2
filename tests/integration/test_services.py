"""The services that other tests rest on are what those tests take them for."""

from __future__ import annotations

import asyncpg
import pytest
from botocore.exceptions import ClientError

from tests.support.postgres import PostgresCluster, execute, fresh_database, private_directory
from tests.support.s3 import S3Endpoint


async def test_a_fresh_database_is_empty(postgres_database: str) -> None:
    connection = await asyncpg.connect(postgres_database)
    query = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
    try:
        assert await connection.fetchval(query) == 0
    finally:
        await connection.close()


async def test_a_database_is_gone_after_its_test(postgres_dsn: str) -> None:
    with fresh_database(postgres_dsn) as dsn:
        execute(dsn, "CREATE TABLE cow (name TEXT)")
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await asyncpg.connect(dsn)


def test_a_cluster_that_is_stopped_and_started_keeps_its_data() -> None:
    with private_directory() as home:
        cluster = PostgresCluster.create(home)
        with cluster.serve() as dsn:
            execute(dsn, "CREATE TABLE cow (name TEXT)")
        with cluster.serve() as dsn:
            execute(dsn, "INSERT INTO cow VALUES ('Bertha')")


def test_the_s3_server_stores_and_returns_objects(s3_endpoint: S3Endpoint, s3_bucket: str) -> None:
    client = s3_endpoint.client()
    client.put_object(Bucket=s3_bucket, Key="chunks/ab/cd", Body=b"moo")
    assert client.get_object(Bucket=s3_bucket, Key="chunks/ab/cd")["Body"].read() == b"moo"


def test_the_s3_server_does_not_overwrite_when_told_not_to(
    s3_endpoint: S3Endpoint, s3_bucket: str
) -> None:
    client = s3_endpoint.client()
    client.put_object(Bucket=s3_bucket, Key="cow", Body=b"moo", IfNoneMatch="*")
    with pytest.raises(ClientError):
        client.put_object(Bucket=s3_bucket, Key="cow", Body=b"baa", IfNoneMatch="*")
    assert client.get_object(Bucket=s3_bucket, Key="cow")["Body"].read() == b"moo"
