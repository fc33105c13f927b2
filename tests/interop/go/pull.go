package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	herdbookv1 "example.com/app/herdbook/v1"
)

// pull fetches a version by its manifest and its chunks, trusts nothing, and compares the files with contents.
func (s *session) pull(ctx context.Context, version *herdbookv1.Version, contents map[string][]byte) error {
	files, err := s.getManifest(ctx, version)
	if err != nil {
		return err
	}
	chunks, err := s.download(ctx, version, files)
	if err != nil {
		return err
	}
	for _, file := range files {
		var data []byte
		for _, chunk := range file.GetChunks() {
			data = append(data, chunks[string(chunk.GetSha256())]...)
		}
		if err := same("pulled bytes of "+file.GetPath()+" are those written", bytes.Equal(data, contents[file.GetPath()]), true); err != nil {
			return err
		}
	}
	say("pulled %d files of %d chunks, all verified", len(files), len(chunks))
	return same("pulled files", len(files), len(contents))
}

// getManifest reads a manifest and checks that its digest is the version's.
func (s *session) getManifest(ctx context.Context, version *herdbookv1.Version) ([]*herdbookv1.File, error) {
	reference := fmt.Sprintf("%s:%d", s.model, version.GetNumber())
	stream, err := s.artifacts.GetManifest(ctx, &herdbookv1.GetManifestRequest{Reference: reference})
	if err != nil {
		return nil, fmt.Errorf("GetManifest: %w", err)
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, fmt.Errorf("GetManifest: %w", err)
	}
	files := first.GetFiles()
	for {
		part, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("GetManifest: %w", err)
		}
		files = append(files, part.GetFiles()...)
	}
	return files, firstOf(
		same("model of the manifest", first.GetModel(), s.model),
		same("version of the manifest", first.GetVersion(), version.GetNumber()),
		same("digest given with the manifest", first.GetDigest(), version.GetDigest()),
		same("digest of the manifest", manifestDigest(files), version.GetDigest()),
	)
}

// download fetches the chunks of files, each once, and returns their bytes by digest.
func (s *session) download(ctx context.Context, version *herdbookv1.Version, files []*herdbookv1.File) (map[string][]byte, error) {
	wanted := distinctDigests(files)
	stream, err := s.artifacts.DownloadChunks(ctx, &herdbookv1.DownloadChunksRequest{
		Model: s.model, Version: version.GetNumber(), Sha256: wanted,
	})
	if err != nil {
		return nil, fmt.Errorf("DownloadChunks: %w", err)
	}
	chunks := make(map[string][]byte)
	for {
		message, err := stream.Recv()
		if err == io.EOF {
			return chunks, same("downloaded chunks", len(chunks), len(wanted))
		}
		if err != nil {
			return nil, fmt.Errorf("DownloadChunks: %w", err)
		}
		for _, chunk := range message.GetChunks() {
			if actual := sha256.Sum256(chunk.GetData()); !bytes.Equal(actual[:], chunk.GetSha256()) {
				return nil, fmt.Errorf("downloaded chunk %x has digest %x", chunk.GetSha256(), actual)
			}
			if err := same("order of chunks", hex.EncodeToString(chunk.GetSha256()), hex.EncodeToString(wanted[len(chunks)])); err != nil {
				return nil, err
			}
			chunks[string(chunk.GetSha256())] = chunk.GetData()
		}
	}
}

func distinctDigests(files []*herdbookv1.File) [][]byte {
	var digests [][]byte
	seen := make(map[string]bool)
	for _, file := range files {
		for _, chunk := range file.GetChunks() {
			if !seen[string(chunk.GetSha256())] {
				seen[string(chunk.GetSha256())] = true
				digests = append(digests, chunk.GetSha256())
			}
		}
	}
	return digests
}
