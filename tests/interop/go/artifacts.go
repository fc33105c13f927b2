package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"

	herdbookv1 "example.com/app/herdbook/v1"
)

const pieceBytes = 1 << 20

// writeAndRegister makes a version of contents by WriteFile, where the server cuts the files.
func (s *session) writeAndRegister(ctx context.Context, contents map[string][]byte) (*herdbookv1.Version, error) {
	var files []*herdbookv1.File
	for path, data := range contents {
		file, err := s.writeFile(ctx, path, data)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return s.register(ctx, files)
}

// writeFile sends one file in pieces and checks the manifest entry that comes back.
func (s *session) writeFile(ctx context.Context, path string, data []byte) (*herdbookv1.File, error) {
	stream, err := s.artifacts.WriteFile(ctx)
	if err != nil {
		return nil, fmt.Errorf("WriteFile: %w", err)
	}
	if err := stream.Send(&herdbookv1.WriteFileRequest{Model: s.model, Path: path}); err != nil && err != io.EOF {
		return nil, fmt.Errorf("WriteFile: %w", err)
	}
	for piece := range slices.Chunk(data, pieceBytes) {
		// io.EOF means that the server has answered already: CloseAndRecv tells why.
		if err := stream.Send(&herdbookv1.WriteFileRequest{Data: piece}); err == io.EOF {
			break
		} else if err != nil {
			return nil, fmt.Errorf("WriteFile: %w", err)
		}
	}
	response, err := stream.CloseAndRecv()
	if err != nil {
		return nil, fmt.Errorf("WriteFile: %w", err)
	}
	say("wrote %s: %d bytes in %d chunks", path, response.GetSizeBytes(), len(response.GetFile().GetChunks()))
	return response.GetFile(), firstOf(
		same("written path", response.GetFile().GetPath(), path),
		same("written size_bytes", response.GetSizeBytes(), int64(len(data))),
		checkChunks(response.GetFile(), data),
	)
}

// pushAndRegister makes a version of the files of the one before, but for config.json, which it cuts, asks for and uploads itself.
func (s *session) pushAndRegister(ctx context.Context, before *herdbookv1.Version, contents map[string][]byte) (*herdbookv1.Version, error) {
	manifest, err := s.getManifest(ctx, before)
	if err != nil {
		return nil, err
	}
	data := contents["config.json"]
	digest := sha256.Sum256(data)
	if err := s.pushChunk(ctx, &herdbookv1.Chunk{Sha256: digest[:], Data: data}); err != nil {
		return nil, err
	}
	pushed := &herdbookv1.File{
		Path:   "config.json",
		Chunks: []*herdbookv1.ChunkRef{{Sha256: digest[:], SizeBytes: int32(len(data))}},
	}
	kept := slices.DeleteFunc(manifest, func(file *herdbookv1.File) bool { return file.GetPath() == pushed.Path })
	return s.register(ctx, append(kept, pushed))
}

// pushChunk uploads a chunk that must be missing before and there afterwards.
func (s *session) pushChunk(ctx context.Context, chunk *herdbookv1.Chunk) error {
	before, err := s.missing(ctx, chunk)
	if err != nil {
		return err
	}
	stream, err := s.artifacts.UploadChunks(ctx)
	if err != nil {
		return fmt.Errorf("UploadChunks: %w", err)
	}
	if err := stream.Send(&herdbookv1.UploadChunksRequest{Model: s.model, Chunks: []*herdbookv1.Chunk{chunk}}); err != nil && err != io.EOF {
		return fmt.Errorf("UploadChunks: %w", err)
	}
	response, err := stream.CloseAndRecv()
	if err != nil {
		return fmt.Errorf("UploadChunks: %w", err)
	}
	after, err := s.missing(ctx, chunk)
	if err != nil {
		return err
	}
	say("uploaded %d chunk of %d bytes", response.GetChunkCount(), response.GetSizeBytes())
	return firstOf(
		same("missing chunks before the upload", before, 1),
		same("uploaded chunks", response.GetChunkCount(), 1),
		same("uploaded bytes", response.GetSizeBytes(), int64(len(chunk.Data))),
		same("missing chunks after the upload", after, 0),
	)
}

func (s *session) missing(ctx context.Context, chunk *herdbookv1.Chunk) (int, error) {
	response, err := s.artifacts.FindMissingChunks(ctx, &herdbookv1.FindMissingChunksRequest{
		Model: s.model, Sha256: [][]byte{chunk.GetSha256()},
	})
	if err != nil {
		return 0, fmt.Errorf("FindMissingChunks: %w", err)
	}
	return len(response.GetMissingSha256()), nil
}

// readFiles reads each file whole by ReadFile, and a range of the largest that spans chunks.
func (s *session) readFiles(ctx context.Context, version *herdbookv1.Version, contents map[string][]byte) error {
	for path, data := range contents {
		if err := s.readRange(ctx, version, path, data, 0, 0); err != nil {
			return err
		}
	}
	const path, offset, limit = "weights/model.bin", 1_000_003, 3_000_000
	return s.readRange(ctx, version, path, contents[path], offset, limit)
}

// readRange reads limit bytes from offset, to the end if limit is 0, and compares them with those of data.
func (s *session) readRange(ctx context.Context, version *herdbookv1.Version, path string, data []byte, offset, limit int64) error {
	stream, err := s.artifacts.ReadFile(ctx, &herdbookv1.ReadFileRequest{
		Reference: s.reference(), Path: path, Offset: offset, Limit: limit,
	})
	if err != nil {
		return fmt.Errorf("ReadFile: %w", err)
	}
	first, err := stream.Recv()
	if err != nil {
		return fmt.Errorf("ReadFile of %s: %w", path, err)
	}
	read := first.GetData()
	for {
		message, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("ReadFile of %s: %w", path, err)
		}
		read = append(read, message.GetData()...)
	}
	wanted := data[offset:]
	if limit > 0 {
		wanted = wanted[:limit]
	}
	say("read %s from %d: %d of %d bytes", path, offset, len(read), first.GetSizeBytes())
	return firstOf(
		same("version that is read", first.GetVersion(), version.GetNumber()),
		same("size_bytes of "+path, first.GetSizeBytes(), int64(len(data))),
		same("bytes of "+path+" are those written", bytes.Equal(read, wanted), true),
	)
}
