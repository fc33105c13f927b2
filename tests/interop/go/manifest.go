package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	herdbookv1 "example.com/app/herdbook/v1"
)

// manifestDigest computes the digest of a manifest as manifest.proto defines it.
func manifestDigest(files []*herdbookv1.File) string {
	encoded := []byte("herdbook-manifest-v1\n")
	for _, file := range sortedByPath(files) {
		encoded = binary.BigEndian.AppendUint32(encoded, uint32(len(file.GetPath())))
		encoded = append(encoded, file.GetPath()...)
		encoded = binary.BigEndian.AppendUint32(encoded, uint32(len(file.GetChunks())))
		for _, chunk := range file.GetChunks() {
			encoded = append(encoded, chunk.GetSha256()...)
			encoded = binary.BigEndian.AppendUint32(encoded, uint32(chunk.GetSizeBytes()))
		}
	}
	digest := sha256.Sum256(encoded)
	return "sha256:" + hex.EncodeToString(digest[:])
}

func sortedByPath(files []*herdbookv1.File) []*herdbookv1.File {
	return slices.SortedFunc(slices.Values(files), func(a, b *herdbookv1.File) int {
		return strings.Compare(a.GetPath(), b.GetPath())
	})
}

func totalBytes(files []*herdbookv1.File) int64 {
	var total int64
	for _, file := range files {
		for _, chunk := range file.GetChunks() {
			total += int64(chunk.GetSizeBytes())
		}
	}
	return total
}

// checkChunks checks that the chunks of file are a cut of data.
func checkChunks(file *herdbookv1.File, data []byte) error {
	rest := data
	for index, chunk := range file.GetChunks() {
		size := int(chunk.GetSizeBytes())
		if size < 1 || size > len(rest) {
			return fmt.Errorf("chunk %d of %s has %d bytes where %d are left", index, file.GetPath(), size, len(rest))
		}
		if actual := sha256.Sum256(rest[:size]); string(actual[:]) != string(chunk.GetSha256()) {
			return fmt.Errorf("chunk %d of %s has digest %x, want %x", index, file.GetPath(), chunk.GetSha256(), actual)
		}
		rest = rest[size:]
	}
	return same("bytes of "+file.GetPath()+" in no chunk", len(rest), 0)
}
