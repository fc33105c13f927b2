-- Versions that were deleted so long ago that their files are gone: without a manifest, but with its digest.
-- A server of an earlier release, which knows nothing of that, cannot restore them.
ALTER TABLE versions ADD COLUMN purged_at_us INTEGER CHECK (purged_at_us IS NULL OR deleted_at_us IS NOT NULL);
CREATE INDEX versions_deleted ON versions (deleted_at_us) WHERE deleted_at_us IS NOT NULL AND manifest_digest IS NOT NULL;
